"""Bounds for a metric from its own history: pure decisions, no data.

The strategies are those of Deequ, so that both give the same verdicts on the same series. The history holds
accepted batches only, oldest first; who hands it over sees to that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepzero.measures.checks import Floats

_FIRST_GUESS = (0.3, 0.1, 0.1)
_STEP = 1e-5
"""Of the numerical gradient."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Where a new value should lie, ends included.

    ``points`` is the number of accepted values that the bounds come from; below ``needed`` there are none,
    and nothing is flagged.
    """

    low: float = -math.inf
    high: float = math.inf
    points: int
    needed: int

    @property
    def known(self) -> bool:
        """Whether there is enough history to judge by."""
        return self.points >= self.needed

    def allow(self, value: float) -> bool:
        """Tell whether a value lies within; where there are no bounds, every value does."""
        return not self.known or self.low <= value <= self.high

    def widened(self, tolerance: float) -> Bounds:
        """Return bounds that are wider on both sides."""
        low, high = self.low - tolerance, self.high + tolerance
        return Bounds(low=low, high=high, points=self.points, needed=self.needed)


def change_bounds(history: Sequence[float], *, at_least: float | None, at_most: float | None, relative: bool) -> Bounds:
    """Bound the change against the newest accepted value.

    Deequ's AbsoluteChangeStrategy (new minus old) and RelativeRateOfChangeStrategy (new over old), order 1.
    A negative old value turns a ratio's bounds round.
    """
    if not history:
        return Bounds(points=0, needed=1)
    last = history[-1]
    low = -math.inf if at_least is None else (last * at_least if relative else last + at_least)
    high = math.inf if at_most is None else (last * at_most if relative else last + at_most)
    if relative and last < 0:
        low, high = (-math.inf if at_most is None else high), (math.inf if at_least is None else low)
    return Bounds(low=low, high=high, points=1, needed=1)


def normal_bounds(history: Sequence[float], *, deviations: float, needed: int) -> Bounds:
    """Bound a value by mean and standard deviation of the history.

    Deequ's BatchNormalStrategy, which leaves the judged value itself out; the deviation is the sample's (n - 1).
    """
    points = len(history)
    if points < needed:
        return Bounds(points=points, needed=needed)
    mean = float(np.mean(history))
    reach = deviations * float(np.std(history, ddof=1))
    return Bounds(low=mean - reach, high=mean + reach, points=points, needed=needed)


def seasonal_bounds(history: Sequence[float], *, season: int, deviations: float) -> Bounds:
    """Bound a value by the forecast of an additive Holt-Winters model, fitted to the history.

    As Deequ's HoltWinters has it: start values from the first two seasons, smoothing factors that minimise the
    squared one-step residuals, and a reach that counts standard deviations of the **absolute** residuals. Those
    are about 0.6 of the usual deviation, so Deequ's 1.96 flags nearly a quarter of normally distributed days.
    """
    needed = 2 * season
    points = len(history)
    if points < needed:
        return Bounds(points=points, needed=needed)
    series = np.asarray(history, dtype=np.float64)
    forecast, residuals = smoothed(series, season, *_best_factors(series, season))
    reach = deviations * float(np.std(np.abs(residuals), ddof=1))
    return Bounds(low=forecast - reach, high=forecast + reach, points=points, needed=needed)


def smoothed(series: Floats, season: int, alpha: float, beta: float, gamma: float) -> tuple[float, Floats]:
    """Return the forecast of the next value, and the residuals of the one-step forecasts before.

    Additive triple exponential smoothing: Hyndman and Athanasopoulos, "Forecasting: principles and practice",
    2nd edition, section 7.3.
    """
    first, second = series[:season], series[season : 2 * season]
    level = float(first.mean())
    trend = float(second.mean() - first.mean()) / season
    seasonal = [float(value) - level for value in first]
    residuals = np.empty(len(series))
    for place, value in enumerate(series.tolist()):
        before, of_season = level + trend, seasonal[place]
        residuals[place] = value - (before + of_season)
        earlier = level
        level = alpha * (value - of_season) + (1 - alpha) * before
        seasonal.append(gamma * (value - before) + (1 - gamma) * of_season)
        trend = beta * (level - earlier) + (1 - beta) * trend
    return level + trend + seasonal[len(series)], residuals


def on_calendar(days: Sequence[int], values: Sequence[float], season: int, *, until: int) -> list[float]:
    """Return one value a day: a day that is missing gets the value one season before it, or after it.

    Batches that failed leave gaps; without this, Mondays would be compared with Tuesdays from there on. What
    neither season knows takes the last value before it.

    Args:
        days: Numbers of the days, rising.
        values: One value a day of `days`.
        season: Days of a season.
        until: The last day that gets a value.
    """
    known = dict(zip(days, values, strict=True))
    filled: dict[int, float] = {}
    for day in range(days[0], until + 1):
        places = (day, day - season, day + season, day - 1)
        filled[day] = next(found[at] for at in places for found in (known, filled) if at in found)
    return list(filled.values())


def _best_factors(series: Floats, season: int) -> tuple[float, float, float]:
    """Return the smoothing factors of least squared residuals, by L-BFGS-B from Deequ's start."""
    from scipy.optimize import minimize

    scale = float(np.var(series)) or 1.0

    def loss(factors: Floats) -> float:
        residuals = smoothed(series, season, *(float(factor) for factor in factors))[1]
        return float(residuals @ residuals) / (scale * len(series))

    found = minimize(partial(loss), _FIRST_GUESS, method="L-BFGS-B", bounds=[(0, 1)] * 3, options={"eps": _STEP})
    alpha, beta, gamma = (float(factor) for factor in found.x)
    return alpha, beta, gamma
