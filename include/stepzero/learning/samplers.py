"""Samplers: change the mixture of training rows, inside training folds and nowhere else.

A sampler is anything with ``fit_resample(features, target) -> (features, target)``, as in
imbalanced-learn. Ours are listed in `SAMPLERS`; somebody else's is a class by dotted name, called with
``random_state`` where it takes one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stepzero.core.errors import StageError, bare
from stepzero.learning.names import load_name
from stepzero.learning.warned import log_warnings
from stepzero.measures.checks import Floats, Integers


class Sampler(Protocol):
    """What resamples: rows dropped, repeated or made."""

    def fit_resample(self, features: Floats, target: Integers) -> tuple[Any, Any]:
        """Return new features and target."""
        ...


@dataclass(frozen=True)
class Resampled:
    """What a sampler did, as indices and rows of its own making.

    ``source`` has one number for each row of the result, in order: a position among the rows handed in
    where it is at least 0, else ``-1 - i`` for synthetic row ``i``. Order counts: a forest draws by position.
    """

    source: Integers
    synthetic: Floats
    synthetic_target: Integers

    def apply(self, features: Floats, target: Integers) -> tuple[Floats, Integers]:
        """Return the resampled rows, made from the rows that were handed in."""
        position = np.where(self.source >= 0, self.source, len(target) - 1 - self.source)
        rows = np.concatenate([features, self.synthetic]) if len(self.synthetic) else features
        labels = np.concatenate([target, self.synthetic_target]) if len(self.synthetic) else target
        return rows[position], labels[position]


class _Unchanged:
    """Leave the rows as they are."""

    sample_indices_: Integers

    def fit_resample(self, features: Floats, target: Integers) -> tuple[Floats, Integers]:
        self.sample_indices_ = np.arange(len(target))
        return features, target


def _random_under(seed: int) -> Sampler:
    from imblearn.under_sampling import RandomUnderSampler

    sampler: Sampler = RandomUnderSampler(random_state=seed)
    return sampler


def _random_over(seed: int) -> Sampler:
    from imblearn.over_sampling import RandomOverSampler

    sampler: Sampler = RandomOverSampler(random_state=seed)
    return sampler


def _near_miss(version: int) -> Callable[[int], Sampler]:
    def make(seed: int) -> Sampler:  # noqa: ARG001 - nothing is drawn: distances decide
        from imblearn.under_sampling import NearMiss

        sampler: Sampler = NearMiss(version=version)
        return sampler

    return make


def _smote(seed: int) -> Sampler:
    from imblearn.over_sampling import SMOTE

    sampler: Sampler = SMOTE(random_state=seed)
    return sampler


def _borderline_smote(seed: int) -> Sampler:
    from imblearn.over_sampling import BorderlineSMOTE

    sampler: Sampler = BorderlineSMOTE(random_state=seed)
    return sampler


def _adasyn(seed: int) -> Sampler:
    from imblearn.over_sampling import ADASYN

    sampler: Sampler = ADASYN(random_state=seed)
    return sampler


SAMPLERS: dict[str, Callable[[int], Sampler]] = {
    "none": lambda _: _Unchanged(),
    "random_under": _random_under,
    "near_miss_1": _near_miss(1),
    "near_miss_2": _near_miss(2),
    "near_miss_3": _near_miss(3),
    "random_over": _random_over,
    "smote": _smote,
    "borderline_smote": _borderline_smote,
    "adasyn": _adasyn,
}


def make_sampler(name: str, seed: int) -> Sampler:
    """Return a sampler by our name or by somebody else's dotted name.

    Raises:
        SpecError: The dotted name cannot be imported.
    """
    if name in SAMPLERS:
        return SAMPLERS[name](seed)
    made = load_name(name, "sampler")
    seeded = "random_state" in inspect.signature(made).parameters
    sampler: Sampler = made(random_state=seed) if seeded else made()
    return sampler


def resample(sampler: Sampler, features: Floats, target: Integers) -> Resampled:
    """Resample rows and say where each row of the result comes from.

    Samplers that keep ``sample_indices_`` are believed; of others, rows equal to a row handed in (and of
    its class) are that row, and the rest are synthetic.

    Raises:
        StageError: Only one class, or no row, is left.
    """
    with log_warnings(f"sampler {type(sampler).__name__}"):
        new_features, new_target = sampler.fit_resample(features, target)
    rows, labels = np.asarray(new_features, dtype=np.float64), np.asarray(new_target).astype(np.int64)
    if len(np.unique(labels)) < 2:
        raise StageError(
            f"rows after sampler {type(sampler).__name__}",
            value=bare(f"{len(labels)} rows of {len(np.unique(labels))} classes"),
            allowed="rows of both classes",
            action="use another sampler, or give it more rows",
        )
    indices = getattr(sampler, "sample_indices_", None)
    source = (
        np.asarray(indices, dtype=np.int64) if _tells_all(indices, labels) else _match(features, target, rows, labels)
    )
    made = source < 0
    source[made] = -1 - np.arange(int(made.sum()))
    return Resampled(source, np.ascontiguousarray(rows[made]), labels[made])


def _tells_all(indices: Any, labels: Integers) -> bool:
    return indices is not None and len(indices) == len(labels)


def _match(features: Floats, target: Integers, rows: Floats, labels: Integers) -> Integers:
    """Find rows of the result among the rows handed in; -1 where there is none."""
    count = len(target)
    if len(rows) >= count and np.array_equal(rows[:count], features) and np.array_equal(labels[:count], target):
        found = np.full(len(rows), -1, dtype=np.int64)
        found[:count] = np.arange(count)
        return found
    known: dict[bytes, list[int]] = {}
    for position in range(count - 1, -1, -1):
        known.setdefault(_bytes(features[position], target[position]), []).append(position)
    return np.array([_take(known, _bytes(row, label)) for row, label in zip(rows, labels, strict=True)], dtype=np.int64)


def _take(known: dict[bytes, list[int]], wanted: bytes) -> int:
    positions = known.get(wanted, [])
    return positions.pop() if len(positions) > 1 else positions[0] if positions else -1


def _bytes(row: npt.NDArray[np.float64], label: Any) -> bytes:
    return row.tobytes() + int(label).to_bytes(8, "little", signed=True)
