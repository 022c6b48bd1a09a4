"""Models that predicted the same rows, against each other: who wins, by how much, and how sure that is.

All rows decide, by a paired bootstrap: every draw measures all models on the same rows, so that common luck cancels
out, with Holm's correction for how many are looked at. Where the best cannot be told from others, a declared rule
says who wins; that is said, and is no finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stepzero.learning.metrics import MEASURES
from stepzero.measures.checks import Floats
from stepzero.measures.regression import row_accuracy
from stepzero.measures.significance import draws_for, holm, paired_difference
from stepzero.measures.uncertainty import Interval, draw_statistics, intervals
from stepzero.spec.kinds import REGRESSION_METRICS, SMALL_IS_GOOD

TRIALS = 3
"""Random rows by which the reference example chooses."""
TOSSES = 200_000
MORE_ROWS, MORE_TOSSES = (1, 3, 10, 30, 100, 300), 10_000
"""How many random rows a toss is tried with besides, and how often."""
APART, TOGETHER = "worse", "cannot be told apart"
_WORDS = {"rmse": "RMSE", "mae": "MAE", "r2": "R²"}


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One model against the one with the best figure."""

    name: str
    difference: float
    """By how much the best one is better; positive."""
    low: float
    high: float
    p: float
    p_adjusted: float
    finding: str


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What all rows say."""

    metric: str
    rows: int
    draws: int
    confidence: float
    figures: dict[str, dict[str, Interval]]
    """Model → metric → value with interval."""
    best: str
    """The model with the best figure."""
    rivals: tuple[Rival, ...]
    winner: str
    by_rule: bool
    """Whether the declared rule made the winner, because the figures did not."""
    entities: int | None = None
    """How many the rows are of, where entities are kept apart."""

    @property
    def tied(self) -> list[str]:
        """Return the models that cannot be told from the best, itself first."""
        return [self.best, *(rival.name for rival in self.rivals if rival.finding == TOGETHER)]

    def sentence(self) -> str:
        """Say who won, by how much, and how sure that is."""
        told = f"{self.winner} wins by {self.word} on {self.rows} test rows ({self._value(self.winner)})"
        if self.by_rule:
            tied = [rival for rival in self.rivals if rival.finding == TOGETHER]
            others = ", ".join(f"{rival.name} {rival.difference:+.3f} {_room(rival)}" for rival in tied)
            best = f"{self.best} has the best figure ({self._value(self.best)})"
            return f"{told} by the declared tie rule: {best}, and these cannot be told apart from it: {others}."
        if not self.rivals:
            return f"{told}, and is alone."
        nearest = min(self.rivals, key=lambda rival: rival.difference)
        return f"{told}; the next, {self._against(nearest)}."

    def to_json(self) -> dict[str, Any]:
        """Return JSON for results, dossier and pages."""
        figures = {
            name: {metric: interval.to_json() for metric, interval in found.items()}
            for name, found in self.figures.items()
        }
        drawn = "test rows" if self.entities is None else f"{self.entities} test entities, each with all of its rows"
        method = f"paired bootstrap on all {drawn}, two-sided, Holm's correction"
        told = {"metric": self.metric, "rows": self.rows, "draws": self.draws, "confidence": self.confidence}
        named = {"best": self.best, "winner": self.winner, "by_rule": self.by_rule, "tied": self.tied}
        rivals = [asdict(rival) for rival in self.rivals]
        return {**told, **named, "method": method, "figures": figures, "rivals": rivals, "sentence": self.sentence()}

    @property
    def word(self) -> str:
        """Return the metric as people write it."""
        return _WORDS.get(self.metric, self.metric)

    def _value(self, name: str) -> str:
        return f"{self.figures[name][self.metric].value:.3f}"

    def _against(self, rival: Rival) -> str:
        figure = f"{rival.name} ({self._value(rival.name)})"
        if rival.finding == TOGETHER:
            return f"{figure} cannot be told apart from {self.best}, difference {rival.difference:.3f} {_room(rival)}"
        return f"{figure}, is worse by {rival.difference:.3f} {_room(rival)}, p {rival.p_adjusted:.2g}"


def _room(rival: Rival) -> str:
    return f"[{rival.low:+.3f}, {rival.high:+.3f}]"


def judge(  # noqa: PLR0913 - predictions and how to compare them
    predicted: Mapping[str, Floats],
    target: Floats,
    *,
    metric: str,
    tie: Sequence[str],
    confidence: float = 0.95,
    draws: int = 2_000,
    seed: int = 0,
    entity: npt.ArrayLike | None = None,
) -> Contest:
    """Compare models on the same rows.

    Args:
        predicted: Model → its prediction of each row.
        target: The truth.
        metric: By which one wins.
        tie: Who wins among those that cannot be told apart: the first of these. None of them: the best figure.
        confidence: Of intervals; a difference whose adjusted p-value is above one less it is none.
        draws: Of the bootstrap, or more where Holm's correction needs more.
        seed: Same seed, same answer.
        entity: Whose row each one is: whole entities are drawn. None where every row stands for itself.
    """
    strata, weight = np.zeros(len(target)), np.ones(len(target))
    most = max(draws, draws_for(len(predicted) - 1, confidence))
    options: dict[str, Any] = {"draws": most, "seed": seed, "entity": entity}
    figures = {name: _figures(guess, target, confidence, options) for name, guess in predicted.items()}
    sign = 1.0 if metric in SMALL_IS_GOOD else -1.0
    values = {name: sign * found[metric].value for name, found in figures.items()}
    best = min(values, key=lambda name: values[name])
    statistics = {name: _statistic(metric, target, guess) for name, guess in predicted.items()}
    drawn = draw_statistics(statistics, strata, weight, **options)
    others = [name for name in predicted if name != best]
    found = [
        paired_difference(values[name] - values[best], sign * (drawn[name] - drawn[best]), confidence=confidence)
        for name in others
    ]
    adjusted = holm([one.p for one in found])
    rivals = tuple(
        Rival(name=name, difference=one.value, low=one.low, high=one.high, p=one.p, p_adjusted=float(raised),
              finding=TOGETHER if raised > 1 - confidence or one.value == 0 else APART)
        for name, one, raised in zip(others, found, adjusted, strict=True)
    )  # fmt: skip
    tied = [best, *(rival.name for rival in rivals if rival.finding == TOGETHER)]
    winner = next((name for name in tie if name in tied), best)
    return Contest(
        metric=metric, rows=len(target), draws=most, confidence=confidence, figures=figures, best=best, rivals=rivals,
        winner=winner, by_rule=len(tied) > 1, entities=None if entity is None else len(np.unique(entity)),
    )  # fmt: skip


def coin_toss(
    one: Floats, other: Floats, target: Floats, *, trials: int = TRIALS, tosses: int = TOSSES, seed: int = 0
) -> float:
    """Return how often the first model wins as the reference example lets it: by mean accuracy of a few random rows.

    Each model draws rows of its own, with replacement; a tie goes to the first.
    """
    generator = np.random.default_rng(seed)
    means = [
        row_accuracy(target, guess)[generator.integers(len(target), size=(tosses, trials))].mean(axis=1)
        for guess in (one, other)
    ]
    return float((means[0] >= means[1]).mean())


def tosses_of_more_rows(one: Floats, other: Floats, target: Floats, *, seed: int = 0) -> dict[int, float]:
    """Return how often the first model wins a toss, by the number of random rows that each model draws.

    With many rows it says which model has the better mean accuracy, whatever that is worth.
    """
    return {rows: coin_toss(one, other, target, trials=rows, tosses=MORE_TOSSES, seed=seed) for rows in MORE_ROWS}


def _figures(guess: Floats, target: Floats, confidence: float, options: Mapping[str, Any]) -> dict[str, Interval]:
    names = (
        REGRESSION_METRICS if (target > 0).all() else tuple(name for name in REGRESSION_METRICS if name != "accuracy")
    )
    statistics = {name: _statistic(name, target, guess) for name in names}
    strata, weight = np.zeros(len(target)), np.ones(len(target))
    return intervals(statistics, strata, weight, confidence=confidence, **options)


def _statistic(metric: str, target: Floats, guess: Floats) -> Any:
    return lambda weight: MEASURES[metric](target, guess, weight)
