"""A fitted model as it is stored, registered and served: raw features in, scores out.

Only what this library wrote is unpickled, and only after the bytes of every file were found equal to the
digests of the manifest, and the manifest to the digest of the reference. Whoever can write to the store *and*
hand out references can still put code into a pickle: guard the store as you guard the code.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from stepzero.adapters.datasets import commit_dataset, manifest_of
from stepzero.adapters.store import Store, dump_json
from stepzero.core.digests import LENGTH, digest_json
from stepzero.core.errors import InputError, StageError, StoreError, bare
from stepzero.core.references import Reference
from stepzero.learning.group_thresholds import GroupThresholds
from stepzero.learning.models import score_rows
from stepzero.learning.pickling import dump_estimator
from stepzero.learning.prior import Prior
from stepzero.learning.transform import Transformer
from stepzero.measures.checks import Booleans, Floats

DESCRIPTION, TRANSFORM, ESTIMATOR = "model.json", "transform.json", "estimator.pkl"
FORMAT_VERSION = 2
"""2: with the prior correction; models of format 1 have none."""
_NUMERIC = {"int", "bigint", "double", "boolean"}


@dataclass(frozen=True, kw_only=True)
class ScoringModel:
    """Transformer and estimator with what a caller must know.

    Args:
        features: Raw features by name with their types, in the order they were learned in.
        transformer: What was learned before the estimator.
        estimator: What scores the transformed rows.
        threshold: From which score a row counts as positive; None before it was chosen.
        groups: Thresholds of two groups, which then decide instead of the one for all; None where all have the same.
        prior: Shares of positives by which probabilities are corrected; None where they are left as learned.
        metadata: JSON: sampler, model, parameters, metrics, versions of what fitted it.
    """

    features: dict[str, str]
    transformer: Transformer
    estimator: Any
    threshold: float | None = None
    groups: GroupThresholds | None = None
    prior: Prior | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def asked(self) -> dict[str, str]:
        """What a caller must send, by name with its type: the features, and what says to which group a row belongs."""
        if self.groups is None or self.groups.column in self.features:
            return self.features
        return {**self.features, self.groups.column: self.groups.kind}

    def asked_of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return of prepared rows what a caller would send; a column that was set aside has its own name again."""
        if self.groups is not None:
            frame = frame.rename(columns={self.groups.find(list(map(str, frame.columns))): self.groups.column})
        return frame[list(self.asked)]

    def score(self, frame: pd.DataFrame) -> Floats:
        """Return how likely each row is positive, at the true share; columns are found by name, others are ignored.

        Raises:
            InputError: A feature is missing, or holds what is not a number where a number belongs.
        """
        return self.score_matrix(self.matrix(frame))

    def score_matrix(self, matrix: Floats) -> Floats:
        """Return scores of rows as the estimator sees them."""
        score = score_rows(self.estimator, matrix)
        return self.prior.correct(score) if self.prior else score

    def matrix(self, frame: pd.DataFrame) -> Floats:
        """Return the rows as the estimator sees them.

        Raises:
            InputError: As `score`.
        """
        return self.transformer.transform(self._typed(frame))

    def decide(self, frame: pd.DataFrame) -> Booleans:
        """Return which rows count as positive.

        Raises:
            StageError: No threshold was chosen yet.
            InputError: As `score`; or it is not known to which group a row belongs.
        """
        decided: Booleans = self.score(frame) >= self.lines(frame)
        return decided

    def lines(self, frame: pd.DataFrame) -> Floats | float:
        """Return the threshold, or that of each row where groups have their own.

        Raises:
            StageError: No threshold was chosen yet.
            InputError: It is not known to which group a row belongs.
        """
        if self.groups is not None:
            return self.groups.lines(frame)
        if self.threshold is None:
            raise StageError(
                "threshold of a model", value=None, allowed="a number", action="take the model that evaluate wrote"
            )
        return self.threshold

    def replaced(self, **changes: Any) -> ScoringModel:
        """Return a model with some parts replaced."""
        return replace(self, **changes)

    def _typed(self, frame: pd.DataFrame) -> pd.DataFrame:
        missing = [name for name in self.features if name not in frame.columns]
        if missing:
            raise InputError(
                "features of rows to score",
                value=bare(f"no {', '.join(missing)}"),
                allowed=", ".join(self.features),
                action="hand in every feature by its name",
            )
        if list(frame.columns) == list(self.features) and (frame.dtypes == "float64").all():
            return frame
        encoded = self.transformer.one_hot or {}
        columns = {
            name: frame[name] if name in encoded else _column(frame[name], name, kind)
            for name, kind in self.features.items()
        }
        return pd.DataFrame(columns, index=frame.index)


