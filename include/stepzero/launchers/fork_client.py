"""Asking the preloaded server to run a stage; None wherever a plain child must do it."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from stepzero.core.errors import TRY_AGAIN
from stepzero.launchers.base import TIMED_OUT, Finished, LogLine
from stepzero.launchers.fork_protocol import ForkRequest, code_digest, send_request, short_path, socket_path

if TYPE_CHECKING:
    from stepzero.spec.environment import StageResources


def run_forked(
    argv: Sequence[str], variables: Mapping[str, str], resources: StageResources, log_line: LogLine
) -> Finished | None:
    """Run a stage in a fork of the preloaded server, or return None and say why a plain child is needed."""
    path = socket_path()
    refusal = why_not(path)
    if refusal:
        if refusal != "not running":
            log_line(f"WARNING preloaded server not used: {refusal}")
        return None
    request = ForkRequest(
        code=code_digest(),
        arguments=list(argv),
        variables=dict(variables),
        folder=str(Path.cwd()),
        timeout_seconds=resources.timeout_minutes * 60,
        threads=resources.cpu,
    )
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, short_path(path) as address:
            connection.connect(address)
            return _run(connection, request, log_line)
    except OSError as error:
        log_line(f"WARNING preloaded server not used: {error}")
        return None


def why_not(path: Path) -> str:
    """Return why a socket is not to be trusted, or an empty text."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return "not running"
    if not stat.S_ISSOCK(found.st_mode):
        return f"{path} is no socket"
    if found.st_uid != os.getuid():
        return f"{path} belongs to user {found.st_uid}, not {os.getuid()}"
    if found.st_mode & 0o077:
        return f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, not 0600: others could use it"
    return ""


def _run(connection: socket.socket, request: ForkRequest, log_line: LogLine) -> Finished | None:
    read, write = os.pipe()
    with os.fdopen(read, "r", encoding="utf-8", errors="replace") as lines, connection.makefile("rb") as answers:
        started = time.monotonic()
        try:
            send_request(connection, request, write)
        finally:
            os.close(write)
        first = _answer(answers)
        if "refused" in first:
            log_line(f"INFO preloaded server not used: {first['refused']}")
            return None
        for line in lines:
            log_line(line.rstrip("\n"))
        return _finished(_answer(answers), time.monotonic() - started)


def _answer(stream: IO[bytes]) -> dict[str, Any]:
    line = stream.readline()
    found: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
    return found


def _finished(answer: dict[str, Any], wall_seconds: float) -> Finished:
    if "status" not in answer:
        return Finished(status=TRY_AGAIN, reason="the preloaded server ended", wall_seconds=wall_seconds)
    return Finished(
        status=TIMED_OUT if answer["timed_out"] else answer["status"],
        reason="time is over" if answer["timed_out"] else "",
        wall_seconds=round(wall_seconds, 3),
        cpu_seconds=answer["cpu_seconds"],
        peak_memory_mb=answer["peak_memory_mb"],
    )
