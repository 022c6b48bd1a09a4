"""Ports that somebody else holds, told before anything is started."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import psutil

from stepzero.cli.services.parts import Part
from stepzero.cli.services.processes import MARK
from stepzero.core.errors import SetupError, bare


def require_free_ports(parts: list[Part], home: Path) -> None:
    """Check that every port of these parts is free or held by a service of this home.

    Raises:
        SetupError: One is taken; names the port, the process where it can be seen, and the variable that moves it.
    """
    seen: dict[int, str] = {}
    for part in parts:
        if part.port is None:
            continue
        if part.port in seen:
            raise _taken(part, f"taken by {seen[part.port]} of this environment")
        seen[part.port] = part.name
        if not is_free(part.port):
            holder = holder_of(part.port)
            if holder is None or not _is_ours(holder, home):
                raise _taken(part, f"taken by {_told(holder)}")


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port that is only waiting for late packets is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def holder_of(port: int) -> psutil.Process | None:
    """Return the process that listens on a port, where this user may see it."""
    for process in psutil.process_iter():
        try:
            connections = process.net_connections(kind="inet")
        except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
            continue
        if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections):
            return process
    return None


def _is_ours(process: psutil.Process, home: Path) -> bool:
    try:
        variables = process.environ()
    except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
        return False
    return MARK in variables and variables.get("STEPZERO_HOME") == str(home)


def _told(process: psutil.Process | None) -> str:
    if process is None:
        return "a process that this user cannot see"
    try:
        variables = process.environ()
        if MARK in variables:
            return f"process {process.pid}, {variables[MARK]} of STEPZERO_HOME={variables.get('STEPZERO_HOME')}"
        return f"process {process.pid} ({' '.join(process.cmdline())[:100] or process.name()})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return f"process {process.pid}"


def _taken(part: Part, value: str) -> SetupError:
    variable = part.port_variable or "the environment file"
    return SetupError(
        f"port {part.port} of {part.name}",
        value=bare(value),
        allowed="a port that nobody listens on",
        action=f"stop that process, or choose another port with {variable}=N",
    )
