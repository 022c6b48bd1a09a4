"""Stages through spark-submit: statuses pass through the JVM, reuse starts none, and nothing outlives a launch."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psutil
import pytest

from stepzero.adapters.store import Store
from stepzero.launchers.base import TIMED_OUT, Finished
from stepzero.launchers.spark import launch
from stepzero.spec.environment import StageResources
from support import toy

ROOT = Path(__file__).parents[2]
JAR = ROOT / ".stepzero" / "cache" / "deequ-2.1.0-spark-3.5.jar"
pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(not JAR.is_file(), reason="the Deequ jar was not fetched: run bin/stepzero setup"),
]


class Submitted:
    """A store, an environment and what the launcher said."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.lines = folder, list[str]()
        environment = folder / "small.yaml"
        environment.write_text(
            f"name: small\nstore: file://{folder}/store\n"
            f"spark: {{master: 'local[1]', deequ_jar: {JAR}, quick_start: true}}\n"
        )
        monkeypatch.setenv("STEPZERO_HOME", str(folder))
        self.variables = {
            "STEPZERO_ENVIRONMENT": str(environment),
            "PYTHONPATH": f"{ROOT / 'include'}{os.pathsep}{ROOT / 'tests'}",
        }
        self.store = Store(f"file://{folder}/store")
        toy.write_plan(self.store, toy.make_plan())

    def launch(self, then: str = "end", attempt: str = "1", minutes: float = 5) -> Finished:
        self.lines.clear()
        argv = ["support.toy_spark:count", "--use-case", "toy", "--run", "r1", "--attempt", attempt]
        argv += ["--parameters", f'{{"then": "{then}"}}']
        resources = StageResources(memory="512m", timeout_minutes=minutes)
        return launch(resources, argv, self.variables, self.lines.append)

    def processes(self) -> list[psutil.Process]:
        """Everything that this launch started and that still runs."""
        found = []
        for process in psutil.process_iter():
            try:
                marked = process.environ().get("STEPZERO_ENVIRONMENT") == self.variables["STEPZERO_ENVIRONMENT"]
            except psutil.Error:
                continue
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submitted:
    return Submitted(tmp_path, monkeypatch)


def test_result_then_reuse_without_a_jvm(submitted: Submitted) -> None:
    first = submitted.launch()
    assert first.status == 0, submitted.lines
    assert any("counted by local-" in line and "deequ" in line for line in submitted.lines)
    assert submitted.lines[-1] == "INFO 500 rows"
    noise = [line for line in submitted.lines if not line.startswith("INFO ")]
    assert noise == [], "Spark's own log must be quiet"
    assert first.peak_memory_mb > 150, "the JVM counts"
    again = submitted.launch(attempt="2")
    assert again.status == 0
    assert any("reused" in line for line in submitted.lines)
    assert not any("counted" in line for line in submitted.lines)
    assert submitted.processes() == []


@pytest.mark.parametrize(("then", "status"), [("refuse", 10), ("crash", 1)])
def test_statuses_pass_through_the_jvm(submitted: Submitted, then: str, status: int) -> None:
    finished = submitted.launch(then)
    assert finished.status == status, submitted.lines
    assert not finished.retry
    if then == "crash":
        error = submitted.store.read_json("runs/toy/r1/stages/support.toy_spark.count/result.error-1.json")
        assert "nowhere" in error["message"]


def test_killed_jvm_may_be_retried_and_leaves_nothing(submitted: Submitted) -> None:
    def kill() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not any("waiting" in line for line in submitted.lines):
            time.sleep(0.1)
        java = [process for process in submitted.processes() if process.name() == "java"]
        assert java
        java[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    finished = submitted.launch("wait")
    killer.join()
    assert finished.retry, finished
    assert submitted.processes() == []
    assert not submitted.store.exists("runs/toy/r1/stages/support.toy_spark.count/result.json")


def test_nothing_outlives_a_killed_watchdog(submitted: Submitted) -> None:
    def kill() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not any("waiting" in line for line in submitted.lines):
            time.sleep(0.1)
        owner = [process for process in submitted.processes() if "watchdog.py" in " ".join(process.cmdline())]
        assert len(owner) == 1
        owner[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    finished = submitted.launch("wait")
    killer.join()
    assert finished.reason == "its watchdog was killed"
    deadline = time.monotonic() + 20
    while submitted.processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert submitted.processes() == [], "the JVM and its Python driver must die with it"


def test_time_out_ends_jvm_and_python(submitted: Submitted) -> None:
    finished = submitted.launch("wait", minutes=0.3)
    assert finished.status == TIMED_OUT, submitted.lines
    assert submitted.processes() == []
