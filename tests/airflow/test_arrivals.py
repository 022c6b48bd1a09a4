"""The sensor and the trigger of arrivals: what they tell, what they claim, and what restarts cost."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from stepzero.adapters.arrivals import claimed_uris
from stepzero_airflow.sensors.arrival import ArrivalSensor
from stepzero_airflow.triggers.arrival import ArrivalTrigger, open_arrivals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stepzero.adapters.store import Store

PREFIX = "landing/abalone_age/"


def land(store: Store, name: str, text: str = "9 1:1\n") -> str:
    store.write_text(f"{PREFIX}{name}", text)
    return f"{PREFIX}{name}"


def trigger(store: Store, **settings: Any) -> ArrivalTrigger:
    return ArrivalTrigger(store.root, "abalone_age", PREFIX, **{"poll_seconds": 0.05, "wait_seconds": 10, **settings})


def sensor() -> ArrivalSensor:
    return ArrivalSensor(task_id="await_arrivals", use_case="abalone_age", prefix=PREFIX, settle_seconds=0.05)


def context(run: str, run_type: str = "asset_triggered", **params: Any) -> Any:
    return {"run_id": run, "dag_run": SimpleNamespace(run_type=run_type), "params": {"batch": None, **params}}


async def told(events: AsyncIterator[Any]) -> dict[str, Any]:
    return dict((await anext(events)).payload)


def test_the_trigger_is_stored_exactly() -> None:
    made = ArrivalTrigger("file:///store", "orders", "landing/orders/", 10, "http://queue", "aws", 60)
    path, arguments = made.serialize()
    assert path == "stepzero_airflow.triggers.arrival.ArrivalTrigger"
    again = ArrivalTrigger(**arguments)
    assert again.serialize() == (path, arguments)


def test_a_watcher_tells_each_arrival_once_and_goes_on(environment: Store) -> None:
    async def watch() -> list[dict[str, Any]]:
        events = aiter(trigger(environment, wait_seconds=3).run())
        first = [land(environment, f"{number}.libsvm", f"{number} 1:1\n") for number in range(50)]
        one = await told(events)
        assert (one["status"], one["count"], one["uris"]) == ("landed", 50, sorted(first)[:20])
        arrivals = open_arrivals(environment.root, "abalone_age", PREFIX)
        arrivals.claim("run-1", arrivals.fresh(arrivals.listing()).values())
        second = land(environment, "later.libsvm", "8 1:2\n")
        two = await told(events)
        assert (two["count"], two["uris"]) == (1, [second])
        return [one, two, await told(events)]

    assert asyncio.run(watch())[-1]["status"] == "nothing", "the same again is told to nobody"


def test_a_restarted_watcher_tells_what_no_run_has_claimed(environment: Store) -> None:
    uri = land(environment, "a.libsvm")
    for _ in range(2):
        assert asyncio.run(told(aiter(trigger(environment).run())))["uris"] == [uri], "not lost with the triggerer"
    assert sensor().execute(context("run-1")) == [uri]
    with pytest.raises(AirflowSkipException, match="claimed by other runs already"):
        sensor().execute(context("run-2"))
    assert asyncio.run(told(aiter(trigger(environment, wait_seconds=0.3).run())))["status"] == "nothing"


def test_markers_and_empty_files_start_nothing_and_are_said(
    environment: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    environment.write_text(f"{PREFIX}empty.libsvm", "")
    environment.write_text(f"{PREFIX}day_$folder$", "x")
    assert asyncio.run(told(aiter(trigger(environment, wait_seconds=0.3).run())))["status"] == "nothing"
    assert caplog.text.count("empty.libsvm is not taken: empty") == 1, "once, however often it looks"
    assert "day_$folder$ is not taken: a folder marker" in caplog.text


def test_a_file_that_grows_is_waited_for(environment: Store) -> None:
    arrivals, watcher = open_arrivals(environment.root, "abalone_age", PREFIX), trigger(environment)
    uri = land(environment, "a.libsvm")
    before = arrivals.listing()
    assert watcher._fresh(arrivals, None, before) is None, "one look says nothing"
    land(environment, "a.libsvm", "9 1:1\n8 1:2\n")
    now = arrivals.listing()
    assert watcher._fresh(arrivals, before, now) is None, "it changed between two looks"
    assert watcher._fresh(arrivals, now, arrivals.listing()) == [uri]
    assert watcher._fresh(arrivals, now, arrivals.listing()) == [], "told already"


def test_a_run_leaves_what_grows_while_it_looks(
    environment: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, growing = land(environment, "whole.libsvm"), land(environment, "growing.libsvm")
    between = SimpleNamespace(sleep=lambda _: land(environment, "growing.libsvm", "9 1:1\n8 1:2\n"))
    monkeypatch.setattr("stepzero_airflow.sensors.arrival.time", between)
    assert sensor().execute(context("run-1")) == [whole]
    assert f"{growing} is not taken: still being written" in capsys.readouterr().out
    monkeypatch.setattr("stepzero_airflow.sensors.arrival.time", time)
    assert sensor().execute(context("run-2")) == [growing], "the next run has it"


def test_a_run_by_hand_waits_and_then_claims(environment: Store) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        sensor().execute(context("manual__1", "manual"))
    assert isinstance(deferred.value.trigger, ArrivalTrigger)
    uri = land(environment, "a.libsvm")
    event = {"status": "landed", "uris": [uri], "count": 1}
    assert sensor().execute_complete(context("manual__1", "manual"), event) == [uri]
    assert claimed_uris(environment, "abalone_age", "manual__1") == [uri]
    with pytest.raises(AirflowSkipException, match="nothing landed"):
        sensor().execute_complete(context("manual__2", "manual"), {"status": "nothing", "uris": [], "count": 0})


def test_a_task_that_is_tried_again_finds_its_manifest(environment: Store) -> None:
    uri = land(environment, "a.libsvm")
    assert sensor().execute(context("run-1")) == [uri]
    land(environment, "b.libsvm", "8 1:2\n")
    assert sensor().execute(context("run-1")) == [uri], "what came later is another run's"


def test_a_named_batch_is_claimed_alone(environment: Store) -> None:
    land(environment, "a.libsvm")
    named = land(environment, "b.libsvm", "8 1:2\n")
    assert sensor().execute(context("manual__1", "manual", batch="b.libsvm")) == []
    assert claimed_uris(environment, "abalone_age", "manual__1") == [named]


def test_many_files_stay_out_of_xcom(environment: Store) -> None:
    landed = [land(environment, f"a-file-with-a-long-name-{number}.libsvm", f"{number} 1:1\n") for number in range(60)]
    assert sensor().execute(context("run-1")) == []
    assert claimed_uris(environment, "abalone_age", "run-1") == sorted(landed), "the plan reads the claims"
