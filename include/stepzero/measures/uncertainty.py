"""Confidence intervals by a stratified, seeded bootstrap of rows or of whole entities, all draws at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from stepzero.core.errors import InputError, bare
from stepzero.measures.checks import Booleans, Floats, Integers

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
    entity: npt.ArrayLike | None = None,
) -> dict[str, Interval]:
    """Return each statistic with its percentile interval, from the same draws for all of them.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; positives and negatives
    are drawn apart, each to its own number, so that no draw is without positives. An interval that would
    miss its own value (small samples, bounds at 0 or 1) is widened to it.

    Rows of one entity say less than as many rows of different ones. Where entities are known they are drawn,
    each with all of its rows: `draw_counts`.

    Args:
        statistics: By name, functions of a matrix of weights.
        target: 1 where positive, 0 elsewhere; decides the strata only.
        weight: Weight of each row.
        confidence: Share of draws within the interval.
        draws: Number of draws.
        seed: Same seed, same intervals.
        entity: Whose row each one is; None where every row stands for itself.
    """
    weights = np.asarray(weight, dtype=np.float64)
    drawn = draw_statistics(statistics, target, weights, draws=draws, seed=seed, entity=entity)
    return {
        name: _interval(float(np.asarray(statistic(weights))), drawn[name], confidence)
        for name, statistic in statistics.items()
    }


def draw_statistics(
    statistics: Mapping[str, Statistic],
    target: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    draws: int,
    seed: int,
    entity: npt.ArrayLike | None = None,
) -> dict[str, Floats]:
    """Return each statistic in every draw; draw i is the same rows for all of them, so that they can be paired."""
    weights = np.asarray(weight, dtype=np.float64)
    drawn: dict[str, list[Floats]] = {name: [] for name in statistics}
    for counts in draw_counts(target, draws=draws, seed=seed, entity=entity):
        drawn_weights = counts * weights
        for name, statistic in statistics.items():
            drawn[name].append(np.atleast_1d(np.asarray(statistic(drawn_weights), dtype=np.float64)))
    return {name: np.concatenate(values) for name, values in drawn.items()}


def draw_counts(
    target: npt.ArrayLike, *, draws: int, seed: int, entity: npt.ArrayLike | None = None
) -> Iterator[Floats]:
    """Yield how often each row was drawn, as matrices (some draws × rows), strata kept.

    With entities it is the cluster bootstrap: entities are drawn with replacement, and all rows of an entity go
    with it, none drawn anew. Davison and Hinkley, "Bootstrap Methods and Their Application", 1997, section 3.8
    (the first of its two strategies); Field and Welsh, "Bootstrapping clustered data", Journal of the Royal
    Statistical Society B 69 (2007). Entities with a positive are drawn apart from the others. Of few entities, a
    dozen or less, intervals are somewhat too narrow, as those of few rows are.
    """
    positive = np.asarray(target).astype(bool)
    of_row, strata = (None, [positive, ~positive]) if entity is None else _entities(positive, entity)
    members = [np.flatnonzero(stratum) for stratum in strata]
    generator = np.random.default_rng(seed)
    piece = max(1, MOST_NUMBERS // max(1, len(positive)))
    for first in range(0, draws, piece):
        size = min(piece, draws - first)
        counts = np.zeros((size, len(strata[0])))
        for drawn in members:
            counts[:, drawn] = _counts(generator, size, len(drawn))
        yield counts if of_row is None else counts[:, of_row]


def _entities(positive: Booleans, entity: npt.ArrayLike) -> tuple[Integers, list[Booleans]]:
    """Return the entity of each row, numbered as they first come, and the strata of entities.

    The strata are those with a positive and those without; where fewer entities have a negative, those without a
    negative and those with one. So no draw is without either class.
    """
    names = np.asarray(entity)
    if names.shape != positive.shape:
        raise InputError(
            "entities of drawn rows",
            value=bare(f"{len(names)} for {len(positive)} rows"),
            allowed="one for each row",
            action="hand in the entity of each row",
        )
    _, firsts, sorted_number = np.unique(names, return_index=True, return_inverse=True)
    of_row = np.argsort(np.argsort(firsts))[sorted_number]
    has_positive, has_negative = (np.bincount(of_row, weights=rows) > 0 for rows in (positive, ~positive))
    rarer = has_positive if has_positive.sum() <= has_negative.sum() else ~has_negative
    return of_row, [rarer, ~rarer]


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
