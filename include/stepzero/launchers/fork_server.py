"""The preloaded server: it pays the imports once and forks a child per stage.

One thread, so that a fork is safe. It never runs a stage itself, never reads the sources of a stage
(what it caches, its children inherit), and steps aside when the code has changed.
"""

from __future__ import annotations

import importlib
import logging
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from stepzero.launchers.fork_child import become_stage
from stepzero.launchers.fork_protocol import (
    ForkRequest,
    code_digest,
    receive_request,
    send_answer,
    short_path,
    socket_path,
)
from stepzero.launchers.process import GRACE_SECONDS, shell_status

log = logging.getLogger("stepzero")

PRELOADED = (
    "numpy", "pandas", "pyarrow.parquet", "pyarrow.dataset", "sklearn.ensemble", "sklearn.linear_model",
    "sklearn.neighbors", "sklearn.tree", "sklearn.metrics", "sklearn.pipeline", "sklearn.model_selection",
    "imblearn.over_sampling", "imblearn.under_sampling", "xgboost", "mlflow", "mlflow.tracking", "mlflow.models",
    "matplotlib.pyplot", "joblib", "optuna", "threadpoolctl", "yaml", "pydantic", "fsspec", "httpx",
)  # fmt: skip
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_PEER = struct.Struct("3i")

StageMain = Callable[[list[str]], int]


@dataclass(kw_only=True)
class _Child:
    pid: int
    alarm: int
    """File descriptor that becomes readable when the process has ended."""
    connection: socket.socket
    deadline: float
    timed_out: bool = False
    told: bool = False
    kill_at: float | None = None


class ForkServer:
    """Accept requests on a Unix socket of mode 0600 and run each in a forked child.

    Args:
        path: Where to listen.
        run_stage: What a child runs; `stepzero.cli.stage.main`.
    """

    def __init__(self, path: Path, run_stage: StageMain) -> None:
        self.path, self.run_stage = path, run_stage
        self.code = code_digest()
        self.is_stale = False
        self.ending = False
        self.children: dict[int, _Child] = {}
        self.events = selectors.DefaultSelector()
        self.listener = _listen(path)
        self.events.register(self.listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until SIGTERM, or until the code changed and the last child has ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        log.info("preloaded server listens at %s (process %d)", self.path, os.getpid())
        while not self.ending and not (self.is_stale and not self.children):
            for event, _ in self.events.select(timeout=0.5 if self.children else None):
                self._handle(event)
            self._watch_time()
        self._close()

    def _stop(self, number: int, frame: object) -> NoReturn:
        del number, frame
        self._close()
        sys.exit(0)

    def _close(self) -> None:
        self.path.unlink(missing_ok=True)
        self.listener.close()
        for child in list(self.children.values()):
            _signal_group(child.pid, signal.SIGKILL)

    def _handle(self, event: selectors.SelectorKey) -> None:
        if event.fileobj is self.listener:
            self._accept()
        elif isinstance(event.data, _Child) and event.fileobj == event.data.alarm:
            self._bury(event.data)
        elif isinstance(event.data, _Child):
            self._hung_up(event.data)

    def _accept(self) -> None:
        connection, _ = self.listener.accept()
        connection.settimeout(10)
        try:
            request, descriptor = receive_request(connection)
        except (OSError, ValueError) as error:
            log.warning("request not understood: %s", error)
            connection.close()
            return
        try:
            refusal = self._refusal(connection, request)
            if refusal:
                log.info("refused: %s", refusal)
                send_answer(connection, {"refused": refusal})
                connection.close()
            else:
                self._fork(connection, request, descriptor)
        except OSError as error:
            log.warning("client went away: %s", error)
            connection.close()
        finally:
            os.close(descriptor)

    def _refusal(self, connection: socket.socket, request: ForkRequest) -> str:
        peer = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if peer[1] != os.getuid():
            return f"user {peer[1]} may not use it"
        if self.is_stale or (request.code != self.code and code_digest() != self.code):
            self.is_stale = True
            return "the code changed since it started; it restarts itself, a plain child runs this stage"
        return "" if request.code == self.code else "the caller runs other code; a plain child runs this stage"

    def _fork(self, connection: socket.socket, request: ForkRequest, descriptor: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            become_stage(request, descriptor, parent, self.run_stage)
        child = _Child(
            pid=pid,
            alarm=os.pidfd_open(pid),
            connection=connection,
            deadline=time.monotonic() + request.timeout_seconds,
        )
        self.children[pid] = child
        self.events.register(child.alarm, selectors.EVENT_READ, child)
        self.events.register(connection, selectors.EVENT_READ, child)
        send_answer(connection, {"pid": pid})

    def _bury(self, child: _Child) -> None:
        """Report a child that ended; what it left in its group ends, too."""
        _, status, usage = os.wait4(child.pid, 0)
        _signal_group(child.pid, signal.SIGKILL)
        self.events.unregister(child.alarm)
        os.close(child.alarm)
        self._forget_connection(child, {
            "status": shell_status(os.waitstatus_to_exitcode(status)),
            "timed_out": child.timed_out,
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
            "peak_memory_mb": round(usage.ru_maxrss / 1024, 1),
        })  # fmt: skip
        del self.children[child.pid]

    def _hung_up(self, child: _Child) -> None:
        self._forget_connection(child, None)
        self._end(child)

    def _forget_connection(self, child: _Child, answer: dict[str, object] | None) -> None:
        if child.told:
            return
        child.told = True
        self.events.unregister(child.connection)
        try:
            if answer is not None:
                send_answer(child.connection, answer)
        except OSError as error:
            log.warning("client of process %d went away: %s", child.pid, error)
        finally:
            child.connection.close()

    def _watch_time(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            if child.kill_at is not None and now > child.kill_at:
                _signal_group(child.pid, signal.SIGKILL)
            elif now > child.deadline and not child.timed_out:
                child.timed_out = True
                self._end(child)

    def _end(self, child: _Child) -> None:
        child.kill_at = time.monotonic() + GRACE_SECONDS
        _signal_group(child.pid, signal.SIGTERM)


def serve_forever(run_stage: StageMain, warm_up: Callable[[], None] | None = None) -> NoReturn:
    """Preload, serve, and start anew whenever the code has changed.

    Args:
        run_stage: What a child runs.
        warm_up: Loads what an import alone does not.
    """
    for name in _ONE_THREAD:
        # Thread pools of the parent would be missing in its children; they make their own.
        os.environ[name] = "1"
    os.environ |= {
        "MPLBACKEND": "Agg",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's allocator would start a thread
    }
    started = time.monotonic()
    for name in PRELOADED:
        importlib.import_module(name)
    if warm_up is not None:
        warm_up()
    log.info("preloaded %d packages in %.1f s", len(PRELOADED), time.monotonic() - started)
    _must_have_one_thread()
    server = ForkServer(socket_path(), run_stage)
    server.serve()
    log.info("the code changed: the preloaded server starts anew")
    os.execv(sys.executable, [sys.executable, "-P", "-m", "stepzero.cli.main", "preload"])  # noqa: S606


def thread_names() -> list[str]:
    """Return the names of this process's threads, as the kernel has them."""
    return sorted((task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir())


def _must_have_one_thread() -> None:
    names = thread_names()
    if len(names) > 1:
        log.warning("imports started threads (%s); children of a threaded parent may hang", ", ".join(names))


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with short_path(path) as address:
            listener.bind(address)
    finally:
        os.umask(before)
    listener.listen(64)
    return listener


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return
