"""The search: every candidate of the grid on every fold, the best by mean score, first in grid order among equals."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stepzero.learning.metrics import Metric
from stepzero.learning.models import Algorithm, TrainingRows, score_rows
from stepzero.measures.checks import Floats, Integers

log = logging.getLogger("stepzero")

Parameters = dict[str, Any]


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


@dataclass
class Trial:
    """One candidate of the grid and how it did."""

    parameters: Parameters
    fold_scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    """Fit and scoring; 0 fits where the scores came from another trial's fit."""
    shares_fit_of: int | None = None
    """Index of the trial whose fits it used."""
    failed: str | None = None

    @property
    def mean(self) -> float | None:
        """Return the mean score over the folds; None where it failed."""
        return None if self.failed else float(np.average(self.fold_scores))

    def to_json(self) -> dict[str, Any]:
        """Return what depends on content only: no seconds."""
        told: dict[str, Any] = {"parameters": self.parameters, "fold_scores": self.fold_scores, "mean": self.mean}
        return told | {"shares_fit_of": self.shares_fit_of, "failed": self.failed}


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


@dataclass(frozen=True, kw_only=True)
class Search:
    """What was found: all trials in grid order, the best one, and each trial's out-of-fold scores."""

    trials: list[Trial]
    best: int | None
    out_of_fold: Floats
    """Trials × training rows."""


def candidates(grid: Mapping[str, Sequence[Any]]) -> list[Parameters]:
    """Return every combination in the order of scikit-learn's grid search: names sorted, last name fastest."""
    from sklearn.model_selection import ParameterGrid

    return [dict(sorted(one.items())) for one in ParameterGrid({name: list(values) for name, values in grid.items()})]


def make_groups(algorithm: Algorithm, grid: Sequence[Parameters]) -> list[Group]:
    """Return which candidates share a fit: none without a shortcut that is exact for them."""
    shortcut, gathered = algorithm.shortcut, dict[str, list[int]]()
    for index, parameters in enumerate(grid):
        nested = shortcut is not None and _is_nested(algorithm, parameters)
        rest = {name: value for name, value in parameters.items() if not nested or name != shortcut.parameter}  # type: ignore[union-attr]
        identity = json.dumps(rest, sort_keys=True, default=repr) if nested else f"alone {index}"
        gathered.setdefault(identity, []).append(index)
    return [_group(algorithm, grid, members) for members in gathered.values()]


def search(
    folds: Iterable[FoldData],
    grid: Sequence[Parameters],
    algorithm: Algorithm,
    metric: Metric,
    *,
    rows: int,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Search:
    """Score every candidate on every fold and choose the best.

    Folds are taken one at a time, so that one is in memory. A candidate that fails keeps its reason, the
    others go on.

    Args:
        folds: The folds, in order.
        grid: The candidates, in order.
        algorithm: What is fitted.
        metric: What is judged by.
        rows: Number of training rows.
        seed: Seed of every fit.
        progress: Told after each fit what was done.
    """
    trials = [Trial(parameters) for parameters in grid]
    out_of_fold = np.full((len(grid), rows), np.nan)
    groups = make_groups(algorithm, grid)
    for group in groups:
        for member in group.members:
            trials[member].shares_fit_of = None if member == group.owner else group.owner
    for fold in folds:
        for number, group in enumerate(groups, start=1):
            for member, score in _scores(fold, group, algorithm, trials, seed).items():
                out_of_fold[member, fold.positions] = score
                _judge(trials[member], metric, fold, score)
            progress(f"fold {fold.name}, fit {number} of {len(groups)}: {_told(group, trials)}")
    return Search(trials=trials, best=choose_best(trials, metric), out_of_fold=out_of_fold)


def choose_best(trials: Sequence[Trial], metric: Metric) -> int | None:
    """Return the index of the best mean score, the first in grid order among equals; None where all failed."""
    gains = [-np.inf if trial.mean is None else metric.gain(trial.mean) for trial in trials]
    return None if not gains or max(gains) == -np.inf else int(np.argmax(gains))


def _is_nested(algorithm: Algorithm, parameters: Parameters) -> bool:
    shortcut = algorithm.shortcut
    if shortcut is None or not isinstance(parameters.get(shortcut.parameter), int):
        return False
    return parameters[shortcut.parameter] >= 1 and shortcut.applies({**algorithm.fixed, **parameters})


def _group(algorithm: Algorithm, grid: Sequence[Parameters], members: list[int]) -> Group:
    if len(members) == 1 or algorithm.shortcut is None:
        return Group(parameters=grid[members[0]], members=tuple(members))
    values = tuple(int(grid[member][algorithm.shortcut.parameter]) for member in members)
    return Group(parameters=grid[members[int(np.argmax(values))]], members=tuple(members), values=values)


def _scores(fold: FoldData, group: Group, algorithm: Algorithm, trials: list[Trial], seed: int) -> dict[int, Floats]:
    living = [member for member in group.members if trials[member].failed is None]
    if not living:
        return {}
    started = time.perf_counter()
    try:
        found = _fitted_scores(fold, group, algorithm, seed)
    except Exception as error:
        if len(group.members) > 1:
            alone = [Group(parameters=trials[member].parameters, members=(member,)) for member in living]
            return {m: s for one in alone for m, s in _scores(fold, one, algorithm, trials, seed).items()}
        trials[living[0]].failed = f"fold {fold.name}: {type(error).__name__}: {error}"
        log.warning("%s %s failed on fold %s", algorithm.name, group.parameters, fold.name, exc_info=True)
        return {}
    trials[group.owner if group.owner in living else living[0]].seconds += time.perf_counter() - started
    return {member: found[member] for member in living}


def _fitted_scores(fold: FoldData, group: Group, algorithm: Algorithm, seed: int) -> dict[int, Floats]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fitted = algorithm.fit(group.parameters, fold.rows, seed)
        if group.values and algorithm.shortcut is not None:
            nested = algorithm.shortcut.scores(fitted, fold.features, sorted(set(group.values)))
            found = {member: nested[value] for member, value in zip(group.members, group.values, strict=True)}
        else:
            found = {group.members[0]: score_rows(fitted, fold.features)}
    for text in sorted({str(warning.message).splitlines()[0] for warning in told}):
        log.info("%s %s, fold %s: %s", algorithm.name, group.parameters, fold.name, text)
    return found


def _judge(trial: Trial, metric: Metric, fold: FoldData, score: Floats) -> None:
    try:
        trial.fold_scores.append(metric(fold.target, score, fold.weight, fold.frame))
    except Exception as error:
        trial.failed = f"fold {fold.name}: metric {metric.name}: {type(error).__name__}: {error}"
        log.warning("metric %s failed on fold %s", metric.name, fold.name, exc_info=True)


def _told(group: Group, trials: list[Trial]) -> str:
    first = trials[group.owner]
    parameters = ", ".join(f"{name}={value}" for name, value in first.parameters.items()) or "no parameters"
    if first.failed:
        return f"{parameters} failed: {first.failed}"
    shared = f", {len(group.members)} candidates from this fit" if len(group.members) > 1 else ""
    return f"{parameters}: {first.fold_scores[-1]:.4f}{shared}"
