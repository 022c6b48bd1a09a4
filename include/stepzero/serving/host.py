"""The endpoint host: makes ephemeral endpoints be there as long as their leases say, and no longer.

It is controller and janitor in one. It looks at all leases again and again and does what is missing: starts a process
on a free loopback port, asks whether it is healthy, ends what is too large, too slow, run out or no longer wanted, and
removes every trace. What it does follows from lease, status and process alone, so that it may be killed and started
again at any moment; endpoints do not outlive it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from stepzero.adapters.leases import (
    Lease,
    Status,
    end_lease,
    forget,
    leased_names,
    read_lease,
    read_status,
    sweep_away,
    write_status,
)
from stepzero.core.errors import StepzeroError

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.spec.environment import Environment

log = logging.getLogger("stepzero")

POLL_SECONDS = 0.3
GRACE_SECONDS = 3.0
"""How long a process may take to end in order."""
WRITING_SECONDS = 60.0
"""A name with neither lease nor status is a lease that is being written; after so long its writer has died."""
LOST = "its host was ended and started again"


@dataclass
class Running:
    """The process of one lease."""

    lease: Lease
    process: subprocess.Popen[bytes]
    uri: str
    began: float = field(default_factory=time.monotonic)
    healthy: bool = False


class EndpointHost:
    """Look after all leases of a store.

    Args:
        store: Where leases lie.
        environment: Names the token file that callers of a use case's endpoints know.
        clock: Seconds since 1970; tests set it.
    """

    def __init__(self, store: Store, environment: Environment, *, clock: Callable[[], float] = time.time) -> None:
        self.store, self.environment, self.clock = store, environment, clock
        self.running: dict[str, Running] = {}
        self._unwritten: dict[str, float] = {}
        """Names with neither lease nor status, and when they were first seen so."""
        self._client = httpx.Client(timeout=2.0, trust_env=False)

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop; then end all endpoints."""
        log.info("looks after the ephemeral endpoints of %s", self.store.root)
        try:
            while not stop.is_set():
                self.look()
                stop.wait(POLL_SECONDS)
        finally:
            for name in list(self.running):
                self._end(name)

    def look(self) -> None:
        """Do for every lease what is missing; trouble with one is no trouble of the others."""
        names = {*self._leased(), *self.running}
        self._unwritten = {name: since for name, since in self._unwritten.items() if name in names}
        for name in sorted(names):
            try:
                self._look_after(name)
            except (StepzeroError, OSError) as error:
                log.warning("endpoint %s: %s", name, error)
            except ValueError:
                self._set_aside(name)

    def _set_aside(self, name: str) -> None:
        """Remove a lease that nobody can read: whoever wrote it gets no endpoint, and none is left."""
        log.error("endpoint %s: its lease cannot be read; it is removed", name)
        self._end(name)
        sweep_away(self.store, name)

    def _leased(self) -> list[str]:
        try:
            return leased_names(self.store)
        except (StepzeroError, OSError) as error:
            log.warning("leases cannot be read, endpoints go on meanwhile: %s", error)
            return []

    def _look_after(self, name: str) -> None:
        lease, status = read_lease(self.store, name), read_status(self.store, name)
        if lease is None and status is None and name not in self.running:
            self._await_writer(name)
            return
        self._unwritten.pop(name, None)
        if lease is None:
            self._remove(name, "its lease was ended")
            return
        status = status or self._say(lease, Status(state="reserved", since=self.clock()))
        if self.clock() - status.since > lease.seconds:
            end_lease(self.store, name)
            self._remove(name, f"its lease ran out after {lease.seconds:g} s")
            return
        if name in self.running and self.running[name].lease.generation != lease.generation:
            self._end(name)
        if name in self.running:
            self._check(self.running[name], status)
        elif lease.model is not None and status.generation != lease.generation:
            self._start(lease, status)
        elif status.state in {"starting", "healthy"}:
            self._fail(lease, status, LOST)

    def _await_writer(self, name: str) -> None:
        """Leave a lease alone that is not whole yet: a file comes to be beside its place and is then moved there."""
        if self.clock() - self._unwritten.setdefault(name, self.clock()) > WRITING_SECONDS:
            del self._unwritten[name]
            sweep_away(self.store, name)
            log.warning("endpoint %s: whoever wrote its lease has died; what was there is removed", name)

    def _start(self, lease: Lease, status: Status) -> None:
        with _free_port() as listening:
            uri = f"http://127.0.0.1:{listening.getsockname()[1]}"
            process = subprocess.Popen(
                self._command(lease, listening.fileno()),
                pass_fds=[listening.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self.running[lease.name] = Running(lease, process, uri)
        log.info("endpoint %s starts at %s as process %d", lease.name, uri, process.pid)
        changed = {"state": "starting", "generation": lease.generation, "uri": uri, "pid": process.pid, "problem": None}
        self._say(lease, status.model_copy(update=changed))

    def _command(self, lease: Lease, number: int) -> list[str]:
        # The socket is bound before the process is there: no port is taken twice, and none is guessed.
        command = [sys.executable, "-P", "-m", "stepzero.serving.ephemeral"]
        command += ["--store", self.store.root, "--name", lease.name, "--socket", str(number)]
        declared = self.environment.endpoints.get(lease.use_case)
        token = declared.token_file if declared else None
        return [*command, "--token-file", token] if token else command

    def _check(self, one: Running, status: Status) -> None:
        """Fail what ended, grew too large or does not become healthy; note what became so."""
        lease, code = one.lease, one.process.poll()
        if code is not None:
            self._fail(lease, status, f"its process ended with status {code}; the endpoint host's log may tell why")
            return
        used = _resident_mb(one.process.pid)
        if used > lease.memory_mb:
            self._fail(lease, status, f"it used {used:.0f} MiB of memory; its limit is {lease.memory_mb} MiB")
            return
        if one.healthy:
            return
        said = self._ping(one.uri)
        if said.get("model_digest"):
            one.healthy = True
            log.info("endpoint %s is healthy after %.1f s", lease.name, time.monotonic() - one.began)
            self._say(lease, status.model_copy(update={"state": "healthy"}))
        elif said.get("problem"):
            self._fail(lease, status, str(said["problem"].get("message")))
        elif time.monotonic() - one.began > lease.healthy_seconds:
            self._fail(lease, status, f"it was not healthy after {lease.healthy_seconds:g} s")

    def _ping(self, uri: str) -> dict[str, Any]:
        try:
            said = self._client.get(f"{uri}/ping").json()
        except (httpx.HTTPError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def _fail(self, lease: Lease, status: Status, problem: str) -> None:
        self._end(lease.name)
        log.error("endpoint %s failed: %s", lease.name, problem)
        changed = {"state": "failed", "problem": problem[:500], "pid": None, "uri": None}
        self._say(lease, status.model_copy(update=changed | {"generation": lease.generation}))

    def _remove(self, name: str, why: str) -> None:
        self._end(name)
        forget(self.store, name)
        log.info("endpoint %s is removed: %s", name, why)

    def _end(self, name: str) -> None:
        """End a process and all it started; it is gone when this returns."""
        one = self.running.pop(name, None)
        if one is None:
            return
        _signal(one.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.process.wait(timeout=GRACE_SECONDS)
        _signal(one.process.pid, signal.SIGKILL)
        one.process.wait(timeout=GRACE_SECONDS)

    def _say(self, lease: Lease, status: Status) -> Status:
        write_status(self.store, lease.name, status)
        return status


def _free_port() -> socket.socket:
    listening = socket.socket(socket.AF_INET)
    listening.bind(("127.0.0.1", 0))
    return listening


def _resident_mb(pid: int) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return float(psutil.Process(pid).memory_info().rss / 2**20)
    return 0.0


def _signal(pid: int, number: signal.Signals) -> None:
    """Signal a process's whole group; it may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
