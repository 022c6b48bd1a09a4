"""What went into an MLflow run and what came out of it, in MLflow's own words: inputs and outputs of the run.

Data sets are named with their digests as inputs of the run; the logged model is its output. So MLflow's own pages
lead from a model to its data, and from a data set to the runs that took it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from stepzero.adapters.tracking import Tracking

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set that a run took."""

    name: str
    uri: str
    digest: str
    context: str
    """What for: ``training``, ``evaluation``, ``source``."""
    rows: int | None = None


def link_inputs(tracking: Tracking, run_id: str, taken: Sequence[DataSet]) -> None:
    """Name the data sets that a run took; again without effect where that was done before."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            dataset=Dataset(
                name=one.name,
                digest=one.digest,
                source_type="uri",
                source=json.dumps({"uri": one.uri}),
                profile=json.dumps({"num_rows": one.rows}) if one.rows is not None else None,
            ),
            tags=[InputTag("mlflow.data.context", one.context)],
        )
        for one in taken
    ]

    def missing(client: MlflowClient) -> list[DatasetInput]:
        known = client.get_run(run_id).inputs
        there = {(one.dataset.name, one.dataset.digest) for one in (known.dataset_inputs if known else [])}
        return [one for one in inputs if (one.dataset.name, one.dataset.digest) not in there]

    def link(client: MlflowClient, wanted: list[DatasetInput]) -> None:
        client.log_inputs(run_id, datasets=wanted)

    tracking.ask("linking data sets", lambda client: _linked(client, missing, link))


def link_output(tracking: Tracking, run_id: str, model_id: str) -> None:
    """Name a logged model as what a run produced; again without effect where that was done before."""
    from mlflow.entities import LoggedModelOutput

    def missing(client: MlflowClient) -> list[LoggedModelOutput]:
        known = client.get_run(run_id).outputs
        there = {one.model_id for one in (known.model_outputs if known else [])}
        return [] if model_id in there else [LoggedModelOutput(model_id=model_id, step=0)]

    def link(client: MlflowClient, wanted: list[LoggedModelOutput]) -> None:
        client.log_outputs(run_id, models=wanted)

    tracking.ask("linking a model", lambda client: _linked(client, missing, link))


def _linked(
    client: MlflowClient, missing: Callable[[MlflowClient], list[T]], link: Callable[[MlflowClient, list[T]], None]
) -> None:
    """Link what is missing; the server refuses what another process links at the same moment, and then it is there."""
    from mlflow.exceptions import RestException

    wanted = missing(client)
    if not wanted:
        return
    try:
        link(client, wanted)
    except RestException:
        if missing(client):
            raise
