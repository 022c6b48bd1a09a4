"""The supervisor with small parts of its own: what ends is started again, what is left behind is ended."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stepzero.cli.services.control import read_state
from stepzero.cli.services.parts import Part
from stepzero.cli.services.processes import MARK, end, marked
from support.stack import wait_for

pytestmark = pytest.mark.service
SLEEP = "import time; time.sleep(600)"


class Supervised:
    """A supervisor of made-up parts under a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "run").mkdir()
        (home / "logs").mkdir()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *parts: Part) -> None:
        document = {"parts": [part.to_json() for part in parts]}
        (self.home / "run" / "services.json").write_text(json.dumps(document), encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "stepzero.cli.services.supervisor", str(self.home)],
            env={
                **os.environ,
                "STEPZERO_HOME": str(self.home),
                MARK: "supervisor",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        end(self.processes, grace=5)
        if self.process:
            self.process.wait(timeout=30)

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = read_state(self.home).get("parts", {}).get(name, {})
        return found

    def wait(self, name: str, **wanted: object) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            state = self.state(name)
            return state if state and all(state[key] == value for key, value in wanted.items()) else None

        return wait_for(f"{name} {wanted}", look, seconds=30, every=0.1)

    def processes(self) -> list[psutil.Process]:
        return list(marked(self.home))


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    running = Supervised(tmp_path)
    yield running
    running.stop()


def part(name: str, code: str, **more: Any) -> Part:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return Part(name, command, more.pop("health", "running"), {"STEPZERO_HOME": more.pop("home")}, **more)


def test_killed_part_starts_again_and_what_it_left_is_ended(supervised: Supervised) -> None:
    leaves = f"""
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", "{SLEEP}"], start_new_session=True)
        time.sleep(600)
    """
    supervised.start(part("one", leaves, home=str(supervised.home)))
    first = supervised.wait("one", state="running")
    before = wait_for(
        "the child of the part", lambda: len(list(marked(supervised.home, "one"))) == 2 and supervised.processes()
    )
    psutil.Process(first["pid"]).kill()
    second = supervised.wait("one", state="running", restarts=1)
    assert second["pid"] != first["pid"]
    assert second["last_exit"] == -9
    old = [process for process in before if process.pid != supervised.process.pid]  # type: ignore[union-attr]
    assert psutil.wait_procs(old, timeout=5)[1] == [], (
        "a killed scheduler's workers must not run beside their successors"
    )


def test_part_that_fails_waits_longer_each_time(supervised: Supervised) -> None:
    supervised.start(
        part("bad", "import time; print(time.time(), flush=True); raise SystemExit(3)", home=str(supervised.home))
    )
    state = supervised.wait("bad", restarts=4)
    assert state["last_exit"] == 3
    began = [float(line) for line in (supervised.home / "logs" / "bad.log").read_text().split()]
    waits = [later - earlier for earlier, later in itertools.pairwise(began)]
    assert waits == sorted(waits)
    assert waits[2] > 3


def test_parts_wait_for_the_one_before_and_it_runs_once(supervised: Supervised) -> None:
    done, home = supervised.home / "migrated", str(supervised.home)
    once = part(
        "migrate",
        "import time; time.sleep(1); print('ran')",
        home=home,
        health="once",
        done_file=str(done),
        done_text="7",
    )
    supervised.start(once, part("after", SLEEP, home=home, after="migrate"))
    supervised.wait("migrate", state="running")
    assert supervised.state("after")["state"] == "waiting"
    supervised.wait("after", state="running")
    assert done.read_text() == "7"
    supervised.stop()
    supervised.start(once, part("after", SLEEP, home=home, after="migrate"))
    supervised.wait("after", state="running")
    assert (supervised.home / "logs" / "migrate.log").read_text() == "ran\n"


def test_end_kills_what_does_not_listen(supervised: Supervised) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"
    supervised.start(part("deaf", deaf, home=str(supervised.home)))
    wait_for(
        "the part to be deaf",
        lambda: (
            (supervised.home / "logs" / "deaf.log").exists()
            and "deaf" in (supervised.home / "logs" / "deaf.log").read_text()
        ),
        seconds=20,
    )
    assert supervised.process
    began = time.monotonic()
    supervised.process.terminate()
    supervised.process.wait(timeout=30)
    assert time.monotonic() - began < 20
    assert supervised.processes() == []


def test_shell_that_exports_the_home_is_left_alone(supervised: Supervised) -> None:
    shell = subprocess.Popen([sys.executable, "-c", SLEEP], env={**os.environ, "STEPZERO_HOME": str(supervised.home)})
    try:
        assert supervised.processes() == []
        assert end(supervised.processes, grace=0) == 0
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.wait()
