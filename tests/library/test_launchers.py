"""The launcher `process`: lines, exit statuses, costs, and nothing left behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stepzero.core.errors import SpecError
from stepzero.launchers.base import TIMED_OUT, Finished, find_launcher
from stepzero.launchers.process import launch, run_watched, stage_environment
from stepzero.launchers.spark import job_file, submit_command
from stepzero.spec.environment import Environment, StageResources

INCLUDE = Path(__file__).parents[2] / "include"
HARDY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
script = "import os, time; os.setsid(); open({0!r}, 'a').write(str(os.getpid()) + '\\\\n'); time.sleep(60)"
children = [subprocess.Popen([sys.executable, "-c", script.format(sys.argv[1])]) for _ in range(2)]
open(sys.argv[1], "a").write(str(os.getpid()) + "\\n")
print("started", flush=True)
time.sleep(60)
"""
"""A stage that ignores SIGTERM and whose children made themselves sessions of their own, as a JVM might."""


def python(code: str, *arguments: str, timeout: float = 60) -> tuple[Finished, list[str]]:
    lines: list[str] = []
    command = [sys.executable, "-c", code, *arguments]
    finished = run_watched(command, os.environ, timeout_seconds=timeout, log_line=lines.append)
    return finished, lines


def wait_for_pids(path: Path, count: int) -> list[int]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pids = path.read_text().split() if path.exists() else []
        if len(pids) == count:
            return [int(pid) for pid in pids]
        time.sleep(0.05)
    raise AssertionError(path.read_text() if path.exists() else "nothing started")


def gone(pids: list[int], seconds: float = 12) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("status", [0, 1, 2, 10, 75])
def test_exit_status_is_passed_on(status: int) -> None:
    assert python(f"raise SystemExit({status})")[0].status == status


def test_uncaught_exception_exits_1_and_its_traceback_is_passed_on() -> None:
    finished, lines = python("raise ValueError('so it is')")
    assert finished.status == 1
    assert lines[-1] == "ValueError: so it is"


def test_lines_of_both_streams_come_as_they_are_written() -> None:
    began, times = time.monotonic(), []
    code = (
        "import sys, time; print('out'); sys.stdout.flush(); print('err', file=sys.stderr);"
        "time.sleep(1); print('end \\xe9')"
    )
    run_watched(
        [sys.executable, "-c", code],
        {**os.environ, "PYTHONIOENCODING": "latin-1"},
        timeout_seconds=30,
        log_line=lambda line: times.append((line, time.monotonic() - began)),
    )
    assert [line for line, _ in times] == ["out", "err", "end \ufffd"]
    assert times[2][1] - times[0][1] > 0.8


def test_a_killed_child_is_told_as_a_shell_does_and_may_be_retried() -> None:
    finished, _ = python("import os; os.kill(os.getpid(), 9)")
    assert finished.status == 137
    assert finished.retry
    assert not python("raise SystemExit(1)")[0].retry


def test_costs_are_measured_with_children() -> None:
    burn = "sum(i * i for i in range(6_000_000)); x = b'1' * 150_000_000"
    finished, _ = python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])")
    assert finished.cpu_seconds > 0.1
    assert 140 < finished.peak_memory_mb < 400
    assert finished.wall_seconds >= finished.cpu_seconds * 0.5


def test_time_out_kills_the_whole_tree(tmp_path: Path) -> None:
    began = time.monotonic()
    finished, lines = python(HARDY, str(tmp_path / "pids"), timeout=2)
    pids = wait_for_pids(tmp_path / "pids", 3)
    assert finished.status == TIMED_OUT
    assert finished.reason == "time is over"
    assert finished.retry
    assert lines == ["started"]
    assert gone(pids, 1)
    assert time.monotonic() - began < 15


def test_what_a_stage_leaves_running_is_ended(tmp_path: Path) -> None:
    code = HARDY.replace("time.sleep(60)\n", "time.sleep(1)\n")
    finished, _ = python(code, str(tmp_path / "pids"))
    assert finished.status == 0
    assert gone(wait_for_pids(tmp_path / "pids", 3), 1)


CALLER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from stepzero.launchers.process import run_watched
command = [sys.executable, "-c", sys.argv[2], sys.argv[3]]
run_watched(command, os.environ, timeout_seconds=60, log_line=print)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_death_of_the_caller_kills_the_whole_tree(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CALLER, str(INCLUDE), HARDY, str(tmp_path / "pids")]
    caller = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    pids = wait_for_pids(tmp_path / "pids", 3)
    caller.send_signal(number)
    caller.wait()
    assert gone(pids)


def test_kill_of_the_watchdog_itself_kills_the_child_and_is_told(tmp_path: Path) -> None:
    def kill(line: str) -> None:
        os.kill(int(line.split()[1]), signal.SIGKILL)

    code = "import os, time; print(os.getpid(), os.getppid(), flush=True); time.sleep(30)"
    began = time.monotonic()
    finished = run_watched([sys.executable, "-c", code], os.environ, timeout_seconds=30, log_line=kill)
    assert finished.reason == "its watchdog was killed"
    assert finished.retry
    assert time.monotonic() - began < 10


def test_an_exception_of_the_caller_ends_the_child(tmp_path: Path) -> None:
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_watched(
            [sys.executable, "-c", HARDY, str(tmp_path / "pids")], os.environ, timeout_seconds=60, log_line=stop
        )
    assert gone(wait_for_pids(tmp_path / "pids", 3), 1)


def test_launch_runs_the_command_with_secrets_in_memory_only(tmp_path: Path) -> None:
    lines: list[str] = []
    variables = {"STEPZERO_HOME": str(tmp_path), "STEPZERO_PRELOAD": "0", "SECRET": "s3cret"}
    argv = ["quality_gate", "--use-case", "toy", "--run", "none"]
    finished = launch(StageResources(), argv, variables, lines.append)
    assert finished.status == 1
    assert lines == [
        "ERROR plan of run none of toy: got none. Allowed: a run that has a plan. "  # noqa: ISC004
        "Do: run its first task, or name another run"
    ]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_threads_of_a_child_follow_its_share_of_the_machine() -> None:
    assert stage_environment(StageResources(cpu=3), {})["OMP_NUM_THREADS"] == "3"


def test_launcher_of_somebody_else_by_dotted_name() -> None:
    assert find_launcher("stepzero.launchers.process:launch") is launch
    with pytest.raises(SpecError, match=r"stages\.\*\.launcher: got 'proces' .*\. Allowed: did you mean 'process'\?"):
        find_launcher("proces")


def test_spark_submit_command_is_quiet_and_unseen(tmp_path: Path) -> None:
    jar = tmp_path / "deequ.jar"
    jar.write_bytes(b"")
    environment = Environment.model_validate(
        {
            "name": "local",
            "store": "file:///x",
            "spark": {"deequ_jar": str(jar), "settings": {"spark.ui.enabled": "true"}},
        }
    )
    command = submit_command(environment, StageResources(memory="3g"))
    assert command[0].endswith("/bin/spark-submit")
    assert command[command.index("--driver-memory") + 1] == "3g"
    assert command[command.index("--jars") + 1] == str(jar)
    settings = [part for part, before in zip(command[1:], command, strict=False) if before == "--conf"]
    assert "spark.ui.showConsoleProgress=false" in settings
    assert "spark.driver.bindAddress=127.0.0.1" in settings
    assert "spark.ui.enabled=true" in settings, "the environment's own settings win"
    assert Path(job_file()[0]).name == "stage.py"
    assert len(Path(job_file()[0]).read_text().splitlines()) <= 20
