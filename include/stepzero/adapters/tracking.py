"""The tracking server (MLflow): one run per DAG run, one child run per trial, links both ways.

Explicit run ids through `MlflowClient`; no global run, no autolog. Everything may be published
twice, by two processes at once or after a kill in between: see `tracking_claims`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from stepzero.adapters.store import Store
from stepzero.adapters.tracking_claims import Found, claim
from stepzero.adapters.tracking_client import code_of, connect, explained
from stepzero.adapters.tracking_entities import (
    KEY,
    RESULT,
    RUN,
    STAGE,
    RunIdentity,
    batch_of,
    describe,
    identify,
    merge_records,
    quoted,
)
from stepzero.core.errors import StageError
from stepzero.core.stages import Record
from stepzero.spec.environment import Tracking as TrackingSettings
from stepzero.spec.plan import Champion, Plan

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from stepzero.adapters.registry import ModelRegistry

ENDED = {"success": "FINISHED", "failed": "FAILED"}
"""Airflow's words for the end of a run, beside MLflow's own."""
_MOST_RUNS = 10_000
_LOOKS = 5
_SOMEBODY_WAS_QUICKER = (
    "UNIQUE constraint failed",  # SQLite
    "duplicate key value",  # PostgreSQL
    "Duplicate entry",  # MySQL
    "Changing param values is not allowed",
)
"""What MLflow says when another stage wrote the same parameter between our look and our writing."""
Answer = TypeVar("Answer")


class Tracking:
    """Show runs, trials and models in MLflow, and find them again.

    Args:
        settings: The environment's `tracking` section.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self.settings = settings
        self._experiments: dict[str, str] = {}

    @cached_property
    def client(self) -> MlflowClient:
        """The client; made at first use, after the server answered."""
        return connect(self.settings.uri)

    @cached_property
    def registry(self) -> ModelRegistry:
        """The model registry of the same server."""
        from stepzero.adapters.registry import ModelRegistry

        return ModelRegistry(self)

    def ask(self, doing: str, call: Callable[[MlflowClient], Answer]) -> Answer:
        """Ask the server; its errors become ours.

        Raises:
            ServiceError: The server does not answer; a retry helps.
            StageError: The server refused.
        """
        client = self.client
        with explained(self.settings.uri, doing):
            return call(client)

    def publish(self, plan: Plan, stage: str, records: Sequence[Record], store: Store, folder: str) -> str:
        """Show a committed result, and return the id of the run's MLflow run.

        Args:
            plan: Names the run.
            stage: Stage that produced the records.
            records: What to show; ``trial`` records become child runs.
            store: Holds the files, and decides between two publishers.
            folder: The stage's output folder, which `Record.files` are relative to.
        """
        identity = identify(plan)
        parent = self.parent(identity, store)
        shown = merge_records([record for record in records if record.scope == "run"])
        self._show(parent, shown, store, folder)
        trials = {record.key: record for record in records if record.scope == "trial"}
        if trials:
            self._publish_trials(identity, parent, stage, trials, store, folder)
        return parent

    def parent(self, identity: RunIdentity, store: Store) -> str:
        """Return the id of the MLflow run of a DAG run; made if it is missing."""
        experiment = self.experiment(identity.use_case)
        wanted = f"tags.`{RUN}` = {quoted(identity.run)}"

        def create(_: str) -> str:
            return self._create_run(experiment, identity.run, identity.started, describe(identity))

        claimed = claim(
            store,
            f"{identity.folder}/tracking/{self._server}",
            [identity.run],
            find=lambda: {identity.run: [run.info.run_id for run in self._search(experiment, wanted)]},
            create=create,
            delete=self._delete_run,
        )
        return claimed[identity.run]

    def finish(self, plan: Plan, status: str, sentence: str, store: Store) -> str:
        """End the MLflow run of a DAG run and say its outcome in one sentence; return its id.

        Args:
            plan: Names the run.
            status: ``FINISHED``, ``FAILED`` or ``KILLED``, or Airflow's ``success`` or ``failed``.
            sentence: What a person reads first.
            store: Decides between two that publish at once.
        """
        identity = identify(plan)
        run_id = self.parent(identity, store)
        ended = ENDED.get(status, status)
        tags = describe(identity, sentence) | {"stepzero.outcome": sentence}
        self.ask("ending a run", lambda client: client.log_batch(run_id, tags=batch_of(tags=tags).tags))
        self._end(run_id, ended)
        return run_id

    def champion(self, use_case: str) -> Champion | None:
        """Return the version that serves now, or None before the first."""
        return self.registry.champion(use_case)

    def sweep(self, use_case: str, *, alive: Collection[str] = (), older_than_hours: float = 24) -> int:
        """End runs that a killed client left RUNNING; return how many.

        Args:
            use_case: Whose experiment is looked at.
            alive: Runs (by the orchestrator's name) that still go on.
            older_than_hours: Younger runs are left alone.
        """
        experiment = self.experiment(use_case)
        before = int((time.time() - older_than_hours * 3600) * 1000)
        wanted = f"attributes.status = 'RUNNING' and attributes.start_time < {before}"
        runs = self.ask("looking for lost runs", lambda client: client.search_runs([experiment], wanted))
        lost = [run.info.run_id for run in runs if run.data.tags.get(RUN) not in set(alive)]
        for run_id in lost:
            self._end(run_id, "KILLED")
        return len(lost)

    def experiment(self, use_case: str) -> str:
        """Return the id of a use case's experiment; made if it is missing."""
        name = self.settings.experiment or use_case
        if name not in self._experiments:
            self._experiments[name] = self.ask("finding the experiment", lambda client: _experiment(client, name))
        return self._experiments[name]

    def link_experiment(self, use_case: str) -> str:
        """Return the address of a use case's runs."""
        return f"{self.settings.base}/#/experiments/{self.experiment(use_case)}/runs?workflowType=machine_learning"

    def link_run(self, use_case: str, run_id: str) -> str:
        """Return the address of a run."""
        experiment = self.experiment(use_case)
        return f"{self.settings.base}/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"

    def link_version(self, name: str, version: str) -> str:
        """Return the address of a registered version."""
        return f"{self.settings.base}/#/models/{quote(name)}/versions/{version}?workflowType=machine_learning"

    @property
    def _server(self) -> str:
        """A folder name for claims on this server: another server has runs of its own."""
        from stepzero.core.digests import digest_text

        return digest_text(self.settings.uri)[:8]

    def _publish_trials(
        self, identity: RunIdentity, parent: str, stage: str, trials: dict[str, Record], store: Store, folder: str
    ) -> None:
        experiment = self.experiment(identity.use_case)
        shared = {"mlflow.parentRunId": parent, RESULT: folder, STAGE: stage}

        def find() -> Found:
            found: dict[str, list[str]] = {}
            for run in self._search(experiment, f"tags.`{RESULT}` = {quoted(folder)}"):
                found.setdefault(run.data.tags.get(KEY, ""), []).append(run.info.run_id)
            return found

        def create(key: str) -> str:
            name = trials[key].name or key
            return self._create_run(experiment, name, identity.started, shared | {KEY: key})

        ids = claim(
            store,
            f"{folder}/tracking/{self._server}",
            sorted(trials),
            find=find,
            create=create,
            delete=self._delete_run,
        )
        for key, run_id in ids.items():
            self._show(run_id, trials[key], store, folder)
            status = "FAILED" if trials[key].tags.get("status") == "failed" else "FINISHED"
            self._end(run_id, status)

    def _show(self, run_id: str, record: Record, store: Store, folder: str) -> None:
        """Put a record's content on a run; what is there already is not put there again."""
        _log(self, run_id, record)
        if record.files:
            _upload(self, run_id, record.files, store, folder)

    def _create_run(self, experiment: str, name: str, started: int, tags: dict[str, str]) -> str:
        run = self.ask(
            "creating a run",
            lambda client: client.create_run(experiment, start_time=started, tags=tags, run_name=name),
        )
        return str(run.info.run_id)

    def _end(self, run_id: str, status: str) -> None:
        self.ask("ending a run", lambda client: client.set_terminated(run_id, status))

    def _delete_run(self, run_id: str) -> None:
        self.ask("deleting a run made twice", lambda client: client.delete_run(run_id))

    def _search(self, experiment: str, wanted: str) -> list[Any]:
        order = ["attributes.start_time ASC", "attributes.run_id ASC"]
        return list(
            self.ask(
                "looking for runs",
                lambda client: client.search_runs([experiment], wanted, max_results=_MOST_RUNS, order_by=order),
            )
        )


