"""How far a window of rows lies from reference rows, column by column, from counts in bins that the reference fixed.

A number has fine bins, with one for missing values and two for values beyond all that the reference saw; a category
has one for missing values, one for each name, one for the rest of the known, and one for new names. So missing and
new values are part of every distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from stepzero.measures.baselines import describe
from stepzero.measures.checks import Floats
from stepzero.measures.distances import even_groups

STEPS = 100
"""Bins of a number between the smallest and the largest reference value, at most."""
GROUPS = 10
"""Bins in which index, divergence and chi-square of a number are taken: deciles, as their authors do."""
PARTS = 30
"""Of rows without time, to see how far some lie beyond the ends of the others."""
_PSEUDO = 0.5
_FIRST = 2
"""Bin of the reference's smallest value: missing ones and those below come before."""
Kind = Literal["number", "category", "text"]
DISTANCES = (
    "population_stability_index",
    "jensen_shannon",
    "kolmogorov_smirnov",
    "wasserstein",
    "chi_square",
)
ORDERED = ("kolmogorov_smirnov", "wasserstein")
"""Distances that need an order of the values: numbers only."""


@dataclass(frozen=True, kw_only=True)
class DriftColumn:
    """One column of the reference: its bins, and what lay in them, block by block."""

    kind: Kind
    counts: tuple[tuple[float, ...], ...]
    """One row for each block of the reference, in order of time; one row where it has no time."""
    edges: tuple[float, ...] = ()
    """Upper borders of a number's bins, ends included; the first is the smallest value, the last the largest."""
    places: tuple[float, ...] = ()
    """Where the values of each bin lie: the mean of the reference's."""
    spread: float = 1.0
    """Standard deviation of the reference's numbers: the unit of the Wasserstein distance."""
    categories: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    beyond: tuple[float, ...] = ()
    """For each block (or part, where it has no time): how far its values lie beyond the ends of all others, in spreads
    and on average over its rows: what `excess` is by chance alone, where no value lies between two of the reference."""

    @property
    def bins(self) -> int:
        """Return the number of bins."""
        return len(self.counts[0])

    @property
    def blocks(self) -> Floats:
        """Return counts, blocks × bins."""
        return np.asarray(self.counts, dtype=np.float64)

    @property
    def total(self) -> Floats:
        """Return the counts of all blocks together."""
        summed: Floats = self.blocks.sum(axis=0)
        return summed

    @property
    def missing(self) -> float:
        """Return the share of missing values."""
        return float(self.total[0] / self.total.sum())

    def groups(self) -> npt.NDArray[np.int64]:
        """Return for each bin which group it is taken in; missing and unseen values are never with others."""
        if self.kind != "number" or self.bins <= 4:
            return np.arange(self.bins)
        inner = even_groups(self.total[2:-1], GROUPS)
        last = int(inner.max()) + 3
        return np.concatenate([[0, 1], inner + 2, [last]])

    def places_of(self, values: pd.Series[Any]) -> npt.NDArray[np.int64]:
        """Return the bin of each value."""
        missing = values.isna().to_numpy()
        found: npt.NDArray[np.int64]
        if self.kind == "number":
            found = self._ranges(_numbers(values))
        elif self.kind == "category":
            known = {name: place for place, name in enumerate(self.categories)}
            known |= dict.fromkeys(self.others, len(known))
            words = values.astype(str).map(known).fillna(len(self.categories) + 1)
            found = np.asarray(words, dtype=np.int64) + 1
        else:
            found = np.ones(len(values), dtype=np.int64)
        return np.where(missing, 0, found)

    def _ranges(self, numbers: Floats) -> npt.NDArray[np.int64]:
        if not self.edges:
            return np.ones(len(numbers), dtype=np.int64)
        inside = np.asarray(np.searchsorted(np.asarray(self.edges), numbers, side="left") + 2, dtype=np.int64)
        return np.where(numbers < self.edges[0], 1, inside)

    def count(self, values: pd.Series[Any], weight: Floats | None = None) -> Floats:
        """Return how many values, or how much weight, lies in each bin."""
        return self._counted(self.places_of(values), weight)

    def _counted(self, bins: npt.NDArray[np.int64], weight: Floats | None) -> Floats:
        return np.bincount(bins, weights=weight, minlength=self.bins).astype(np.float64)

    def excess(self, values: pd.Series[Any], weight: Floats | None = None) -> float:
        """Return what a window's bins do not tell of its Wasserstein distance from the reference, in spreads.

        Values beyond the reference's ends lie further away than their bin says, and those between two neighbouring
        values of the reference nearer: their bin is that of the upper one. An infinite number counts as the last value.
        """
        if self.kind != "number" or not self.edges or not len(values):
            return 0.0
        numbers, bins, places = _numbers(values), self.places_of(values), np.asarray(self.places)
        # Where a bin holds one value of the reference only, others are no part of its scatter.
        alike = np.isclose(places[_FIRST:-1], self.edges, rtol=1e-9, atol=1e-9 * self.spread)
        single = np.r_[False, True, alike, True][bins]
        elsewhere = single & np.isfinite(numbers) & (numbers != places[bins])
        if not elsewhere.any():
            return 0.0
        weights = np.ones(len(bins)) if weight is None else weight
        # All others lie at their bin's place: a column of a hundred thousand rows needs no sorting for a few of them.
        lies = np.r_[places, numbers[elsewhere]]
        rows = np.r_[self._counted(bins[~elsewhere], weights[~elsewhere]), weights[elsewhere]]
        exact = stats.wasserstein_distance(places, lies, self.total, rows) / self.spread
        return float(exact - _area(self, self.total, self._counted(bins, weight)))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DriftColumn:
        """Read what `to_json` wrote."""
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        read["counts"] = tuple(tuple(row) for row in data["counts"])
        return cls(**read)


