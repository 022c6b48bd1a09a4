"""What decisions cost, and where to draw the line when mistakes have prices."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stepzero.core.errors import InputError, bare
from stepzero.measures.checks import Floats, checked, scalar
from stepzero.measures.decisions import line_below
from stepzero.measures.ranking import accepted_by_threshold

Price = float | Floats
"""Of one mistake: the same for every row, or one number a row."""


class CostThreshold(NamedTuple):
    """An operating point and the mean cost of a row at it."""

    value: float
    cost: float


class CostCurve(NamedTuple):
    """Mean cost of a row at each line; the first accepts nothing, the last everything."""

    thresholds: Floats
    """Rows from this score on are accepted."""
    costs: Floats


def mean_cost(
    target: npt.ArrayLike,
    decision: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    false_negative: Price,
    false_positive: Price,
) -> Any:
    """Return the weighted mean cost of a row: right decisions cost nothing.

    Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI 2001; costs may differ from row to row.

    Args:
        target: 1 where positive, 0 elsewhere.
        decision: 1 where accepted as positive.
        weight: Weight of each row, or a matrix (draws × rows) for one result a draw.
        false_negative: Price of a positive that is not found.
        false_positive: Price of an alarm that is wrong.

    Raises:
        InputError: The arrays do not fit, or a price is negative.

    Example:
        >>> mean_cost([0, 1, 1, 0], [1, 0, 1, 0], false_negative=100.0, false_positive=2.0)
        25.5
    """
    positive, decided, weights = checked(target, decision, weight)
    missed, alarm = _prices(false_negative, len(positive)), _prices(false_positive, len(positive))
    costs = np.where(positive & (decided <= 0), missed, 0.0) + np.where(~positive & (decided > 0), alarm, 0.0)
    return scalar(weights @ costs / weights.sum(axis=-1))


def cost_curve(
    target: npt.ArrayLike,
    score: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    false_negative: Price,
    false_positive: Price,
) -> CostCurve:
    """Return the mean cost of a row for every line that makes a difference.

    Raises:
        InputError: The arrays do not fit, or a price is negative.
    """
    positive, numbers, weights = checked(target, score, weight)
    missed, alarm = _prices(false_negative, len(positive)), _prices(false_positive, len(positive))
    priced = weights * np.where(positive, missed, alarm)
    curve = accepted_by_threshold(positive, numbers, priced)
    all_missed = float((priced * positive).sum())
    costs = np.r_[all_missed, all_missed - curve.true_positives + curve.false_positives] / weights.sum()
    above = np.nextafter(curve.thresholds[0], np.inf)
    return CostCurve(np.r_[above, curve.thresholds], np.maximum(costs, 0.0))


def best_cost_threshold(
    target: npt.ArrayLike,
    score: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    false_negative: Price,
    false_positive: Price,
) -> CostThreshold:
    """Return the cheapest line; of several, the highest: the fewest alarms. It may accept nothing at all.

    The line is drawn half-way to the next lower score, as for F1.

    Raises:
        InputError: The arrays do not fit, or a price is negative.

    Example:
        >>> best_cost_threshold([0, 1, 0, 1], [0.1, 0.4, 0.6, 0.8], false_negative=10, false_positive=1).value
        0.25
    """
    curve = cost_curve(target, score, weight, false_negative=false_negative, false_positive=false_positive)
    best = int(np.argmin(curve.costs))
    value = float(curve.thresholds[0]) if best == 0 else line_below(curve.thresholds, best)
    return CostThreshold(value, float(curve.costs[best]))


def _prices(price: Price, rows: int) -> Floats:
    numbers = np.broadcast_to(np.asarray(price, dtype=np.float64), (rows,))
    if not np.isfinite(numbers).all() or (numbers < 0).any():
        wrong = numbers[~(np.isfinite(numbers) & (numbers >= 0))]
        raise InputError(
            "price of a mistake",
            value=bare(f"{len(wrong)} negative or missing, for example {wrong[0]}"),
            allowed="finite numbers from 0",
            action="correct evaluate.threshold, or derive a cost column in prepare.derive",
        )
    return numbers
