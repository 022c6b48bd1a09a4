"""The lane and both runs, made once for all tests of this folder."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from arm64.lane import flow
from arm64.lane.build import LOCKS, ROOT, Lane, build_lane
from arm64.lane.debian import UnavailableError
from arm64.lane.machine import Machine

HOME = Path(os.environ.get("STEPZERO_HOME") or ROOT / ".stepzero").resolve()
REPORTS = HOME / "reports" / "arm64"
NUMERIC_TESTS = ("tests/library/test_measures.py",)


@dataclass
class Background:
    """Something that runs in the lane while the stages do."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def finish(self, timeout: float) -> str:
        """Wait and return all output; a failure shows the end of it."""
        status = self.process.wait(timeout)
        text = self.log.read_text(encoding="utf-8", errors="replace")
        assert status == 0, f"{self.name} on arm64 ended with {status}:\n{text[-6000:]}"
        return text


@dataclass
class Flows:
    """Both runs of all stages."""

    native: Machine
    arm64: Machine
    sample: str
    results: dict[str, flow.Results] = field(default_factory=lambda: {"native": {}, "arm64": {}})
    errors: dict[str, BaseException] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def machines(self) -> tuple[Machine, Machine]:
        """Return both machines."""
        return self.native, self.arm64


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
def background(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Background]]:
    """Start the import of every locked package and the numeric library tests, both emulated."""
    folder = tmp_path_factory.mktemp("background")
    locks = [str(lock) for lock in LOCKS]
    script = str(ROOT / "tests" / "arm64" / "lane" / "imports.py")
    # Of hypothesis' profiles this one knows no deadline: a slow machine is no fault.
    options = ["-p", "no:cacheprovider", "-q", "--timeout", "600", "--hypothesis-profile=ci"]
    tests = ["-m", "pytest", *options, *NUMERIC_TESTS]
    started = {
        "imports": _start(lane, folder, "imports", ["-P", script, *locks]),
        "library": _start(lane, folder, "library", tests),
    }
    yield started
    for one in started.values():
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture(scope="session")
def flows(lane: Lane, background: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flows]:
    """Run every stage on both machines, side by side; a stage that fails ends only its own run."""
    folder = tmp_path_factory.mktemp("machines")
    sample = flow.write_sample(folder / "sample.csv")
    native = Machine("native", folder / "native", HOME / "cache")
    arm64 = Machine("arm64", folder / "arm64", HOME / "cache", lane)
    both = Flows(native, arm64, sample)
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda machine: _run(both, machine, folder / "sample.csv"), both.machines()))
        yield both
    finally:
        native.close()
        arm64.close()


def _run(both: Flows, machine: Machine, sample: Path) -> None:
    began = time.monotonic()
    try:
        machine.start_tracking()
        flow.run_flow(machine, sample, both.results[machine.name])
    except Exception as error:  # noqa: BLE001  # told by the test of the stage that is missing
        both.errors[machine.name] = error
    both.seconds[machine.name] = round(time.monotonic() - began, 1)


def _start(lane: Lane, folder: Path, name: str, arguments: list[str]) -> Background:
    log = folder / f"{name}.log"
    variables = {
        "PYTHONPATH": "",
        "SPARK_VERSION": "3.5",
        "AIRFLOW_HOME": str(folder / "airflow"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment = {**lane.environment(), **variables, "STEPZERO_HOME": str(folder / name)}
    with log.open("wb") as stream:
        command = [str(lane.python), *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    return Background(name, process, log)