def make_column(values: pd.Series[Any], weight: Floats, block: npt.NDArray[np.int64]) -> DriftColumn:
    """Return the reference of one column.

    Args:
        values: The reference's values.
        weight: How much each row counts.
        block: Number of each row's block, from 0, in order of time.
    """
    described = describe(values)
    if described.kind == "number":
        empty = _number_bins(values)
    else:
        empty = DriftColumn(
            kind=described.kind, categories=described.categories, others=described.others, counts=(_zeros(described),)
        )
    places = empty.places_of(values)
    blocks = int(block.max()) + 1
    flat = np.bincount(block * empty.bins + places, weights=weight, minlength=blocks * empty.bins)
    counts = tuple(tuple(float(one) for one in row) for row in flat.reshape(blocks, empty.bins))
    beyond = _beyond(empty, values, weight, block if blocks > 1 else np.arange(len(values)) * PARTS // len(values))
    return DriftColumn(**{**empty.__dict__, "counts": counts, "beyond": beyond})


def distances(column: DriftColumn, before: Floats, now: Floats, *, excess: Floats | float = 0.0) -> dict[str, Floats]:
    """Return all distances that the column's kind allows; one a row where counts are matrices.

    The population stability index (Siddiqi 2006) is the symmetric Kullback-Leibler divergence in nats, half a row
    added to each group of bins. The Jensen-Shannon divergence (Lin 1991) is in bits. Chi-square is Cramér's V
    (Cramér 1946), the square root of Pearson's statistic of homogeneity over the number of rows: it does not grow
    with them. The Kolmogorov-Smirnov distance and the first Wasserstein distance (Vallender 1974: the area between
    the distribution functions) are taken in all bins; there, missing values lie one spread below the smallest
    reference value, and the Wasserstein distance is in spreads.

    Args:
        column: Gives the bins a meaning.
        before: Counts of the reference, bins last.
        now: Counts of the window, bins last.
        excess: What `DriftColumn.excess` says of the window, or of each window.
    """
    groups = column.groups()
    old, new = _shares(_grouped(before, groups)), _shares(_grouped(now, groups))
    found = {
        "population_stability_index": _stability(_grouped(before, groups), _grouped(now, groups)),
        "jensen_shannon": _jensen_shannon(old, new),
        "chi_square": _cramer(_grouped(before, groups), _grouped(now, groups)),
    }
    if column.kind == "number":
        found["kolmogorov_smirnov"] = np.abs(_apart(before, now)).max(axis=-1)
        found["wasserstein"] = _area(column, before, now) + excess
    return found


def applicable(column: DriftColumn, names: Sequence[str]) -> list[str]:
    """Return the distances, of those named, that a column of this kind has."""
    return [name for name in names if column.kind == "number" or name not in ORDERED]


def _number_bins(values: pd.Series[Any]) -> DriftColumn:
    numbers = _numbers(values[values.notna()])
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return DriftColumn(kind="number", counts=((0.0, 0.0),))
    edges = np.unique(np.quantile(numbers, np.arange(STEPS + 1) / STEPS, method="inverted_cdf"))
    at = np.searchsorted(edges, numbers, side="left")
    sums = np.bincount(at, weights=numbers, minlength=len(edges))
    sizes = np.bincount(at, minlength=len(edges))
    least = np.full(len(edges), np.inf)
    np.minimum.at(least, at, numbers)
    # Of a bin with a single value the mean is that value, without an error of rounding.
    middles = np.where(least < edges, sums / np.maximum(sizes, 1), edges)
    spread = float(np.std(numbers)) or 1.0
    places = (float(edges[0]) - spread, float(edges[0]), *map(float, middles), float(edges[-1]))
    zeros = (0.0,) * len(places)
    return DriftColumn(kind="number", counts=(zeros,), edges=tuple(map(float, edges)), places=places, spread=spread)


def _beyond(
    column: DriftColumn, values: pd.Series[Any], weight: Floats, block: npt.NDArray[np.int64]
) -> tuple[float, ...]:
    """Return for each block how far its values lie beyond the ends of the others: what a fresh block would do."""
    if column.kind != "number" or not column.edges:
        return ()
    numbers = np.where(values.notna(), _numbers(values), np.nan)
    known, size = np.isfinite(numbers), int(block.max()) + 1
    if size < 2:
        return (0.0,)
    low, high = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(low, block[known], numbers[known])
    np.maximum.at(high, block[known], numbers[known])
    others_low, others_high = _least_of_others(low), -_least_of_others(-high)
    far = np.maximum(numbers - others_high[block], 0.0) + np.maximum(others_low[block] - numbers, 0.0)
    summed = np.bincount(block, weights=np.where(np.isfinite(far), far, 0.0) * weight, minlength=size)
    rows = np.maximum(np.bincount(block, weights=weight, minlength=size), 1e-12)
    return tuple(float(one) for one in summed / rows / column.spread)


def _least_of_others(values: Floats) -> Floats:
    """Return for each place the smallest value of all others."""
    smallest = np.argsort(values, kind="stable")[:2]
    found = np.full(len(values), values[smallest[0]])
    found[smallest[0]] = values[smallest[1]]
    return found


def _zeros(described: Any) -> tuple[float, ...]:
    return (0.0,) * (len(described.categories) + 3 if described.kind == "category" else 2)


def _numbers(values: pd.Series[Any]) -> Floats:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values.astype("datetime64[ns]").astype("int64").to_numpy(dtype=np.float64) / 1e9
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)


