"""What the workers of one search share: a journal of finished trials, claims on those that are being worked on.

It lies beside the tries of a stage's key, so that tasks that share a search, a retry, and a worker that
outlived its task all meet there. A trial is noted once it is finished; nothing of it is done again. A claim
of a worker that is lost is taken over by the next who looks. What is noted depends on content only (costs
aside), so that two who did the same trial, whatever the reason, did no harm.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from stepzero.adapters.journal import open_study
from stepzero.adapters.presence import open_presence
from stepzero.adapters.store import Store
from stepzero.learning.cost import Cost
from stepzero.learning.space import Described
from stepzero.learning.trial import Trial
from stepzero.measures.checks import Floats

log = logging.getLogger("stepzero")

JOURNAL, CLAIMS, WORKERS, SCORES, HALVES = "journal", "claims", "workers", "scores", "halves"
_NOTED = ("fold_scores", "failed", "stopped_after", "attempt", "architecture", "pieces")


class SharedTrials:
    """The work state of one search.

    Args:
        store: Where it lies.
        folder: Its folder, the same for all who share it.
        greater_is_better: Direction of the metric, for whoever looks at the journal with Optuna.
    """

    def __init__(self, store: Store, folder: str, *, greater_is_better: bool) -> None:
        self._store, self._folder = store, folder
        self._study = open_study(store, f"{folder}/{JOURNAL}", greater_is_better=greater_is_better)
        self._presence = open_presence(store, f"{folder}/{WORKERS}")
        self._rounds: dict[int, dict[int, Trial]] = {}
        self._entries, self._waiting = 0, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._presence.close()

    def done(self, number: int) -> dict[int, Trial]:
        """Return the finished candidates of a round, by number; what was noted first counts.

        Their parameters are left to whoever asks: the strategy knows them.
        """
        for entry in self._study.get_trials(deepcopy=False)[self._entries :]:
            noted = self._rounds.setdefault(int(entry.user_attrs["round"]), {})
            noted.setdefault(int(entry.user_attrs["candidate"]), _read(entry.user_attrs["trial"]))
            self._entries += 1
        return dict(self._rounds.get(number, {}))

    def add(self, number: int, candidate: int, trial: Trial, described: Described | None) -> None:
        """Note a finished candidate of a round."""
        import optuna

        state = optuna.trial.TrialState.PRUNED if trial.stopped_after is not None else optuna.trial.TrialState.COMPLETE
        parameters, distributions = described or ({}, {})
        told = {"round": number, "candidate": candidate, "parameters": trial.parameters, "trial": _noted(trial)}
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.FAIL if trial.failed else state,
                value=None if trial.failed else trial.mean,
                params=parameters,
                distributions=distributions,
                intermediate_values=dict(enumerate(trial.running_means)),
                user_attrs={**told, "worker": self._presence.name},
            )
        )

    def claim(self, unit: str) -> int:
        """Take a piece of work that nobody living has; return which attempt at it this is, 0 where it is taken."""
        attempt = 1
        while True:
            uri = f"{self._folder}/{CLAIMS}/{unit}-{attempt}.json"
            if not self._store.exists(uri) and self._store.create(uri, {"worker": self._presence.name}):
                self._waiting = False
                return attempt
            worker = str(self._store.read_json(uri)["worker"])
            if self._presence.lives(worker):
                return 0
            log.warning("worker %s was lost with trial %s: its trial is done again", worker[:8], unit)
            attempt += 1

    def wait(self) -> None:
        """Let those who work on the last trials of a round go on for a moment."""
        if not self._waiting:
            log.info("waits for trials that other workers are at")
        self._waiting = True
        time.sleep(self._presence.poll_seconds)

    def save(self, unit: str, folds: int, trials: Mapping[int, Trial], scores: Mapping[int, Floats]) -> None:
        """Write down what is done of a piece of work, for whoever goes on with it when this worker is lost."""
        uri = self._write(f"{unit}-after-{folds}", np.stack([scores[member] for member in trials]))
        noted = {str(member): _noted(trial) for member, trial in trials.items()}
        self._store.write_json(f"{self._folder}/{HALVES}/{unit}.json", {"folds": folds, "scores": uri, "trials": noted})

    def go_on(self, unit: str, trials: Mapping[int, Trial], scores: Mapping[int, Floats]) -> int:
        """Take over what a lost worker did of a piece of work; return how many folds that is."""
        uri = f"{self._folder}/{HALVES}/{unit}.json"
        if not self._store.exists(uri):
            return 0
        saved = self._store.read_json(uri)
        for row, (member, noted) in zip(self._read(saved["scores"]), saved["trials"].items(), strict=True):
            done, trial = _read(noted), trials[int(member)]
            trial.fold_scores, trial.failed, trial.stopped_after = done.fold_scores, done.failed, done.stopped_after
            trial.cost = done.cost
            scores[int(member)][:] = row
        return int(saved["folds"])

    def keep(self, number: int, candidate: int, scores: Floats) -> str:
        """Write a candidate's scores of its validation rows; return where."""
        return self._write(f"{number}-{candidate}", scores)

    def kept(self, trial: Trial, rows: int) -> Floats:
        """Return a candidate's scores of all rows, as they were kept round by round."""
        found = np.full(rows, np.nan)
        for uri in trial.pieces:
            piece = self._read(uri)
            found = np.where(np.isnan(piece), found, piece)
        return found

    def _write(self, name: str, scores: Floats) -> str:
        packed = io.BytesIO()
        np.save(packed, scores, allow_pickle=False)
        uri = f"{self._folder}/{SCORES}/{name}-{self._presence.name}.npy"
        with self._store.open(uri, "wb") as stream:
            stream.write(packed.getvalue())
        return uri

    def _read(self, uri: str) -> Floats:
        with self._store.open(uri) as stream:
            return np.asarray(np.load(io.BytesIO(stream.read()), allow_pickle=False), dtype=np.float64)


def _noted(trial: Trial) -> dict[str, Any]:
    return {name: getattr(trial, name) for name in _NOTED} | {"cost": asdict(trial.cost)}


def _read(noted: dict[str, Any]) -> Trial:
    return Trial({}, cost=Cost(**noted["cost"]), **{name: noted[name] for name in _NOTED})
