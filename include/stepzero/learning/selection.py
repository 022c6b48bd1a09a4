"""Which cell of the table wins, by which rule, and what can be said of the others.

Winners are chosen by out-of-fold scores. What is claimed of differences comes from held-out rows, on which
nothing was chosen: a paired bootstrap, every cell against the promoted one on the same draws, with Holm's
correction for how many are looked at. Where entities are kept apart, whole entities are drawn. The corrected
resampled t-test of Nadeau and Bengio (2003) is the other usual way; it was not taken, because it would judge fold
scores by which the winner was chosen, with as many degrees of freedom as folds less one, and assumes them normal
where average precision is near 1. The price: the statement is about these fitted models on new rows, not about the
algorithms on new training rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stepzero.learning.evaluation import UNCORRECTED, Cell
from stepzero.learning.metrics import DECISIONS, MEASURES, Metric
from stepzero.learning.table import Table
from stepzero.measures.checks import Floats
from stepzero.measures.significance import draws_for, holm, paired_difference, standard_error
from stepzero.measures.uncertainty import draw_statistics
from stepzero.spec.kinds import FALLBACK_METRIC, SMALL_IS_GOOD
from stepzero.spec.training import Evaluate

NO_SAMPLER = "none"
_MOST_NAMES = 3


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Both winners, and which of them is promoted."""

    best: Cell
    simplest: Cell
    promoted: Cell
    room: float
    """One standard error of the best one's mean fold score."""
    metric: str

    def sentence(self) -> str:
        """Say both, with figures."""
        told = f"Best by out-of-fold {_words(self.metric)}: {self.best.name} ({self.best.score:.4f})."
        if self.simplest is self.best:
            told += f" No simpler one is within one standard error ({self.room:.4f}) of it."
        else:
            simple = f"{self.simplest.name} ({self.simplest.score:.4f})"
            told += f" Simplest within one standard error ({self.room:.4f}): {simple}."
        return f"{told} Promoted: {self.promoted.name}."

    def to_json(self) -> dict[str, Any]:
        """Return JSON for results and the dossier."""
        cells = {name: getattr(self, name) for name in ("best", "simplest", "promoted")}
        named = {name: {"sampler": cell.sampler, "model": cell.model} for name, cell in cells.items()}
        return {**named, "standard_error": self.room, "metric": self.metric, "sentence": self.sentence()}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One cell against the promoted one, on the same rows."""

    sampler: str
    model: str
    difference: float
    """Positive where the promoted one is better."""
    low: float
    high: float
    p: float
    p_adjusted: float
    """After Holm's correction for all cells of the table."""
    finding: str
    """``worse`` or ``better`` than the promoted one, or ``cannot be told apart``."""

    @property
    def name(self) -> str:
        """Return sampler and model."""
        return f"{self.sampler} × {self.model}"


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """The promoted cell against all others."""

    promoted: str
    metric: str
    rows: int
    positives: int | None
    """None of a regression."""
    draws: int
    confidence: float
    cells: tuple[Compared, ...]
    entities: int | None = None
    """How many the rows are of, where entities are kept apart; None where each row stands for itself."""

    def sentence(self) -> str:
        """Say in words what the figures allow to say, and nothing more."""
        if not self.cells:
            return f"{self.promoted} is the only cell of the table: there is nothing to compare it with."
        groups = {
            word: [cell.name for cell in self.cells if cell.finding == finding]
            for word, finding in (
                ("is better than", "worse"),
                ("cannot be told apart from", "cannot be told apart"),
                ("is worse than", "better"),
            )
        }
        told = "; ".join(f"{word} {_listed(names)}" for word, names in groups.items() if names)
        rows = f"{self.rows} held-out rows" + ("" if self.entities is None else f" of {self.entities} entities")
        rows += "" if self.positives is None else f" with {self.positives} positives"
        level = f"{self.confidence:.0%} confidence, Holm's correction for {len(self.cells)} comparisons"
        return f"By {_words(self.metric)} on {rows}, {self.promoted} {told} ({level})."

    def to_json(self) -> dict[str, Any]:
        """Return JSON for the dossier."""
        strata = "" if self.positives is None else "stratified "
        drawn = "held-out rows" if self.entities is None else "held-out entities, each with all of its rows"
        method = f"paired {strata}bootstrap on {drawn}, two-sided, Holm's correction over the table"
        told = {name: value for name, value in asdict(self).items() if name != "entities" or value is not None}
        return {**told, "method": method, "sentence": self.sentence()}


