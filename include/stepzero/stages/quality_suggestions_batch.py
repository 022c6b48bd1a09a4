"""Suggested rules about a batch as a whole: numbers that hardly move from batch to batch, as warnings.

A batch that differs is worth a look and no reason to stop: what is wrong with its rows the other rules say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepzero.adapters.profile import ColumnProfile

FEWEST = 1000
"""Rows below which numbers about the whole move too much to be bounded."""
ERRORS = 8
"""Standard errors that a mean may move."""
MOVES = 0.9
"""Correlation from which two numbers are said to move together; half of it is still allowed."""
STEADY_TAIL = 10
"""Standard deviations within which extremes lie where a standard deviation is worth bounding."""
ROOM = 0.25
"""Share by which a number may differ besides."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A rule as it stands in a file, and what speaks for it."""

    rule: dict[str, Any]
    why: str


def about_batch(column: ColumnProfile) -> list[Suggestion]:
    """Return what may be said of a column over a whole batch; nothing where there are few rows."""
    is_key = column.unique and (column.is_whole or not column.is_number)
    if column.rows < FEWEST or is_key:
        return []
    if len(column.values) >= 2:
        return _entropy(column)
    if column.is_number and not column.nan:
        return [*(_mean(column) if _has_steady_tails(column) else _median(column)), *_pairs(column)]
    return _distinct(column)


def _mean(column: ColumnProfile) -> list[Suggestion]:
    """Bound the mean; or the spread of a number around 0, whose mean another unit would not move."""
    mean, deviation = column.mean, column.standard_deviation
    if mean is None or not deviation:
        return []
    if abs(mean) < deviation / 10:
        return [_between("standard_deviation", column.name, deviation / 2, deviation * 2, f"seen {deviation:.4g}")]
    room = max(ERRORS * deviation / math.sqrt(column.rows), ROOM * deviation)
    return [_between("mean", column.name, mean - room, mean + room, f"seen {mean:.4g}")]


def _median(column: ColumnProfile) -> list[Suggestion]:
    """Bound the median of a number with far extremes, whose mean a few rows can move."""
    low, middle, high = column.low_quartile, column.median, column.high_quartile
    if low is None or middle is None or high is None or high <= low:
        return []
    told = f"seen {middle:.4g}; half of all values lie from {low:.4g} to {high:.4g}"
    made = _between("quantile", column.name, low, high, told)
    return [Suggestion(rule={**made.rule, "quantile": 0.5}, why=told)]


def _entropy(column: ColumnProfile) -> list[Suggestion]:
    """Bound how evenly the values are used: one that takes over, or an even spread by a fault, moves it."""
    rows = sum(column.values.values())
    shares = [count / rows for count in column.values.values()]
    entropy = -sum(share * math.log(share) for share in shares)
    told = f"seen {entropy:.3f} nats of at most {math.log(len(shares)):.3f}"
    low, high = entropy * (1 - ROOM) - 0.05, entropy * (1 + ROOM) + 0.05
    return [_between("entropy", column.name, max(low, 0.0), high, told)]


def _distinct(column: ColumnProfile) -> list[Suggestion]:
    """Bound how many different texts there are, where there are far fewer than rows."""
    distinct = int(column.distinct)
    if column.kind != "string" or not 0 < distinct <= column.rows / 20:
        return []
    rule = {"rule": "distinct_count", "columns": [column.name], "at_least": distinct // 2, "at_most": distinct * 2}
    told = f"seen about {distinct} in {column.rows} rows; half to twice is allowed"
    return [Suggestion(rule=rule | {"severity": "warning"}, why=told)]


def _pairs(column: ColumnProfile) -> list[Suggestion]:
    found = []
    for other, value in sorted(column.moves_with.items()):
        if abs(value) >= MOVES:
            bound = (
                {"at_least": outward(value / 2, up=False)} if value > 0 else {"at_most": outward(value / 2, up=True)}
            )
            rule: dict[str, Any] = {"rule": "correlation", "columns": [column.name, other], **bound}
            found.append(Suggestion(rule=rule | {"severity": "warning"}, why=f"seen {value:.3f}"))
    return found


def _has_steady_tails(column: ColumnProfile) -> bool:
    mean, deviation = column.mean, column.standard_deviation
    if mean is None or not deviation or column.minimum is None or column.maximum is None:
        return False
    return max(column.maximum - mean, mean - column.minimum) <= STEADY_TAIL * deviation


def _between(kind: str, column: str, low: float, high: float, why: str) -> Suggestion:
    rule: dict[str, Any] = {"rule": kind, "column": column}
    rule |= {"at_least": outward(low, up=False), "at_most": outward(high, up=True), "severity": "warning"}
    return Suggestion(rule=rule, why=why)


def outward(value: float, *, up: bool) -> float:
    """Return a number of two digits that is not within the given one.

    >>> outward(51373.2, up=True), outward(-0.1234, up=False)
    (52000.0, -0.13)
    """
    if value == 0 or not math.isfinite(value):
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    steps = math.ceil(value / unit) if up else math.floor(value / unit)
    return float(f"{steps * unit:.10g}")