def _log(tracking: Tracking, run_id: str, record: Record) -> None:
    """Write what a run does not have yet; look again where another stage wrote the same at that moment."""
    for look in range(1, _LOOKS + 1):
        try:
            _log_once(tracking, run_id, record)
        except StageError as error:
            if look == _LOOKS or not any(sign in str(error.__cause__) for sign in _SOMEBODY_WAS_QUICKER):
                raise
        else:
            return


def _log_once(tracking: Tracking, run_id: str, record: Record) -> None:
    data = tracking.ask("reading a run", lambda client: client.get_run(run_id)).data
    batch = batch_of(parameters=record.parameters, metrics=record.metrics, tags=record.tags, seen=data)
    if not batch.is_empty:
        tracking.ask(
            "logging a run",
            lambda client: client.log_batch(
                run_id, metrics=batch.metrics, params=batch.parameters, tags=batch.tags, synchronous=True
            ),
        )


def _upload(tracking: Tracking, run_id: str, files: dict[str, str], store: Store, folder: str) -> None:
    with tempfile.TemporaryDirectory(prefix="stepzero-tracking-") as local:
        for shown, stored in files.items():
            target = Path(local) / shown
            target.parent.mkdir(parents=True, exist_ok=True)
            store.download(f"{folder}/{stored}", target)
        tracking.ask("uploading files of a run", lambda client: client.log_artifacts(run_id, local))


def _experiment(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import RestException

    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name, tags={"mlflow.experimentKind": "custom_model_development"}))
    except RestException as error:
        if code_of(error) != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(name).experiment_id)
