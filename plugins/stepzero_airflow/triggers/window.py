"""Wait until a window of served traffic is over and written, without a worker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LONGEST_SLEEP = 60.0
"""A clock that is set is noticed within a minute."""


class WindowTrigger(BaseTrigger):
    """Fire when a moment is over; hundreds of them sleep in one triggerer.

    Args:
        until: ISO 8601, with its offset.
    """

    def __init__(self, until: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return "stepzero_airflow.triggers.window.WindowTrigger", {"until": self.until}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep."""
        until = datetime.fromisoformat(self.until)
        while (left := (until - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110 - time itself is awaited
            await asyncio.sleep(min(left, _LONGEST_SLEEP))
        yield TriggerEvent({"until": self.until})  # type: ignore[no-untyped-call]
