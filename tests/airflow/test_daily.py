"""Daily partitions in Airflow: which day a run takes, how long it waits, and that a backfill never promotes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from stepzero_airflow.operators import plan as plan_module
from stepzero_airflow.operators.plan import is_late
from stepzero_airflow.sensors.batch import BatchSensor
from support.scripted import SCRIPT, played
from support.stack import ROOT

if TYPE_CHECKING:
    from stepzero.adapters.store import Store

PREFIX = "landing/simulated_transactions/"
DAY = timedelta(days=1)


def dag_run(run_type: str = "scheduled", *, start: datetime | None = datetime(2018, 5, 10, 2, tzinfo=UTC)) -> Any:
    end = start + DAY if start else None
    return SimpleNamespace(run_type=run_type, data_interval_start=start, data_interval_end=end, start_date=end)


def wait(run: Any) -> Any:
    sensor = BatchSensor(task_id="await_batch", use_case="simulated_transactions", prefix=PREFIX, daily=True)
    return sensor.execute({"dag_run": run, "params": {"batch": None}})  # type: ignore[arg-type]


def test_a_run_takes_its_day_and_no_other(environment: Store) -> None:
    for day in ("2018-05-09", "2018-05-10"):
        environment.write_text(f"{PREFIX}{day}/a.csv", "x")
    assert wait(dag_run()) == [f"{PREFIX}2018-05-10/a.csv"]
    assert wait(dag_run("backfill")) == [f"{PREFIX}2018-05-10/a.csv"]


def test_a_day_long_gone_is_looked_for_once_and_a_recent_one_is_waited_for(environment: Store) -> None:
    with pytest.raises(AirflowSkipException, match=r"nothing landed under .*2018-05-10/, and its day is long gone"):
        wait(dag_run())
    today = datetime.now(UTC) - DAY
    with pytest.raises(TaskDeferred) as deferred:
        wait(dag_run(start=today))
    trigger: Any = deferred.value.trigger
    assert trigger.prefix == f"{PREFIX}{today.date().isoformat()}/"
    assert 0 < trigger.wait_seconds <= 22 * 3600
    with pytest.raises(AirflowFailException, match="needs a data interval"):
        wait(dag_run(start=None))


def test_late_runs_are_backfills_by_whatever_name() -> None:
    def late(run: Any, after: timedelta = timedelta()) -> bool:
        run.start_date = run.data_interval_end + after
        return is_late({"dag_run": run})  # type: ignore[typeddict-item]

    assert late(dag_run("backfill"))
    assert not late(dag_run(), timedelta(hours=20))
    assert late(dag_run(), DAY)
    assert not late(dag_run("manual"), 10 * DAY), "a person may promote what a person asked for"


@pytest.fixture
def bag(airflow_database: Any) -> DagBag:
    return DagBag(str(ROOT / "dags" / "simulated_transactions.py"))


def test_the_shipped_file_has_a_run_for_each_missed_day(bag: DagBag) -> None:
    dag = bag.dags["simulated_transactions"]
    top = ["arrival", "quality_gate", "prepare", "train", "register", "approve", "report"]
    assert list(dag.task_group.children) == top
    assert dag.start_date == datetime(2018, 5, 6, tzinfo=UTC), "tasks of earlier backfills would not be made"
    assert dag.end_date is None, "tasks of later runs would not be made"
    assert _missed(dag, until=datetime(2018, 5, 8, 12, tzinfo=UTC)) == ["2018-05-05", "2018-05-06", "2018-05-07"]


def _missed(dag: Any, until: datetime) -> list[str]:
    """Return the days that Airflow makes up for where the DAG catches up."""
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
    bounds = TimeRestriction(pendulum.instance(dag.start_date), pendulum.instance(until), catchup=True)
    found: list[Any] = []
    while info := timetable.next_dagrun_info(
        last_automated_data_interval=found[-1].data_interval if found else None, restriction=bounds
    ):
        found.append(info)
    return [info.data_interval.start.date().isoformat() for info in found]


@pytest.mark.parametrize("late", [True, False])
def test_a_whole_backfill_is_evaluated_and_never_promoted(
    api_server: str, environment: Store, bag: DagBag, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    for day in ("2018-05-09", "2018-05-10"):
        environment.write_text(f"{PREFIX}{day}/a.csv", "x")
    verdict = {"outcome": "PASS", "summary": "tree × none has average precision 0.4"}
    approved = {"outcome": "PASS", "summary": "version 1 was approved by the rule"}
    registered = {
        "outcome": "PASS",
        "values": {"version": "1", "champion": None, "winner": {}, "gates": {}, "links": {}},
    }
    environment.write_json(SCRIPT, {"evaluate": verdict, "register": registered, "approve": approved})
    monkeypatch.setattr(plan_module, "is_late", lambda _: late)
    ended = bag.dags["simulated_transactions"].test(run_conf={"samplers": ["none"], "models": ["xgboost"]})
    assert ended.state == "success"
    launched = [stage for stage, _ in played(environment)]
    plan = environment.read_json(f"runs/simulated_transactions/{_folder(environment)}/plan.json")
    assert (plan["batch"]["partition"], [day["partition"] for day in plan["days"]]) == ("2018-05-10", ["2018-05-09"])
    assert plan["promotes"] is not late
    report = json.loads(dict(played(environment))["report"]["--parameters"])
    if late:
        assert "register" not in launched
        assert "approve" not in launched
        assert report["outcome"] == "evaluated"
        assert report["sentence"].startswith("Evaluated, and never promoted, as a backfill is: tree × none has average")
    else:
        assert {"register", "approve"} <= set(launched)
        assert report["outcome"] == "done"


def _folder(store: Store) -> str:
    (uri,) = [uri for uri in store.list("runs/simulated_transactions") if uri.endswith("/plan.json")]
    return uri.split("/")[2]
