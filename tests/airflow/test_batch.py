"""Waiting for a batch: what counts as landed, when the trigger fires, who waits at all."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from stepzero_airflow.sensors.batch import BatchSensor
from stepzero_airflow.triggers.batch import BatchTrigger

if TYPE_CHECKING:
    from stepzero.adapters.store import Store

PREFIX = "landing/credit_card_fraud/"


def make_trigger(store: Store, wait_seconds: float = 5) -> BatchTrigger:
    return BatchTrigger(store.root, "credit_card_fraud", PREFIX, poll_seconds=0.05, wait_seconds=wait_seconds)


async def fire(trigger: BatchTrigger) -> dict[str, Any]:
    return dict((await anext(aiter(trigger.run()))).payload)


def make_context(run_type: str, **params: Any) -> Any:
    return {"dag_run": SimpleNamespace(run_type=run_type), "params": {"batch": None, **params}}


@pytest.fixture
def sensor() -> BatchSensor:
    return BatchSensor(task_id="await_batch", use_case="credit_card_fraud", prefix=PREFIX, wait_hours=22)


def accept_all(store: Store) -> None:
    from stepzero.adapters.ledger import Accepted, accept, landed_uris, make_batch

    batch = make_batch(store, landed_uris(store, PREFIX), "2026-11-20")
    accepted = {"uri": "x", "digest": "d", "kind": "dataset", "rows": 1}
    entry = Accepted(
        partition=batch.partition,
        digest=batch.digest,
        files=batch.files,
        accepted=accepted,
        as_of="2026-11-20",
        run="r",
    )
    accept(store, "credit_card_fraud", entry)


def test_trigger_is_stored_exactly() -> None:
    trigger = BatchTrigger("file:///store", "orders", "landing/orders/", 10, 60)
    assert trigger.serialize() == (
        "stepzero_airflow.triggers.batch.BatchTrigger",
        {
            "store": "file:///store",
            "use_case": "orders",
            "prefix": "landing/orders/",
            "poll_seconds": 10,
            "wait_seconds": 60,
        },
    )
    path, arguments = trigger.serialize()
    assert BatchTrigger(**arguments).serialize() == (path, arguments)


def test_trigger_does_not_fire_before_anything_landed(environment: Store) -> None:
    environment.write_text(f"{PREFIX}empty.csv", "")
    environment.write_text(f"{PREFIX}_SUCCESS", "x")
    environment.write_text(f"{PREFIX}.hidden.csv", "x")
    assert asyncio.run(fire(make_trigger(environment, wait_seconds=0.5))) == {"status": "nothing", "uris": []}


def test_trigger_fires_for_a_new_file(environment: Store) -> None:
    async def land_later() -> dict[str, Any]:
        waiting = asyncio.create_task(fire(make_trigger(environment)))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        environment.write_text(f"{PREFIX}a.csv", "Time\n1\n")
        return await waiting

    assert asyncio.run(land_later()) == {"status": "landed", "uris": [f"{PREFIX}a.csv"]}


def test_trigger_waits_until_a_file_has_stopped_growing(environment: Store) -> None:
    async def grow() -> float:
        trigger = BatchTrigger(environment.root, "credit_card_fraud", PREFIX, poll_seconds=0.2, wait_seconds=10)
        waiting = asyncio.create_task(fire(trigger))
        for size in range(1, 6):
            environment.write_text(f"{PREFIX}a.csv", "x" * size)
            await asyncio.sleep(0.2)
            assert not waiting.done(), size
        await waiting
        return 0.0

    asyncio.run(grow())


def test_accepted_files_are_not_news(environment: Store) -> None:
    environment.write_text(f"{PREFIX}a.csv", "Time\n1\n")
    accept_all(environment)
    environment.write_text(f"{PREFIX}copy_of_a.csv", "Time\n1\n")
    assert asyncio.run(fire(make_trigger(environment, wait_seconds=0.3)))["status"] == "nothing"
    environment.write_text(f"{PREFIX}b.csv", "Time\n2\n")
    assert asyncio.run(fire(make_trigger(environment)))["uris"] == [f"{PREFIX}b.csv"]


def test_refused_files_are_not_news_and_are_read_once(environment: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepzero.adapters import ledger

    environment.write_text(f"{PREFIX}a.csv", "Time\n1\n")
    batch = ledger.make_batch(environment, [f"{PREFIX}a.csv"], "2026-11-20")
    entry = ledger.Refused(
        partition=batch.partition, digest=batch.digest, files=batch.files, as_of="2026-11-20", run="r"
    )
    ledger.refuse(environment, "credit_card_fraud", entry)
    read: list[str] = []
    digest = ledger.digest_stored
    monkeypatch.setattr(ledger, "digest_stored", lambda store, uri: read.append(uri) or digest(store, uri))
    assert asyncio.run(fire(make_trigger(environment, wait_seconds=0.3))) == {"status": "nothing", "uris": []}
    assert read == [f"{PREFIX}a.csv"], "a trigger looks for hours"
    environment.write_text(f"{PREFIX}b.csv", "Time\n2\n")
    assert asyncio.run(fire(make_trigger(environment)))["uris"] == [f"{PREFIX}b.csv"]


def test_waiting_does_not_block_other_triggers(environment: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from stepzero_airflow.triggers import batch

    monkeypatch.setattr(batch, "waiting_files", lambda *_: time.sleep(0.5) or {})

    async def ticks() -> int:
        waiting = asyncio.create_task(fire(make_trigger(environment, wait_seconds=0.05)))
        count = 0
        while not waiting.done():
            await asyncio.sleep(0.01)
            count += 1
        return count

    assert asyncio.run(ticks()) > 10


def test_scheduled_run_waits_on_the_triggerer(environment: Store, sensor: BatchSensor) -> None:
    environment.write_text(f"{PREFIX}a.csv", "Time\n1\n")
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(make_context("scheduled"))
    assert isinstance(deferred.value.trigger, BatchTrigger)
    assert deferred.value.trigger.wait_seconds == 22 * 3600
    assert deferred.value.timeout.total_seconds() > 22 * 3600


@pytest.mark.parametrize("accepted", [False, True])
def test_run_by_hand_passes_where_anything_landed(environment: Store, sensor: BatchSensor, accepted: bool) -> None:
    environment.write_text(f"{PREFIX}a.csv", "Time\n1\n")
    if accepted:
        accept_all(environment)
    assert sensor.execute(make_context("manual")) == ([] if accepted else [f"{PREFIX}a.csv"])


def test_run_by_hand_with_a_named_batch_passes(environment: Store, sensor: BatchSensor) -> None:
    assert sensor.execute(make_context("manual", batch="a.csv")) == []


def test_run_by_hand_waits_where_nothing_landed(environment: Store, sensor: BatchSensor) -> None:
    with pytest.raises(TaskDeferred):
        sensor.execute(make_context("manual"))


def test_day_without_a_file_is_skipped(environment: Store, sensor: BatchSensor) -> None:
    with pytest.raises(AirflowSkipException, match="nothing landed under landing/credit_card_fraud/ within 22 hours"):
        sensor.execute_complete({}, {"status": "nothing", "uris": []})  # type: ignore[typeddict-item]


def test_very_many_files_do_not_travel_through_xcom(environment: Store, sensor: BatchSensor) -> None:
    uris = [f"{PREFIX}part-{number:05d}.csv" for number in range(200)]
    assert sensor.execute_complete({}, {"status": "landed", "uris": uris}) == []  # type: ignore[typeddict-item]
    assert sensor.execute_complete({}, {"status": "landed", "uris": uris[:5]}) == uris[:5]  # type: ignore[typeddict-item]


TABLES = {"claims": "landing/both/claims/", "customers": "landing/both/customers/"}


def test_a_batch_of_tables_is_new_files_of_all_of_them(environment: Store) -> None:
    trigger = BatchTrigger(environment.root, "both", "", poll_seconds=0.05, wait_seconds=0.4, tables=TABLES)
    path, arguments = trigger.serialize()
    assert BatchTrigger(**arguments).serialize() == (path, arguments)
    environment.write_text(f"{TABLES['claims']}c.csv", "x\n1\n")
    assert asyncio.run(fire(trigger))["status"] == "nothing"
    environment.write_text(f"{TABLES['customers']}u.csv", "x\n1\n")
    both = [f"{TABLES['claims']}c.csv", f"{TABLES['customers']}u.csv"]
    assert asyncio.run(fire(trigger)) == {"status": "landed", "uris": both}


def test_a_run_by_hand_passes_where_every_table_has_landed(environment: Store) -> None:
    sensor = BatchSensor(task_id="await_batch", use_case="both", prefix="", tables=TABLES)
    environment.write_text(f"{TABLES['claims']}c.csv", "x\n1\n")
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(make_context("manual"))
    assert deferred.value.trigger.tables == TABLES
    environment.write_text(f"{TABLES['customers']}u.csv", "x\n1\n")
    assert sensor.execute(make_context("manual")) == [f"{TABLES['claims']}c.csv", f"{TABLES['customers']}u.csv"]
