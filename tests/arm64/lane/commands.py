"""Run commands in one process that has imported what they import, each in a child of its own.

Under emulation the imports of a stage take half a minute, its work a second. This reads one JSON object a line
(``id``, ``program``, ``arguments``, ``log``, ``variables``, ``together``) and answers each, when it ended, with
``id``, ``status``, ``seconds`` and ``processor_seconds``. It runs with the Python of either side.

Commands that name the same ``together`` run one after the other in one child, until one of them fails: Spark's stages
share a Java, whose start takes longer than all that they ask of it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import runpy
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

PROGRAMS = {
    "stepzero": lambda: importlib.import_module("stepzero.cli.main").main(),
    "imports": lambda: runpy.run_path(str(Path(__file__).with_name("imports.py")), run_name="__main__"),
    "kernels": lambda: runpy.run_path(str(Path(__file__).with_name("kernels.py")), run_name="__main__"),
    "pytest": lambda: runpy.run_module("pytest", run_name="__main__"),
}
IMPORTED_FIRST = (
    "stepzero.cli.stage",
    "stepzero.execution.execute",
    "stepzero.execution.first",
    "stepzero.adapters.tracking",
    "stepzero.stages.explore",
    "stepzero.stages.resample",
    "stepzero.stages.tune",
    "stepzero.stages.evaluate",
    "stepzero.stages.register",
    "pyarrow.parquet",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.neighbors",
    "imblearn.over_sampling",
    "imblearn.under_sampling",
    "xgboost",
    "mlflow",
)


class Worker:
    """A child that runs commands one after the other.

    Args:
        selector: Where the driver hears of its answers.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._asked: list[str] = []
        self._unread = b""
        self._selector = selector
        self._ours, theirs = socket.socketpair()
        sys.stdout.flush()
        self.process = os.fork()
        if not self.process:
            self._ours.close()
            _work(theirs)
        theirs.close()
        selector.register(self._ours, selectors.EVENT_READ, self)

    def ask(self, command: dict[str, Any]) -> None:
        """Hand on a command; its answer comes in its turn."""
        self._asked.append(command["id"])
        with contextlib.suppress(ConnectionError):  # it was killed: its end is heard next
            self._ours.sendall(json.dumps(command).encode() + b"\n")

    def hear(self) -> bool:
        """Pass on what it answered; False when it ends, with an answer for whatever else was asked of it."""
        try:
            data = self._ours.recv(1 << 16)
        except ConnectionError:
            data = b""
        *lines, self._unread = (self._unread + data).split(b"\n")
        lives = bool(data)
        for answer in map(json.loads, lines):
            self._asked.pop(0)
            lives = lives and not answer["status"]
            _answer(answer)
        if not lives:
            self._selector.unregister(self._ours)
            self._ours.close()
            os.waitpid(self.process, 0)
            for name in self._asked:
                _answer({"id": name, "status": 1, "seconds": 0.0, "processor_seconds": 0.0})
        return lives


def main() -> None:
    """Answer commands until the standard input is closed, then end the children that still run."""
    gc.disable()  # nothing of what is imported is garbage, and looking for it takes a tenth of the time
    for name in IMPORTED_FIRST:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    _answer({"id": "imports", "status": 0, "seconds": 0.0, "processor_seconds": round(time.process_time(), 1)})
    running: dict[int, tuple[str, float]] = {}
    workers: dict[str, Worker] = {}
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    unread = b""
    while True:
        for key, _ in selector.select(timeout=0.1):
            if key.data is not None:
                if not key.data.hear():
                    workers = {name: one for name, one in workers.items() if one is not key.data}
                continue
            data = os.read(sys.stdin.fileno(), 1 << 16)
            if not data:
                _end([*running, *(one.process for one in workers.values())])
                return
            *lines, unread = (unread + data).split(b"\n")
            for command in map(json.loads, lines):
                if together := command["together"]:
                    if together not in workers:
                        workers[together] = Worker(selector)
                    workers[together].ask(command)
                else:
                    running[_start(command)] = (command["id"], time.monotonic())
        _reap(running)


def _end(children: list[int]) -> None:
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)


def _work(asked: socket.socket) -> None:
    """Run commands until one fails or nobody asks; this process ends here."""
    status = 1
    try:
        os.setsid()
        with asked, asked.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                began, used = time.monotonic(), _used()
                command = json.loads(line)
                status = _run_logged(command)
                seconds = {"seconds": round(time.monotonic() - began, 1), "processor_seconds": round(_used() - used, 1)}
                asked.sendall(json.dumps({"id": command["id"], "status": status, **seconds}).encode() + b"\n")
                if status:
                    break
    finally:
        os._exit(status)


def _used() -> float:
    """Return the processor time of this process and of its children that ended, in seconds."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def _start(command: dict[str, Any]) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        status = _run_logged(command)
    finally:
        os._exit(status)


def _run_logged(command: dict[str, Any]) -> int:
    """Run a command, its words in its own log."""
    _redirect(Path(command["log"]))
    os.environ.update(command["variables"])
    try:
        return _run(command["program"], command["arguments"])
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()


def _redirect(log: Path) -> None:
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(stream, 1)
    os.dup2(stream, 2)


def _run(program: str, arguments: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.argv = [program, *arguments]
    try:
        PROGRAMS[program]()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  # this is the child's end, as the interpreter would tell it
        import traceback

        traceback.print_exc()
        return 1
    return 0


def _reap(running: dict[int, tuple[str, float]]) -> None:
    for child, (name, began) in list(running.items()):
        ended, status, used = os.wait4(child, os.WNOHANG)
        if ended:
            del running[child]
            seconds = {
                "seconds": round(time.monotonic() - began, 1),
                "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
            }
            _answer({"id": name, "status": os.waitstatus_to_exitcode(status), **seconds})


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
