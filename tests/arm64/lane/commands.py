"""Run commands in one process that has imported what they import, each in a child of its own.

Under emulation the imports of a stage take half a minute, its work a second. This reads one JSON
object a line (``id``, ``program``, ``arguments``, ``log``, ``variables``) and answers each, when its child
ended, with ``id``, ``status``, ``seconds`` and ``processor_seconds``. It runs with the Python of either side.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import selectors
import signal
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


def main() -> None:
    """Answer commands until the standard input is closed, then end the children that still run."""
    for name in IMPORTED_FIRST:
        importlib.import_module(name)
    _answer({"id": "imports", "status": 0, "seconds": 0.0, "processor_seconds": round(time.process_time(), 1)})
    running: dict[int, tuple[str, float]] = {}
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    unread = b""
    while True:
        if selector.select(timeout=0.1):
            data = os.read(sys.stdin.fileno(), 1 << 16)
            if not data:
                break
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                command = json.loads(line)
                running[_start(command)] = (command["id"], time.monotonic())
        _reap(running)
    for child in running:
        os.killpg(child, signal.SIGKILL)


def _start(command: dict[str, Any]) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        _redirect(Path(command["log"]))
        os.environ.update(command["variables"])
        status = _run(command["program"], command["arguments"])
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


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
