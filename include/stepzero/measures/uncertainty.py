"""Confidence intervals by a stratified, seeded bootstrap, all draws at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from stepzero.measures.checks import Floats

MOST_NUMBERS = 4_000_000
"""Numbers held at once: draws are made in pieces of at most so many (32 MB)."""

Statistic = Callable[[Floats], npt.ArrayLike]
"""From weights (draws × rows) to one number a draw."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with the bounds of its confidence interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return value, low and high."""
        return asdict(self)


def intervals(
    statistics: Mapping[str, Statistic],
    target: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    draws: int = 500,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return each statistic with its percentile interval, from the same draws for all of them.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; positives and negatives
    are drawn apart, each to its own number, so that no draw is without positives. An interval that would
    miss its own value (small samples, bounds at 0 or 1) is widened to it.

    Args:
        statistics: By name, functions of a matrix of weights.
        target: 1 where positive, 0 elsewhere; decides the strata only.
        weight: Weight of each row.
        confidence: Share of draws within the interval.
        draws: Number of draws.
        seed: Same seed, same intervals.
    """
    weights = np.asarray(weight, dtype=np.float64)
    drawn = draw_statistics(statistics, target, weights, draws=draws, seed=seed)
    return {
        name: _interval(float(np.asarray(statistic(weights))), drawn[name], confidence)
        for name, statistic in statistics.items()
    }


def draw_statistics(
    statistics: Mapping[str, Statistic], target: npt.ArrayLike, weight: npt.ArrayLike, *, draws: int, seed: int
) -> dict[str, Floats]:
    """Return each statistic in every draw; draw i is the same rows for all of them, so that they can be paired."""
    weights = np.asarray(weight, dtype=np.float64)
    drawn: dict[str, list[Floats]] = {name: [] for name in statistics}
    for counts in draw_counts(target, draws=draws, seed=seed):
        drawn_weights = counts * weights
        for name, statistic in statistics.items():
            drawn[name].append(np.atleast_1d(np.asarray(statistic(drawn_weights), dtype=np.float64)))
    return {name: np.concatenate(values) for name, values in drawn.items()}


def draw_counts(target: npt.ArrayLike, *, draws: int, seed: int) -> Iterator[Floats]:
    """Yield how often each row was drawn, as matrices (some draws × rows), strata kept."""
    positive = np.asarray(target).astype(bool)
    strata = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    generator = np.random.default_rng(seed)
    piece = max(1, MOST_NUMBERS // max(1, len(positive)))
    for first in range(0, draws, piece):
        size = min(piece, draws - first)
        counts = np.zeros((size, len(positive)))
        for rows in strata:
            counts[:, rows] = _counts(generator, size, len(rows))
        yield counts


def _counts(generator: np.random.Generator, size: int, rows: int) -> Floats:
    if not rows:
        return np.zeros((size, 0))
    drawn = generator.integers(rows, size=(size, rows), dtype=np.int64)
    drawn += np.arange(size)[:, None] * rows
    return np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)


def _interval(value: float, drawn: Floats, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value))
