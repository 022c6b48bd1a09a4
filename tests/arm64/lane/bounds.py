"""Where results of arm64 and x86-64 may differ, by how much at most, and why."""

from __future__ import annotations

from arm64.lane.compare import Bound

BOUNDS: tuple[Bound, ...] = ()
