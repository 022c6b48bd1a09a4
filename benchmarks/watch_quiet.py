"""False alarms of the distances in a long quiet time, against the declared budget: one in thirty days.

    python benchmarks/watch_quiet.py [--worlds 40] [--days 300] [--draws 300]

Each world has eight features: normal, skewed, with a heavy tail, of a few whole numbers, with missing values, and
categories. Each day has a mood of its own, which is like the mood of the day before. Of sixty days the reference is
made and the thresholds are drawn, as a champion's are; then come days in which nothing happens. The monitor of single
columns has the whole budget, and nothing is too small to matter (`smallest` is empty): what keeps it quiet is the
calibration alone. An alarm is a day on which it fires and did not the day before. The interval counts worlds, not days:
days of a world share a reference. The last line is JSON; it ends with 1 where the upper end is above the budget.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.learning.drift import Rule, column_thresholds, make_reference
from stepzero.measures.drift import DISTANCES, DriftColumn, distances
from stepzero.measures.false_alarms import level_of_evaluation

MONTH = 30
REFERENCE_DAYS, ROWS = 60, 300
AT_LEAST, OF = 2, 3
LIKE_YESTERDAY = 0.5
"""Correlation of a day's mood with that of the day before."""
MOOD = 0.1
"""Standard deviation of a day's mood, in standard deviations of a row."""
DEFAULT = ("population_stability_index", "kolmogorov_smirnov")
Flags = npt.NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=40)
    parser.add_argument("--days", type=int, default=300, help="quiet days of each")
    parser.add_argument("--draws", type=int, default=300, help="of chance, per threshold")
    asked = parser.parse_args()
    told = {}
    for name, judged in {"index and Kolmogorov-Smirnov": DEFAULT, "all five": DISTANCES}.items():
        told[name] = false_alarms(judged, worlds=asked.worlds, days=asked.days, draws=asked.draws)
        print(f"{name}: {told[name]}", flush=True)
    print(json.dumps({"budget_in_30_days": 1, "days": asked.worlds * asked.days, "in_30_days": told}))
    raise SystemExit(1 if any(one["high"] > 1 for one in told.values()) else 0)


def false_alarms(judged: tuple[str, ...], *, worlds: int, days: int, draws: int, seed: int = 0) -> dict[str, float]:
    """Return alarms in thirty days with their 95% interval over worlds."""
    alarms = np.array([alarms_of(judged, days, draws, [seed, world]) for world in range(worlds)])
    a_month = alarms / days * MONTH
    middle = float(a_month.mean())
    half = 1.96 * float(a_month.std(ddof=1)) / np.sqrt(worlds)
    named = {"alarms": int(alarms.sum()), "value": middle, "low": max(middle - half, 0.0), "high": middle + half}
    return {name: round(float(value), 3) for name, value in named.items()}


def alarms_of(judged: tuple[str, ...], days: int, draws: int, seed: list[int]) -> int:
    """Return how often a world's quiet days fire anew."""
    generator = np.random.default_rng(seed)
    rows = quiet_rows(REFERENCE_DAYS + days, generator)
    is_reference = rows["_block"] < REFERENCE_DAYS
    before, after = rows[is_reference], rows[~is_reference]
    block = before["_block"].to_numpy()
    columns = make_reference(before, np.ones(len(before)), block)
    level = level_of_evaluation(at_most=1, days=MONTH, window_hours=24, monitors=1)
    rule = Rule(at_least=AT_LEAST, level=level, draws=draws, seed=seed[-1], names=judged, smallest={})
    limits = column_thresholds(columns, OF, ROWS, rule)
    day = after["_block"].to_numpy() - REFERENCE_DAYS
    fires = np.any([fired(columns[name], after[name], day, limits[name], days) for name in columns], axis=0)
    return int((fires & ~np.r_[False, fires[:-1]]).sum())


def fired(column: DriftColumn, values: Any, day: Any, limits: dict[str, float], days: int) -> Flags:
    """Return for each day whether a distance was over in enough of the last days, this one among them."""
    counts = np.bincount(day * column.bins + column.places_of(values), minlength=days * column.bins)
    found = distances(
        column,
        column.total,
        counts.reshape(days, column.bins).astype(np.float64),
        excess=excess_of(column, values, day) if "wasserstein" in limits else 0.0,
    )
    fires = np.zeros(days, dtype=bool)
    for name, limit in limits.items():
        over = found[name] > limit
        enough = np.convolve(over, np.ones(OF), mode="full")[:days] >= AT_LEAST
        fires |= over & enough
    return fires


def excess_of(column: DriftColumn, values: Any, day: Any) -> Any:
    """Return `DriftColumn.excess` of each day."""
    return values.groupby(day).apply(column.excess).to_numpy()


def quiet_rows(days: int, generator: np.random.Generator) -> pd.DataFrame:
    """Return rows of many days, each with a mood that is like the day's before."""
    moods = np.empty((days, 8))
    moods[0] = generator.normal(size=8)
    for day in range(1, days):
        fresh = generator.normal(size=8) * np.sqrt(1 - LIKE_YESTERDAY**2)
        moods[day] = LIKE_YESTERDAY * moods[day - 1] + fresh
    block = np.repeat(np.arange(days), ROWS)
    draw = generator.normal(size=(len(block), 8)) + MOOD * moods[block]
    missing = generator.random(len(block)) < 0.05
    kinds = np.array(["a", "b", "c", "d"])
    return pd.DataFrame(
        {
            "normal": draw[:, 0],
            "other": draw[:, 1],
            "skewed": np.exp(0.5 * draw[:, 2]),
            "heavy": np.sinh(1.5 * draw[:, 3]),
            "whole": np.clip(np.round(draw[:, 4] + 3), 0, 6),
            "holed": np.where(missing, np.nan, draw[:, 5]),
            "kind": kinds[np.digitize(draw[:, 6], [-0.5, 0.5, 1.5])],
            "rare": np.where(draw[:, 7] > 2.2, "yes", "no"),
            "_block": block,
        }
    )


if __name__ == "__main__":
    main()
