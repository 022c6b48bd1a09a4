"""The watching DAG: its shape, its sensor, and whole runs through every branch, the stages played by a script."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import DagRunTriggerException, TaskDeferred

from stepzero.core.errors import SpecError
from stepzero.spec.plan import run_folder
from stepzero_airflow.operators.watch import FollowOperator, RetrainOperator, page_address
from stepzero_airflow.runs import watch_run
from stepzero_airflow.triggers.window import WindowTrigger
from support.scripted import SCRIPT, played
from support.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from stepzero.adapters.store import Store

MONITORS = ["data_quality", "data_drift", "prediction_drift", "model_quality", "attribution_drift"]
TOP_LEVEL = ["arrival", "monitors", "triage", "decision", "page", "watch", "retrain", "nothing", "report"]
RETRAIN = {
    "number": 1,
    "dag_run": "retrain__000001__2026-11-21T03:00:00+00:00",
    "why": "average_precision: observed 0.5, allowed 0.8",
    "form": {"reason": "the watch asked for it", "window": "recent", "recent_batches": 7},
}


def dag_of(name: str = "credit_card_fraud_watch") -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(ROOT / "dags" / f"{name}.py")).dags[name]


def test_graph_is_collect_monitors_triage_and_four_ends(airflow_database: Path) -> None:
    dag = dag_of()
    assert list(dag.task_group.children) == TOP_LEVEL
    tasks = dag.task_dict
    seen = [*MONITORS, "captured_skew"]
    for name in seen:
        assert tasks[f"monitors.{name}"].upstream_task_ids == {"monitors.collect_windows"}
        assert tasks[f"monitors.{name}"].go_on, "a monitor that fires is no failed task"
    assert tasks["triage"].upstream_task_ids == {"monitors.collect_windows", *(f"monitors.{name}" for name in seen)}
    assert tasks["decision"].downstream_task_ids == {"page", "watch", "retrain", "nothing"}
    assert tasks["report"].upstream_task_ids == {"page", "watch", "retrain", "nothing"}
    assert tasks["report"].is_teardown
    assert tasks["retrain"].training == "credit_card_fraud"
    assert (dag.max_active_runs, dag.timetable.expression) == (1, "0 3 * * *")
    assert dag.doc_md.startswith("Watch what the credit-card endpoint")


def test_a_use_case_that_watches_nothing_has_no_watching_dag(airflow_database: Path) -> None:
    from stepzero_airflow import use_case
    from stepzero_airflow.watch import watching_dag

    with pytest.raises(SpecError, match=r"simulated_transactions: monitors: got none. Allowed: a monitors section"):
        watching_dag(use_case("simulated_transactions"))


def test_a_watching_dag_has_the_monitors_that_its_use_case_declares(airflow_database: Path) -> None:
    claims, cards = dag_of("auto_claims_fraud_watch"), dag_of()
    monitors, others = (
        {name for name in dag.task_dict if name.startswith("monitors.")} - {"monitors.collect_windows"}
        for dag in (claims, cards)
    )
    assert monitors == {f"monitors.{name}" for name in (*MONITORS, "bias")}, "bias is watched where groups are declared"
    assert others == {f"monitors.{name}" for name in (*MONITORS, "captured_skew")}
    tasks = claims.task_dict
    assert list(claims.task_group.children) == TOP_LEVEL
    assert tasks["arrival.await_window"].use_case == "auto_claims_fraud"
    assert tasks["retrain"].training == "auto_claims_fraud"
    assert (claims.max_active_runs, claims.timetable.expression) == (1, "0 4 * * *")
    assert claims.doc_md.startswith("Watch what the claims endpoint")


def context_of(run_type: str, end: datetime) -> Any:
    return {"dag_run": SimpleNamespace(run_type=run_type, data_interval_end=end, run_after=end)}


def test_the_sensor_waits_on_the_triggerer_until_the_last_rows_are_written(
    airflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPZERO_ENVIRONMENT", "local")
    sensor = dag_of().task_dict["arrival.await_window"]
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    assert sensor.execute(context_of("scheduled", long_ago)) == "2026-01-01T00:00:40+00:00"
    soon = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context_of("scheduled", soon))
    until = (soon + timedelta(seconds=40)).isoformat()
    assert deferred.value.trigger.serialize()[1] == {"until": until}
    assert sensor.execute_complete({}, {"until": until}) == until
    claims = dag_of("auto_claims_fraud_watch").task_dict["arrival.await_window"]
    with pytest.raises(TaskDeferred) as other:
        claims.execute(context_of("scheduled", soon))
    assert type(other.value.trigger) is type(deferred.value.trigger) is WindowTrigger, "both wait on one triggerer"
    assert other.value.trigger.serialize()[1] == {"until": until}


def test_the_trigger_fires_when_the_time_is_over() -> None:
    async def fire() -> Any:
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        return (await anext(aiter(WindowTrigger(past).run()))).payload

    assert set(asyncio.run(fire())) == {"until"}


def test_several_use_cases_share_a_triggerer_and_each_fires_at_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    start = datetime(2026, 11, 21, tzinfo=UTC)
    moments = {name: start + timedelta(minutes=minutes) for name, minutes in (("a", 90), ("b", 5), ("c", 90.5))}
    clock, fired = _Clock(start), list[tuple[str, datetime]]()
    monkeypatch.setattr("stepzero_airflow.triggers.window.datetime", clock)
    monkeypatch.setattr("stepzero_airflow.triggers.window.asyncio.sleep", clock.sleep)

    async def wait(name: str) -> None:
        async for event in WindowTrigger(moments[name].isoformat()).run():
            assert event.payload == {"until": moments[name].isoformat()}
            fired.append((name, clock.moment))

    async def all_three() -> None:
        await asyncio.gather(*(wait(name) for name in moments))

    asyncio.run(all_three())
    assert fired == [("b", moments["b"]), ("a", moments["a"]), ("c", moments["c"])], "none waits for another"
    assert clock.longest == 60.0, "a clock that is set is noticed within a minute"


class _Clock:
    """A clock that goes on to the next moment that anybody waits for, once all do."""

    def __init__(self, moment: datetime) -> None:
        self.moment, self.longest = moment, 0.0
        self.waiting: list[tuple[datetime, int, asyncio.Future[None]]] = []

    def now(self, zone: Any) -> datetime:
        return self.moment.astimezone(zone)

    def fromisoformat(self, text: str) -> datetime:
        return datetime.fromisoformat(text)

    async def sleep(self, seconds: float) -> None:
        self.longest = max(self.longest, seconds)
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        self.waiting.append((self.moment + timedelta(seconds=seconds), len(self.waiting), over))
        loop.call_soon(loop.call_soon, self._go_on)
        await over

    def _go_on(self) -> None:
        """Let the next one go on; others that are due at the same moment follow one after the other."""
        self.waiting.sort(key=lambda one: one[:2])
        self.moment, _, over = self.waiting.pop(0)
        over.set_result(None)


def decided(store: Store, **values: Any) -> dict[str, Any]:
    uri = "results/triage.json"
    store.write_json(uri, {"values": values})
    return {"uri": uri, "summary": f"{values['action']}: because"}


def test_people_are_told_of_a_new_incident_only(
    environment: Store, task_instance: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    monkeypatch.setattr("stepzero_airflow.operators.watch.tell", lambda message, *_: told.append(message.text()))
    task_instance.pushed["arrival.plan.links"] = {"airflow": "http://air/run", "mlflow": "http://ml/#/runs/1?x=y"}
    for is_new in (True, False):
        seen = {"reasons": ["rows are gone"], "fired": ["data_quality"]}
        values = {"action": "page", "incident": 4, "tell": is_new, **seen}
        operator = FollowOperator(
            task_id="page",
            decided=decided(environment, **values),
            use_case="credit_card_fraud",
            plan_task="arrival.plan",
        )
        assert operator.execute({"ti": task_instance}) == "page: because"
    (text,) = told
    assert text.splitlines() == [
        "credit_card_fraud, incident 4: rows are gone",
        "Run: http://air/run",
        "Triage: http://ml/#/runs/1/artifacts/watch/triage.html?x=y",
        "Data quality: http://ml/#/runs/1/artifacts/watch/data_quality.html?x=y",
    ]
    assert page_address("", "triage") == ""


def test_a_retrain_is_triggered_under_the_name_that_the_triage_claimed(
    environment: Store, task_instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("stepzero_airflow.operators.watch.tell", lambda message, *_: told.append(message.sentence))
    operator = RetrainOperator(
        task_id="retrain",
        training="credit_card_fraud",
        decided=decided(environment, action="retrain", retrain=RETRAIN),
        use_case="credit_card_fraud",
        plan_task="arrival.plan",
    )
    with pytest.raises(DagRunTriggerException) as triggered:
        operator.execute({"ti": task_instance})
    asked = triggered.value
    assert (asked.trigger_dag_id, asked.dag_run_id) == ("credit_card_fraud", RETRAIN["dag_run"])
    assert asked.conf == RETRAIN["form"]
    assert asked.skip_when_already_exists
    assert not asked.reset_dag_run
    assert told == ["credit_card_fraud, retrain 1 begins: average_precision: observed 0.5, allowed 0.8"]


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


@pytest.mark.parametrize("action", ["page", "watch", "retrain", "nothing"])
def test_a_run_goes_the_way_that_the_triage_decided(
    api_server: str, environment: Store, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    late = action == "watch"
    monkeypatch.setattr("stepzero_airflow.operators.watch.is_late", lambda _: late)
    values = {"action": action, "reasons": ["because"], "incident": None, "tell": False, "retrain": RETRAIN}
    fired = {"status": 10, "outcome": "FAIL", "summary": "FAIL: a monitor fired"}
    script = {
        "watch_data_quality": fired,
        "watch_model_quality": {"outcome": "NOT YET", "summary": "NOT YET: labels"},
        "triage": {"outcome": "PASS", "summary": f"{action}: because", "values": values},
    }
    environment.write_json(SCRIPT, script)
    if action == "retrain":  # the DAG that is triggered must be known
        make_known("credit_card_fraud")
    run = dag_of().test(run_conf={"window_end": "2026-11-20T00:00+00:00"})
    assert run.state == "success"
    ends = {name: state for name, state in states(run).items() if name in {"page", "watch", "retrain", "nothing"}}
    assert ends == {
        name: "success" if name == action else "skipped" for name in ("page", "watch", "retrain", "nothing")
    }
    launched = dict(played(environment))
    assert launched["plan"]["--purpose"] == "watch"
    assert json.loads(launched["plan"]["--form"]) == {"window_end": "2026-11-20T00:00+00:00"}
    assert launched["plan"]["--run"] == watch_run(run.run_id), "not the name of a training run"
    assert set(json.loads(launched["triage"]["--inputs"])) == {"collected", *MONITORS, "captured_skew"}
    said = json.loads(launched["report"]["--parameters"])
    assert (said["outcome"], said["sentence"]) == (action, f"{action.capitalize()}: because")
    plan = environment.read_json(f"{run_folder('credit_card_fraud', watch_run(run.run_id))}/plan.json")
    assert plan["promotes"] is not late, "a backfill asks for no retrain"
    if action == "retrain":
        from airflow.models import DagRun

        (started,) = DagRun.find(dag_id="credit_card_fraud", run_id=RETRAIN["dag_run"])
        assert started.conf == RETRAIN["form"]


def make_known(name: str) -> None:
    """Make a shipped DAG known to Airflow's database, as its processor does."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(DagBag(str(ROOT / "dags" / f"{name}.py")), name, None)
