"""Ledger and history of batches where stages run: entered after the commit, computed or reused."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepzero.adapters.history import entries
from stepzero.adapters.ledger import Accepted, accepted_batches, make_batch, was_refused
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError
from stepzero.execution import judgement
from stepzero.execution.execute import execute, reuse
from stepzero.execution.planning_parts import history_before
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_environment, validate
from stepzero.spec.plan import HistoryPoint
from stepzero.spec.use_case import UseCase
from support import toy
from support.quarantine import KilledError


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    monkeypatch.setenv(toy.COUNTER, str(tmp_path / "count"))
    return load_environment("local")


def planned(
    environment: Environment,
    name: str,
    batch: str,
    history: tuple[HistoryPoint, ...] = (),
    *,
    limit: float = 0.01,
    partition: str = "2026-03-01",
) -> Store:
    """Plan a run for a day and return the store."""
    store = Store(environment.store)
    plan = toy.make_plan(name, batch=batch, limit=limit)
    day = plan.batch.model_copy(update={"partition": partition})
    toy.write_plan(store, plan.model_copy(update={"batch": day, "history": history}))
    return store


def run(
    environment: Environment, name: str, batch: str, history: tuple[HistoryPoint, ...] = (), *, limit: float = 0.01
) -> str:
    """Run the measuring stage for a day and return why it was computed or not."""
    store = planned(environment, name, batch, history, limit=limit)
    execute(toy.request("measured", name), store, environment)
    return str(store.read_json(f"runs/toy/{name}/stages/support.toy.measured/result.json")["why"])


def size(environment: Environment) -> float:
    (accepted,) = [entry for entry in entries(Store(environment.store), "toy") if entry.accepted]
    return accepted.metrics["size"]


def held(environment: Environment) -> Accepted:
    """Return what the ledger says that later windows train on."""
    (entry,) = accepted_batches(Store(environment.store), "toy")
    return entry


def limit_of(environment: Environment) -> float:
    """Return by which rule the rows were accepted that later windows train on."""
    return float(Store(environment.store).read_json(held(environment).accepted["uri"])["limit"])


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
    assert (held(environment).digest, held(environment).run) == ("b1", "r4")


def test_rows_accepted_under_withdrawn_rules_are_no_part_of_later_windows(environment: Environment) -> None:
    run(environment, "r1", "b1", limit=0.01)
    run(environment, "r2", "b1", limit=0.02)
    assert limit_of(environment) == 0.02
    assert run(environment, "r3", "b1", limit=0.01).startswith("reused")
    assert (limit_of(environment), held(environment).run) == (0.01, "r3")
    assert run(environment, "r4", "b1", limit=0.01).startswith("reused")
    assert held(environment).run == "r3", "the same rows again are one entry"


def test_a_batch_that_fails_under_tightened_rules_is_withdrawn_until_it_passes_again(environment: Environment) -> None:
    store = Store(environment.store)
    run(environment, "r1", "b1")
    run(environment, "r2", "b1", limit=0)
    assert accepted_batches(store, "toy") == []
    assert [entry.accepted for entry in entries(store, "toy")] == [False], "nor does it move a bound"
    assert run(environment, "r3", "b1").startswith("reused")
    assert (limit_of(environment), size(environment)) == (0.01, 1)
    assert run(environment, "r4", "b1", limit=0).startswith("reused")
    assert accepted_batches(store, "toy") == []
    run(environment, "r5", "b2")
    run(environment, "r6", "b1", limit=0)
    assert held(environment).digest == "b2", "a refusal withdraws its own content alone"


def test_a_content_is_withdrawn_whatever_its_partitions_are_called(environment: Environment) -> None:
    run(environment, "r1", "b1")
    store = planned(environment, "r2", "b1", limit=0, partition="by hand")
    execute(toy.request("measured", "r2"), store, environment)
    assert accepted_batches(store, "toy") == []


@pytest.mark.parametrize("limit", [0.01, 0.0])
def test_what_was_committed_before_a_kill_is_entered_by_the_next_try(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    def killed(*_: object) -> None:
        raise KilledError

    store = planned(environment, "r1", "b1", limit=limit)
    with monkeypatch.context() as patch:
        for name in ("accept", "refuse"):
            patch.setattr(judgement, name, killed)
        with pytest.raises(KilledError):
            execute(toy.request("measured", "r1"), store, environment)
    assert store.list("ledger") == []
    assert reuse(toy.request("measured", "r1", attempt="2"), store, environment) is not None
    batch = toy.make_plan("r1", batch="b1").batch.model_copy(update={"partition": "2026-03-01"})
    assert was_refused(store, "toy", batch) is not bool(limit)
    assert len(accepted_batches(store, "toy")) == bool(limit)
    before = store.list("ledger")
    reuse(toy.request("measured", "r1", attempt="3"), store, environment)
    assert store.list("ledger") == before, "a cleared task enters nothing twice"


def test_files_that_are_no_table_are_refused_and_those_of_another_dataset_are_not(environment: Environment) -> None:
    store = planned(environment, "r1", "b1")
    batch = toy.make_plan("r1", batch="b1").batch.model_copy(update={"partition": "2026-03-01"})
    with pytest.raises(InputError, match="toy file: got a picture"):
        execute(toy.request("unreadable", "r1", batch="of the customers"), store, environment)
    assert not was_refused(store, "toy", batch)
    with pytest.raises(InputError, match="toy file: got a picture"):
        execute(toy.request("unreadable", "r1"), store, environment)
    assert was_refused(store, "toy", batch)


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
