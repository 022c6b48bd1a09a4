"""Trials as records for the tracking server: what was tried, how it did, what it cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepzero.core.digests import digest_json
from stepzero.core.stages import Record
from stepzero.learning.cost import money
from stepzero.learning.search import Search
from stepzero.learning.trial import Trial
from stepzero.spec.environment import MachineType

LONGEST_REASON = 500
NO_PRICE = "not stated: the environment file names no machine with a price for this stage"


def trial_records(found: Search, identity: dict[str, Any], price: MachineType | None = None) -> tuple[Record, ...]:
    """Return one record a trial; its key says what was computed, so that it is shown once.

    Args:
        found: All trials of a search.
        identity: What makes the search what it is: digests of rows and folds, sampler, model, metric, seed.
        price: What an hour of the machine costs, where that is declared.
    """
    keys = [digest_json({**identity, "parameters": _words(trial)}) for trial in found.trials]
    own = {key: index for index, key in reversed(list(enumerate(keys))) if not found.trials[index].earlier}
    return tuple(_record(found, index, keys, identity, price) for index in sorted(own.values()))


def _record(found: Search, index: int, keys: list[str], identity: dict[str, Any], price: MachineType | None) -> Record:
    trial, words = found.trials[index], _words(found.trials[index])
    cell = {"sampler": str(identity["sampler"]), "model": str(identity["model"])}
    return Record(
        scope="trial",
        key=keys[index],
        name=" ".join([*cell.values(), *(f"{name}={value}" for name, value in words.items())]),
        parameters={**cell, **words},
        metrics=_metrics(trial, str(identity["metric"]).replace(":", "."), price),
        tags={**cell, **_tags(trial, keys, price), **({"best": "true"} if index == found.best else {})},
    )


def _words(trial: Trial) -> dict[str, str]:
    return {name: str(value) for name, value in trial.parameters.items()}


def _tags(trial: Trial, keys: list[str], price: MachineType | None) -> dict[str, str]:
    tags = {"architecture": trial.architecture} if trial.architecture else {}
    if trial.shares_fit_of is not None:
        tags["shares_fit_of"] = keys[trial.shares_fit_of]
    else:
        tags["currency" if price else "cost"] = price.currency if price else NO_PRICE
    if trial.failed:
        tags["failed"] = trial.failed[:LONGEST_REASON]
    if trial.stopped_after is not None:
        tags["stopped_after"] = f"{trial.stopped_after} folds"
    if trial.attempt > 1:
        tags["attempt"] = f"{trial.attempt}: a worker was lost with each before"
    return tags


def _metrics(trial: Trial, name: str, price: MachineType | None) -> dict[str, float]:
    told = {f"fold_{number}.{name}": score for number, score in enumerate(trial.fold_scores)}
    told |= {"seconds": round(trial.cost.seconds, 3), "cpu_seconds": round(trial.cost.cpu_seconds, 3)}
    if trial.cost.peak_memory_mb is not None:
        told["peak_memory_mb"] = trial.cost.peak_memory_mb
    if price and price.price_per_hour and trial.shares_fit_of is None:
        told["cost"] = money(trial.cost.seconds, price.price_per_hour)
    if trial.mean is not None and trial.stopped_after is None:
        told |= {name: trial.mean, f"{name}.std": float(np.std(trial.fold_scores))}
    return told