def fold_scores(cell: Cell, train: Table, metric: Metric) -> tuple[float, ...]:
    """Return the search's metric on each fold, from the scores that it takes."""
    frame = cell.out_of_fold
    raw = UNCORRECTED in frame and not metric.takes_probabilities
    score = frame[UNCORRECTED if raw else "score"].to_numpy()
    rows = [np.flatnonzero(train.fold == number) for number in train.folds]
    return tuple(metric(train.target[at], score[at], train.weight[at], train.features.iloc[at]) for at in rows)


def choose(cells: Sequence[Cell], train: Table, metric: Metric, evaluate: Evaluate) -> Choice:
    """Return the best cell and the simplest that is as good within one standard error; held-out rows have no say.

    The rule is that of Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees", 1984,
    section 3.4.3. What is simple is declared: ``evaluate.simplest_first``, then no resampling before any.
    """
    best = max(cells, key=lambda cell: metric.gain(cell.score))
    room = standard_error(fold_scores(best, train, metric))
    near = [cell for cell in cells if metric.gain(cell.score) >= metric.gain(best.score) - room]
    simplest = min(near, key=lambda cell: (*_complexity(cell, evaluate), -metric.gain(cell.score)))
    promoted = best if evaluate.winner == "best" else simplest
    return Choice(best=best, simplest=simplest, promoted=promoted, room=room, metric=metric.name)


def compare_cells(
    promoted: Cell, cells: Sequence[Cell], test: Table, metric: str, evaluate: Evaluate, seed: int
) -> Comparisons:
    """Compare every other cell with the promoted one on the same draws of held-out rows."""
    # A metric of the user's own decides the search; its draws would take minutes, and another one stands in.
    name = metric if metric in MEASURES else FALLBACK_METRIC[test.kind]
    sign = -1.0 if name in SMALL_IS_GOOD else 1.0
    others = [cell for cell in cells if cell is not promoted]
    draws = max(evaluate.bootstrap, draws_for(len(others), evaluate.confidence))
    statistics = {cell.name: _statistic(cell, test, name) for cell in [promoted, *others]}
    drawn = draw_statistics(statistics, test.strata, test.weight, draws=draws, seed=seed, entity=test.entity)
    values = {one: float(np.asarray(statistic(test.weight))) for one, statistic in statistics.items()}
    found = [
        paired_difference(
            sign * (values[promoted.name] - values[cell.name]),
            sign * (drawn[promoted.name] - drawn[cell.name]),
            confidence=evaluate.confidence,
        )
        for cell in others
    ]
    adjusted = holm([one.p for one in found])
    compared = [
        Compared(
            sampler=cell.sampler,
            model=cell.model,
            difference=one.value,
            low=one.low,
            high=one.high,
            p=one.p,
            p_adjusted=float(raised),
            finding=_finding(one.value, float(raised), 1 - evaluate.confidence),
        )
        for cell, one, raised in zip(others, found, adjusted, strict=True)
    ]
    return Comparisons(
        promoted=promoted.name,
        metric=name,
        rows=len(test.target),
        positives=None if test.is_regression else int(test.target.sum()),
        draws=draws,
        confidence=evaluate.confidence,
        cells=tuple(compared),
        entities=None if test.entity is None else len(np.unique(test.entity)),
    )


def _statistic(cell: Cell, test: Table, name: str) -> Any:
    if name not in DECISIONS:
        return lambda weight: MEASURES[name](test.target, cell.test_score, weight)
    decision: Floats = cell.decisions.astype(np.float64)
    return lambda weight: DECISIONS[name](test.target, decision, weight)


def _finding(difference: float, p: float, level: float) -> str:
    if p > level or difference == 0:
        return "cannot be told apart"
    return "worse" if difference > 0 else "better"


def _complexity(cell: Cell, evaluate: Evaluate) -> tuple[int, bool]:
    order = evaluate.simplest_first
    place = order.index(cell.model) if cell.model in order else len(order)
    return place, cell.sampler != NO_SAMPLER


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:_MOST_NAMES])
    more = len(names) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _words(name: str) -> str:
    return {"roc_auc": "ROC AUC", "f1": "F1", "rmse": "RMSE", "mae": "MAE"}.get(name, name.replace("_", " "))
