"""Fitting and judging candidates on one fold; those that differ in a nested parameter only share a fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from stepzero.learning.cost import Meter
from stepzero.learning.metrics import Metric
from stepzero.learning.models import Algorithm, TrainingRows, score_rows
from stepzero.learning.prior import gives_probabilities, learned_prior
from stepzero.learning.space import Parameters, identity
from stepzero.learning.trial import Trial
from stepzero.learning.warned import log_warnings
from stepzero.measures.checks import Floats, Integers

log = logging.getLogger("stepzero")


@dataclass(frozen=True, kw_only=True)
class FoldData:
    """One fold, ready to fit and judge: resampled training rows, untouched validation rows."""

    name: str
    rows: TrainingRows
    features: Floats
    positions: Integers
    """Where the validation rows are in the table of all training rows."""
    target: Integers
    weight: Floats
    frame: pd.DataFrame
    """Raw features of the validation rows."""
    true_share: float = float("nan")
    """Of positives among the training rows before they were resampled, weighted as metrics are."""


class Folds(Protocol):
    """All folds, by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> FoldData: ...


@dataclass(frozen=True, kw_only=True)
class Work:
    """What all candidates of a search are fitted on and judged by."""

    folds: Folds
    algorithm: Algorithm
    metric: Metric
    rows: int
    """Number of all training rows."""
    seed: int
    objective: Literal["validation", "training"] = "validation"
    corrected: bool = False
    """Whether the metric is given probabilities at the true share."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Candidates that one fit serves: all but the nested parameter is the same."""

    parameters: Parameters
    """What is fitted: the largest value of the nested parameter."""
    members: tuple[int, ...]
    values: tuple[int, ...] = ()
    """Each member's value of the nested parameter; empty where nothing is shared."""

    @property
    def owner(self) -> int:
        """Return the member that is fitted."""
        return self.members[int(np.argmax(self.values))] if self.values else self.members[0]


def make_groups(algorithm: Algorithm, grid: Mapping[int, Parameters] | Sequence[Parameters]) -> list[Group]:
    """Return which candidates share a fit: none without a shortcut that is exact for them."""
    known = grid if isinstance(grid, Mapping) else dict(enumerate(grid))
    gathered: dict[str, list[int]] = {}
    for number, parameters in known.items():
        nested = _nested(algorithm, parameters)
        rest = {name: value for name, value in parameters.items() if name != nested}
        gathered.setdefault(identity(rest) if nested else f"alone {number}", []).append(number)
    return [_group(algorithm, known, members) for members in gathered.values()]


def judge_fold(work: Work, fold: FoldData, group: Group, trials: Mapping[int, Trial]) -> dict[int, Floats]:
    """Fit and judge the living candidates of a group on a fold; return the scores of its validation rows.

    Scores, reasons of failures and what it cost are noted in the trials.
    """
    living = [member for member in group.members if trials[member].complete]
    if not living:
        return {}
    with Meter() as meter:
        found = _scores(work, fold, group, trials)
        for member, (_, judged) in found.items():
            _judge(trials[member], work, fold, judged)
    trials[group.owner if group.owner in living else living[0]].cost.add(meter.cost)
    return {member: score for member, (score, _) in found.items()}


def _nested(algorithm: Algorithm, parameters: Parameters) -> str | None:
    """Return the parameter that one fit can answer for, where it can."""
    one, rest = algorithm.chosen(parameters)
    shortcut = one.shortcut
    value = rest.get(shortcut.parameter) if shortcut else None
    if shortcut is None or isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return None
    return shortcut.parameter if shortcut.applies({**one.fixed, **rest}) else None


def _group(algorithm: Algorithm, known: Mapping[int, Parameters], members: list[int]) -> Group:
    nested = _nested(algorithm, known[members[0]])
    if len(members) == 1 or nested is None:
        return Group(parameters=known[members[0]], members=tuple(members))
    values = tuple(int(known[member][nested]) for member in members)
    return Group(parameters=known[members[int(np.argmax(values))]], members=tuple(members), values=values)


Scored = dict[int, tuple[Floats, Floats]]
"""Each candidate's scores of the validation rows, and of the rows that it is judged on where those are others."""


def _scores(work: Work, fold: FoldData, group: Group, trials: Mapping[int, Trial]) -> Scored:
    living = [member for member in group.members if trials[member].complete]
    try:
        found = _fitted_scores(work, fold, group)
    except Exception as error:
        if len(group.members) > 1:
            alone = [Group(parameters=trials[member].parameters, members=(member,)) for member in living]
            return {m: s for one in alone for m, s in _scores(work, fold, one, trials).items()}
        trials[living[0]].failed = f"fold {fold.name}: {type(error).__name__}: {error}"
        log.warning("%s %s failed on fold %s", work.algorithm.name, group.parameters, fold.name, exc_info=True)
        return {}
    return {member: found[member] for member in living}


def _fitted_scores(work: Work, fold: FoldData, group: Group) -> Scored:
    with log_warnings(f"{work.algorithm.name} {group.parameters}, fold {fold.name}"):
        fitted = work.algorithm.fit(group.parameters, fold.rows, work.seed)
        score = _asked(work.algorithm, fitted, group, fold.features)
        training = work.objective == "training"
        judged = _asked(work.algorithm, fitted, group, fold.rows.features) if training else score
    if work.corrected and not training and gives_probabilities(fitted):
        judged = _corrected(work, fold, group, fitted, judged)
    return {member: (score[member], judged[member]) for member in group.members}


def _corrected(work: Work, fold: FoldData, group: Group, fitted: Any, scores: dict[int, Floats]) -> dict[int, Floats]:
    """Bring probabilities back to the true share, as those of the stored model are."""
    one, _ = work.algorithm.chosen(group.parameters)
    weight = fold.rows.weight if one.sample_weight else np.ones(len(fold.rows.target))
    prior = learned_prior(fold.rows.target, weight, fitted, fold.true_share)
    return {member: prior.correct(score) for member, score in scores.items()}


def _asked(algorithm: Algorithm, fitted: Any, group: Group, features: Floats) -> dict[int, Floats]:
    shortcut = algorithm.chosen(group.parameters)[0].shortcut
    if not group.values or shortcut is None:
        return {group.members[0]: score_rows(fitted, features)}
    nested = shortcut.scores(fitted, features, sorted(set(group.values)))
    return {member: nested[value] for member, value in zip(group.members, group.values, strict=True)}


def _judge(trial: Trial, work: Work, fold: FoldData, score: Floats) -> None:
    training = work.objective == "training"
    target, weight = (fold.rows.target, fold.rows.weight) if training else (fold.target, fold.weight)
    try:
        trial.fold_scores.append(work.metric(target, score, weight, fold.frame))
    except Exception as error:
        trial.failed = f"fold {fold.name}: metric {work.metric.name}: {type(error).__name__}: {error}"
        log.warning("metric %s failed on fold %s", work.metric.name, fold.name, exc_info=True)
