"""Strategies: which candidates come next, as a pure function of what is known of those before.

Every worker of a search, and every retry, asks the same question and gets the same answer; nobody hands out
proposals. That is why the same run twice is the same search, however many share it and whoever is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stepzero.core.digests import digest_json
from stepzero.learning.metrics import Metric
from stepzero.learning.space import Parameters, describe, identity, listed, suggest
from stepzero.learning.trial import Trial
from stepzero.spec.search import Search as SearchSpec
from stepzero.spec.training import Model

if TYPE_CHECKING:
    import optuna

Trials = Mapping[int, Trial]
"""All candidates known so far, by number."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """Candidates that can be worked on at the same time."""

    parameters: dict[int, Parameters]
    folds: int
    """Up to how many folds they are judged on."""


class Strategy(Protocol):
    """What proposes."""

    @property
    def planned(self) -> int:
        """Return how many candidates there will be, if nothing stops it."""
        ...

    def next(self, trials: Trials) -> Round | None:
        """Return what is to be done once all earlier rounds are; None at the end."""
        ...


@dataclass(frozen=True, kw_only=True)
class AllAtOnce:
    """Every candidate on every fold: the grid, or independent draws."""

    parameters: list[Parameters]
    folds: int

    @property
    def planned(self) -> int:
        """Return the number of candidates."""
        return len(self.parameters)

    def next(self, trials: Trials) -> Round | None:
        """Return all of them, once."""
        return None if trials else Round(parameters=dict(enumerate(self.parameters)), folds=self.folds)


@dataclass(frozen=True, kw_only=True)
class Batches:
    """So many trials at a time, each batch proposed from the results of all before it, told in order."""

    model: Model
    declared: SearchSpec
    metric: Metric
    folds: int
    seed: int
    earlier: list[Trial] = field(default_factory=list)
    """Of another search: they guide, and are not this one's candidates."""

    @property
    def planned(self) -> int:
        """Return the number of trials."""
        return self.declared.trials or 0

    def next(self, trials: Trials) -> Round | None:
        """Return the next batch."""
        done = sum(not trial.earlier for trial in trials.values())
        count = min(self.declared.parallel, self.planned - done)
        if count <= 0:
            return None
        if self.declared.strategy == "random":
            proposed = draws(self.model, range(done, done + count), self.seed)
        else:
            proposed = self._learned(trials, done, count)
        return Round(parameters={len(trials) + i: one for i, one in enumerate(proposed)}, folds=self.folds)

    def _learned(self, trials: Trials, done: int, count: int) -> list[Parameters]:
        import optuna

        sampler = optuna.samplers.TPESampler(
            seed=_seed(self.seed, done),
            n_startup_trials=self.declared.startup_trials,
            multivariate=False,
            constant_liar=True,  # trials of one batch keep away from each other
        )
        study = optuna.create_study(
            sampler=sampler, direction="maximize" if self.metric.greater_is_better else "minimize"
        )
        known = (_told(self.model, trial) for trial in [*self.earlier, *(trials[i] for i in sorted(trials))])
        study.add_trials([one for one in known if one is not None])
        return [suggest(study.ask(), self.model) for _ in range(count)]


@dataclass(frozen=True, kw_only=True)
class Halving:
    """All candidates on a few folds, the best of them on more, until few are judged on all.

    Scores of finished folds are kept, so that who goes on is not fitted on them again, and the last ones
    have the very scores that a full search gives them (Jamieson and Talwalkar 2016, with folds as resource).
    """

    parameters: list[Parameters]
    metric: Metric
    folds: int
    factor: int

    @property
    def planned(self) -> int:
        """Return the number of candidates."""
        return len(self.parameters)

    def next(self, trials: Trials) -> Round | None:
        """Return the next rung."""
        if not trials:
            return Round(parameters=dict(enumerate(self.parameters)), folds=self.rungs[0])
        reached = max(len(trial.fold_scores) for trial in trials.values())
        living = [i for i, trial in trials.items() if not trial.failed and len(trial.fold_scores) == reached]
        if reached >= self.folds or not living:
            return None
        living.sort(key=lambda i: (-self.metric.gain(trials[i].mean or 0.0), i))
        kept = sorted(living[: math.ceil(len(living) / self.factor)])
        folds = next(rung for rung in self.rungs if rung > reached)
        return Round(parameters={i: trials[i].parameters for i in kept}, folds=folds)

    @property
    def rungs(self) -> list[int]:
        """Return up to how many folds each rung goes."""
        found = [1]
        while found[-1] * self.factor < self.folds:
            found.append(found[-1] * self.factor)
        return [*found, self.folds] if found[-1] < self.folds else found


def make_strategy(
    model: Model, declared: SearchSpec, metric: Metric, *, folds: int, seed: int, earlier: list[Trial]
) -> Strategy:
    """Return the strategy of a search."""
    if declared.strategy == "halving":
        drawn = draws(model, range(declared.trials), seed) if declared.trials else listed(model)
        distinct = list({identity(one): one for one in drawn}.values())
        return Halving(parameters=distinct, metric=metric, folds=folds, factor=declared.factor)
    if declared.strategy == "grid":
        return AllAtOnce(parameters=listed(model), folds=folds)
    if declared.strategy == "random" and declared.early_stopping is None:
        return AllAtOnce(parameters=draws(model, range(declared.trials or 0), seed), folds=folds)
    return Batches(model=model, declared=declared, metric=metric, folds=folds, seed=seed, earlier=earlier)


def draws(model: Model, numbers: range, seed: int) -> list[Parameters]:
    """Return random candidates; each depends on its number alone, not on how many are drawn with it."""
    import optuna

    return [
        suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=_seed(seed, number))).ask(), model)
        for number in numbers
    ]


def _told(model: Model, trial: Trial) -> optuna.trial.FrozenTrial | None:
    """Return a finished trial as Optuna learns from it; None where it failed or lies outside the space."""
    import optuna

    described = describe(model, trial.parameters)
    if described is None or trial.failed or trial.mean is None:
        return None
    told: dict[str, Any] = {"params": described[0], "distributions": described[1]}
    if trial.stopped_after is None:
        return optuna.trial.create_trial(value=trial.mean, **told)
    running = dict(enumerate(trial.running_means))
    return optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED, intermediate_values=running, **told)


def _seed(seed: int, number: int) -> int:
    return int(digest_json([seed, number])[:8], 16)
