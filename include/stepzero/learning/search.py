"""The search: rounds of candidates on folds, the best by mean score, the first in order among equals.

Whoever takes part walks the same rounds. Within a round each takes what nobody has; a round ends when all of
it is noted, whoever did it.
"""

from __future__ import annotations

import copy
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stepzero.learning.cost import Cost, money
from stepzero.learning.fitting import Group, Work, judge_fold, make_groups
from stepzero.learning.metrics import Metric
from stepzero.learning.shared import SharedTrials
from stepzero.learning.space import Described, Parameters, describe, identity
from stepzero.learning.strategies import Round, Strategy
from stepzero.learning.trial import Trial
from stepzero.measures.checks import Floats
from stepzero.spec.search import EarlyStopping
from stepzero.spec.search import Search as SearchSpec
from stepzero.spec.training import Model

log = logging.getLogger("stepzero")

WORTH_SAVING_SECONDS = 1.0
"""A fold that took as long is kept half-way through a trial; a shorter one is sooner done again than written down."""

Progress = Callable[[int, int, str], None]
"""Told how many steps are done, of how many, and what the last one was."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """Trials on identical data that count as this search's own, and the best one's scores of all rows."""

    trials: list[Trial] = field(default_factory=list)
    out_of_fold: Floats | None = None


@dataclass(frozen=True, kw_only=True)
class Search:
    """What was found: all trials in order, the best one, and its out-of-fold scores of all training rows."""

    trials: list[Trial]
    best: int | None
    out_of_fold: Floats
    stopped: str | None = None
    """Why it ended before all was tried."""
    planned: int = 0


def search(  # noqa: PLR0913 - what is searched, how, with whom, from where, and who is told
    work: Work,
    model: Model,
    declared: SearchSpec,
    strategy: Strategy,
    shared: SharedTrials,
    *,
    earlier: Earlier | None = None,
    price_per_hour: float | None = None,
    progress: Progress = lambda *_: None,
) -> Search:
    """Walk the rounds of a strategy to its end or to the end of the budget, and choose the best.

    A candidate that fails keeps its reason, the others go on.

    Args:
        work: What candidates are fitted on and judged by.
        model: What is searched, as declared.
        declared: Budget and early stopping.
        strategy: What proposes.
        shared: Where finished trials are noted.
        earlier: Trials of another search that count here.
        price_per_hour: What the machine costs; a budget of money needs it.
        progress: Told after each fit.
    """
    walk = _Walk(work, model, declared, strategy, shared, price_per_hour, progress)
    begun = earlier or Earlier()
    walk.trials.update(enumerate(begun.trials))
    stopped = walk.to_the_end()
    numbers = sorted(walk.trials)
    trials = [_numbered(walk.trials[number], numbers) for number in numbers]
    best = choose_best(trials, work.metric)
    return Search(
        trials=trials,
        best=best,
        out_of_fold=_out_of_fold(trials, best, begun, shared, work.rows),
        stopped=stopped,
        planned=strategy.planned,
    )


def choose_best(trials: Sequence[Trial], metric: Metric) -> int | None:
    """Return the index of the best mean score, the first in order among equals; None where all failed."""
    gains = [_gain(trial, metric) for trial in trials]
    return None if not gains or max(gains) == -np.inf else int(np.argmax(gains))


@dataclass(frozen=True)
class _Place:
    """Where in a round a fit is."""

    groups: list[Group]
    before: int
    """How many of them are done."""


class _Walk:
    """One worker's way through the rounds."""

    def __init__(
        self,
        work: Work,
        model: Model,
        declared: SearchSpec,
        strategy: Strategy,
        shared: SharedTrials,
        price: float | None,
        progress: Progress,
    ) -> None:
        self.work, self.model, self.declared = work, model, declared
        self.strategy, self.shared, self.price, self.progress = strategy, shared, price, progress
        self.trials: dict[int, Trial] = {}
        self.steps = 0
        """Fits on a fold in finished rounds."""

    def to_the_end(self) -> str | None:
        """Walk all rounds; return why it stopped early, if it did."""
        number, stopped = 0, None
        while stopped is None and (asked := self.strategy.next(self.trials)) is not None:
            stopped = self.finish(number, asked)
            number += 1
        if stopped and (last := self._best_so_far()) is not None:
            # Halving was stopped half-way up: the best so far still needs a score on every fold.
            asked = Round(parameters={last: self.trials[last].parameters}, folds=len(self.work.folds))
            self.finish(number, asked, limited=False)
        for trial in self.trials.values():
            if not trial.failed and len(trial.fold_scores) < len(self.work.folds):
                trial.stopped_after = len(trial.fold_scores)
        return stopped

    def finish(self, number: int, asked: Round, *, limited: bool = True) -> str | None:
        """Work until all candidates of a round are noted, by whomever; return why not, where a budget ended."""
        copies = self._copies(asked)
        own = {i: one for i, one in asked.parameters.items() if i not in copies}
        groups, stopped = make_groups(self.work.algorithm, own), None
        while True:
            done = self.shared.done(number)
            waiting = [group for group in groups if not done.keys() >= set(group.members)]
            stopped = self._spent(done) if waiting and limited else None
            if stopped or not waiting:
                break
            # Whoever comes second begins at the other end, where a grid has its longest fits: so both end together.
            for group in [waiting[0], *reversed(waiting[1:])]:
                if attempt := self.shared.claim(_unit(number, group)):
                    place = _Place(groups, len(groups) - len(waiting))
                    self._do(number, asked, group, attempt, place)
                    break
            else:
                self.shared.wait()
        self._take(asked, done, groups, copies)
        return stopped

    def _do(self, number: int, asked: Round, group: Group, attempt: int, place: _Place) -> None:
        unit = _unit(number, group)
        trials = {member: self._begun(member, asked, group, attempt) for member in group.members}
        kept = {member: np.full(self.work.rows, np.nan) for member in group.members}
        first = len(trials[group.owner].fold_scores)
        if attempt > 1:
            first = self.shared.go_on(unit, trials, kept) or first
        for index in range(first, asked.folds):
            fold, before = self.work.folds[index], _seconds(trials)
            for member, scores in judge_fold(self.work, fold, group, trials).items():
                kept[member][fold.positions] = scores
            self._stop_early(trials, index)
            self._say(asked, group, trials, index, place)
            if not any(trial.complete for trial in trials.values()):
                break
            if index + 1 < asked.folds and _seconds(trials) - before >= WORTH_SAVING_SECONDS:
                self.shared.save(unit, index + 1, trials, kept)
        for member in self._worth_keeping(trials, asked):
            trials[member].pieces.append(self.shared.keep(number, member, kept[member]))
        for member, trial in trials.items():
            self.shared.add(number, member, trial, self._described(trial.parameters))

    def _begun(self, member: int, asked: Round, group: Group, attempt: int) -> Trial:
        if member in self.trials:
            begun = copy.deepcopy(self.trials[member])
            begun.attempt = max(begun.attempt, attempt)
            return begun
        owner = None if member == group.owner else group.owner
        parameters, machine = asked.parameters[member], platform.machine()
        return Trial(parameters, shares_fit_of=owner, attempt=attempt, architecture=machine)

    def _described(self, parameters: Parameters) -> Described | None:
        return describe(self.model, parameters)

    def _worth_keeping(self, trials: Mapping[int, Trial], asked: Round) -> list[int]:
        """Return whose scores may be needed: the best so far at the top, everybody's on a lower rung."""
        living = {member: trial for member, trial in trials.items() if trial.complete}
        if asked.folds < len(self.work.folds):
            return list(living)
        known = living | {i: trial for i, trial in self.trials.items() if i not in trials and self._judged(trial)}
        best = min(known, key=lambda i: (-_gain(known[i], self.work.metric), i), default=None)
        return [best] if best in living and best is not None else []

    def _judged(self, trial: Trial) -> bool:
        return trial.complete and len(trial.fold_scores) == len(self.work.folds)

    def _copies(self, asked: Round) -> dict[int, int]:
        """Return candidates that equal an earlier one, with that one: nothing is fitted twice."""
        first = {identity(trial.parameters): i for i, trial in sorted(self.trials.items(), reverse=True)}
        found: dict[int, int] = {}
        for number, parameters in asked.parameters.items():
            if number not in self.trials and first.setdefault(identity(parameters), number) != number:
                found[number] = first[identity(parameters)]
        return found

    def _take(self, asked: Round, done: dict[int, Trial], groups: list[Group], copies: dict[int, int]) -> None:
        """Take over what is noted of a round, in the words of this walk."""
        self.steps += len(groups) * (asked.folds - self._first(asked))
        owners = {member: group.owner for group in groups for member in group.members}
        for number in sorted(done.keys() & asked.parameters.keys()):
            trial = done[number]
            trial.parameters = asked.parameters[number]
            trial.shares_fit_of = None if owners[number] == number else owners[number]
            self.trials[number] = trial
        for number, original in copies.items():
            if original in self.trials:
                like = copy.deepcopy(self.trials[original])
                like.cost, like.shares_fit_of, like.pieces, like.earlier = Cost(), original, [], False
                self.trials[number] = like

    def _first(self, asked: Round) -> int:
        return min((len(self.trials[i].fold_scores) for i in asked.parameters if i in self.trials), default=0)

    def _stop_early(self, trials: Mapping[int, Trial], index: int) -> None:
        """Give up trials below the median of complete trials of earlier rounds, after as many folds.

        The rule is Golovin and others' (Google Vizier, 2017).
        """
        rule, finished = self.declared.early_stopping, index + 1
        if rule is None or finished < rule.after_folds or finished >= len(self.work.folds):
            return
        bound = self._median(rule, finished)
        for trial in trials.values():
            mean = trial.mean
            if bound is not None and trial.complete and mean is not None and self.work.metric.gain(mean) < bound:
                trial.stopped_after = finished

    def _median(self, rule: EarlyStopping, finished: int) -> float | None:
        complete = [trial for trial in self.trials.values() if self._judged(trial)]
        if len(complete) < rule.after_trials:
            return None
        return float(np.median([self.work.metric.gain(trial.running_means[finished - 1]) for trial in complete]))

    def _best_so_far(self) -> int | None:
        living = {i: trial for i, trial in self.trials.items() if not trial.failed and trial.fold_scores}
        if any(self._judged(trial) for trial in living.values()):
            return None
        order = {i: (-len(one.fold_scores), -self.work.metric.gain(one.mean or 0.0), i) for i, one in living.items()}
        return min(order, key=lambda i: order[i], default=None)

    def _spent(self, done: Mapping[int, Trial]) -> str | None:
        """Return which budget is used up; at least one trial is always done."""
        own = {i: trial for i, trial in self.trials.items() if not trial.earlier} | dict(done)
        budget, seconds = self.declared.budget, sum(trial.cost.seconds for trial in own.values())
        if not own:
            return None
        told = f"after {len(own)} of {self.strategy.planned} candidates"
        if budget.trials is not None and len(own) >= budget.trials:
            return f"the budget of {budget.trials} trials was used up {told}"
        if budget.seconds is not None and seconds >= budget.seconds:
            return f"the budget of {budget.seconds:g} s was used up {told}"
        if budget.money is not None and self.price is not None and money(seconds, self.price) >= budget.money:
            return f"the budget of {budget.money:g} in money was used up {told}"
        return None

    def _say(self, asked: Round, group: Group, trials: Mapping[int, Trial], index: int, place: _Place) -> None:
        first, all_folds = self._first(asked), len(self.work.folds)
        span, groups = asked.folds - first, place.groups
        later = max(0, self.strategy.planned - len(self.trials.keys() | asked.parameters.keys()))
        total = self.steps + len(groups) * span + later * all_folds
        done = self.steps + place.before * span + index + 1 - first
        fit = f"fold {self.work.folds[index].name}, fit {groups.index(group) + 1} of {len(groups)}"
        self.progress(done, total, f"{fit}: {_told(group, trials)}")


