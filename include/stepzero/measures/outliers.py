"""Outliers by the interquartile range."""

from __future__ import annotations

import numpy as np

from stepzero.measures.checks import Booleans, Floats

WHISKER = 1.5
"""How many interquartile ranges beyond the quartiles a value is an outlier (Tukey 1977)."""


def iqr_bounds(values: Floats) -> tuple[float, float]:
    """Return the bounds outside of which a value is an outlier; missing values are left out.

    Quartiles are interpolated linearly. Where no value is known both bounds are NaN.

    Example:
        >>> iqr_bounds(np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan]))
        (-1.0, 7.0)
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [25, 75])
    room = WHISKER * (high - low)
    return float(low - room), float(high + room)


def is_outside(values: Floats, bounds: tuple[float, float]) -> Booleans:
    """Return which values lie outside of bounds; a missing value does not."""
    low, high = bounds
    outside: Booleans = (values < low) | (values > high)
    return outside
