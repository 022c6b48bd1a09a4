"""Services on a full disk, started twice at once, and stopped while they start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from stepzero.cli.services import control
from stepzero.cli.services.parts import Part
from stepzero.cli.services.processes import marked
from stepzero.cli.services.supervisor import Supervisor
from stepzero.core.errors import ServiceError
from stepzero.spec.load import load_environment
from support.stack import wait_for

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    yield tmp_path
    control.stop_services(print)
    assert list(marked(tmp_path)) == []


@pytest.fixture
def launched(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Every supervisor that is started; all have ended with the test."""
    started, launch = [], control._launch

    def kept(*given: Any) -> subprocess.Popen[bytes]:
        started.append(launch(*given))
        return started[-1]

    monkeypatch.setattr(control, "_launch", kept)
    yield started
    control.stop_services(print)
    for supervisor in started:
        supervisor.wait(timeout=20)


def part(home: Path, health: str, command: list[str] = SLEEP, **more: Any) -> Part:
    variables = {"STEPZERO_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    return Part(f"small-{health.partition(':')[0]}", command, health, variables, **more)


def processes(home: Path, name: str, *, but: int = 0) -> list[psutil.Process]:
    return [process for process in marked(home, name) if process.pid != but]


def test_full_disk_ends_no_supervision(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("run", "logs"):
        (home / name).mkdir()
    full = [home / "run" / "state.part", home / "migrated"]
    for path in full:
        path.symlink_to("/dev/full")
    once = part(home, "once", [sys.executable, "-S", "-c", ""], done_file=str(home / "migrated"), done_text="7")
    supervisor = Supervisor(home, [once.to_json(), part(home, "runs").to_json()])
    thread = threading.Thread(target=supervisor.supervise)
    thread.start()
    try:
        first = wait_for("the part", lambda: processes(home, "small-runs"), seconds=20, every=0.2)[0]
        first.kill()
        wait_for("the part again", lambda: processes(home, "small-runs", but=first.pid), seconds=20, every=0.2)
        wait_for("both refusals", lambda: len(refused(caplog)) == 2, seconds=20, every=0.2)
        for path in full:
            path.unlink()
        state = home / "run" / "state.json"
        wait_for("a state", lambda: state.exists() and _all_well(json.loads(state.read_text())), seconds=20, every=0.2)
    finally:
        supervisor.stopping = True
        thread.join()
    assert sorted(refused(caplog)) == [
        "small-once cannot be looked after",
        "the state of the services cannot be written",
    ]
    assert (home / "migrated").read_text() == "7"


def refused(caplog: pytest.LogCaptureFixture) -> set[str]:
    """Return what was told of the full disk, without the error."""
    return {line.partition(" (")[0] for line in caplog.messages if "No space left on device" in line}


def _all_well(state: dict[str, Any]) -> bool:
    return {name: one["state"] for name, one in state["parts"].items()} == {
        "small-once": "done",
        "small-runs": "running",
    }


def test_two_starts_at_once_launch_one_supervisor(
    home: Path, launched: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "parts_of", lambda _: [part(home, "runs")])
    environment = load_environment("local")
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: control.start_services(environment, print), range(2)))
    assert len(launched) == 1


@pytest.mark.usefixtures("launched")
def test_down_ends_an_up_that_waits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "parts_of", lambda _: [part(home, "http:http://127.0.0.1:9/")])
    monkeypatch.setattr(control, "_START_SECONDS", 10.0)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(control.start_services, load_environment("local"), print)
        wait_for("the supervisor", lambda: control.read_state(home), seconds=20, every=0.1)
        control.stop_services(print)
        with pytest.raises(ServiceError) as caught:
            waiting.result(timeout=20)
    assert str(caught.value) == (
        f"services of {home}: got stopped while they were being started. Allowed: a supervisor that keeps them until "
        f"bin/stepzero down. Do: bin/stepzero up; if nobody stopped them, read {home}/logs/supervisor.log first"
    )
