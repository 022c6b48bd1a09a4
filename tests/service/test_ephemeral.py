"""Ephemeral endpoints as processes of their own: asked, limited, and always removed, whatever fails."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepzero.adapters.datasets import manifest_of
from stepzero.adapters.leases import Lease, read_lease, read_status, write_lease
from stepzero.core.errors import ServiceError, StageError, StepzeroError
from stepzero.core.stages import StageInput, StageResult
from stepzero.core.verdict import Outcome
from stepzero.learning.model import load_model
from stepzero.stages import endpoints
from support.rivals import Broken, Dying, Hungry, Line, Moody, Rivals, Stuck, as_input, is_open
from support.stack import wait_for

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rivals]:
    """A run, and one host for all tests that leave it alone."""
    made = Rivals(tmp_path_factory.mktemp("rivals"))
    host = made.host()
    yield made
    try:
        ended(host)
    finally:
        made.end()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Rivals]:
    """A run with a host of its own, for tests that end the host or shorten leases."""
    made = Rivals(tmp_path)
    yield made
    made.end()


def ended(host: subprocess.Popen[bytes]) -> None:
    host.terminate()
    assert host.wait(timeout=30) == 0, "a graceful stop"


def test_every_test_row_is_predicted_through_an_endpoint_of_its_own(rivals: Rivals) -> None:
    tuned = rivals.tuned("xgboost", Line())
    lease = rivals.lease(tuned)
    created = rivals.stage("create_endpoint", {"lease": lease})
    uri = created.values["uri"]
    assert is_open(uri)
    assert len(rivals.endpoints()) == 1
    asked = rivals.stage("ask_endpoint", {"lease": lease, "created": created, "prepared": rivals.prepared})
    from stepzero.adapters.datasets import read_frame

    test = read_frame(rivals.store, rivals.prepared.output("test"))
    found = read_frame(rivals.store, asked.output("predictions"))
    assert found["_row_id"].tolist() == test["_row_id"].tolist()
    own = load_model(rivals.store, tuned.output("model")).score(test)
    assert found["predicted"].to_numpy() == pytest.approx(own, abs=1e-12)
    assert len(asked.values["shown"]) == 3
    again = rivals.stage("ask_endpoint", {"lease": lease, "created": created, "prepared": rivals.prepared})
    assert again.values["shown"] == asked.values["shown"], "drawn, but by a seed"
    removed = rivals.stage("remove_endpoint", {"lease": lease})
    assert removed.values["left"] == []
    assert rivals.left() == {"processes": [], "leases": [], "files": []}
    assert not is_open(uri)
    rivals.stage("remove_endpoint", {"lease": lease})  # again: nothing to do, and no error


FAILURES: dict[str, tuple[Any, dict[str, Any], type[StepzeroError], str]] = {
    "never healthy": (Stuck, {"healthy_seconds": 3}, StageError, r"it was not healthy after 3 s"),
    "it takes too much memory": (
        Hungry,
        {"memory": "600m"},
        StageError,
        r"used \d+ MiB of memory; its limit is 600 MiB|Mem",
    ),
    "it answers other numbers than the model": (Moody, {}, StageError, r"got \d+ of \d+ differ from the model's own"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_nothing_is_left_after(rivals: Rivals, failure: str, tmp_path: Path) -> None:
    estimator, limits, kind, text = FAILURES[failure]
    compare = rivals.use_case.compare
    granted = compare.endpoint.model_copy(update=limits)
    rivals.use_case = rivals.use_case.model_copy(update={"compare": compare.model_copy(update={"endpoint": granted})})
    try:
        with pytest.raises(kind, match=text) as raised:
            rivals.branch(rivals.tuned("xgboost", estimator()))
    finally:
        rivals.use_case = rivals.use_case.model_copy(update={"compare": compare})
    assert "Do: " in str(raised.value)
    assert rivals.left() == {"processes": [], "leases": [], "files": []}


def test_nothing_is_left_after_a_model_that_somebody_changed(rivals: Rivals) -> None:
    tuned = rivals.tuned("xgboost", Line(slope=3.0))
    path = Path(rivals.store.path(f"{tuned.output('model').uri}/estimator.pkl"))
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(StageError, match="as it was written"):
        rivals.branch(tuned)
    assert rivals.left() == {"processes": [], "leases": [], "files": []}
    path.write_bytes(path.read_bytes()[:-1])


def test_training_that_failed_reserves_nothing(rivals: Rivals) -> None:
    values = {"sampler": "none", "model": "xgboost", "failed": "fold 0: ValueError: no luck"}
    lease = rivals.lease(as_input("tune", StageResult(values=values)))
    assert lease.verdict is not None
    assert lease.verdict.outcome is Outcome.FAIL
    assert "no luck" in lease.verdict.sentence()
    assert rivals.left() == {"processes": [], "leases": [], "files": []}


def test_one_branch_fails_while_the_other_goes_on(rivals: Rivals) -> None:
    good, bad = rivals.lease(rivals.tuned("xgboost", Line())), rivals.lease(rivals.tuned("random_forest", Broken()))
    created = {name: rivals.stage("create_endpoint", {"lease": one}) for name, one in (("good", good), ("bad", bad))}
    assert len(rivals.endpoints()) == 2
    with pytest.raises(ServiceError, match=r"(?s)predictions at .*: got 500.* Do: "):
        rivals.stage("ask_endpoint", {"lease": bad, "created": created["bad"], "prepared": rivals.prepared})
    rivals.stage("remove_endpoint", {"lease": bad})
    assert rivals.store.list(f"endpoints/ephemeral/{bad.values['name']}") == []
    assert len(rivals.endpoints()) == 1
    asked = rivals.stage("ask_endpoint", {"lease": good, "created": created["good"], "prepared": rivals.prepared})
    assert asked.values["rows"] == rivals.prepared.output("test").rows
    rivals.stage("remove_endpoint", {"lease": good})
    assert rivals.left() == {"processes": [], "leases": [], "files": []}


def test_another_try_begins_anew_after_a_failure(rivals: Rivals) -> None:
    lease = rivals.lease(rivals.tuned("xgboost", Dying()))
    with pytest.raises(StageError, match=r"(?s)its process ended with status 3.* Do: "):
        rivals.stage("create_endpoint", {"lease": lease})
    assert rivals.endpoints() == []
    lease.values["reference"] = rivals.tuned("xgboost", Line()).output("model").to_json()
    assert rivals.stage("create_endpoint", {"lease": lease}).values["uri"]
    rivals.stage("remove_endpoint", {"lease": lease})
    assert rivals.left() == {"processes": [], "leases": [], "files": []}


def test_a_lease_runs_out_where_the_task_was_killed(own: Rivals) -> None:
    """Nobody asks and nobody removes: task killed -9, scheduler killed, teardown never run."""
    host = own.host()
    lease = own.lease(own.tuned("xgboost", Line()))
    uri = own.stage("create_endpoint", {"lease": lease}).values["uri"]
    reserved = own.lease(own.tuned("random_forest", Line()))
    for name in (lease.values["name"], reserved.values["name"]):
        written = read_lease(own.store, name)
        assert written is not None
        # As if so much time had passed since.
        write_lease(own.store, written.model_copy(update={"seconds": 0.1}))
    own.await_nothing()
    assert not is_open(uri)
    ended(host)
    assert "its lease ran out after 0.1 s" in (own.folder / "host.log").read_text()


def test_endpoints_die_with_a_killed_host_and_the_next_one_cleans_up(own: Rivals) -> None:
    host = own.host()
    lease = own.lease(own.tuned("xgboost", Line()))
    created = own.stage("create_endpoint", {"lease": lease})
    host.kill()
    host.wait(timeout=10)
    wait_for("the endpoint's end", lambda: not own.endpoints(), seconds=20, every=0.1)
    with pytest.raises(ServiceError, match="predictions at"):
        own.stage("ask_endpoint", {"lease": lease, "created": created, "prepared": own.prepared})
    again = own.host("again")
    name = str(lease.values["name"])
    wait_for("the host's word", lambda: _state(own, name) == "failed", seconds=30, every=0.1)
    said = read_status(own.store, name)
    assert said is not None
    assert said.problem == "its host was ended and started again"
    own.stage("remove_endpoint", {"lease": lease})
    assert own.left() == {"processes": [], "leases": [], "files": []}
    ended(again)


def _state(own: Rivals, name: str) -> str | None:
    said = read_status(own.store, name)
    return said.state if said else None


def test_a_removal_that_fails_once_is_tried_again(own: Rivals, monkeypatch: pytest.MonkeyPatch) -> None:
    host = own.host()
    lease = own.lease(own.tuned("xgboost", Line()))
    own.stage("create_endpoint", {"lease": lease})
    monkeypatch.setattr(endpoints, "SEEN_SECONDS", 1.0)
    host.send_signal(signal.SIGSTOP)
    with pytest.raises(ServiceError, match=r"still there 1 s after its lease was ended.*start it") as raised:
        own.stage("remove_endpoint", {"lease": lease})
    assert raised.value.retry
    host.send_signal(signal.SIGCONT)
    monkeypatch.setattr(endpoints, "SEEN_SECONDS", 30.0)
    own.stage("remove_endpoint", {"lease": lease})
    assert own.left() == {"processes": [], "leases": [], "files": []}
    ended(host)


def test_a_host_that_is_told_to_end_ends_its_endpoints(own: Rivals) -> None:
    host = own.host()
    uri = own.stage("create_endpoint", {"lease": own.lease(own.tuned("xgboost", Line()))}).values["uri"]
    ended(host)
    assert own.endpoints() == []
    assert not is_open(uri)


def test_without_a_host_nobody_waits_for_ever(own: Rivals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "SEEN_SECONDS", 0.5)
    lease = own.lease(own.tuned("xgboost", Line()))
    with pytest.raises(ServiceError, match=r"got not seen after \d+ s.*Do: start it \(`bin/stepzero up`\)"):
        own.stage("create_endpoint", {"lease": lease})
    own.stage("remove_endpoint", {"lease": lease})
    assert own.left() == {"processes": [], "leases": [], "files": []}


SLOPES = {"xgboost": 19.0, "random_forest": 19.3, "nearest_neighbours": 60.0}


@pytest.fixture(scope="module")
def asked(rivals: Rivals) -> list[StageInput]:
    """What three models answered, while a lease lay there that nobody can read."""
    rivals.store.write_text("endpoints/ephemeral/strange/lease.json", "{}")
    return [rivals.branch(rivals.tuned(name, Line(slope))) for name, slope in SLOPES.items()]


def test_trouble_with_one_lease_is_no_trouble_of_another(rivals: Rivals, asked: list[StageInput]) -> None:
    assert all(one.values["rows"] > 50 for one in asked)
    rivals.await_nothing()


def test_the_winner_is_told_with_its_model_and_its_rows(rivals: Rivals, asked: list[StageInput]) -> None:
    evaluated = as_input(
        "evaluate",
        StageResult(
            outputs={"training_rows": rivals.prepared.output("train")},
            values={"sentinels": [{"name": "row ids", "passed": True, "observed": "0", "bound": "0"}]},
        ),
    )
    done = rivals.stage("compare_endpoints", {"asked": asked, "evaluated": evaluated, "prepared": rivals.prepared})
    contest = done.values["contest"]
    assert contest["figures"]["nearest_neighbours"]["rmse"]["value"] > 5
    assert {one["name"]: one["finding"] for one in contest["rivals"]}["nearest_neighbours"] == "worse"
    winner = done.values["winner"]["model"]
    assert load_model(rivals.store, done.output("model")).estimator.slope == SLOPES[winner]
    assert winner == contest["winner"]
    assert done.verdict is not None
    assert done.verdict.outcome is Outcome.PASS
    assert f"{winner} wins by RMSE on {done.output('test_scores').rows} test rows" in done.verdict.sentence()
    assert done.values["untouched"]["rows"] == rivals.prepared.output("validation").rows
    leak = {"sentinels": [{"name": "row ids", "passed": False, "observed": "3", "bound": "0"}]}
    leaked = as_input("evaluate", StageResult(outputs=evaluated.outputs, values=leak))
    refused = rivals.stage("compare_endpoints", {"asked": asked, "evaluated": leaked, "prepared": rivals.prepared})
    assert refused.verdict is not None
    assert refused.verdict.outcome is Outcome.FAIL, "a leak stays one, whoever wins"
    toss = contest["coin_toss"]
    assert toss["by_rows"]["3"] == toss["probability"]
    assert 0 < toss["probability"] < 1
    drawn = manifest_of(rivals.store, done.output("pictures"))["files"]
    names = {file["uri"].rpartition("/")[2] for file in drawn}
    assert names == {"table.png", "predictions.png", "errors.png", "coin_toss.png"}


def test_leases_keep_their_names(rivals: Rivals) -> None:
    lease = Lease(name="a-b", use_case="a", run="r", memory_mb=1, seconds=1, healthy_seconds=1)
    write_lease(rivals.store, lease)
    assert read_lease(rivals.store, "a-b") == lease
    rivals.await_nothing()
