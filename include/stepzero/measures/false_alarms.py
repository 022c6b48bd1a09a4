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
from scipy import optimize, special, stats

from stepzero.measures.checks import Floats

TAIL = 0.2
"""Share of the draws from which rarer quantiles are told, by an exponential tail (Pickands 1975)."""
PRUDENCE = 0.5
"""Share of the level that is spent where chance is drawn from blocks: that values are nearly normal is assumed, and
assumptions cost. With it, false alarms of a long quiet time are within the budget (`bench watch_quiet`)."""
Family = Literal["gamma", "normal"]
_LEAST = 1e-300


@dataclass(frozen=True, kw_only=True)
class Chance:
    """What chance does to one value: a gamma distribution of a distance, or a normal one of a signed value.

    The cube root of a gamma variable is nearly normal (Wilson and Hilferty 1931): mean and variance of cube roots are
    known much better from few values than those of the values, which have a long tail.
    """

    family: Family
    mean: float
    """Of the values, or of a gamma variable's cube roots."""
    variance: float

    def exceeds(self, value: Floats | float) -> Floats:
        """Return how likely chance alone gives at least the value."""
        values = normal_scale(np.asarray(value, dtype=np.float64), self.family)
        if self.variance <= 0:
            return np.where(values > self.mean, 0.0, 1.0)
        return np.asarray(stats.norm.sf(values, self.mean, np.sqrt(self.variance)))

    def threshold(self, level: float) -> float:
        """Return the value that chance alone exceeds with this probability."""
        line = self.mean
        if self.variance > 0:
            line = float(stats.norm.isf(level, self.mean, np.sqrt(self.variance)))
        return max(line, 0.0) ** 3 if self.family == "gamma" else line


def normal_scale(values: Floats, family: Family) -> Floats:
    """Return values as they are nearly normal."""
    scaled: Floats = np.cbrt(values) if family == "gamma" else values
    return scaled


def fit_chance(values: Floats, family: Family) -> Chance:
    """Return the distribution with mean and variance of what was drawn, on the scale where it is nearly normal."""
    scaled = normal_scale(np.asarray(values, dtype=np.float64), family)
    return Chance(family=family, mean=float(np.mean(scaled)), variance=float(np.var(scaled)))


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


def calibrate(drawn: Floats, *, at_least: int, level: float, family: Family, blocks: int | None = None) -> list[float]:
    """Return a threshold for each value, so that all of them together fire by chance with the level's probability.

    Args:
        drawn: What chance did: draws × windows × values.
        at_least: In how many of the windows a value must be over its threshold.
        level: Probability of an evaluation that fires.
        family: What distribution a value has.
        blocks: Of how many blocks the windows were drawn: what so few say of chance is uncertain itself, and that is
            allowed for. None: windows were drawn afresh.
    """
    chances = [fit_chance(drawn[..., place], family) for place in range(drawn.shape[-1])]
    single = np.stack([chance.exceeds(drawn[..., place]) for place, chance in enumerate(chances)], axis=-1)
    together = np.sort(single, axis=1)[:, at_least - 1, :].min(axis=-1)
    if blocks is None:
        limit = lower_quantile(together, level)
    else:
        independent = independent_blocks(normal_scale(drawn, family), blocks)
        # Windows that overlap are no new events.
        limit = lower_quantile(together, level * PRUDENCE, events=max(TAIL * independent / drawn.shape[1], 1.0))
        limit = cautious(limit, at_least=at_least, blocks=independent)
    return [chance.threshold(limit) for chance in chances]


def independent_blocks(drawn: Floats, blocks: int) -> int:
    """Return how many independent normal values say as much of mean and spread as the blocks do.

    Blocks that are like those before them say less; and of values with a long tail the spread is known less well: the
    variance of a sample variance grows with the kurtosis (Cramér 1946).

    Args:
        drawn: What chance did: draws × windows × values, on a scale where they are nearly normal.
        blocks: Of how many blocks it was drawn.
    """
    values = [drawn[..., place] for place in range(drawn.shape[-1])]
    alike = float(np.mean([correlation_of(one) for one in values]))
    tails = [float(stats.kurtosis(one, axis=None)) for one in values if np.ptp(one) > 0]
    tail = max(float(np.mean(tails)), 0.0) if tails else 0.0
    return max(int(blocks * (1 - alike) / (1 + alike) / (1 + tail / 2)), 2)


