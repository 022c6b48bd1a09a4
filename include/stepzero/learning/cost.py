"""What a piece of work cost this process: seconds, processor time, peak memory, and money where an hour has a price."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"


@dataclass
class Cost:
    """What was used so far; pieces of work add up, of peaks the highest counts."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of all threads of this process."""
    peak_memory_mb: float | None = None
    """Of the whole process while it worked, MiB; None where the system keeps no peak that can be begun anew."""

    def add(self, other: Cost) -> None:
        """Add another piece of work."""
        self.seconds += other.seconds
        self.cpu_seconds += other.cpu_seconds
        peaks = [one for one in (self.peak_memory_mb, other.peak_memory_mb) if one is not None]
        self.peak_memory_mb = max(peaks, default=None)


class Meter:
    """Measures what happens within a ``with`` block."""

    def __init__(self) -> None:
        self.cost = Cost()

    def __enter__(self) -> Self:
        self._began_anew = _reset_peak()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.cost = Cost(
            seconds=time.perf_counter() - self._wall,
            cpu_seconds=time.process_time() - self._cpu,
            peak_memory_mb=_peak() if self._began_anew else None,
        )


def money(seconds: float, price_per_hour: float) -> float:
    """Return what seconds of a machine cost."""
    return seconds / 3600 * price_per_hour


def _reset_peak() -> bool:
    with contextlib.suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
        return True
    return False


def _peak() -> float | None:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return None
