"""How many requests a second an endpoint answers: what is more is told to come again, before anything is computed."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """A bucket that fills evenly, and that each request takes one from.

    Args:
        per_second: How many requests a second are answered in the long run, and how many at once after a pause.
        now: A clock that never goes back, in seconds.
    """

    def __init__(self, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self.per_second, self._now = per_second, now
        self._most = max(per_second, 1.0)
        self._left, self._seen = self._most, now()

    def take(self) -> float:
        """Take one; return 0, or in how many seconds there will be one again."""
        now = self._now()
        self._left = min(self._most, self._left + (now - self._seen) * self.per_second)
        self._seen = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self.per_second
