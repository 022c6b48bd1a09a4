"""Wait for files that no run has claimed, without a worker: by looking again and again, or woken by a queue."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stepzero.adapters.arrivals import Arrivals, Listing

log = logging.getLogger(__name__)

SETTLE_SECONDS = 2.0
MOST_NAMED = 20
"""Files that an event names; a run takes what it finds itself."""


class ArrivalTrigger(BaseEventTrigger):
    """Fire when files lie under a prefix that no run has claimed, and nothing changed between two looks.

    As a watcher of an asset it goes on for ever and tells each arrival once; a deferred sensor ends with its first.
    Restarted, it looks again at all that is unclaimed, so that nothing is lost; claims keep it from coming twice.

    Args:
        store: Address of the store.
        use_case: Whose claims say what is known.
        prefix: Where files land, relative to the store.
        poll_seconds: Time between two looks; with a queue, how long a look at the latest waits for an event.
        queue: Address of an SQS queue that S3 sends its events to. They only wake: what they say is not believed.
        connection: Airflow connection for the queue.
        wait_seconds: After that, the trigger says that nothing came; None never.
    """

    def __init__(
        self,
        store: str,
        use_case: str,
        prefix: str,
        poll_seconds: float = 10,
        queue: str | None = None,
        connection: str = "aws_default",
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.store, self.use_case, self.prefix = store, use_case, prefix
        self.poll_seconds, self.queue, self.connection = poll_seconds, queue, connection
        self.wait_seconds = wait_seconds
        self._told: set[tuple[str, str]] = set()
        self._said: set[tuple[str, str]] = set()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        names = ("store", "use_case", "prefix", "poll_seconds", "queue", "connection", "wait_seconds")
        return "stepzero_airflow.triggers.arrival.ArrivalTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again; the store is read in a thread, so that other triggers go on."""
        arrivals = await asyncio.to_thread(open_arrivals, self.store, self.use_case, self.prefix)
        waited, before, messages = 0.0, None, []  # type: tuple[float, Listing | None, list[str]]
        while self.wait_seconds is None or waited < self.wait_seconds:
            now = await asyncio.to_thread(arrivals.listing)
            self._say(now)
            fresh = await asyncio.to_thread(self._fresh, arrivals, before, now)
            if fresh:
                yield _event("landed", fresh)
            before, quiet = now, fresh is not None
            # Only now: an event whose look was interrupted is given again.
            await self._done(messages)
            messages = await self._wait(quiet=quiet)
            waited += self.poll_seconds
        yield _event("nothing", [])

    def _fresh(self, arrivals: Arrivals, before: Listing | None, now: Listing) -> list[str] | None:
        """Return what to tell of: nothing new is an empty list; None while anything changes."""
        fresh = arrivals.fresh(now)
        new = {uri: one for uri, one in fresh.items() if (uri, one.stamp) not in self._told}
        if not new:
            return []
        if before is None or before.seen != now.seen:
            return None
        self._told |= {(uri, one.stamp) for uri, one in new.items()}
        return sorted(fresh)

    def _say(self, listing: Listing) -> None:
        """Say once of each file why it is not taken."""
        for uri, reason in listing.refused.items():
            if (uri, reason) not in self._said:
                self._said.add((uri, reason))
                log.info("%s is not taken: %s", uri, reason)

    async def _wait(self, *, quiet: bool) -> list[str]:
        """Wait for the next look; return the receipts of the events that woke us."""
        if self.queue is None or not quiet:
            # On S3 an object is there whole; only a burst is let end.
            await asyncio.sleep(self.poll_seconds if self.queue is None else min(self.poll_seconds, SETTLE_SECONDS))
            return []
        from stepzero_airflow.hooks.events import receive

        return await receive(self.queue, self.connection, self.poll_seconds)

    async def _done(self, receipts: list[str]) -> None:
        if self.queue and receipts:
            from stepzero_airflow.hooks.events import delete

            await delete(self.queue, self.connection, receipts)


def open_arrivals(store: str, use_case: str, prefix: str) -> Arrivals:
    """Return what arrives for a use case."""
    from stepzero.adapters.arrivals import Arrivals
    from stepzero.adapters.store import Store

    return Arrivals(Store(store), use_case, prefix)


def _event(status: str, uris: list[str]) -> TriggerEvent:
    told = {"status": status, "uris": uris[:MOST_NAMED], "count": len(uris)}
    return TriggerEvent(told)  # type: ignore[no-untyped-call]