def _apart(before: Floats, now: Floats) -> Floats:
    """Return the difference of the distribution functions behind each bin."""
    apart: Floats = np.cumsum(_shares(now) - _shares(before), axis=-1)
    return apart


def _area(column: DriftColumn, before: Floats, now: Floats) -> Floats:
    """Return the area between the distribution functions, in spreads."""
    area: Floats = (np.abs(_apart(before, now)[..., :-1]) * _steps(column)).sum(axis=-1)
    return area


def _steps(column: DriftColumn) -> Floats:
    steps: Floats = np.diff(np.asarray(column.places)) / column.spread if column.places else np.ones(column.bins - 1)
    return steps


def _grouped(counts: Floats, groups: npt.NDArray[np.int64]) -> Floats:
    starts = np.flatnonzero(np.r_[True, np.diff(groups) > 0])
    summed: Floats = np.add.reduceat(counts, starts, axis=-1)
    return summed


def _shares(counts: Floats) -> Floats:
    shares: Floats = counts / counts.sum(axis=-1, keepdims=True)
    return shares


def _stability(before: Floats, now: Floats) -> Floats:
    old, new = _shares(before + _PSEUDO), _shares(now + _PSEUDO)
    used = (before + now) > 0
    found: Floats = np.where(used, (new - old) * np.log(new / old), 0.0).sum(axis=-1)
    return found


def _jensen_shannon(old: Floats, new: Floats) -> Floats:
    middle = (old + new) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(old > 0, old * np.log2(old / middle), 0.0) + np.where(
            new > 0, new * np.log2(new / middle), 0.0
        )
    found: Floats = np.maximum(parts.sum(axis=-1) / 2, 0.0)
    return found


def _cramer(before: Floats, now: Floats) -> Floats:
    old, new = before.sum(axis=-1, keepdims=True), now.sum(axis=-1, keepdims=True)
    both = before + now
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(both > 0, (before * np.sqrt(new / old) - now * np.sqrt(old / new)) ** 2 / both, 0.0)
    found: Floats = np.sqrt(parts.sum(axis=-1) / (old + new)[..., 0])
    return found
