"""How far two distributions lie apart, from counts in the same bins.

Every distance has a bound that chance alone hardly exceeds when both samples come from one population: a frame of
a hundred rows must not be flagged for being small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats

from stepzero.core.errors import InputError, bare

if TYPE_CHECKING:
    import numpy.typing as npt

    from stepzero.measures.checks import Floats

Distance = Literal["population_stability_index", "kolmogorov_smirnov", "jensen_shannon"]
_PSEUDO = 0.5
"""Added to every count where logarithms are taken: an empty bin is rare, not impossible (Jeffreys' prior)."""


@dataclass(frozen=True, kw_only=True)
class ChiSquare:
    """Statistic, degrees of freedom and p-value."""

    statistic: float
    freedom: int
    p_value: float


def population_stability_index(expected: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    """Return the population stability index: the symmetric Kullback-Leibler divergence (Jeffreys), in nats.

    Siddiqi, "Credit Risk Scorecards", 2006, reads below 0.1 as no change and above 0.25 as a shift. Half a row is
    added to every bin.
    """
    before, now = _smoothed(expected, observed)
    return float(np.sum((now - before) * np.log(now / before)))


def jensen_shannon(expected: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    """Return the Jensen-Shannon divergence in bits: 0 for equal shares, 1 for shares without a common bin.

    Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory 37, 1991, equation 4.1.
    """
    before, now = (_shares(counts) for counts in _checked(expected, observed))
    middle = (before + now) / 2
    return float(_divergence(before, middle) + _divergence(now, middle)) / 2


def kolmogorov_smirnov(expected: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    """Return the largest difference of the two distribution functions at the bins' borders; bins are ordered.

    That of the samples themselves is at most larger by the largest share of a bin.
    """
    before, now = (np.cumsum(_shares(counts)) for counts in _checked(expected, observed))
    return float(np.max(np.abs(before - now)))


def chi_square(expected: npt.ArrayLike, observed: npt.ArrayLike) -> ChiSquare:
    """Return Pearson's chi-square test of homogeneity on two rows of counts; bins that are empty in both are left out.

    Agresti, "Categorical Data Analysis", 3rd edition, section 3.2. On many rows any difference is significant.
    """
    table = np.vstack(_checked(expected, observed))
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return ChiSquare(statistic=0.0, freedom=0, p_value=1.0)
    found = stats.chi2_contingency(table, correction=False)
    return ChiSquare(statistic=float(found.statistic), freedom=int(found.dof), p_value=float(found.pvalue))


def chance_bound(distance: Distance, expected: npt.ArrayLike, observed: npt.ArrayLike, *, confidence: float) -> float:
    """Return what a distance exceeds with probability 1 - confidence if both samples are from one population.

    The index: (1/n + 1/m) times a chi-square variable (Yurdakul, "Statistical properties of population stability
    index", 2018). The divergence: an eighth of that in nats, by the same expansion of second order. The
    Kolmogorov-Smirnov distance: Smirnov's limit, 1948.
    """
    before, now = _checked(expected, observed)
    scale = float(1 / before.sum() + 1 / now.sum())
    if distance == "kolmogorov_smirnov":
        return math.sqrt(-math.log((1 - confidence) / 2) / 2 * scale)
    bins = max(int(((before + now) > 0).sum()) - 1, 1)
    index = scale * float(stats.chi2.ppf(confidence, bins))
    return index if distance == "population_stability_index" else index / 8 / math.log(2)


def merged(counts: npt.ArrayLike, groups: npt.ArrayLike) -> Floats:
    """Return counts of groups of neighbouring bins.

    Args:
        counts: One count a bin.
        groups: Number of each bin's group, from 0.
    """
    taken: Floats = np.bincount(np.asarray(groups), weights=np.asarray(counts, dtype=np.float64)).astype(np.float64)
    return taken


def even_groups(counts: npt.ArrayLike, most: int) -> npt.NDArray[np.int64]:
    """Return for each bin which of at most so many groups it belongs to, groups holding about as many rows each.

    A bin is never divided, so one that holds most rows leaves fewer groups.
    """
    numbers = np.asarray(counts, dtype=np.float64)
    middle = np.cumsum(numbers) - numbers / 2
    wanted = np.minimum((middle / max(numbers.sum(), 1) * most).astype(np.int64), most - 1)
    return np.unique(wanted, return_inverse=True)[1]


def _divergence(shares: Floats, other: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log2(shares / other), 0.0)
    total: Floats = terms.sum()
    return total


def _smoothed(expected: npt.ArrayLike, observed: npt.ArrayLike) -> tuple[Floats, Floats]:
    before, now = _checked(expected, observed)
    used = (before + now) > 0
    return _shares(before[used] + _PSEUDO), _shares(now[used] + _PSEUDO)


def _shares(counts: Floats) -> Floats:
    shares: Floats = counts / counts.sum()
    return shares


def _checked(expected: npt.ArrayLike, observed: npt.ArrayLike) -> tuple[Floats, Floats]:
    before, now = np.asarray(expected, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    good = before.shape == now.shape and before.ndim == 1 and bool((before >= 0).all() and (now >= 0).all())
    if not good or before.sum() == 0 or now.sum() == 0:
        raise InputError(
            "counts of a distance",
            value=bare(f"shapes {before.shape} and {now.shape}, totals {before.sum():g} and {now.sum():g}"),
            allowed="one count a bin, the same bins, at least one row on each side",
            action="count both samples in the same bins",
        )
    return before, now
