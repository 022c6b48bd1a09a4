"""How far predictions of a number are from the truth.

``accuracy`` is what the reference example for abalone compares by: 100 less the error in percent of the truth,
rounded for each row. An error weighs the more the smaller the truth is: 3 rings too many cost an abalone of 1 ring
300 points, one of 20 rings 15. So it rewards whoever guesses low, and a few young animals decide it. It is reported
beside the others, and nothing should be chosen by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from stepzero.core.errors import InputError, bare
from stepzero.measures.checks import Floats, scalar

_DIGITS = 2
"""To which a row's accuracy is rounded."""


def rmse(target: npt.ArrayLike, predicted: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Any:
    """Return the root of the mean squared error.

    Args:
        target: The truth, one number a row.
        predicted: What was predicted.
        weight: How much each row counts; the last axis is rows, so that a matrix (draws × rows) measures all draws.

    Example:
        >>> rmse([10, 2], [9, 5])
        2.23606797749979
    """
    truth, guess, weights = _checked(target, predicted, weight)
    return scalar(np.sqrt(_mean((guess - truth) ** 2, weights)))


def mae(target: npt.ArrayLike, predicted: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Any:
    """Return the mean absolute error.

    >>> mae([10, 2], [9, 5])
    2.0
    """
    truth, guess, weights = _checked(target, predicted, weight)
    return scalar(_mean(np.abs(guess - truth), weights))


def r2(target: npt.ArrayLike, predicted: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Any:
    """Return the coefficient of determination: 1 is perfect, 0 is as good as always saying the mean.

    Raises:
        InputError: All targets are the same, so that there is nothing to explain.

    >>> r2([1, 2, 3], [1, 2, 3])
    1.0
    """
    truth, guess, weights = _checked(target, predicted, weight)
    # About a middle of its own first: squares of large numbers would eat their difference.
    shifted = truth - truth.mean()
    spread = _mean(shifted**2, weights) - _mean(shifted, weights) ** 2
    if not np.all(spread > 0):
        raise _wrong("target of r2", "one value only", "at least two different values")
    return scalar(1 - _mean((guess - truth) ** 2, weights) / spread)


def accuracy(target: npt.ArrayLike, predicted: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Any:
    """Return the mean of 100 less each row's error in percent of its truth, each rounded to two digits.

    The formula is that of the reference example; see the module for what is wrong with it.

    Raises:
        InputError: A target is 0 or below, of which there is no percentage.

    >>> accuracy([10], [9]), accuracy([1], [4])
    (90.0, -200.0)
    """
    truth, guess, weights = _checked(target, predicted, weight)
    return scalar(_mean(row_accuracy(truth, guess), weights))


def row_accuracy(target: npt.ArrayLike, predicted: npt.ArrayLike) -> Floats:
    """Return each row's accuracy.

    Raises:
        InputError: A target is 0 or below.

    >>> row_accuracy([10, 1], [9, 4]).tolist()
    [90.0, -200.0]
    """
    truth, guess, _ = _checked(target, predicted, None)
    if (truth <= 0).any():
        raise _wrong("target of accuracy", f"{int((truth <= 0).sum())} rows at 0 or below", "numbers above 0")
    rounded: Floats = np.round(100 - np.abs(guess - truth) / truth * 100, _DIGITS)
    return rounded


ERRORS: dict[str, Callable[..., Any]] = {"rmse": rmse, "mae": mae}
"""Small is good."""
REGRESSIONS: dict[str, Callable[..., Any]] = {**ERRORS, "r2": r2, "accuracy": accuracy}


def _mean(values: Floats, weights: Floats) -> Any:
    return weights @ values / weights.sum(axis=-1)


def _checked(
    target: npt.ArrayLike, predicted: npt.ArrayLike, weight: npt.ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    truth = np.asarray(target, dtype=np.float64)
    guess = np.asarray(predicted, dtype=np.float64)
    weights = np.ones(len(truth)) if weight is None else np.asarray(weight, dtype=np.float64)
    if truth.ndim != 1 or not len(truth) or guess.shape != truth.shape or weights.shape[-1] != len(truth):
        shapes = f"target {truth.shape}, predicted {guess.shape}, weight {weights.shape}"
        raise _wrong("shapes of a measure's arrays", shapes, "one prediction and one weight a row, at least one row")
    for name, values in (("target", truth), ("predictions", guess), ("weights", weights)):
        if not np.isfinite(values).all():
            raise _wrong(f"{name} of a measure", "not all finite", "finite numbers")
    if (weights < 0).any():
        raise _wrong("weights of a measure", "negative", "numbers from 0")
    return truth, guess, weights


def _wrong(what: str, value: object, allowed: str) -> InputError:
    return InputError(what, value=bare(value), allowed=allowed, action="check what is handed to the measure")
