"""The launcher `process`: a stage as a child of this machine, forked from a preloaded server where one runs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepzero.launchers.base import TIMED_OUT, Finished, LogLine

if TYPE_CHECKING:
    from stepzero.spec.environment import StageResources

GRACE_SECONDS = 5.0
"""From SIGTERM to SIGKILL."""

log = logging.getLogger("stepzero")


def launch(resources: StageResources, argv: Sequence[str], env: Mapping[str, str], log_line: LogLine) -> Finished:
    """Run a stage as a child: from the preloaded server where it can serve, otherwise as a new Python."""
    variables = stage_environment(resources, env)
    if variables.get("STEPZERO_PRELOAD") != "0":
        from stepzero.launchers.fork_client import run_forked

        finished = run_forked(argv, variables, resources, log_line)
        if finished is not None:
            return finished
    command = [sys.executable, "-P", "-m", "stepzero.cli.main", "stage", *argv]
    return run_watched(command, variables, timeout_seconds=resources.timeout_minutes * 60, log_line=log_line)


def stage_environment(resources: StageResources, env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a child: the caller's, `env`, and what bounds its threads."""
    package_root = str(Path(__file__).resolve().parents[2])
    variables = {**os.environ, **env}
    paths = [path for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    if package_root not in {*paths, *(path for path in sys.path if path.endswith("-packages"))}:
        paths.insert(0, package_root)
    threads = str(resources.cpu)
    return {
        **variables,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }


def run_watched(
    command: Sequence[str], variables: Mapping[str, str], *, timeout_seconds: float, log_line: LogLine
) -> Finished:
    """Run a command under a watchdog; pass its lines on; leave no process behind, however this call ends."""
    listen, tell = os.pipe()
    watchdog = subprocess.Popen(
        [*_watchdog_command(timeout_seconds, tell), "--", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(variables),
        pass_fds=(tell,),
        start_new_session=True,
        text=True,
        errors="replace",
    )
    os.close(tell)
    try:
        for line in watchdog.stdout or ():
            log_line(line.rstrip("\n"))
        with os.fdopen(listen, "rb", closefd=False) as stream:
            report = json.loads(stream.read() or b"null")
        return _finished(report)
    finally:
        os.close(listen)
        _end(watchdog)


def _watchdog_command(timeout_seconds: float, report: int) -> list[str]:
    script = str(Path(__file__).with_name("watchdog.py"))
    settings = ["--timeout", str(timeout_seconds), "--grace", str(GRACE_SECONDS), "--report", str(report)]
    return [sys.executable, "-I", "-S", script, *settings]


def _finished(report: dict[str, float | str] | None) -> Finished:
    """Read the watchdog's report; without one, somebody killed the watchdog itself."""
    if report is None:
        return Finished(status=128 + 9, reason="its watchdog was killed")
    status = report["status"] if report["status"] is not None else -9
    timed_out = report["reason"] == "time is over"
    return Finished(
        status=TIMED_OUT if timed_out else shell_status(int(status)),
        reason=str(report["reason"]),
        wall_seconds=float(report["wall_seconds"]),
        cpu_seconds=float(report["cpu_seconds"]),
        peak_memory_mb=float(report["peak_memory_mb"]),
    )


def shell_status(status: int) -> int:
    """Return an exit status as a shell does: 128 + n for signal n."""
    return status if status >= 0 else 128 - status


def _end(watchdog: subprocess.Popen[str]) -> None:
    """Let the watchdog end its group: it reads the end of its standard input as the caller's end."""
    if watchdog.stdin:
        watchdog.stdin.close()
    if watchdog.stdout:
        watchdog.stdout.close()
    try:
        watchdog.wait(timeout=3 * GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        log.warning("the watchdog %d did not end its processes in time", watchdog.pid)
        watchdog.kill()
        watchdog.wait()
