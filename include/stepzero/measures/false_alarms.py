"""Thresholds from a budget of false alarms: how seldom chance alone may fire, over all columns and windows together.

A monitor fires when one column is over its threshold in at least N of the last M windows. What chance does is drawn
from the reference (a block bootstrap, made elsewhere): for each draw, M windows and all columns. Each value becomes a
chance of its own column; the smallest of a draw decides (Westfall and Young, "Resampling-Based Multiple Testing",
1993), so that columns that move together are not counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, stats

from stepzero.measures.checks import Floats

TAIL = 0.2
"""Share of the draws from which rarer quantiles are told, by an exponential tail (Pickands 1975)."""
Family = Literal["gamma", "normal"]
_LEAST = 1e-300


@dataclass(frozen=True, kw_only=True)
class Chance:
    """What chance does to one value: a gamma distribution of a distance, or a normal one of a signed value."""

    family: Family
    mean: float
    variance: float

    def exceeds(self, value: Floats | float) -> Floats:
        """Return how likely chance alone gives at least the value."""
        values = np.asarray(value, dtype=np.float64)
        if self.variance <= 0:
            return np.where(values > self.mean, 0.0, 1.0)
        if self.family == "normal":
            return np.asarray(stats.norm.sf(values, self.mean, np.sqrt(self.variance)))
        shape, scale = self._gamma()
        return np.asarray(stats.gamma.sf(values, shape, scale=scale))

    def threshold(self, level: float) -> float:
        """Return the value that chance alone exceeds with this probability."""
        if self.variance <= 0:
            return self.mean
        if self.family == "normal":
            return float(stats.norm.isf(level, self.mean, np.sqrt(self.variance)))
        shape, scale = self._gamma()
        return float(stats.gamma.isf(level, shape, scale=scale))

    def _gamma(self) -> tuple[float, float]:
        mean = max(self.mean, 1e-12)
        return mean * mean / self.variance, self.variance / mean


def fit_chance(values: Floats, family: Family) -> Chance:
    """Return the distribution with mean and variance of what was drawn."""
    return Chance(family=family, mean=float(np.mean(values)), variance=float(np.var(values)))


def level_of_evaluation(*, at_most: float, days: float, window_hours: float, monitors: int) -> float:
    """Return how likely one evaluation of one monitor may fire by chance.

    Args:
        at_most: False alarms of all monitors together that are tolerated ...
        days: ... in so many days.
        window_hours: Length of a window: there is one evaluation for each.
        monitors: How many share the budget.
    """
    evaluations = days * 24 / window_hours
    return min(at_most / monitors / evaluations, 0.5)


def calibrate(drawn: Floats, *, at_least: int, level: float, family: Family) -> list[float]:
    """Return a threshold for each value, so that all of them together fire by chance with the level's probability.

    Args:
        drawn: What chance did: draws × windows × values.
        at_least: In how many of the windows a value must be over its threshold.
        level: Probability of an evaluation that fires.
        family: What distribution a value has.
    """
    chances = [fit_chance(drawn[..., place], family) for place in range(drawn.shape[-1])]
    single = np.stack([chance.exceeds(drawn[..., place]) for place, chance in enumerate(chances)], axis=-1)
    together = np.sort(single, axis=1)[:, at_least - 1, :].min(axis=-1)
    limit = lower_quantile(together, level)
    return [chance.threshold(limit) for chance in chances]


def lower_quantile(chances: Floats, level: float) -> float:
    """Return the quantile of small probabilities, beyond what was drawn by an exponential tail of their logarithms."""
    rare = -np.log(np.maximum(chances, _LEAST))
    if level >= TAIL:
        return float(np.exp(-np.quantile(rare, 1 - level)))
    start = float(np.quantile(rare, 1 - TAIL))
    over = rare[rare > start] - start
    excess = float(over.mean()) if len(over) else 0.0
    return float(np.exp(-(start + excess * np.log(TAIL / level))))


def level_of_window(level: float, *, windows: int, at_least: int) -> float:
    """Return how likely a single window may be over, so that N of M independent ones are with the level's probability.

    The binomial tail, turned round.
    """
    return float(optimize.brentq(lambda chance: stats.binom.sf(at_least - 1, windows, chance) - level, 0.0, 1.0))
