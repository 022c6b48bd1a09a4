"""How soon a shift is seen: windows until the alarm, by the size of the shift, simulated on the reference itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stepzero.learning.drift import ENOUGH, Reference, Rule, column_thresholds
from stepzero.measures.checks import Floats
from stepzero.measures.drift import DriftColumn, distances

SIZES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Shifts in standard deviations of the column."""
MOST_WINDOWS = 14
RUNS = 20


def detection_delays(
    columns: Reference, name: str, rule: Rule, *, rows: int, length: int, sizes: Sequence[float] = SIZES
) -> dict[float, list[float]]:
    """Return for each size the windows until the alarm, one for each simulated run; `MOST_WINDOWS` where none came.

    From its first window on, one numeric column is moved by so many of its standard deviations; thresholds are those of
    all columns together.

    Args:
        columns: The reference.
        name: The column that moves.
        rule: How windows are judged.
        rows: Rows of a window.
        length: Windows that are judged together.
        sizes: Sizes of the shift.
    """
    column = columns[name]
    limits = column_thresholds(columns, length, rows, rule)[name]
    generator = np.random.default_rng(rule.seed)
    return {
        size: [_delay(column, limits, size, rule.at_least, rows, length, generator) for _ in range(RUNS)]
        for size in sizes
    }


def _delay(
    column: DriftColumn,
    limits: dict[str, float],
    size: float,
    at_least: int,
    rows: int,
    length: int,
    generator: np.random.Generator,
) -> float:
    blocks = column.blocks
    start = int(generator.integers(len(blocks)))
    over: dict[str, list[bool]] = {distance: [] for distance in limits}
    for number in range(MOST_WINDOWS):
        now, excess = _moved(column, blocks[(start + number) % len(blocks)], size, rows, generator)
        found = distances(column, column.total, now, excess=excess)
        for distance, limit in limits.items():
            over[distance].append(bool(found[distance] > limit))
            if over[distance][-1] and sum(over[distance][-length:]) >= at_least:
                return float(number + 1)
    return float(MOST_WINDOWS)


def _moved(
    column: DriftColumn, block: Floats, size: float, rows: int, generator: np.random.Generator
) -> tuple[Floats, float]:
    """Return counts of a window that is a block, or drawn from one that has more rows, its values moved; and excess."""
    is_larger = block.sum() * ENOUGH > rows
    drawn = generator.multinomial(rows, block / block.sum()).astype(np.float64) if is_larger else block
    values = np.asarray(column.places) + size * column.spread
    values[0] = np.nan
    moved = pd.Series(values)
    return column.count(moved, drawn), column.excess(moved, drawn)
