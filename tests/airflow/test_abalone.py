"""The comparison through endpoints as Airflow runs it: branches, teardowns, and what is left when one fails."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from stepzero_airflow.hooks.airflow_api import AirflowApi
from support.rivals import Broken, Line, Rivals
from support.stack import ROOT

MODELS = ("xgboost", "least_absolute_deviations", "random_forest", "nearest_neighbours")


@pytest.fixture(scope="module")
def dag(airflow_database: Path) -> Any:
    return DagBag(str(ROOT / "dags" / "abalone_age.py")).dags["abalone_age"]


def test_the_graph_shows_branches_and_teardowns(dag: Any) -> None:
    top = list(dag.task_group.children)
    assert top == ["arrival", "quality_gate", "divide", "train", "compare", "register", "approve", "deploy", "report"]
    tasks = dag.task_dict
    for name in MODELS:
        lease, create, ask, remove = (tasks[f"compare.{name}.{step}"] for step in ("lease", "create", "ask", "remove"))
        assert lease.is_setup
        assert remove.is_teardown
        assert remove.on_failure_fail_dagrun
        assert remove.trigger_rule.value == "all_done_setup_success"
        assert {lease.task_id, ask.task_id} <= remove.upstream_task_ids
        assert lease.task_id in create.upstream_task_ids
        assert "train.evaluate" in lease.upstream_task_ids, "a leak ends the run before any endpoint"
        others = {other for other in MODELS if other != name}
        for task in (lease, create, ask, remove):
            assert not any(f".{other}." in upstream for upstream in task.upstream_task_ids for other in others), "apart"
    verdict = tasks["compare.verdict"]
    assert {f"compare.{name}.ask" for name in MODELS} <= verdict.upstream_task_ids
    assert verdict.trigger_rule.value == "none_failed_min_one_success", "a model that did not learn is no failure"
    assert "compare.verdict" in tasks["register"].upstream_task_ids
    assert "train.baseline" in tasks["register"].upstream_task_ids, "the version still knows its training rows"


def test_arrivals_start_it(dag: Any) -> None:
    (asset,) = dag.timetable.asset_condition.objects
    assert asset.name == "abalone_age_arrivals"
    (watcher,) = asset.watchers
    path, arguments = watcher.trigger.serialize()
    assert path == "stepzero_airflow.triggers.arrival.ArrivalTrigger"
    assert arguments["prefix"] == "landing/abalone_age/"
    assert arguments["wait_seconds"] is None, "it watches for ever"


@pytest.fixture
def rivals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rivals]:
    """A store in which all is given up to the tuned models, and an endpoint host on it."""
    made = Rivals(tmp_path)
    settings = {
        "name": "rivals",
        "store": made.store.root,
        "airflow": {"uri": f"http://127.0.0.1:{os.environ.get('STEPZERO_AIRFLOW_PORT', '8080')}"},
        "approval": "rule",
        "stages": {"default": {"launcher": "support.rivals_launcher:launch", "retry_delay_seconds": 0, "retries": 0}},
    }
    path = tmp_path / "environment.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    monkeypatch.setenv("STEPZERO_ENVIRONMENT", str(path))
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    made.host()
    yield made
    made.end()


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def note_of(api_server: str, run: Any) -> str:
    api = AirflowApi(base=api_server, login="admin", password="secret")
    return str(api._ask("GET", f"/dags/{run.dag_id}/dagRuns/{run.run_id}")["note"])


def test_one_branch_fails_others_did_not_learn_and_nothing_is_left(api_server: str, rivals: Rivals) -> None:
    rivals.give_whole_run(
        xgboost=Line(),
        least_absolute_deviations="fold 0: ValueError: no luck",
        random_forest="fold 0: ValueError: no luck",
        nearest_neighbours=Broken(),
    )
    run = DagBag(str(ROOT / "dags" / "abalone_age.py")).dags["abalone_age"].test()
    found = states(run)
    assert run.state == "failed"
    steps = {
        name: [found[f"compare.{name}.{step}"] for step in ("lease", "create", "ask", "remove")] for name in MODELS
    }
    assert steps == {
        "xgboost": ["success"] * 4,
        "least_absolute_deviations": ["success", "skipped", "skipped", "skipped"],
        "random_forest": ["success", "skipped", "skipped", "skipped"],
        "nearest_neighbours": ["success", "success", "failed", "success"],
    }
    assert found["compare.verdict"] == found["register"] == found["deploy"] == "upstream_failed"
    assert rivals.left() == {"processes": [], "leases": [], "files": []}
    assert note_of(api_server, run).startswith("Error in compare.nearest_neighbours.ask: predictions at")


def test_a_good_run_says_who_won_and_how_sure_that_is(api_server: str, rivals: Rivals) -> None:
    rivals.give_whole_run(
        xgboost=rivals.fitted(),
        least_absolute_deviations="fold 0: ValueError: no luck",
        random_forest=Line(90.0),
        nearest_neighbours="fold 0: ValueError: no luck",
    )
    run = DagBag(str(ROOT / "dags" / "abalone_age.py")).dags["abalone_age"].test()
    found, note = states(run), note_of(api_server, run)
    assert run.state == "success", note
    assert found["compare.verdict"] == found["deploy"] == "success"
    assert note.startswith("Deployed: xgboost wins by RMSE on"), "who won is in the line that the run's page shows"
    assert "version 1 of abalone_age serves" in note
    assert "is worse by" in note
    assert "[+" in note, "with an interval"
    assert rivals.left() == {"processes": [], "leases": [], "files": []}
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        xcoms = session.query(XComModel.task_id, XComModel.value).filter_by(run_id=run.run_id).all()
    assert all(len(json.dumps(value)) < 2_000 for _, value in xcoms)
