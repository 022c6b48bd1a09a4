"""The preloaded server: same results as a plain child, no stranger served, nothing old run, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stepzero.adapters.store import Store
from stepzero.launchers.fork_client import why_not
from support import toy

ROOT = Path(__file__).parents[2]
SERVER = """
from stepzero.core.logs import configure
from stepzero.cli.stage import main
from stepzero.launchers import fork_server
configure()
fork_server.PRELOADED = ("fractions",)
fork_server.serve_forever(main)
"""
CLIENT = """
import sys
from stepzero.launchers.process import launch
from stepzero.spec.environment import StageResources
resources = StageResources(timeout_minutes=float(sys.argv[1]), cpu=2)
finished = launch(resources, sys.argv[2:], {}, lambda line: print(line, flush=True))
print(finished)
sys.exit(finished.status)
"""


class Project:
    """A copy of the library with a store of its own, so that code can change under the server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "include", folder / "include", ignore=ignored)
        shutil.copy(ROOT / "requirements.txt", folder)
        paths = f"{folder / 'include'}{os.pathsep}{ROOT / 'tests'}"
        self.environment = {**os.environ, "PYTHONPATH": paths, "STEPZERO_HOME": str(self.home)}
        self.environment |= {toy.COUNTER: str(folder / "count")}
        self.environment.pop("STEPZERO_INCLUDE", None)
        self.socket = self.home / "run" / "preload.sock"
        self.store = Store(f"file://{self.home}/store")
        toy.write_plan(self.store, toy.make_plan())
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "server.log").open("wb") as log:
            command = [sys.executable, "-P", "-c", SERVER]
            self.server = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self.socket.exists():
            assert self.server.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)
        return self.server

    def client(
        self, name: str, *options: str, attempt: str = "1", minutes: float = 1, **more: str
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-c", CLIENT, str(minutes), f"support.toy:{name}"]
        identity = ["--use-case", "toy", "--run", "r1", "--attempt", attempt]
        return subprocess.Popen(
            [*command, *identity, *options], env=self.environment | more, stdout=subprocess.PIPE, text=True
        )

    def launch(self, name: str, *options: str, **more: Any) -> tuple[int, str]:
        client = self.client(name, *options, **more)
        told, _ = client.communicate(timeout=90)
        return client.returncode, told

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    if made.server:
        made.server.kill()
        made.server.wait()


def wait_for(look: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    return None


def test_same_result_and_statuses_as_a_plain_child(project: Project) -> None:
    server = project.start()
    assert psutil.Process(server.pid).num_threads() == 1
    status, told = project.launch("write")
    assert status == 0, told
    assert "not used" not in told
    forked = project.store.read_json("runs/toy/r1/stages/support.toy.write/result.json")
    project.store.remove("results")
    project.launch("write", attempt="2", STEPZERO_PRELOAD="0")
    plain = project.store.read_json("runs/toy/r1/stages/support.toy.write/result.json")
    assert forked["result"]["digest"] == plain["result"]["digest"]
    assert forked["key"] == plain["key"]
    for name, expected in (("refuse", 10), ("fail", 1), ("crash", 1)):
        for preload in ("1", "0"):
            options = {"STEPZERO_PRELOAD": preload, "attempt": f"3{preload}"}
            assert project.launch(name, **options)[0] == expected, (name, preload)
    assert "ZeroDivisionError" in project.launch("crash", attempt="4")[1]


def test_child_is_named_and_owned_by_its_client(project: Project) -> None:
    server = project.start()
    client = project.client("slow", "--parameters", '{"seconds": "60"}', "--label", "smote.x")
    child = wait_for(lambda: psutil.Process(server.pid).children())[0]
    assert wait_for(lambda: "stepzero stage support.toy:slow smote.x" in " ".join(child.cmdline()))
    assert child.environ()["STEPZERO_HOME"] == str(project.home)
    client.kill()
    client.communicate()
    assert wait_for(lambda: not psutil.pid_exists(child.pid)), "the client died, its stage lives on"
    assert server.poll() is None


def test_time_limit_ends_a_forked_stage(project: Project) -> None:
    project.start()
    status, told = project.launch("slow", "--parameters", '{"seconds": "60"}', minutes=0.03)
    assert status == 124, told
    assert "time is over" in told


def test_end_of_the_server_ends_its_children_and_the_client_may_retry(project: Project) -> None:
    server = project.start()
    client = project.client("slow", "--parameters", '{"seconds": "60"}')
    child = wait_for(lambda: psutil.Process(server.pid).children())[0]
    server.send_signal(signal.SIGKILL)
    server.wait()
    told, _ = client.communicate(timeout=20)
    assert client.returncode == 75
    assert "the preloaded server ended" in told
    assert wait_for(lambda: not psutil.pid_exists(child.pid) or child.status() == psutil.STATUS_ZOMBIE)


def test_sigterm_ends_the_server_in_order(project: Project) -> None:
    server = project.start()
    server.terminate()
    assert server.wait(timeout=10) == 0
    assert not project.socket.exists()


def test_changed_code_is_never_run_from_memory(project: Project) -> None:
    server = project.start()
    reached = project.folder / "include" / "stepzero" / "execution" / "execute.py"
    reached.write_text(reached.read_text().replace("never ran before", "is quite new"))
    status, told = project.launch("write")
    assert status == 0, told
    assert "INFO preloaded server not used: the code changed since it started; it restarts itself" in told
    assert "is quite new" in told
    assert wait_for(lambda: "starts anew" in project.log)
    assert server.poll() is None, "a restart keeps the process"


def test_caller_with_other_code_gets_a_plain_child(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    project.start()
    other = Project(tmp_path_factory.mktemp("other"))
    paths = other.environment["PYTHONPATH"]
    status, told = project.launch("write", PYTHONPATH=paths)
    assert status == 0, told
    assert "the caller runs other code" in told


@pytest.mark.parametrize("mode", [0o666, 0o660, 0o606])
def test_socket_that_others_may_use_is_not_used(project: Project, mode: int) -> None:
    project.start()
    assert project.socket.stat().st_mode & 0o777 == 0o600
    project.socket.chmod(mode)
    status, told = project.launch("write")
    assert status == 0, told
    assert f"has mode {mode:04o}, not 0600: others could use it" in told
    assert "listens at" in project.log
    assert "toy" not in project.log


def test_only_a_socket_of_ours_is_trusted(tmp_path: Path) -> None:
    assert why_not(tmp_path / "none.sock") == "not running"
    (tmp_path / "file").write_text("x")
    assert why_not(tmp_path / "file").endswith("is no socket")


def test_nonsense_does_not_end_the_server(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    server = project.start()
    monkeypatch.chdir(project.socket.parent)  # a socket's path must be short
    for junk in (b"", b"\xff\xff\xff\xff", b"hello world"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect("preload.sock")
            connection.sendall(junk)
    assert project.launch("write")[0] == 0
    assert server.poll() is None
    assert "not understood" in project.log
