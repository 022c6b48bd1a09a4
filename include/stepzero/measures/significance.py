"""Which differences between models are more than luck, when many are looked at at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stepzero.core.errors import InputError, bare
from stepzero.measures.checks import Floats


class Difference(NamedTuple):
    """By how much one is better than another on the same rows."""

    value: float
    low: float
    high: float
    p: float
    """How often a difference as large comes of luck alone."""


def paired_difference(value: float, drawn: npt.ArrayLike, *, confidence: float = 0.95) -> Difference:
    """Return a difference with its percentile interval and two-sided p-value, from paired bootstrap draws.

    Every draw measures both models on the same rows, so that common luck cancels out. The p-value is twice
    the share of draws on the other side of 0, one draw added so that it is never 0: Davison and Hinkley,
    "Bootstrap Methods and Their Application", 1997, section 4.4. With B draws it is at least 2 / (B + 1).

    Args:
        value: The difference on the rows themselves.
        drawn: The difference in each draw.
        confidence: Share of draws within the interval.

    Raises:
        InputError: There is no draw.

    Example:
        >>> paired_difference(1.0, [0.5, 1.0, 1.5]).p
        0.5
    """
    numbers = np.asarray(drawn, dtype=np.float64)
    if not len(numbers):
        raise InputError("bootstrap draws", value=0, allowed="at least 1", action="raise evaluate.bootstrap")
    tail = (1 - confidence) / 2
    low, high = np.quantile(numbers, [tail, 1 - tail])
    sides = [(1 + int((numbers <= 0).sum())), (1 + int((numbers >= 0).sum()))]
    p = min(1.0, 2 * min(sides) / (len(numbers) + 1))
    return Difference(value=value, low=min(float(low), value), high=max(float(high), value), p=p)


def holm(p_values: Sequence[float] | npt.ArrayLike) -> Floats:
    """Return p-values adjusted for how many were looked at, in the order given.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6
    (1979): the chance of even one false claim stays below the level, whatever depends on what.

    Raises:
        InputError: A p-value is not within 0 and 1.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(6).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if ((p < 0) | (p > 1) | ~np.isfinite(p)).any():
        raise InputError(
            "p-values", value=bare(p.tolist()), allowed="numbers from 0 to 1", action="check where they come from"
        )
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def draws_for(comparisons: int, confidence: float) -> int:
    """Return how many draws Holm's strictest level needs, twice over: with fewer, nothing could pass it.

    >>> draws_for(19, 0.95)
    1520
    """
    return int(np.ceil(round(4 * max(1, comparisons) / (1 - confidence), 6)))


def standard_error(values: npt.ArrayLike) -> float:
    """Return the standard error of the mean of fold scores; 0 of a single one.

    Folds share training rows, so that it is too small rather than too large: Bengio and Grandvalet, "No
    Unbiased Estimator of the Variance of K-Fold Cross-Validation", JMLR 5 (2004).

    >>> standard_error([1.0, 3.0])
    1.0
    """
    numbers = np.asarray(values, dtype=np.float64)
    return float(numbers.std(ddof=1) / np.sqrt(len(numbers))) if len(numbers) > 1 else 0.0
