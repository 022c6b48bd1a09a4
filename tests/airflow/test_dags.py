"""The shipped DAG files, as Airflow reads them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from support.stack import ROOT

TOP_LEVEL = [
    "arrival",
    "quality_gate",
    "prepare",
    "look",
    "train",
    "register",
    "approve",
    "deploy",
    "report",
]
UPSTREAM = {
    "arrival.await_batch": set(),
    "arrival.plan": {"arrival.await_batch"},
    "quality_gate": {"arrival.plan"},
    "prepare": {"quality_gate"},
    "explore": {"prepare"},
    "batch_skew": {"quality_gate"},
    "train.samplers": {"quality_gate"},
    "train.cells": {"quality_gate"},
    "train.resample": {"prepare", "train.samplers"},
    "train.tune": {"prepare", "train.cells", "train.resample"},
    "train.evaluate": {"prepare", "train.tune"},
    "train.baseline": {"prepare"},
    "train.reference": {"prepare", "train.evaluate"},
    "train.check_predictions": {"prepare", "train.evaluate"},
    "register": {
        "prepare",
        "quality_gate",
        "train.evaluate",
        "train.baseline",
        "train.reference",
        "train.check_predictions",
    },
    "approve.route": {"register"},
    "approve.person": {"register", "approve.route"},
    "approve.record": {"register", "approve.route", "approve.person"},
    "deploy": {"approve.record"},
    "report": {"explore", "batch_skew", "deploy"},
}


@pytest.fixture(scope="module")
def bag(airflow_database: Path) -> DagBag:
    return DagBag(str(ROOT / "dags"))


def read(name: str) -> Any:
    """Return the DAG of one file."""
    return DagBag(str(ROOT / "dags" / f"{name}.py")).dags[name]


@pytest.fixture(scope="module")
def fraud(bag: DagBag) -> Any:
    return bag.dags["credit_card_fraud"]


def test_every_file_is_read_and_says_whose_it_is(bag: DagBag) -> None:
    assert bag.import_errors == {}
    for dag in bag.dags.values():
        assert dag.doc_md, dag.dag_id
        assert dag.catchup is False, dag.dag_id
        assert "stepzero" in dag.tags, dag.dag_id
        assert dag.owner not in {"", "airflow", "nobody"}, dag.dag_id
        assert Path(dag.fileloc).is_relative_to(ROOT / "dags"), dag.fileloc
        for task in dag.tasks:
            assert task.retries >= 2, task.task_id


def test_files_are_short() -> None:
    for path in (ROOT / "dags").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path.name
    assert len((ROOT / "plugins" / "stepzero_plugin.py").read_text(encoding="utf-8").splitlines()) <= 40
    assert (ROOT / "plugins" / ".airflowignore").read_text(encoding="utf-8") == "stepzero_airflow/\n"


def test_graph_is_exactly_the_lifecycle(fraud: Any) -> None:
    assert {task.task_id: task.upstream_task_ids for task in fraud.tasks} == UPSTREAM
    assert list(fraud.task_group.children) == TOP_LEVEL
    assert all(len(name) <= 20 for name in TOP_LEVEL)


CLAIMS_TOP_LEVEL = [
    "arrival",
    "quality_gate",
    "features",
    "dataset",
    "train",
    "register",
    "approve",
    "deploy",
    "report",
]
BOTH_GATES = {"quality_gate.claims", "quality_gate.customers"}
CLAIMS_UPSTREAM = {
    "quality_gate.claims": {"arrival.plan"},
    "quality_gate.customers": {"arrival.plan"},
    "features.prepare_claims": BOTH_GATES,
    "features.prepare_customers": BOTH_GATES,
    "features.ingest_claims": {"features.prepare_claims"},
    "features.ingest_customers": {"features.prepare_customers"},
    "dataset.join_features": {"features.ingest_claims", "features.ingest_customers"},
    "dataset.prepare": {"dataset.join_features"},
    "dataset.explore": {"dataset.prepare"},
    "dataset.bias_before": {"dataset.prepare"},
    "train.cells": {"dataset.join_features", "dataset.bias_before"},
    "train.evaluate": {"dataset.prepare", "train.tune"},
    "train.bias_after": {"dataset.prepare", "train.evaluate"},
    "register": {
        "dataset.prepare",
        "dataset.bias_before",
        "train.evaluate",
        "train.baseline",
        "train.reference",
        "train.bias_after",
        *BOTH_GATES,
    },
    "features.publish_features": {"features.ingest_claims", "features.ingest_customers"},
    "deploy": {"approve.record", "features.publish_features"},
    "report": {"dataset.explore", "deploy"},
}


def test_golden_54_the_eight_steps_of_the_reference_and_what_it_lacked(bag: DagBag) -> None:
    """Its deployment waited for neither registration nor approval nor bias; here each of them gates the next."""
    claims = bag.dags["auto_claims_fraud"]
    assert list(claims.task_group.children) == CLAIMS_TOP_LEVEL
    found = {task.task_id: task.upstream_task_ids for task in claims.tasks}
    assert {name: found[name] for name in CLAIMS_UPSTREAM} == CLAIMS_UPSTREAM
    before_deploy = set(claims.task_dict["deploy"].get_flat_relative_ids(upstream=True))
    assert {"register", "approve.record", "train.bias_after", "dataset.bias_before", *BOTH_GATES} <= before_deploy
    assert not claims.task_dict["train.bias_after"].go_on


def test_golden_54_a_changed_parameter_changes_what_the_run_does(airflow_database: Path, tmp_path: Path) -> None:
    """The reference's steps read the defaults of its parameters, whatever a run was given."""
    from stepzero.adapters.store import Store
    from stepzero.execution.planning import PlanRequest, make_plan
    from stepzero.spec.environment import Environment

    store = Store(f"file://{tmp_path}")
    for table in ("claims", "customers"):
        store.write_text(f"landing/auto_claims_fraud/{table}/a.csv", "x")
    forms: list[dict[str, Any]] = [{}, {"models": ["xgboost"], "folds": 3, "approval": "person"}]
    one, other = (
        make_plan(
            PlanRequest(use_case="auto_claims_fraud", run="r", as_of="2026-11-21T00:00:00+00:00", form=form),
            store,
            Environment(name="local", store="file:///x", approval="rule"),
            None,
        )
        for form in forms
    )
    assert (len(one.cells()), one.approval) == (3, "rule")
    assert (other.cells(), other.approval) == ([{"sampler": "none", "model": "xgboost"}], "person")
    assert other.use_case.train is not None
    assert other.use_case.train.folds == 3


