"""Forks that never come to run their program: user-mode emulation loses one, rarely, and its parent waits for ever.

A fork copies one thread of a Java that has dozens; the emulator's own locks may be held by another at that moment.
Real processors do not have this, so the lane ends such a fork and runs the stage again, and the report counts them.
"""

from __future__ import annotations

import contextlib
import threading
import time

import psutil

PATIENCE_SECONDS = 20.0
"""A fork that has not used a processor for so long will not."""
_USED_SECONDS = 0.5
_LOOK_SECONDS = 5.0


class ForkWatch:
    """End forks of a program that stand still among the descendants of a process; count them.

    Args:
        ancestor: Process number.
        program: What one of the program's words ends with, such as ``/bin/java``.
        patience_seconds: How old a fork may get without running anything.
    """

    def __init__(self, ancestor: int, program: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.ended = 0
        self._ancestor, self._program, self._patience = ancestor, program, patience_seconds
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(min(_LOOK_SECONDS, self._patience / 2)):
            for process in self._descendants():
                with contextlib.suppress(psutil.Error):
                    if self._stands_still(process):
                        process.kill()
                        self.ended += 1

    def _descendants(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self._ancestor).children(recursive=True)
        return []

    def _stands_still(self, process: psutil.Process) -> bool:
        words = process.cmdline()
        if (
            not any(word.endswith(self._program) for word in words)
            or time.time() - process.create_time() < self._patience
        ):
            return False
        parent = process.parent()
        used = process.cpu_times()
        return parent is not None and parent.cmdline() == words and used.user + used.system < _USED_SECONDS
