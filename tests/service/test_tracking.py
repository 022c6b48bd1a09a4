"""Runs and trials in MLflow: once, whoever publishes, however often, and clearly told when nobody answers."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from mlflow.exceptions import RestException

from stepzero.adapters.store import Store
from stepzero.adapters.tracking import Tracking
from stepzero.core.errors import ServiceError
from stepzero.core.stages import Record
from stepzero.core.verdict import Outcome, Verdict
from stepzero.measures.quality import Counts, Finding
from stepzero.spec.environment import Tracking as TrackingSettings
from stepzero.spec.plan import Plan
from stepzero.stages import quality
from stepzero.stages.quality_page import Batch, report_page
from stepzero_airflow.links.report import report_address
from support.champions import World
from support.stack import free_port

pytestmark = pytest.mark.service

FOLDER = "results/tried/tune/key/tries/1"


def records(number: int = 6) -> list[Record]:
    shown = Record(
        parameters={"folds": "5"},
        metrics={"rows": 600.0},
        tags={"stepzero.gate": "PASS"},
        files={"gate/report.md": "report.md"},
    )
    trials = [
        Record(
            scope="trial",
            key=f"smote.forest.{index}",
            name=f"forest {index}",
            parameters={"max_depth": str(index)},
            metrics={f"fold_{fold}.average_precision": 0.5 + fold / 100 for fold in range(3)}
            | {"average_precision": 0.51},
            tags={"stepzero.sampler": "smote"},
        )
        for index in range(number)
    ]
    return [shown, *trials]


def publish(world: World, plan: Plan, shown: list[Record] | None = None) -> str:
    world.store.write_text(f"{FOLDER}/report.md", "# Gate\n")
    tracking = Tracking(TrackingSettings(uri=world.tracking_uri))
    return tracking.publish(plan, "tune", shown or records(), world.store, FOLDER)


def runs(tracking: Tracking, name: str, wanted: str = "") -> list[Any]:
    return list(tracking.client.search_runs([tracking.experiment(name)], wanted, max_results=1000))


def test_a_request_loads_no_feature_store(world: World) -> None:
    asked = (
        "import sys; from stepzero.adapters.tracking_client import connect;"
        f" print(len(connect({world.tracking_uri!r}).search_experiments()) > 0, 'feast' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"], "a plug-in of Feast's costs seconds of every process"


def test_a_run_shows_what_was_published(world: World, tracking: Tracking) -> None:
    plan = world.plan("scheduled__2026-11-21T02:00:00+00:00")
    parent = publish(world, plan)
    run = tracking.client.get_run(parent)
    assert run.data.tags["stepzero.run"] == plan.run
    assert run.data.tags["stepzero.batch_digest"] == plan.batch.digest
    assert run.data.tags["mlflow.note.content"].startswith(f"[Airflow run]({plan.links['airflow']}) · ")
    assert (run.data.params["folds"], run.data.metrics["rows"]) == ("5", 600.0)
    assert [file.path for file in tracking.client.list_artifacts(parent, "gate")] == ["gate/report.md"]
    children = runs(tracking, world.name, f"tags.`mlflow.parentRunId` = '{parent}'")
    assert {child.info.run_name for child in children} == {f"forest {index}" for index in range(6)}
    assert {child.info.status for child in children} == {"FINISHED"}
    assert children[0].data.metrics["fold_2.average_precision"] == 0.52


def test_the_quality_page_is_a_file_of_the_run_and_the_tasks_link_leads_to_it(world: World, tracking: Tracking) -> None:
    finding = Finding(rule="size", column=None, observed="40 rows", bound="at least 50", passed=False)
    verdict = Verdict(outcome=Outcome.FAIL, subject="batch 2026-11-21", reasons=(finding.reason(),))
    batch = Batch(use_case=world.name, partition="2026-11-21", files=["a.csv"], rows=40, quarantined=0)
    made = report_page(batch, verdict, [finding], {})
    world.store.write_text(f"{FOLDER}/quality.html", made.decode())
    world.store.write_text(f"{FOLDER}/quality.png", "a picture")
    workspace = cast("Any", SimpleNamespace(parameters={}))
    record = quality._record(verdict, Counts(rows=40, quarantined=0), workspace)
    plan = world.plan("gated")
    run = Tracking(TrackingSettings(uri=world.tracking_uri)).publish(
        plan, "quality_gate", [record], world.store, FOLDER
    )
    assert "quality/quality.html" in [file.path for file in tracking.client.list_artifacts(run, "quality")]
    address = report_address(tracking.link_run(world.name, run))
    page, _, place = address.partition("#")
    found = re.fullmatch(r"/experiments/(\d+)/runs/(\w+)/artifacts/(.+)\?workflowType=machine_learning", place)
    assert found is not None, address
    shell = httpx.get(page, timeout=30)
    assert (shell.status_code, "MLflow" in shell.text) == (200, True), "the page that shows what the rest names"
    asked = {"run_uuid": found[2], "path": found[3]}
    shown = httpx.get(f"{page}get-artifact", params=asked, timeout=30)
    assert shown.status_code == 200
    assert shown.content == made
    assert tracking.client.get_run(found[2]).info.experiment_id == found[1]


def test_publishing_twice_changes_nothing(world: World, tracking: Tracking) -> None:
    plan = world.plan("twice")
    first, again = publish(world, plan), publish(world, plan)
    assert first == again
    found = runs(tracking, world.name)
    assert len(found) == 7
    assert len(tracking.client.get_metric_history(first, "rows")) == 1
    trial = next(run for run in found if run.info.run_id != first)
    assert len(tracking.client.get_metric_history(trial.info.run_id, "fold_0.average_precision")) == 1


def test_another_run_that_reuses_a_result_has_a_run_of_its_own(world: World, tracking: Tracking) -> None:
    first = publish(world, world.plan("one"))
    second = publish(world, world.plan("two"), records()[:1])
    assert first != second
    assert tracking.client.get_run(second).data.metrics["rows"] == 600.0
    assert len(runs(tracking, world.name)) == 8


def test_two_processes_at_once_make_one_run_and_one_child_per_trial(world: World, tracking: Tracking) -> None:
    plan = world.plan("at once")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=lambda: queue.put(publish(world, plan))) for _ in range(3)]
    for worker in workers:
        worker.start()
    told = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join(timeout=30)
    assert len(told) == 1
    assert len(runs(tracking, world.name)) == 7


@pytest.mark.parametrize("calls", [1, 3, 7])
def test_a_kill_in_between_and_a_retry_leave_no_second_run(
    world: World, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    from mlflow import MlflowClient

    plan, real, made = world.plan("killed"), MlflowClient.create_run, []

    class Killed(BaseException):
        pass

    def dying(*arguments: Any, **words: Any) -> Any:
        run = real(*arguments, **words)
        made.append(run)
        if len(made) == calls:
            raise Killed
        return run

    monkeypatch.setattr(MlflowClient, "create_run", dying)
    with pytest.raises(Killed):
        publish(world, plan)
    monkeypatch.undo()
    publish(world, plan)
    assert len(runs(tracking, world.name)) == 7


def test_a_run_deleted_by_a_person_is_made_again(world: World, tracking: Tracking) -> None:
    plan = world.plan("deleted")
    first = publish(world, plan)
    tracking.client.delete_run(first)
    assert publish(world, plan) != first
    assert len(runs(tracking, world.name, "tags.`stepzero.run` = 'deleted'")) == 1


def test_a_recomputed_value_is_shown_beside_the_first(world: World, tracking: Tracking) -> None:
    plan = world.plan("recomputed")
    parent = publish(world, plan)
    publish(world, plan, [Record(parameters={"folds": "3"}, metrics={"rows": 10.0})])
    data = tracking.client.get_run(parent).data
    assert (data.params["folds"], data.tags["stepzero.now.folds"], data.metrics["rows"]) == ("5", "3", 10.0)


def test_two_stages_that_write_one_parameter_at_once_both_go_on(world: World, tracking: Tracking) -> None:
    """SQLite refuses the second of two first writers, MLflow one who writes another value: looking again helps both."""
    parent = publish(world, world.plan("at once"))
    both, refused = threading.Barrier(2, timeout=60), []

    def show(number: int) -> None:
        mine = Tracking(TrackingSettings(uri=world.tracking_uri))
        client, log_batch = mine.client, mine.client.log_batch
        firsts = iter(range(10))

        def together(*arguments: Any, **words: Any) -> None:
            both.wait()
            try:
                log_batch(*arguments, **words)
            except RestException as error:
                refused.append(error)
                raise

        client.log_batch = lambda *a, **w: together(*a, **w) if next(firsts, None) is not None else log_batch(*a, **w)
        for turn in range(10):
            common = {f"both_{turn}": "1", f"each_{turn}": str(number)}
            mine._show(parent, Record(parameters=common), world.store, FOLDER)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(show, (1, 2)))
    data = tracking.client.get_run(parent).data
    assert refused, "nobody was in the way of the other: this test shows nothing"
    assert {data.params[f"both_{turn}"] for turn in range(10)} == {"1"}
    told = ({data.params[f"each_{turn}"], data.tags[f"stepzero.now.each_{turn}"]} for turn in range(10))
    assert all(values == {"1", "2"} for values in told)


@pytest.mark.parametrize(("status", "ended"), [("success", "FINISHED"), ("FAILED", "FAILED"), ("failed", "FAILED")])
def test_a_finished_run_says_its_outcome_first(world: World, tracking: Tracking, status: str, ended: str) -> None:
    plan = world.plan("ended")
    parent = tracking.finish(plan, status, "Version 3 serves.", world.store)
    run = tracking.client.get_run(parent)
    assert run.info.status == ended
    assert run.data.tags["mlflow.note.content"] == f"[Airflow run]({plan.links['airflow']}) · Version 3 serves."
    assert run.info.end_time > 0


def test_links_lead_to_the_machine_learning_pages(world: World, tracking: Tracking) -> None:
    experiment = tracking.experiment(world.name)
    assert tracking.link_run(world.name, "abc") == (
        f"{world.tracking_uri}/#/experiments/{experiment}/runs/abc?workflowType=machine_learning"
    )
    assert tracking.link_experiment(world.name).endswith(
        f"/#/experiments/{experiment}/runs?workflowType=machine_learning"
    )


def test_lost_runs_are_ended_and_living_ones_left_alone(world: World, tracking: Tracking) -> None:
    plan = world.plan("lost").model_copy(update={"as_of": "2026-11-01T00:00:00+00:00"})
    lost = publish(world, plan, records()[:1])
    alive = publish(world, plan.model_copy(update={"run": "alive"}), records()[:1])
    assert tracking.sweep(world.name, alive=["alive"]) == 1
    assert tracking.client.get_run(lost).info.status == "KILLED"
    assert tracking.client.get_run(alive).info.status == "RUNNING"


def test_a_server_that_is_down_is_told_within_seconds(world: World, store: Store) -> None:
    uri, plan = f"http://127.0.0.1:{free_port()}", world.plan("down")
    started = time.monotonic()
    with pytest.raises(ServiceError) as error:
        Tracking(TrackingSettings(uri=uri)).publish(plan, "tune", records(), store, FOLDER)
    assert time.monotonic() - started < 15
    assert str(error.value) == (
        f"tracking server {uri} while connecting: got no answer (connection refused). "
        "Allowed: a running MLflow server at the environment's tracking.uri. "
        "Do: start it (`bin/stepzero up`), then clear the task: nothing was lost"
    )
    assert error.value.retry
    assert error.value.exit_status == 75


def test_a_server_that_goes_down_in_the_middle_is_told_within_seconds(world: World, mlflow_url: str) -> None:
    tracking = Tracking(TrackingSettings(uri=mlflow_url))
    _ = tracking.client
    from mlflow import MlflowClient

    gone = f"http://127.0.0.1:{free_port()}"
    tracking.client = MlflowClient(tracking_uri=gone, registry_uri=gone)
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"while finding the experiment: got no answer \(connection refused\)"):
        tracking.experiment("anything")
    assert time.monotonic() - started < 15


def test_what_the_server_refuses_is_no_reason_to_try_again(world: World, tracking: Tracking) -> None:
    from stepzero.core.errors import StageError

    with pytest.raises(StageError) as error:
        tracking.ask("setting a tag", lambda client: client.set_tag("0" * 32, "a", "b"))
    assert not error.value.retry
    assert "while setting a tag" in str(error.value)
