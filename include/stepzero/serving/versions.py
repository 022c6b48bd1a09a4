"""The version that is served, and the watch over what the store desires."""

from __future__ import annotations

import gc
import logging
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from stepzero.adapters.online_features import open_reader
from stepzero.adapters.registry_records import DesiredState, desired_uri, verify_evidence
from stepzero.adapters.store import Store
from stepzero.core.digests import digest_text
from stepzero.core.errors import PromotionError, StepzeroError, StoreError, bare
from stepzero.core.references import Reference
from stepzero.serving.explaining import Explanations
from stepzero.serving.lookup import OnlineFeatures
from stepzero.serving.rows import Form
from stepzero.serving.scoring import Scorer
from stepzero.spec.environment import FeatureStore

if TYPE_CHECKING:
    from stepzero.learning.model import ScoringModel
    from stepzero.spec.environment import Signing

log = logging.getLogger("stepzero")

RETRY_SECONDS = 5.0
"""After a failure that may pass, the same desired state is tried again so much later."""


@dataclass(frozen=True)
class Served:
    """A loaded, verified version; replaced as a whole, never changed."""

    version: str
    model_digest: str
    threshold: float | None
    model: ScoringModel
    online: OnlineFeatures | None = None
    """What is looked up for rows that name a record."""
    explanations: Explanations | None = None
    forms: dict[int, Form] = field(default_factory=dict)

    @cached_property
    def scorer(self) -> Scorer:
        """What scores rows."""
        return Scorer(self.model)

    @cached_property
    def optional(self) -> frozenset[str]:
        """Features that may be missing: the model learned what to put in their place."""
        transformer = self.model.transformer
        filled = {name for names in (transformer.impute or {}).values() for name in names}
        return frozenset(filled | set(transformer.one_hot or {}))

    def form(self, max_rows: int) -> Form:
        """Return what rows must look like."""
        if max_rows not in self.forms:
            self.forms[max_rows] = Form(features=self.model.asked, optional=self.optional, max_rows=max_rows)
        return self.forms[max_rows]


def load_version(
    store: Store,
    desired: DesiredState,
    signing: Signing | None = None,
    feature_store: FeatureStore | None = None,
) -> Served:
    """Load a desired version after verifying its evidence and the digest of every file.

    Args:
        store: Where the model is.
        desired: The version.
        signing: Keys that evidence must be signed by; without them no signature is asked for.
        feature_store: Where features are looked up.

    Raises:
        PromotionError: There is no evidence that this model was approved.
        StoreError: Files are missing or changed.
    """
    from stepzero.learning.model import load_model

    evidence = verify_evidence(
        store, desired.use_case, desired.version, desired.reference.digest, desired.threshold, signing
    )
    if evidence.digest != desired.evidence_digest:
        raise PromotionError(
            f"evidence of {desired.use_case} version {desired.version}",
            value=evidence.digest,
            allowed=f"digest {desired.evidence_digest}, as it was deployed",
            action="the file was changed: approve a newer version in a new run",
        )
    model = load_model(store, desired.reference)
    rows = store.read_json(Reference.from_json(desired.example).uri)["instances"]
    example = pd.DataFrame(rows, columns=list(model.asked))
    online = None
    if desired.lookup is not None:
        reader = open_reader(store, feature_store or FeatureStore())
        online = OnlineFeatures(lookup=desired.lookup, features=model.asked, reader=reader, store=store)
        online.refresh()
    served = Served(
        version=desired.version,
        model_digest=desired.reference.digest,
        threshold=desired.threshold,
        model=model,
        online=online,
        explanations=Explanations(model, example, store, desired),
    )
    _warm_up(served, example, desired)
    return served


def _warm_up(served: Served, example: pd.DataFrame, desired: DesiredState) -> None:
    """Score the example: the first caller does not pay for first use, and a broken model never serves."""
    served.model.score(example)
    served.scorer.measure(example)
    if desired.explain and served.explanations is not None:
        served.explanations.ready()


def _keep_out_of_collections() -> None:
    """Spare Python's garbage collector what is here to stay: looking at all of it would hold single requests up."""
    gc.collect()
    gc.freeze()


class Watch:
    """Keep `current` equal to what the store desires; a broken desire leaves the former version serving.

    Args:
        store: Where the desired state is.
        use_case: Whose endpoint this is.
        poll_seconds: How often the desired state is read.
        signing: Keys that evidence must be signed by; without them no signature is asked for.
        feature_store: Where features are looked up.
    """

    def __init__(
        self,
        store: Store,
        use_case: str,
        *,
        poll_seconds: float = 1.0,
        signing: Signing | None = None,
        feature_store: FeatureStore | None = None,
    ) -> None:
        self.store, self.use_case, self.poll_seconds = store, use_case, poll_seconds
        self.signing, self.feature_store = signing, feature_store
        self.current: Served | None = None
        self.problem: dict[str, Any] | None = None
        self._seen, self._tried = "", 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="desired-state", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop to watch."""
        self._stop.set()
        self._thread.join(timeout=10)

    def look(self) -> None:
        """Look at the desired state once, and load what it names if that is news."""
        text = self._read()
        if text is None or not self._is_due(text):
            return
        self._seen, self._tried = digest_text(text), time.monotonic()
        version = ""
        try:
            desired = self._parse(text)
            version = desired.version
            self.current = load_version(self.store, desired, self.signing, self.feature_store)
        except StepzeroError as error:
            self._note(error.to_json() | {"version": version})
        except Exception as error:
            log.exception("version %s could not be loaded", version)
            self._note({"version": version, "message": f"{type(error).__name__}: {error}"[:500], "retry": False})
        else:
            self.problem = None
            _keep_out_of_collections()
            log.info("serving %s version %s, model %s", self.use_case, version, self.current.model_digest)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            if self.current is not None and self.current.online is not None:
                self.current.online.refresh()
            self._stop.wait(self.poll_seconds)

    def _read(self) -> str | None:
        uri = desired_uri(self.use_case)
        try:
            return self.store.read_text(uri) if self.store.exists(uri) else None
        except (StoreError, OSError) as error:
            self._note({"version": "", "message": str(error)[:500], "retry": True})
            return None

    def _is_due(self, text: str) -> bool:
        if digest_text(text) != self._seen:
            return True
        waiting = self.problem is not None and bool(self.problem.get("retry"))
        return waiting and time.monotonic() - self._tried > RETRY_SECONDS

    def _parse(self, text: str) -> DesiredState:
        try:
            desired = DesiredState.model_validate_json(text)
        except ValueError as error:
            raise StoreError(
                f"desired state {desired_uri(self.use_case)}",
                value=bare(str(error)[:150]),
                allowed="what the stage deploy writes",
                action="run the DAG, or clear its task deploy",
            ) from error
        if desired.use_case != self.use_case:
            raise PromotionError(
                f"desired state {desired_uri(self.use_case)}",
                value=desired.use_case,
                allowed=self.use_case,
                action="the file was copied from another use case: clear the task deploy",
            )
        return desired

    def _note(self, problem: dict[str, Any]) -> None:
        if self.problem is None or self.problem.get("message") != problem["message"]:
            log.error("the desired state cannot be served: %s", problem["message"])
        self.problem = problem