def test_schedule_has_a_real_day(fraud: Any) -> None:
    from datetime import timedelta

    assert fraud.timetable.expression == "0 2 * * *"
    assert fraud.timetable.interval == timedelta(days=1)


def test_several_runs_may_be_active_so_that_one_may_supersede_another(fraud: Any) -> None:
    assert fraud.max_active_runs == 4


def test_resources_come_from_the_environment(fraud: Any) -> None:
    pools = {task.task_id: task.pool for task in fraud.tasks if task.pool != "default_pool"}
    assert pools == {
        "quality_gate": "spark",
        "prepare": "spark",
        "batch_skew": "spark",
        "train.resample": "graviton",
        "train.tune": "graviton",
        "train.check_predictions": "spark",
    }


def test_queue_and_limits_come_from_the_environment(airflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPZERO_ENVIRONMENT", "aws")
    tasks = read("credit_card_fraud").task_dict
    tune = tasks["train.tune"].partial_kwargs
    assert (tune["queue"], tune["pool"], tune["retries"]) == ("graviton", "graviton", 3)
    assert tasks["deploy"].queue == "default"


def test_workers_share_a_search_as_the_same_task_several_times(
    airflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepzero_airflow.stages import cells

    environment = tmp_path / "shared.yaml"
    environment.write_text("name: shared\nstore: file:///x\nstages: {tune: {workers: 2}}\n")
    monkeypatch.setenv("STEPZERO_ENVIRONMENT", str(environment))
    task = read("credit_card_fraud").task_dict["train.cells"]
    assert task.op_args == ("arrival.plan", 2)
    named = {"samplers": ["none"], "cells": [{"sampler": "none", "model": "xgboost"}]}
    ti = SimpleNamespace(xcom_pull=lambda task_ids, key: named[key])
    first, second = cells.function(*task.op_args, ti=ti)
    assert first == second
    assert first["cell"] == "none.xgboost"


def test_joins_and_teardown(fraud: Any) -> None:
    rules = {task.task_id: task.trigger_rule.value for task in fraud.tasks if task.trigger_rule.value != "all_success"}
    assert rules == {"approve.record": "none_failed_min_one_success", "report": "all_done_setup_success"}
    report = fraud.task_dict["report"]
    assert report.is_teardown
    assert not report.on_failure_fail_dagrun


def test_approval_waits_as_long_as_declared_and_then_rejects(fraud: Any) -> None:
    person = fraud.task_dict["approve.person"]
    assert person.response_timeout.total_seconds() == 24 * 3600
    assert person.execution_timeout is None
    assert person.defaults == ["Reject"]
    assert person.options == ["Approve", "Reject"]
    assert list(person.params) == ["reason"]
    assert person.params["reason"] is None


def test_mapped_tasks_have_names(fraud: Any) -> None:
    for name in ("train.resample", "train.tune"):
        assert "task.parameters" in fraud.task_dict[name].partial_kwargs["map_index_template"]


def test_no_task_keeps_a_copy_of_the_form(fraud: Any, bag: DagBag) -> None:
    """Airflow would check each field of each copy whenever it reads or writes the DAG."""
    assert len(fraud.params) > 10
    for dag in bag.dags.values():
        if len(dag.tasks) > 1:
            assert [task.task_id for task in dag.tasks if set(task.params) & set(dag.params)] == [], dag.dag_id


def test_one_broken_file_breaks_its_dag_alone(airflow_database: Path, tmp_path: Path) -> None:
    broken = (ROOT / "include" / "usecases" / "credit_card_fraud.yaml").read_text(encoding="utf-8")
    (tmp_path / "broken.yaml").write_text(broken.replace("on_bad_rows: quarantine", "on_bad_row: quarantine"))
    (tmp_path / "fine.yaml").write_text(broken)
    source = (ROOT / "dags" / "credit_card_fraud.py").read_text(encoding="utf-8")
    for name in ("broken", "fine"):
        text = source.replace('use_case("credit_card_fraud")', f'use_case("{tmp_path / name}.yaml")')
        (tmp_path / f"{name}.py").write_text(
            text.replace("credit_card_fraud()", f"{name}()").replace("def credit_card_fraud", f"def {name}")
        )
    bag = DagBag(str(tmp_path))
    assert list(bag.dags) == ["fine"]
    (told,) = bag.import_errors.values()
    assert "broken.yaml:" in told
    assert "quality.on_bad_row" in told
    assert "did you mean 'on_bad_rows'?" in told


def test_plugin_registers_its_link(airflow_database: Path) -> None:
    from airflow import plugins_manager

    plugins, errors = plugins_manager._get_plugins()
    assert errors == {}
    (ours,) = [plugin for plugin in plugins if plugin.name == "stepzero"]
    assert [link.name for link in ours.operator_extra_links] == ["MLflow run", "Quality report"]
