"""`stepzero stage`: exit statuses, error files and log lines are what orchestrators live on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stepzero.adapters.store import Store
from stepzero.cli.stage import main
from stepzero.core.errors import StoreError
from stepzero.spec.load import load_environment
from support import toy


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    store = Store(load_environment("local").store)
    toy.write_plan(store, toy.make_plan())
    return store


def stage(name: str, *options: str, attempt: str = "1") -> int:
    return main([f"support.toy:{name}", "--use-case", "toy", "--run", "r1", "--attempt", attempt, *options])


def noted_error(store: Store, name: str, attempt: str = "1") -> dict[str, Any]:
    found: dict[str, Any] = store.read_json(f"runs/toy/r1/stages/support.toy.{name}/result.error-{attempt}.json")
    return found


def test_done(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage("write") == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == ["INFO stage support.toy:write: computed: it never ran before", "INFO written"]
    assert told.err == "", "Airflow shows standard error as errors"
    pointer = store.read_json("runs/toy/r1/stages/support.toy.write/result.json")
    assert store.read_json(pointer["result"]["uri"])["values"] == {"limit": 0.01}
    assert pointer["attempt"] == "1"


def test_verdict_that_says_no_is_10_and_a_result(store: Store) -> None:
    assert stage("refuse") == 10
    assert store.read_json("runs/toy/r1/stages/support.toy.refuse/result.json")["result"]["outcome"] == "FAIL"
    assert stage("refuse", attempt="2") == 10, "a reused FAIL is still a FAIL"


def test_error_of_ours_is_one_line_and_a_file(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage("fail") == 1
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == "ERROR toy stage: got three. Allowed: four. Do: count again"
    assert "Traceback" not in told
    error = noted_error(store, "fail")
    assert error["kind"] == "StageError"
    assert error["retry"] is False
    assert (error["what"], error["value"], error["allowed"]) == ("toy stage", "three", "four")


def test_unexpected_error_shows_its_traceback(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage("crash") == 1
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().out
    error = noted_error(store, "crash")
    assert error["retry"] is False
    assert error["message"] == "ZeroDivisionError: division by zero"
    assert stage("crash", "--parameters", '{"divisor": "2"}') == 0


def test_only_reuse_computes_nothing(store: Store) -> None:
    assert stage("write", "--only-reuse") == 76
    assert not store.exists("runs/toy/r1/stages/support.toy.write/result.json")
    assert stage("write") == 0
    assert stage("write", "--only-reuse") == 0


def test_full_disk_is_told_and_may_be_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "store"
    small.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(small)], check=False).returncode
    ):
        pytest.skip("NOT RUN: mounting a small file system needs root")
    try:
        monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
        store = Store(load_environment("local").store)
        toy.write_plan(store, toy.make_plan())
        assert stage("full") == 75
        told = capsys.readouterr().out
        assert "got no space left. Allowed: free space under the store. Do: make room, then clear the task" in told
        assert store.read_json("runs/toy/r1/plan.json")["run"] == "r1", "what was there is still there"
        shutil.rmtree(small / "results")
        assert stage("write", attempt="2") == 0, "room was made: the same command works"
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_full_disk_anywhere_is_the_same_error(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spill(use_case: Any, inputs: Any, workspace: Any) -> Any:
        raise OSError(28, "No space left on device", "spark-1/shuffle")

    monkeypatch.setattr(toy, "slow", spill)
    assert stage("slow") == 75
    assert "free space under the store and the temporary folder" in capsys.readouterr().out
    assert noted_error(store, "slow")["kind"] == "StoreFullError"


def test_error_that_cannot_be_written_is_still_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Store, uri: str, value: Any) -> None:
        raise StoreError("store", value="x", allowed="y", action="z")

    monkeypatch.setattr(Store, "write_json", refuse)
    assert stage("fail") == 1
    told = capsys.readouterr().out
    assert "WARNING the error could not be written to the store" in told
    assert "ERROR toy stage: got three" in told


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--inputs", '{"a": 3}'], "copy the command from the task's log"),
        (["--inputs", '[{"a": 3}]'], "copy the command from the task's log"),
    ],
)
def test_wrong_inputs_are_wrong_use(
    store: Store, options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage("write", *options) == 2
    assert text in capsys.readouterr().out


def test_what_is_not_json_is_wrong_use(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        stage("write", "--inputs", "{broken")
    assert ended.value.code == 2
    assert "not JSON" in capsys.readouterr().err


def test_plan_needs_a_time(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--use-case", "credit_card_fraud", "--run", "r1"]) == 2
    assert "stage plan --as-of: got nothing. Allowed: the run's time in ISO 8601" in capsys.readouterr().out


def test_the_command_can_be_copied_from_a_log(store: Store) -> None:
    assert stage("write") == 0
    reference = store.read_json("runs/toy/r1/stages/support.toy.write/result.json")["result"]
    assert stage("total", "--inputs", json.dumps({"parts": [reference, reference]})) == 0
    pointer = store.read_json("runs/toy/r1/stages/support.toy.total/result.json")
    assert store.read_json(pointer["result"]["uri"])["values"] == {"total": 0.02}
