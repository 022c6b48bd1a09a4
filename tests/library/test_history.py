"""The history of batches where stages run: entered after the commit, computed or reused, and part of the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepzero.adapters.history import entries
from stepzero.adapters.ledger import make_batch
from stepzero.adapters.store import Store
from stepzero.execution.execute import execute
from stepzero.execution.planning_parts import history_before
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_environment, validate
from stepzero.spec.plan import HistoryPoint
from stepzero.spec.use_case import UseCase
from support import toy


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    monkeypatch.setenv(toy.COUNTER, str(tmp_path / "count"))
    return load_environment("local")


def run(environment: Environment, name: str, batch: str, history: tuple[HistoryPoint, ...] = ()) -> str:
    """Run the measuring stage for a day and return why it was computed or not."""
    store = Store(environment.store)
    plan = toy.make_plan(name, batch=batch)
    day = plan.batch.model_copy(update={"partition": "2026-03-01"})
    toy.write_plan(store, plan.model_copy(update={"batch": day, "history": history}))
    execute(toy.request("measured", name), store, environment)
    return str(store.read_json(f"runs/toy/{name}/stages/support.toy.measured/result.json")["why"])


def size(environment: Environment) -> float:
    (accepted,) = [entry for entry in entries(Store(environment.store), "toy") if entry.accepted]
    return accepted.metrics["size"]


def test_the_last_run_of_a_day_is_its_entry_also_when_its_result_was_reused(environment: Environment) -> None:
    run(environment, "r1", "b1")
    assert size(environment) == 1
    run(environment, "r2", "b2")
    assert size(environment) == 10
    run(environment, "r3", "bad")
    assert size(environment) == 10, "a refused batch displaces nothing"
    assert run(environment, "r4", "b1").startswith("reused")
    assert size(environment) == 1
    assert [entry.run for entry in entries(Store(environment.store), "toy")] == ["r4"]


def test_another_history_is_another_key(environment: Environment) -> None:
    point = HistoryPoint(partition="2026-02-28", values={"size": 1.0})
    run(environment, "r1", "b1", (point,))
    assert run(environment, "r2", "b1", (point,)).startswith("reused")
    moved = HistoryPoint(partition="2026-02-28", values={"size": 2.0})
    assert run(environment, "r3", "b1", (moved,)) == "computed: changed since the last time: plan history"


def test_a_plan_freezes_only_the_metrics_that_rules_name(environment: Environment) -> None:
    store = Store(environment.store)
    run(environment, "r1", "b1")
    store.write_text("landing/toy/x.csv", "rows")
    batch = make_batch(store, ["landing/toy/x.csv"], "2026-03-02")
    as_of = "2026-11-22T00:00:00+00:00"
    none = validate({"name": "toy"}, UseCase)
    assert history_before(store, none, batch, as_of) == ()
    rule = {"metric": "size", "strategy": "relative_change", "at_most": 2}
    named = validate({"name": "toy", "quality": {"anomalies": [rule]}}, UseCase)
    assert history_before(store, named, batch, as_of) == (HistoryPoint(partition="2026-03-01", values={"size": 1.0}),)
    other = {"metric": "mean", "column": "x", "strategy": "relative_change", "at_most": 2}
    unknown = validate({"name": "toy", "quality": {"anomalies": [other]}}, UseCase)
    assert history_before(store, unknown, batch, as_of) == ()
