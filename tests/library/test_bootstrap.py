"""The starter that makes the environment: what it keeps, what it remakes, what it says when it cannot."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_bootstrap_tested", ROOT / "bin" / "_bootstrap.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def installs(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record what would be run; `uv venv` makes a link to this Python, as it does."""
    commands: list[list[str]] = []

    def run(command: list[str]) -> None:
        commands.append(command)
        if command[1] == "venv":
            folder = Path(command[-1])
            (folder / "bin").mkdir(parents=True)
            (folder / "bin" / "python").symlink_to(sys.executable)
            (folder / "pyvenv.cfg").write_text("", encoding="utf-8")

    monkeypatch.setattr(bootstrap, "run", run)
    monkeypatch.setattr(bootstrap, "ensure_uv", lambda home, base: Path("uv"))
    return commands


def verbs(commands: list[list[str]]) -> list[str]:
    return [" ".join(word for word in command[1:3] if not word.startswith("-")) for command in commands]


def test_second_start_installs_nothing(bootstrap: ModuleType, installs: list[Any], tmp_path: Path) -> None:
    python = bootstrap.ensure_environment(tmp_path, tests=False)
    assert verbs(installs) == ["venv", "pip sync"]
    began = time.perf_counter()
    assert bootstrap.ensure_environment(tmp_path, tests=False) == python
    assert time.perf_counter() - began < 0.1
    assert len(installs) == 2


def test_hashes_are_required_and_only_pyspark_is_built(
    bootstrap: ModuleType, installs: list[list[str]], tmp_path: Path
) -> None:
    bootstrap.ensure_environment(tmp_path, tests=True)
    sync = installs[-1]
    assert "--require-hashes" in sync
    assert sync[sync.index("--no-binary") + 1] == "pyspark"
    assert sync[-2:] == [str(ROOT / "requirements.txt"), str(ROOT / "requirements" / "test.txt")]


def test_tests_are_added_later_and_stay(bootstrap: ModuleType, installs: list[list[str]], tmp_path: Path) -> None:
    bootstrap.ensure_environment(tmp_path, tests=False)
    bootstrap.ensure_environment(tmp_path, tests=True)
    assert verbs(installs) == ["venv", "pip sync", "pip sync"], "the environment itself is kept"
    stamp = tmp_path / "venv" / ".stepzero.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "runtime": "an older lock"}))
    bootstrap.ensure_environment(tmp_path, tests=False)
    assert installs[-1][-1].endswith("test.txt"), "a new lock must not remove the test packages"


def test_half_made_environment_is_remade(
    bootstrap: ModuleType, installs: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = bootstrap.run

    def killed(command: list[str]) -> None:
        if "sync" in command:
            raise KeyboardInterrupt
        record(command)

    monkeypatch.setattr(bootstrap, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        bootstrap.ensure_environment(tmp_path, tests=False)
    (tmp_path / "venv" / "half").touch()
    monkeypatch.setattr(bootstrap, "run", record)
    bootstrap.ensure_environment(tmp_path, tests=False)
    assert not (tmp_path / "venv" / "half").exists()
    assert bootstrap.is_ready(tmp_path, tests=False)


def test_developers_environment_without_stamp_is_kept(
    bootstrap: ModuleType, installs: list[list[str]], tmp_path: Path
) -> None:
    bootstrap.run(["uv", "venv", str(tmp_path / "venv")])
    (tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / "pytest").mkdir(parents=True)
    bootstrap.ensure_environment(tmp_path, tests=False)
    assert verbs(installs[1:]) == ["pip sync"]
    assert installs[-1][-1].endswith("test.txt")


def test_two_at_once_install_once(bootstrap: ModuleType, installs: list[list[str]], tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    with (tmp_path / "setup.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        both = [
            threading.Thread(target=bootstrap.ensure_environment, args=(tmp_path,), kwargs={"tests": False})
            for _ in range(2)
        ]
        for each in both:
            each.start()
        time.sleep(0.3)
        assert installs == [], "nobody installs while another holds the lock"
        fcntl.flock(lock, fcntl.LOCK_UN)
    for each in both:
        each.join(timeout=30)
    assert verbs(installs) == ["venv", "pip sync"]


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_another_system_is_refused_before_anything_is_made(
    bootstrap: ModuleType, installs: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str
) -> None:
    monkeypatch.setattr(bootstrap.sys, "platform", system)
    with pytest.raises(bootstrap.SetupError) as caught:
        bootstrap.ensure_environment(tmp_path / "home", tests=False)
    assert str(caught.value) == (
        f"operating system: got {system}. Allowed: Linux: stages need its /proc, prctl and pidfd_open. "
        "Do: run it on a Linux machine, in WSL 2, or in containers (docker compose up --build)"
    )
    assert installs == []
    assert not (tmp_path / "home").exists()


def test_starter_loads_where_there_is_no_fcntl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has none; it is to be refused in four parts all the same."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location("_bootstrap_on_windows", ROOT / "bin" / "_bootstrap.py")
    assert spec
    assert spec.loader
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_old_python_is_told_what_to_install(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None)
    with pytest.raises(bootstrap.SetupError) as caught:
        bootstrap.supported_python()
    text = str(caught.value)
    assert text.startswith("Python: got 3.9.2 (")
    assert "Allowed: Python 3.11 or 3.12. Do: apt-get install" in text


def test_old_python_hands_over_to_a_newer_one(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: sys.executable if name == "python3.11" else None)
    assert bootstrap.supported_python() == sys.executable


def test_neither_pip_nor_venv_names_the_package(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bootstrap, "has_module", lambda base, name: False)
    with pytest.raises(bootstrap.SetupError, match=r"neither pip nor venv.*Do: apt-get install python3-venv \(or"):
        bootstrap.ensure_uv(tmp_path, sys.executable)


def test_no_room_is_told_before_anything_is_made(bootstrap: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(bootstrap.SetupError) as caught:
        bootstrap.check_space(tmp_path, gigabytes=1e9)
    assert str(caught.value).startswith(f"disk space under {tmp_path}: got ")
    assert "set STEPZERO_HOME to a folder on a larger disk" in str(caught.value)


def test_full_disk_while_installing_says_so(bootstrap: ModuleType) -> None:
    with pytest.raises(bootstrap.SetupError, match="Do: make room on the disk"):
        bootstrap.run(["sh", "-c", "head -c 1 /dev/zero > /dev/full"])


def test_home_below_a_file_is_refused(bootstrap: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(bootstrap.SetupError, match=r"STEPZERO_HOME .*Allowed: a folder we may write to"):
        bootstrap.ensure_environment(tmp_path / "file" / "home", tests=False)


def test_changed_bytes_of_uv_are_refused(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "bootstrap.txt"
    lock.write_text(f"uv==0.13.8 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    monkeypatch.setattr(bootstrap, "UV_LOCK", lock)
    with pytest.raises(bootstrap.SetupError, match="HASHES"):
        bootstrap.ensure_uv(tmp_path / "home", sys.executable)


def test_unknown_part_of_the_tests_is_wrong_use() -> None:
    done = subprocess.run([ROOT / "bin" / "test", "libary"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such part: libary. usage: bin/test [architecture|library|" in done.stderr
