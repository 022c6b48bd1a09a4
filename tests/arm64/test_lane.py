"""The emulated machine is what it claims to be."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from arm64.conftest import Flows
from arm64.lane.build import LOCKS, Lane
from arm64.lane.imports import locked

pytestmark = pytest.mark.timeout(3000)
_ELF_AARCH64 = b"\xb7\x00"


def test_python_and_its_children_are_arm64(lane: Lane) -> None:
    code = "import platform, subprocess, sys; print(platform.machine()); sys.stdout.flush();"
    code += "subprocess.run([sys.executable, '-c', 'import platform; print(platform.machine())'], check=True)"
    done = subprocess.run([lane.python, "-c", code], env=lane.environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["aarch64", "aarch64"]


def test_java_is_17_for_arm64(lane: Lane) -> None:
    command = [str(lane.java_home / "bin" / "java"), "-XshowSettings:properties", "-version"]
    done = subprocess.run(command, env=lane.environment(), capture_output=True, text=True, check=True)
    assert "os.arch = aarch64" in done.stderr
    assert 'openjdk version "17.' in done.stderr


def test_every_compiled_file_is_arm64(lane: Lane) -> None:
    wheels = lane.python.parents[1] / "lib" / "python3.11" / "site-packages"
    libraries = [path for path in wheels.resolve().rglob("*.so*") if _head(path).startswith(b"\x7fELF")]
    foreign = [str(path) for path in libraries if _head(path)[18:20] != _ELF_AARCH64]
    assert len(libraries) > 300
    assert foreign == []


def test_every_locked_package_can_be_imported(started: Flows) -> None:
    report = json.loads(started.finished("imports").strip().splitlines()[-1])
    names = {name for lock in LOCKS for name in locked(lock.read_text(encoding="utf-8"), "aarch64")}
    seen = {entry.partition(":")[0] for entry in report["imported"]} | set(report["without_module"])
    assert report["failed"] == {}
    assert seen == set(report["pinned"])
    assert names <= seen, "a Python before 3.11.3, as Debian's is, needs async-timeout besides"
    assert report["versions"] == report["pinned"]


def test_numeric_library_tests_pass(started: Flows) -> None:
    text = started.finished("pytest")
    assert re.search(r"\d{2,} passed", text), text[-2000:]


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(20)
