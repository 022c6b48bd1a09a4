"""One value a window (a metric, a difference of groups, an order's agreement), and what chance makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.learning.drift import Rule
from stepzero.learning.metrics import DECISIONS, RANKINGS
from stepzero.learning.two_samples import BLOCK
from stepzero.measures.checks import Floats, Integers
from stepzero.measures.false_alarms import calibrate
from stepzero.measures.regression import ERRORS, REGRESSIONS
from stepzero.measures.uncertainty import Interval, intervals

FEW_BLOCKS = 30
"""With fewer, rows of a block are drawn anew, too: some days do not show what chance can do to rare frauds."""
Rows = Mapping[str, npt.NDArray[Any]]
"""Columns by name: thousands of draws are too many for frames."""
Value = Callable[[Rows], float]


@dataclass(frozen=True, kw_only=True)
class Fallen:
    """A value in several windows, the newest last, and how much worse than the reference it may be."""

    values: list[float]
    reference: float
    allowed: float
    at_least: int
    highs: list[float] | None = None
    """Upper ends of the values' own intervals, where they have some: one that reaches the reference is no loss. A
    reference with few frauds, or few rows, knows less of chance than the window itself."""

    @property
    def low(self) -> float:
        """Return the value below which a window is over."""
        return self.reference - self.allowed

    @property
    def over(self) -> int:
        """Return how many windows were worse than is allowed."""
        return sum(self._worse)

    @property
    def fires(self) -> bool:
        """Tell whether enough windows were, the newest among them."""
        return self.over >= self.at_least and self._worse[-1]

    @property
    def _worse(self) -> list[bool]:
        highs = self.highs or [-np.inf] * len(self.values)
        return [value < self.low and not high >= self.reference for value, high in zip(self.values, highs, strict=True)]


def judge_values(
    value: Value,
    reference: pd.DataFrame,
    windows: Sequence[pd.DataFrame],
    rule: Rule,
    smallest: float,
) -> Fallen:
    """Compare a value of each window with the reference's; larger is better.

    Args:
        value: From rows to a number.
        reference: Rows with ``_block`` and ``_weight``; chance is drawn from them, as many rows as the windows have.
        windows: Rows of each judged window.
        rule: N of M, and how often chance may fire.
        smallest: A loss below is none.
    """
    size = min(len(window) for window in windows)
    middle, limit = chance_loss(value, reference, size, len(windows), rule)
    return Fallen(
        values=[value(columns_of(window)) for window in windows],
        reference=middle,
        allowed=max(limit, smallest),
        at_least=rule.at_least,
    )


def judge_metric(
    name: str,
    threshold: float | None,
    reference: pd.DataFrame,
    windows: Sequence[pd.DataFrame],
    rule: Rule,
    *,
    smallest: float,
    confidence: float,
) -> tuple[Fallen, list[Interval]]:
    """Compare a metric of labelled windows with the reference's; each window's own interval must lie below it, too.

    Returns:
        The judgement, larger is better; and each window's interval in the metric's own unit.
    """
    fallen = judge_values(metric_value(name, threshold), reference, windows, rule, smallest)
    found = [metric_interval(name, threshold, rows, confidence) for rows in windows]
    highs = [one.high if sign_of(name) > 0 else -one.low for one in found]
    return replace(fallen, highs=highs), found


def chance_loss(value: Value, reference: pd.DataFrame, size: int, length: int, rule: Rule) -> tuple[float, float]:
    """Return the value that windows of so many reference rows have on average, and the loss that chance may make."""
    drawn = draw_rows(reference, size, length, rule.draws, rule.seed)
    columns = columns_of(reference)
    chance = np.array([[value(_some(columns, rows)) for rows in one] for one in drawn], dtype=np.float64)
    middle = float(np.nanmean(chance))
    lost = middle - np.where(np.isnan(chance), middle, chance)
    blocks = int(reference[BLOCK].max()) + 1
    # Where rows of a block are drawn anew, chance is made larger than it is: that is caution enough.
    whole = blocks if blocks >= max(FEW_BLOCKS, length + 2) else None
    (limit,) = calibrate(lost[..., None], at_least=rule.at_least, level=rule.level, family="normal", blocks=whole)
    return middle, limit


def columns_of(rows: pd.DataFrame) -> Rows:
    """Return the columns of a frame."""
    return {str(name): rows[name].to_numpy() for name in rows.columns}


def draw_rows(reference: pd.DataFrame, size: int, length: int, draws: int, seed: int) -> list[list[Integers]]:
    """Return draws × windows of row positions: following blocks of time where there are enough, else single rows.

    Rows are drawn by their weight, so that classes have their true share. Single rows are drawn from the reference as
    it could have been, drawn anew itself: its few frauds say only roughly what the next ones are like.
    """
    generator = np.random.default_rng(seed)
    weight = reference["_weight"].to_numpy(dtype=np.float64)
    block = reference[BLOCK].to_numpy(dtype=np.int64)
    blocks = int(block.max()) + 1
    if blocks < length + 2:
        return [_fresh(weight, size, length, generator) for _ in range(draws)]
    members = [np.flatnonzero(block == at) for at in range(blocks)]

    def window(at: int) -> npt.NDArray[np.int64]:
        rows = members[at % blocks]
        kept = rows[generator.random(len(rows)) < weight[rows]] if (weight < 1).any() else rows
        if blocks < FEW_BLOCKS:
            return generator.choice(kept, size=min(size, len(kept)))
        return kept if len(kept) <= size else generator.choice(kept, size=size, replace=False)

    return [[window(start + at) for at in range(length)] for start in generator.integers(blocks, size=draws)]


def _fresh(weight: Floats, size: int, length: int, generator: np.random.Generator) -> list[Integers]:
    """Return windows of rows from one reference as it could have been."""
    again = generator.integers(len(weight), size=len(weight))
    chances = weight[again] / weight[again].sum()
    return [again[generator.choice(len(again), size=size, p=chances)] for _ in range(length)]


def metric_value(name: str, threshold: float | None) -> Value:
    """Return a metric of rows with ``_score`` and ``_label``, turned so that larger is better.

    Where rows have a ``_decision``, it counts, and the threshold does not: groups may have thresholds of their own.
    Not a number where the labels cannot tell: a class is missing, or all numbers are the same.
    """
    sign = sign_of(name)

    def value(rows: Rows) -> float:
        label = np.asarray(rows["_label"], dtype=np.float64)
        return sign * float(_measured(name, threshold, rows, None)) if can_tell(label) else float("nan")

    return value


def sign_of(name: str) -> float:
    """Return -1 of a metric that is good when it is small."""
    return -1.0 if name in ERRORS else 1.0


def can_tell(label: Floats) -> bool:
    """Tell whether labels are of more than one kind."""
    return len(label) > 0 and bool(np.ptp(label) > 0)


def metric_interval(name: str, threshold: float | None, rows: pd.DataFrame, confidence: float) -> Interval:
    """Return a metric of labelled rows with its confidence interval."""
    label, columns = rows["_label"].to_numpy(dtype=np.float64), columns_of(rows)

    def statistic(weight: Floats) -> Any:
        return _measured(name, threshold, columns, weight)

    strata = np.zeros(len(label)) if name in REGRESSIONS else label
    return intervals({name: statistic}, strata, np.ones(len(label)), confidence=confidence, draws=200)[name]


def _measured(name: str, threshold: float | None, rows: Rows, weight: Floats | None) -> Any:
    label, score = (np.asarray(rows[column], dtype=np.float64) for column in ("_label", "_score"))
    measure = RANKINGS.get(name) or REGRESSIONS.get(name)
    if measure is not None:
        return measure(label, score, weight)
    line = 0.5 if threshold is None else threshold
    decision = np.asarray(rows["_decision"]) if "_decision" in rows else score >= line
    return DECISIONS[name](label, decision.astype(np.float64), weight)


def _some(columns: Rows, rows: Integers) -> Rows:
    return {name: values[rows] for name, values in columns.items()}
