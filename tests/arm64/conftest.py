"""The lane and both runs, made once for all tests of this folder."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from arm64.lane import flow
from arm64.lane.build import LOCKS, ROOT, Lane, build_lane
from arm64.lane.dag import read_tasks
from arm64.lane.debian import UnavailableError
from arm64.lane.machine import USE_CASE, Machine, Started

HOME = Path(os.environ.get("STEPZERO_HOME") or ROOT / ".stepzero").resolve()
REPORTS = HOME / "reports" / "arm64"
DAG_FILE = ROOT / "dags" / f"{USE_CASE}.py"
LIBRARY = ROOT / "tests" / "library"
NUMERIC_TESTS = ("test_measures*.py", "test_learning_transform.py", "test_learning_resample.py")
"""Library tests that compute and are fast; every name that fits."""
TOLD = pytest.StashKey[str]()
"""The equality report, for the end of what pytest says."""


@dataclass
class Flows:
    """Both runs of all stages, and what runs in the lane beside them."""

    native: Machine
    arm64: Machine
    jobs: list[flow.Job]
    sample: str
    results: dict[str, flow.Results] = field(default_factory=lambda: {"native": {}, "arm64": {}})
    errors: dict[str, BaseException] = field(default_factory=dict)
    beside: dict[str, Started] = field(default_factory=dict)
    graviton3: Future[str] | None = None
    running: list[Future[None]] = field(default_factory=list)

    def machines(self) -> tuple[Machine, Machine]:
        """Return both machines."""
        return self.native, self.arm64

    def finished(self, name: str, machine: str = "arm64") -> str:
        """Wait for what runs beside the stages and return all its output; a failure shows the end of it."""
        answer = self.beside[f"{machine} {name}"].finish()
        assert answer.status == 0, f"{name} on {machine} ended with {answer.status}:\n{answer.log[-6000:]}"
        getattr(self, machine).processor_seconds[name] = answer.processor_seconds
        return answer.log

    def kernels(self, machine: str) -> dict[str, Any]:
        """Return scores of a logistic regression, and whose numerical code gave them."""
        assert self.graviton3 is not None
        text = self.graviton3.result() if machine == "graviton3" else self.finished("kernels", machine)
        found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
        return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the equality report."""
    if TOLD in config.stash:
        terminalreporter.section("arm64 against x86-64")
        terminalreporter.write_line(config.stash[TOLD])
        terminalreporter.write_line(f"report: {REPORTS / 'equality.md'}")


@pytest.fixture(scope="session")
def lane() -> Lane:
    """Return the arm64 Python and Java; where they cannot be had, the test is skipped by name."""
    try:
        return build_lane(HOME)
    except UnavailableError as error:
        if os.environ.get("STEPZERO_ARM64") == "required":
            raise
        pytest.skip(f"NOT RUN: the arm64 lane cannot be had here: {error}")


@pytest.fixture(scope="session")
def started(lane: Lane, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Flows]:
    """Start everything at once: what needs no stage, and where a test asks for them the stages on both machines."""
    folder = tmp_path_factory.mktemp("machines")
    sample = flow.write_sample(folder / "sample.csv")
    native = Machine("native", folder / "native", HOME / "cache")
    arm64 = Machine("arm64", folder / "arm64", HOME / "cache", lane)
    wanted = any("flows" in getattr(item, "fixturenames", ()) for item in request.session.items)
    both = Flows(native, arm64, flow.plan_jobs(read_tasks(DAG_FILE)) if wanted else [], sample)
    pool = ThreadPoolExecutor(3)
    try:
        for machine in both.machines() if wanted else ():
            both.running.append(pool.submit(_run, both, machine, folder / "sample.csv"))
        both.beside |= {f"arm64 {name}": _start(arm64, folder, name) for name in ("imports", "pytest", "kernels")}
        both.beside["native kernels"] = _start(native, folder, "kernels")
        both.graviton3 = pool.submit(_on_graviton3, lane, folder)
        yield both
    finally:  # an interrupted wait too: a machine that is closed answers all who wait for it
        native.close()
        arm64.close()
        pool.shutdown()


@pytest.fixture(scope="session")
def flows(started: Flows) -> Flows:
    """Wait for every stage of the DAG on both machines; a stage that fails ends only its own run."""
    for one in started.running:
        one.result()
    return started


def _run(both: Flows, machine: Machine, sample: Path) -> None:
    try:
        machine.start_tracking()
        flow.run_flow(machine, sample, both.jobs, both.results[machine.name])
    except Exception as error:  # noqa: BLE001  # told by the test of the stage that is missing
        both.errors[machine.name] = error


def _start(machine: Machine, folder: Path, name: str) -> Started:
    """Start what needs no stage as a child of the driver, which has imported most of it."""
    variables = {"SPARK_VERSION": "3.5", "AIRFLOW_HOME": str(folder / "airflow"), "PYTHONDONTWRITEBYTECODE": "1"}
    files = [str(file) for pattern in NUMERIC_TESTS for file in sorted(LIBRARY.glob(pattern))]
    # The driver has imported what pytest would rewrite.
    options = ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "--assert=plain"]
    options += ["--hypothesis-profile=emulated"]
    arguments = {
        "imports": list(map(str, LOCKS)),
        "pytest": [*options, "-q", "--timeout=600", *files],
        "kernels": [str(folder / "sample.csv")],
    }
    return machine.start(*arguments[name], program=name, variables={**variables, "STEPZERO_HOME": str(folder / name)})


def _on_graviton3(lane: Lane, folder: Path) -> str:
    """Fit in a process of its own: the library chooses its code when it is loaded."""
    command = [str(lane.graviton3), "-P", str(ROOT / "tests" / "arm64" / "lane" / "kernels.py")]
    command.append(str(folder / "sample.csv"))
    return subprocess.run(command, env=lane.environment(), capture_output=True, text=True, check=True).stdout
