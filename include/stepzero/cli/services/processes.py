"""Finding and ending the processes of our services by the mark in their environment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

MARK = "STEPZERO_SERVICE"


def marked(home: Path, name: str | None = None) -> Iterator[psutil.Process]:
    """Yield every process that a service of this home started, itself included; one part's where named."""
    for process in psutil.process_iter():
        try:
            variables = process.environ()
        except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
            continue
        mark = variables.get(MARK)
        ours = mark is not None and variables.get("STEPZERO_HOME") == str(home)
        if ours and name in (None, mark) and process.pid != os.getpid():
            yield process


def end(find: Callable[[], list[psutil.Process]], *, grace: float) -> int:
    """End processes: ask, wait, then kill; look again until none is left. Return how many there were."""
    seen: set[int] = set()
    deadline = time.monotonic() + grace
    while found := find():
        late = time.monotonic() >= deadline
        for process in found:
            _signal(process, late=late, first=process.pid not in seen)
            seen.add(process.pid)
        psutil.wait_procs(found, timeout=0.2)
    return len(seen)


def alive(pid: int, created: float) -> bool:
    """Tell whether a process still runs and is the same one (numbers are used again)."""
    try:
        process = psutil.Process(pid)
        same = abs(float(process.create_time()) - created) < 1
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def proportional_memory(processes: list[psutil.Process]) -> int:
    """Return the bytes that processes use, shared pages counted once."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
            continue
    return total


def _signal(process: psutil.Process, *, late: bool, first: bool) -> None:
    try:
        if late:
            process.kill()
        elif first:
            process.terminate()
    except psutil.NoSuchProcess:
        return
