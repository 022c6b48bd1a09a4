"""What all measures ask of their arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stepzero.core.errors import InputError, bare

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


def checked(
    target: npt.ArrayLike, values: npt.ArrayLike, weight: npt.ArrayLike | None
) -> tuple[Booleans, Floats, Floats]:
    """Return target as booleans, values and weights as floats, after the checks that all measures share.

    Args:
        target: 1 where the row is positive, 0 elsewhere.
        values: Scores, or decisions (0 or 1), one a row.
        weight: How much each row counts; the last axis is rows, so that a matrix of weights (draws ×
            rows) measures all draws at once. None counts every row once.

    Raises:
        InputError: Lengths differ, a value is missing, or a weight is negative.
    """
    positive = np.asarray(target)
    numbers = np.asarray(values, dtype=np.float64)
    weights = np.ones(len(positive)) if weight is None else np.asarray(weight, dtype=np.float64)
    if positive.ndim != 1 or numbers.shape != positive.shape or weights.shape[-1] != len(positive):
        shapes = f"target {positive.shape}, values {numbers.shape}, weight {weights.shape}"
        raise _wrong("shapes of a measure's arrays", shapes, "one value and one weight a row")
    if not np.isin(positive, (0, 1)).all():
        raise _wrong("target of a measure", np.unique(positive)[:5].tolist(), "0 and 1 only")
    if not np.isfinite(numbers).all():
        raise _wrong("values of a measure", f"{int((~np.isfinite(numbers)).sum())} not finite", "finite numbers")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise _wrong("weights of a measure", "negative or not finite", "finite numbers from 0")
    return positive.astype(bool), numbers, weights


def require_both_classes(positive: Booleans, name: str) -> None:
    """Check that a ranking can be judged at all.

    Raises:
        InputError: Only one class is there.
    """
    if positive.all() or not positive.any():
        only = f"{len(positive)} rows, {int(positive.sum())} of them positive"
        raise _wrong(f"target of {name}", only, "rows of both classes")


def scalar(value: Any) -> Any:
    """Return a float for one set of weights, the array for a matrix of them."""
    return float(value) if np.ndim(value) == 0 else value


def _wrong(what: str, value: object, allowed: str) -> InputError:
    return InputError(what, value=bare(value), allowed=allowed, action="check what is handed to the measure")
