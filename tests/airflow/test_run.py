"""Whole runs of the shipped DAG: what is launched, what is skipped, and what the run's note says.

Airflow runs every task for real (`dag.test`); the stages are played by a script.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowException

from stepzero.core.errors import ServiceError
from stepzero_airflow.hooks.airflow_api import AirflowApi
from support.scripted import MLFLOW, PEOPLE, SCRIPT, played, scripted_environment
from support.stack import ROOT, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepzero.adapters.store import Store

FORM = {"samplers": ["none", "smote"], "models": ["decision_tree", "xgboost"], "seed": 11, "window": "batch"}
ONE_CELL = FORM | {"samplers": ["smote"], "models": ["xgboost"]}
"""For what does not depend on how much is tried: half as many tasks."""
REGISTERED = {
    "outcome": "PASS",
    "summary": "credit_card_fraud version 3 registered",
    "values": {
        "version": "3",
        "champion": {"version": "2", "digest": "d"},
        "winner": {"sampler": "smote", "model": "xgboost", "metrics": {"f1": {"value": 0.8, "low": 0.7, "high": 0.9}}},
        "gates": {"promotion": "PASS: all gates."},
        "links": {"version": "http://mlflow/#/models/credit_card_fraud/versions/3"},
    },
}
APPROVED = {"outcome": "PASS", "summary": "version 3 was approved by the rule"}
DEPLOYED = {"outcome": "PASS", "summary": "version 3 of credit_card_fraud serves"}


@pytest.fixture(scope="module")
def api(api_server: str) -> AirflowApi:
    return AirflowApi(base=api_server, login="admin", password="secret")


def make_run(store: Store) -> Callable[..., Any]:
    """Return a function that runs the shipped DAG with a script for its stages."""
    from airflow.dag_processing.dagbag import DagBag

    store.write_text("landing/credit_card_fraud/a.csv", "Time\n1\n")

    def go(script: dict[str, Any], **form: Any) -> Any:
        good = {"register": REGISTERED, "approve": APPROVED, "deploy": DEPLOYED}
        store.write_json(SCRIPT, good | script)
        # Read anew each time, as every task does: a run leaves its form in the DAG object.
        bag = DagBag(str(ROOT / "dags" / "credit_card_fraud.py"))
        return bag.dags["credit_card_fraud"].test(run_conf=ONE_CELL | form)

    return go


@pytest.fixture
def run(api_server: str, environment: Store) -> Callable[..., Any]:
    """Run the DAG with a script for its stages; return the run."""
    return make_run(environment)


@pytest.fixture(scope="module")
def good(api_server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Store]:
    """A run in which everything goes well, and its store."""
    with pytest.MonkeyPatch.context() as patch:
        store = scripted_environment(tmp_path_factory.mktemp("good"), patch)
        gate = {"outcome": "QUARANTINE", "summary": "12 of 1000 rows are in quarantine"}
        return make_run(store)({"quality_gate": gate}, **FORM), store


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def note_of(api: AirflowApi, run: Any) -> str:
    return str(api._ask("GET", f"/dags/{run.dag_id}/dagRuns/{run.run_id}")["note"])


def test_good_run_deploys_and_says_so(good: tuple[Any, Store], api: AirflowApi) -> None:
    ended, environment = good
    assert ended.state == "success"
    assert states(ended) | {"approve.person": "skipped"} == states(ended)
    launched = [stage for stage, _ in played(environment)]
    assert launched[:2] == ["plan", "quality_gate"]
    assert set(launched[2:4]) == {"batch_skew", "prepare"}, "the batch is looked at beside its preparation"
    assert [launched.count(stage) for stage in ("resample", "tune", "evaluate", "deploy", "report")] == [2, 4, 1, 1, 1]
    note = note_of(api, ended)
    assert note.startswith("Deployed: version 3 of credit_card_fraud serves")
    assert "12 of 1000 rows are in quarantine" in note
    assert f"[MLflow run]({MLFLOW})" in note


def test_form_reaches_the_plan_and_the_cells(good: tuple[Any, Store]) -> None:
    ended, environment = good
    options = dict(played(environment))
    assert json.loads(options["plan"]["--form"]) == FORM
    assert json.loads(options["plan"]["--uris"]) == ["landing/credit_card_fraud/a.csv"]
    assert "--partition" not in options["plan"]
    assert options["plan"]["--as-of"] == ended.run_after.isoformat()
    run = f"{PEOPLE}/dags/credit_card_fraud/runs/{ended.run_id.split('T')[0]}"
    assert json.loads(options["plan"]["--links"])["airflow"].startswith(run)
    tuned = {given["--label"]: given for stage, given in played(environment) if stage == "tune"}
    assert sorted(tuned) == ["none.decision_tree", "none.xgboost", "smote.decision_tree", "smote.xgboost"]
    for label, given in tuned.items():
        resampled = environment.read_json(json.loads(given["--inputs"])["resampled"]["uri"])
        assert resampled["options"]["--label"] == label.split(".")[0]
    assert len(json.loads(options["evaluate"]["--inputs"])["tuned"]) == 4
    assert options["approve"]["--parameters"] == '{"decision": "rule"}'


def test_xcoms_stay_small(good: tuple[Any, Store]) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    ended, _ = good
    with create_session() as session:
        found = session.query(XComModel.task_id, XComModel.key, XComModel.value).filter_by(run_id=ended.run_id).all()
    assert len(found) > 20
    for task, key, value in found:
        assert len(json.dumps(value)) < 2_000, (task, key)


def test_mapped_tasks_are_named_after_what_they_try(good: tuple[Any, Store]) -> None:
    names = {ti.rendered_map_index for ti in good[0].get_task_instances() if ti.task_id == "train.tune"}
    assert "smote · xgboost" in names


def test_refused_batch_stops_everything(run: Any, environment: Store, api: AirflowApi) -> None:
    ended = run({"quality_gate": {"status": 10, "outcome": "FAIL", "summary": "size: observed 10, allowed 1000"}})
    assert ended.state == "failed"
    after = {
        name: state for name, state in states(ended).items() if name.split(".")[0] not in {"arrival", "quality_gate"}
    }
    assert after.pop("report") == "failed", "red like its run, so that clearing what failed writes the note anew"
    assert set(after.values()) == {"upstream_failed"}
    assert [stage for stage, _ in played(environment)] == ["plan", "quality_gate", "report"]
    assert note_of(api, ended).startswith("Failed at the gate: FAIL: size: observed 10, allowed 1000.")


def test_predictions_that_break_a_rule_are_registered_by_nobody(run: Any, environment: Store, api: AirflowApi) -> None:
    said = "predictions of smote × xgboost, 5603 rows, 0 bad: mean of prediction: observed 0.4"
    ended = run({"check_predictions": {"status": 10, "outcome": "FAIL", "summary": said}})
    assert ended.state == "failed"
    launched = [stage for stage, _ in played(environment)]
    assert {"evaluate", "check_predictions"} < set(launched)
    assert not {"register", "approve", "deploy"} & set(launched)
    assert {states(ended)[name] for name in ("register", "approve.record", "deploy")} == {"upstream_failed"}
    assert note_of(api, ended).startswith(f"Not promoted: FAIL: {said}")


def test_worse_challenger_leaves_the_champion_and_the_run_green(run: Any, environment: Store, api: AirflowApi) -> None:
    ended = run({"register": {"status": 10, "outcome": "FAIL", "summary": "version 3: worse than version 2"}})
    assert ended.state == "success"
    assert {states(ended)[name] for name in ("approve.person", "approve.record", "deploy")} == {"skipped"}
    assert "approve" not in dict(played(environment))
    assert note_of(api, ended).startswith("Not better than the champion: version 3: worse than version 2")


def test_error_is_told_once_and_not_tried_again(run: Any, environment: Store, api: AirflowApi) -> None:
    error = {"message": "column Amount: got text. Allowed: double. Do: land it again", "retry": False}
    ended = run({"prepare": {"status": 1, "error": error}})
    assert ended.state == "failed"
    assert [stage for stage, _ in played(environment)].count("prepare") == 1
    assert note_of(api, ended).startswith("Error in prepare: column Amount: got text.")


def test_task_ended_from_outside_is_told(run: Any, api: AirflowApi) -> None:
    ended = run({"explore": {"status": 137}})
    assert ended.state == "failed"
    assert states(ended)["deploy"] == "success"
    assert note_of(api, ended).startswith("Error in explore: stage explore ended without a word: exit status 137")


def test_named_batch_that_never_landed_is_an_error_of_the_plan(run: Any, api: AirflowApi) -> None:
    ended = run({}, batch="nowhere.csv")
    assert ended.state == "failed"
    assert "form.batch: got 'nowhere.csv'" in note_of(api, ended)


def answer(api: AirflowApi, reply: Callable[[AirflowApi, dict[str, Any]], None]) -> threading.Thread:
    """Answer the next approval from beside the run, as a person does."""

    def wait() -> None:
        for _ in range(240):
            found = api.waiting_approvals("credit_card_fraud", "approve.person")
            if found:
                reply(api, found[0])
                return
            threading.Event().wait(0.25)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_person_sees_what_is_approved_and_says_yes(
    run: Any, environment: Store, api: AirflowApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    seen: list[dict[str, Any]] = []

    def approve(api: AirflowApi, found: dict[str, Any]) -> None:
        seen.append(found)
        assert api.answer(found["task_instance"], "Approve", "looks right")
        assert not api.answer(found["task_instance"], "Reject", "too late")

    thread = answer(api, approve)
    ended = run({"evaluate": {"summary": "smote × xgboost wins"}}, approval="person")
    thread.join(timeout=5)
    assert ended.state == "success"
    assert seen[0]["subject"] == "May version 3 of credit_card_fraud serve?"
    assert f"A person is asked: May version 3 of credit_card_fraud serve? · Answer: {PEOPLE}/dags/" in caplog.text
    for words in (
        "| Champion now | version 2 |",
        r"0.800 \(0.700 to 0.900\)",
        MLFLOW,
        "versions/3",
        "smote × xgboost wins",
    ):
        assert words in seen[0]["body"]
    decision = json.loads(json.loads(dict(played(environment))["approve"]["--parameters"])["decision"])
    assert decision["chosen_options"] == ["Approve"]
    assert decision["params_input"] == {"reason": "looks right"}
    assert decision["responded_by_user"]["id"] == "admin"
    assert decision["responded_at"]
    assert states(ended)["deploy"] == "success"


def test_rejection_ends_green_without_deployment(run: Any, environment: Store, api: AirflowApi) -> None:
    thread = answer(api, lambda api, found: api.answer(found["task_instance"], "Reject", "not today"))
    said = "version 3 was rejected by admin because not today"
    ended = run({"approve": {"status": 10, "outcome": "FAIL", "summary": said}}, approval="person")
    thread.join(timeout=5)
    assert ended.state == "success"
    assert states(ended)["approve.record"] == "success"
    assert states(ended)["deploy"] == "skipped"
    decision = json.loads(json.loads(dict(played(environment))["approve"]["--parameters"])["decision"])
    assert (decision["chosen_options"], decision["params_input"]) == (["Reject"], {"reason": "not today"})
    assert note_of(api, ended).startswith(f"Rejected: {said}")


def test_newer_challenger_ends_the_waiting_of_an_older_one(
    run: Any, environment: Store, api: AirflowApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime, timedelta
    from types import SimpleNamespace

    from stepzero_airflow.operators import approval

    monkeypatch.setattr(approval, "SETTLE_SECONDS", 0.5)
    superseded: list[str] = []
    log = SimpleNamespace(info=lambda *_: None)

    def newer(run_after: datetime) -> Any:
        ti = SimpleNamespace(dag_id="credit_card_fraud", run_id="newer", task=SimpleNamespace(log=log))
        return {"ti": ti, "dag_run": SimpleNamespace(run_after=run_after)}

    def supersede(api: AirflowApi, found: dict[str, Any]) -> None:
        older = newer(datetime.now(UTC) - timedelta(days=1))
        assert approval.supersede_older(api, older, "approve.person", "2") == []
        now = newer(datetime.now(UTC) + timedelta(seconds=1))
        superseded.extend(approval.supersede_older(api, now, "approve.person", "4"))

    thread = answer(api, supersede)
    refused = {"status": 10, "outcome": "FAIL", "summary": "version 3 was rejected because superseded by version 4"}
    ended = run({"approve": {**refused, "values": {"why": "superseded by version 4"}}}, approval="person")
    thread.join(timeout=5)
    assert superseded == [ended.run_id]
    decision = json.loads(json.loads(dict(played(environment))["approve"]["--parameters"])["decision"])
    assert decision["params_input"] == {"reason": "superseded by version 4"}
    assert note_of(api, ended).startswith("Superseded: version 3")


def test_champion_found_again_is_not_asked_about_and_without_a_connection_no_note_is_written(
    run: Any, environment: Store, api: AirflowApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_STEPZERO_AIRFLOW")
    again = REGISTERED | {"values": REGISTERED["values"] | {"unchanged": True}}  # type: ignore[operator]
    ended = run({"register": again}, approval="person")
    assert ended.state == "success"
    assert states(ended)["approve.person"] == "skipped"
    assert states(ended)["deploy"] == "success"
    assert note_of(api, ended) == "None", "and the run goes on"


def test_form_out_of_bounds_is_refused_by_the_server(api: AirflowApi, good: tuple[Any, Store]) -> None:
    with pytest.raises(ServiceError, match=r"400 .*folds"):
        api._ask("POST", "/dags/credit_card_fraud/dagRuns", {"logical_date": None, "conf": {"folds": 99}})


def test_silent_api_server_does_not_keep_mlflow_from_being_told(
    environment: Store, task_instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from stepzero_airflow.operators import report

    environment.write_json("runs/credit_card_fraud/manual__1/stages/plan/result.json", {"result": {}})
    monkeypatch.setenv("AIRFLOW_CONN_STEPZERO_AIRFLOW", f"http://admin:secret@127.0.0.1:{free_port()}")
    ending = report.Ending(outcome="deployed", sentence="Deployed: all.", good=True)
    monkeypatch.setattr(report, "find_ending", lambda *_: ending)
    operator = report.ReportOperator(task_id="report", use_case="credit_card_fraud", plan_task="arrival.plan")
    context: Any = {"ti": task_instance, "run_id": "manual__1", "dag": SimpleNamespace(dag_id="credit_card_fraud")}
    with pytest.raises(AirflowException, match=r"Airflow API server http://127\.0\.0\.1:\d+: got .*Connection refused"):
        operator.execute(context)
    ((stage, options),) = played(environment)
    assert stage == "report"
    assert json.loads(options["--parameters"])["sentence"] == "Deployed: all."
