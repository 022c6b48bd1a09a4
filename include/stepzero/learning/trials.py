"""Trials as records for the tracking server."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepzero.core.digests import digest_json
from stepzero.core.stages import Record
from stepzero.learning.search import Search, Trial

LONGEST_REASON = 500


def trial_records(found: Search, identity: dict[str, Any]) -> tuple[Record, ...]:
    """Return one record a trial; its key says what was computed, so that it is shown once.

    Args:
        found: All trials of a search.
        identity: What makes the search what it is: digests of rows and folds, sampler, model, metric, seed.
    """
    keys = [digest_json({**identity, "parameters": _words(trial)}) for trial in found.trials]
    return tuple(_record(found, index, keys, identity) for index in range(len(found.trials)))


def _record(found: Search, index: int, keys: list[str], identity: dict[str, Any]) -> Record:
    trial, words = found.trials[index], _words(found.trials[index])
    cell = {"sampler": str(identity["sampler"]), "model": str(identity["model"])}
    tags = dict(cell)
    if trial.shares_fit_of is not None:
        tags["shares_fit_of"] = keys[trial.shares_fit_of]
    if trial.failed:
        tags["failed"] = trial.failed[:LONGEST_REASON]
    if index == found.best:
        tags["best"] = "true"
    return Record(
        scope="trial",
        key=keys[index],
        name=" ".join([*cell.values(), *(f"{name}={value}" for name, value in words.items())]),
        parameters={**cell, **words},
        metrics=_metrics(trial, str(identity["metric"]).replace(":", ".")),
        tags=tags,
    )


def _words(trial: Trial) -> dict[str, str]:
    return {name: str(value) for name, value in trial.parameters.items()}


def _metrics(trial: Trial, name: str) -> dict[str, float]:
    told = {f"fold_{number}.{name}": score for number, score in enumerate(trial.fold_scores)}
    told["seconds"] = round(trial.seconds, 3)
    if trial.mean is not None:
        told |= {name: trial.mean, f"{name}.std": float(np.std(trial.fold_scores))}
    return told
