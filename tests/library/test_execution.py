"""One way to run a stage: reuse, recomputation, two tries at once, kills and failed publications."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepzero.adapters.store import Store
from stepzero.adapters.tracking import Tracking
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import ServiceError, StageError, bare
from stepzero.core.references import ResultReference
from stepzero.execution.execute import execute, read_plan, reuse
from stepzero.execution.results import read_input
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_environment
from support import toy

TESTS = Path(__file__).parents[1]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    monkeypatch.setenv(toy.COUNTER, str(tmp_path / "count"))
    return load_environment("local")


@pytest.fixture
def store(environment: Environment) -> Store:
    store = Store(environment.store)
    toy.write_plan(store, toy.make_plan())
    return store


def computed(tmp_path: Path) -> list[str]:
    path = tmp_path / "count"
    return path.read_text().split() if path.exists() else []


def why(store: Store, name: str, run: str = "r1", label: str = "result") -> str:
    return str(store.read_json(f"runs/toy/{run}/stages/support.toy.{name}/{label}.json")["why"])


def test_second_run_reuses_and_says_so(store: Store, environment: Environment, tmp_path: Path) -> None:
    first = execute(toy.request("write"), store, environment)
    assert why(store, "write") == "computed: it never ran before"
    toy.write_plan(store, toy.make_plan("r2"))
    second = execute(toy.request("write", "r2"), store, environment)
    assert second == first
    assert why(store, "write", "r2") == "reused: nothing it depends on changed"
    assert computed(tmp_path) == ["write"]


def test_changed_section_and_changed_batch_are_named(store: Store, environment: Environment) -> None:
    execute(toy.request("write"), store, environment)
    toy.write_plan(store, toy.make_plan("r2", limit=0.02))
    execute(toy.request("write", "r2"), store, environment)
    assert why(store, "write", "r2") == "computed: changed since the last time: section quality"
    toy.write_plan(store, toy.make_plan("r3", limit=0.02, batch="b2"))
    execute(toy.request("write", "r3"), store, environment)
    assert why(store, "write", "r3") == "computed: changed since the last time: plan batch"


def test_change_of_what_a_stage_does_not_read_is_no_change(
    store: Store, environment: Environment, tmp_path: Path
) -> None:
    execute(toy.request("slow"), store, environment)
    toy.write_plan(store, toy.make_plan("r2", limit=0.5, batch="b9"))
    execute(toy.request("slow", "r2"), store, environment)
    assert computed(tmp_path) == ["slow"]


def test_inputs_count_by_their_content(store: Store, environment: Environment, tmp_path: Path) -> None:
    part = execute(toy.request("write"), store, environment)
    request = toy.request("total", inputs={"parts": [part, part]})
    result = read_input(store, execute(request, store, environment))
    assert result.values == {"total": 0.02}
    moved = ResultReference(stage=part.stage, uri=part.uri, digest=part.digest, summary="told otherwise")
    execute(toy.request("total", inputs={"parts": [moved, moved]}), store, environment)
    assert computed(tmp_path).count("total") == 1
    execute(toy.request("total", inputs={"parts": [part]}), store, environment)
    assert computed(tmp_path).count("total") == 2
    assert why(store, "total") == "computed: changed since the last time: input parts"


def test_deleted_artefact_is_computed_again(store: Store, environment: Environment, tmp_path: Path) -> None:
    reference = execute(toy.request("write"), store, environment)
    output = read_input(store, reference).outputs["output"]
    store.remove(output.uri)
    again = execute(toy.request("write", attempt="2"), store, environment)
    assert computed(tmp_path) == ["write", "write"]
    assert "a file of its result is gone" in why(store, "write")
    assert again.digest == reference.digest, "the same content must not change what comes after"
    assert again.uri != reference.uri
    assert store.exists(read_input(store, again).outputs["output"].uri)


def test_recompute_forces_once_per_run(store: Store, environment: Environment, tmp_path: Path) -> None:
    execute(toy.request("write"), store, environment)
    toy.write_plan(store, toy.make_plan("r2", recompute=("support.toy:write",)))
    execute(toy.request("write", "r2"), store, environment)
    execute(toy.request("write", "r2", attempt="2"), store, environment)
    assert computed(tmp_path) == ["write", "write"]


def test_a_stage_that_looks_at_the_world_always_runs(store: Store, environment: Environment, tmp_path: Path) -> None:
    execute(toy.request("always"), store, environment)
    execute(toy.request("always", attempt="2"), store, environment)
    assert computed(tmp_path) == ["always", "always"]


def test_asking_only_for_reuse_computes_nothing(store: Store, environment: Environment, tmp_path: Path) -> None:
    assert reuse(toy.request("write"), store, environment) is None
    assert computed(tmp_path) == []
    done = execute(toy.request("write"), store, environment)
    toy.write_plan(store, toy.make_plan("r2"))
    assert reuse(toy.request("write", "r2"), store, environment) == done
    assert why(store, "write", "r2").startswith("reused")


@pytest.mark.parametrize("run_again", [execute, reuse])
def test_what_names_the_newest_result_names_a_reused_one_too(
    run_again: Callable[..., Any], store: Store, environment: Environment, tmp_path: Path
) -> None:
    """One version, another, and back to the first: what is reused is the newest again."""
    for run, batch in (("r1", "b1"), ("r2", "b2")):
        toy.write_plan(store, toy.make_plan(run, batch=batch))
        execute(toy.request("pointing", run), store, environment)
        assert store.read_json(toy.NEWEST) == {"batch": batch}
    toy.write_plan(store, toy.make_plan("r3", batch="b1"))
    run_again(toy.request("pointing", "r3"), store, environment)
    assert computed(tmp_path) == ["pointing", "pointing"]
    assert store.read_json(toy.NEWEST) == {"batch": "b1"}


def test_run_without_a_plan_is_told(store: Store, environment: Environment) -> None:
    with pytest.raises(StageError, match=r"plan of run r9 of toy: got none\. Allowed: a run that has a plan"):
        execute(toy.request("write", "r9"), store, environment)


def test_stage_sees_only_what_it_declares(
    store: Store, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(use_case: Any, inputs: Any, workspace: Any) -> Any:
        return use_case.train

    monkeypatch.setattr(toy, "slow", greedy)
    with pytest.raises(AttributeError, match="does not declare 'train'"):
        execute(toy.request("slow"), store, environment)


def test_two_tries_at_once_commit_one_result(store: Store, environment: Environment, tmp_path: Path) -> None:
    found: list[ResultReference] = []

    def attempt(number: int) -> None:
        found.append(execute(toy.request("together", attempt=str(number)), store, environment))

    threads = [threading.Thread(target=attempt, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert computed(tmp_path) == ["together", "together"]
    assert found[0] == found[1]
    folder = found[0].uri.rpartition("/")[0]
    assert [uri for uri in store.list(folder) if "/result-" in uri] == [found[0].uri]


def test_a_try_that_ends_long_after_another_returns_what_that_one_committed(
    store: Store, environment: Environment, tmp_path: Path
) -> None:
    found: list[ResultReference] = []
    late = threading.Thread(target=lambda: found.append(execute(toy.request("overtaken"), store, environment)))
    late.start()
    while not computed(tmp_path):
        time.sleep(0.01)
    first = execute(toy.request("overtaken", attempt="2"), store, environment)
    (tmp_path / "release").touch()
    late.join()
    assert computed(tmp_path) == ["overtaken", "overtaken"]
    assert found == [first]
    assert first.uri.endswith("result-00001.json")


def start(tmp_path: Path, name: str, attempt: str, parameters: str = "{}") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stepzero.cli.main", "stage", f"support.toy:{name}"]
    options = ["--use-case", "toy", "--run", "r1", "--attempt", attempt, "--parameters", parameters]
    paths = f"{TESTS.parent / 'include'}{os.pathsep}{TESTS}"
    environment = {**os.environ, "PYTHONPATH": paths, "STEPZERO_HOME": str(tmp_path)}
    return subprocess.Popen([*command, *options], env=environment, stdout=subprocess.PIPE, text=True)


def test_killed_between_try_and_commit(store: Store, environment: Environment, tmp_path: Path) -> None:
    killed = start(tmp_path, "slow", "1", '{"seconds": "30"}')
    assert killed.stdout is not None
    while "waiting" not in killed.stdout.readline():
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert [uri for uri in store.list("results") if uri.endswith("part.txt")], "the try had written its file"
    assert not [uri for uri in store.list("results") if "/result-" in uri]
    calm = execute(toy.request("slow", attempt="2"), store, environment)
    assert store.read_json(calm.uri)["folder"].endswith("tries/2")
    assert store.read_text(read_input(store, calm).outputs["part"].uri) == "done"


def test_sigterm_ends_in_order(store: Store, tmp_path: Path) -> None:
    child = start(tmp_path, "slow", "1", '{"seconds": "30"}')
    assert child.stdout is not None
    while "waiting" not in child.stdout.readline():
        assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    rest, _ = child.communicate(timeout=10)
    assert "WARNING ended by SIGTERM" in rest
    assert child.returncode == 128 + signal.SIGTERM


class Unsteady(Tracking):
    """A tracking server that fails first and counts what it is shown."""

    failures = 1
    shown: list[list[str]] = []  # noqa: RUF012 - one for all, as a server is

    def publish(self, plan: Any, stage: str, records: Any, store: Store, folder: str) -> str:
        if type(self).failures:
            type(self).failures -= 1
            raise ServiceError("tracking server", value=bare("down"), allowed="up", action="start it")
        self.shown.append([record.scope for record in records])
        return "parent"


def test_failed_publication_is_made_up_without_computing_again(
    store: Store, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "tracking", property(lambda self: Unsteady(self.environment.tracking)))
    with pytest.raises(ServiceError, match="tracking server: got down"):
        execute(toy.request("tracked"), store, environment)
    assert not store.exists("runs/toy/r1/stages/support.toy.tracked/result.json"), "unpublished, yet noted as done"
    execute(toy.request("tracked", attempt="2"), store, environment)
    assert computed(tmp_path) == ["tracked"]
    assert Unsteady.shown == [["run", "trial"]]
    toy.write_plan(store, toy.make_plan("r2"))
    execute(toy.request("tracked", "r2"), store, environment)
    assert Unsteady.shown[1:] == [["run"]], "a trial belongs to the run that computed it"


def test_cleared_plan_changes_nothing(store: Store) -> None:
    before = read_plan(store, "toy", "r1")
    toy.write_plan(store, toy.make_plan(limit=0.9))
    assert read_plan(store, "toy", "r1") == before


def test_reuse_costs_no_heavy_import(store: Store, environment: Environment, tmp_path: Path) -> None:
    execute(toy.request("write"), store, environment)
    code = (
        "import sys; from stepzero.cli.stage import main; status = main(sys.argv[1:]);"
        "heavy = {'pandas', 'numpy', 'mlflow', 'rich', 'typer', 'sklearn', 'pyspark'} & set(sys.modules);"
        "sys.exit(status or bool(heavy) * 99)"
    )
    paths = f"{TESTS.parent / 'include'}{os.pathsep}{TESTS}"
    done = subprocess.run(
        [sys.executable, "-c", code, "support.toy:write", "--use-case", "toy", "--run", "r1", "--attempt", "2"],
        env={**os.environ, "PYTHONPATH": paths, "STEPZERO_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reused" in done.stdout