def _unit(number: int, group: Group) -> str:
    return f"{number}-{group.owner}"


def _seconds(trials: Mapping[int, Trial]) -> float:
    return sum(trial.cost.seconds for trial in trials.values())


def _gain(trial: Trial, metric: Metric) -> float:
    return -np.inf if trial.mean is None or not trial.complete else metric.gain(trial.mean)


def _numbered(trial: Trial, numbers: list[int]) -> Trial:
    """Let a trial name the one that it shares a fit with by its place in the list."""
    if trial.shares_fit_of is not None:
        trial.shares_fit_of = numbers.index(trial.shares_fit_of) if trial.shares_fit_of in numbers else None
    return trial


def _out_of_fold(trials: list[Trial], best: int | None, earlier: Earlier, shared: SharedTrials, rows: int) -> Floats:
    if best is None:
        return np.full(rows, np.nan)
    if trials[best].earlier and earlier.out_of_fold is not None:
        return earlier.out_of_fold
    return shared.kept(trials[best], rows)


def _told(group: Group, trials: Mapping[int, Trial]) -> str:
    first = trials[group.owner]
    parameters = ", ".join(f"{name}={value}" for name, value in first.parameters.items()) or "no parameters"
    if first.failed:
        return f"{parameters} failed: {first.failed}"
    shared = f", {len(group.members)} candidates from this fit" if len(group.members) > 1 else ""
    stopped = f", stopped after {first.stopped_after} folds" if first.stopped_after is not None else ""
    return f"{parameters}: {first.fold_scores[-1]:.4f}{shared}{stopped}"
