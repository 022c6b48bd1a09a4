"""What a fork of the preloaded server does before it is a stage's process like any other."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from stepzero.launchers.fork_protocol import ForkRequest

_PR_SET_PDEATHSIG = 1
_FIRST_OTHER = 3


def become_stage(request: ForkRequest, log: int, parent: int, run_stage: Callable[[list[str]], int]) -> NoReturn:
    """Leave everything of the server behind, run the stage, and end with its exit status."""
    status = 1
    try:
        _leave_server(log, parent)
        _take_over(request)
        _show_name(request.arguments)
        status = run_stage(request.arguments)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - nothing may unwind into the server's loop
        traceback.print_exc()
    finally:
        _leave(status)


def _leave_server(log: int, parent: int) -> None:
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(_FIRST_OTHER, max(int(found.name) for found in Path("/proc/self/fd").iterdir()) + 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    gc.unfreeze()


def _take_over(request: ForkRequest) -> None:
    os.environ.clear()
    os.environ.update(request.variables)
    os.chdir(request.folder)
    for path in reversed(request.variables.get("PYTHONPATH", "").split(os.pathsep)):
        if path and path not in sys.path:
            sys.path.insert(0, path)
    import threadpoolctl

    threadpoolctl.threadpool_limits(limits=request.threads)


def _show_name(arguments: list[str]) -> None:
    """Let `ps` tell which stage this is: write over the arguments that the kernel shows, and no further.

    The environment lies behind them, and `down` knows a process by it.
    """
    first, last = (int(field) for field in Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    if 0 < first < last:
        title = " ".join(["stepzero stage", arguments[0], *_option(arguments, "--label")]).encode()
        room = last - first - 1
        ctypes.memmove(first, title[:room].ljust(room, b"\0") + b"\0", room + 1)


def _option(arguments: list[str], name: str) -> list[str]:
    return arguments[arguments.index(name) + 1 :][:1] if name in arguments else []


def _leave(status: int) -> NoReturn:
    try:
        atexit._run_exitfuncs()  # noqa: SLF001 - temporary folders go now; a plain exit would unwind the server
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