def cautious(chance: float, *, at_least: int, blocks: int) -> float:
    """Return the chance to ask for, so that N windows are over as seldom as wanted on average over what was estimated.

    Mean and spread of a value come from so many blocks; a threshold that came out too low fires far more often than one
    that came out too high is silent. The predictive distribution of a normal sample (Student's for N = 1), averaged
    over a grid of what mean and spread may be.
    """
    grid = (np.arange(100) + 0.5) / 100
    mean = stats.norm.ppf(grid)[:, None] / np.sqrt(blocks)
    spread = np.sqrt(stats.chi2.ppf(grid, blocks - 1) / (blocks - 1))[None, :]

    def fires(line: float) -> float:
        return float(np.log(max(float(np.mean(special.ndtr(-mean - line * spread) ** at_least)), _LEAST)))

    wanted = at_least * float(np.log(max(chance, _LEAST)))
    low, high = float(stats.norm.isf(min(chance, 0.5))), 1e3
    if fires(low) <= wanted or fires(high) >= wanted:
        return chance
    return float(stats.norm.sf(optimize.brentq(lambda line: fires(line) - wanted, low, high)))


def lower_quantile(chances: Floats, level: float, events: float | None = None) -> float:
    """Return the quantile of small probabilities, beyond what was drawn by an exponential tail of their logarithms.

    Args:
        chances: What was drawn.
        level: Which quantile.
        events: How many independent ones are in the tail: its mean is estimated from so few, and the quantile is that
            of the predictive distribution (Pareto's). None: of very many.
    """
    rare = -np.log(np.maximum(chances, _LEAST))
    if level >= TAIL:
        return float(np.exp(-np.quantile(rare, 1 - level)))
    start = float(np.quantile(rare, 1 - TAIL))
    over = rare[rare > start] - start
    excess = float(over.mean()) if len(over) else 0.0
    beyond = np.log(TAIL / level) if events is None else events * np.expm1(np.log(TAIL / level) / events)
    return float(np.exp(-(start + excess * beyond)))


def level_of_window(level: float, *, windows: int, at_least: int, correlation: float = 0.0) -> float:
    """Return how likely a single window may be over, so that N of M are with the level's probability.

    Independent windows: the binomial tail, turned round. Windows that follow each other are alike; normal values with
    one correlation are independent once what they share is known, and that is averaged over (Gauss-Hermite).

    Args:
        level: Probability of N of M windows.
        windows: M.
        at_least: N.
        correlation: Between the values of two windows, from 0 to below 1.
    """
    shared, weight = np.polynomial.hermite_e.hermegauss(101)
    weight = weight / weight.sum()

    def together(chance: float) -> float:
        line = stats.norm.isf(chance)
        single = stats.norm.sf((line - np.sqrt(correlation) * shared) / np.sqrt(1 - correlation))
        return float(weight @ stats.binom.sf(at_least - 1, windows, single)) - level

    return float(optimize.brentq(together, 1e-12, 1.0 - 1e-12))


def correlation_of(values: Floats) -> float:
    """Return how much windows of one draw are alike: the correlation within rows of draws × windows, 0 to 0.95.

    The estimator of the analysis of variance (Fisher 1925); below 0 it is chance, and above 0.95 one window says all.
    """
    windows = values.shape[1]
    if windows == 1:
        return 0.0
    between = windows * float(np.var(values.mean(axis=1), ddof=1))
    inside = float(np.var(values, axis=1, ddof=1).mean())
    total = between + (windows - 1) * inside
    return float(np.clip((between - inside) / total, 0.0, 0.95)) if total > 0 else 0.0