def save_model(store: Store, folder: str, model: ScoringModel, *, producer: str) -> Reference:
    """Write a model as a dataset folder and commit it."""
    description = {
        "format": FORMAT_VERSION,
        "features": [[name, kind] for name, kind in model.features.items()],
        "threshold": model.threshold,
        "prior": model.prior.to_json() if model.prior else None,
        "metadata": model.metadata,
        **({"groups": model.groups.to_json()} if model.groups else {}),
    }
    files = {
        DESCRIPTION: dump_json(description).encode(),
        TRANSFORM: dump_json(model.transformer.to_state()).encode(),
        ESTIMATOR: dump_estimator(model.estimator),
    }
    for name, data in files.items():
        with store.open(f"{folder}/{name}", "wb") as stream:
            stream.write(data)
    schema = [[name, kind] for name, kind in model.features.items()]
    return commit_dataset(store, folder, rows=None, schema=schema, producer=producer)


def load_model(store: Store, reference: Reference) -> ScoringModel:
    """Read a model whose bytes are those that were referred to.

    Raises:
        StoreError: The folder, or one of its files, is not what the reference names; nothing is unpickled then.
    """
    files = _verified_files(store, reference)
    description = json.loads(files[DESCRIPTION])
    return ScoringModel(
        features=dict(description["features"]),
        transformer=Transformer.from_state(json.loads(files[TRANSFORM])),
        estimator=pickle.loads(files[ESTIMATOR]),  # noqa: S301 - only bytes that the reference vouches for
        threshold=description["threshold"],
        groups=GroupThresholds.from_json(description.get("groups")),
        prior=Prior.from_json(description.get("prior")),
        metadata=description["metadata"],
    )


def _verified_files(store: Store, reference: Reference) -> dict[str, bytes]:
    manifest = manifest_of(store, reference)
    told = {key: manifest[key] for key in ("rows", "schema")}
    whole = digest_json({"files": sorted(file["digest"] for file in manifest["files"]), **told})
    if whole != reference.digest:
        raise _changed(f"model {reference.uri}", whole, reference.digest)
    found = {}
    for file in manifest["files"]:
        with store.open(file["uri"]) as stream:
            data = bytes(stream.read())
        digest = hashlib.sha256(data).hexdigest()[:LENGTH]
        if digest != file["digest"]:
            raise _changed(f"model file {file['uri']}", digest, file["digest"])
        found[file["uri"].rpartition("/")[2]] = data
    return found


def _changed(what: str, digest: str, expected: str) -> StoreError:
    return StoreError(
        what,
        value=bare(f"digest {digest}"),
        allowed=f"digest {expected}, as it was written",
        action="do not use it: run the stage that writes it again, and find out who changed it",
    )


def _column(values: pd.Series[Any], name: str, kind: str) -> pd.Series[Any]:
    if kind not in _NUMERIC:
        return values
    try:
        return pd.to_numeric(values).astype("float64")
    except (ValueError, TypeError) as error:
        raise InputError(
            f"feature {name}", value=bare(error), allowed=f"a number ({kind})", action="correct the value"
        ) from error
