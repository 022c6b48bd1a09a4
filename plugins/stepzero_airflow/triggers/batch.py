"""Wait for a batch to land, without a worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from stepzero.spec.plan import ledger_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from stepzero.adapters.ledger import Digests


class BatchTrigger(BaseTrigger):
    """Fire when files lie under a prefix that no run has judged, and have stopped growing.

    Args:
        store: Address of the store.
        use_case: Whose ledger says what was judged already.
        prefix: Where files land, relative to the store.
        poll_seconds: Time between two looks. Two equal ones in a row count as landed.
        wait_seconds: After that, the trigger says that nothing came.
        tables: Table → prefix, where there are several: all must have new files.
    """

    def __init__(
        self,
        store: str,
        use_case: str,
        prefix: str,
        poll_seconds: float,
        wait_seconds: float,
        tables: dict[str, str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.store = store
        self.use_case = use_case
        self.prefix = prefix
        self.poll_seconds = poll_seconds
        self.wait_seconds = wait_seconds
        self.tables = tables
        self._read: Digests = {}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "stepzero_airflow.triggers.batch.BatchTrigger",
            {
                "store": self.store,
                "use_case": self.use_case,
                "prefix": self.prefix,
                "poll_seconds": self.poll_seconds,
                "wait_seconds": self.wait_seconds,
                **({"tables": self.tables} if self.tables else {}),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again; the store is read in a thread, so that other triggers go on."""
        waited, before = 0.0, {}  # type: tuple[float, dict[str, int]]
        while waited < self.wait_seconds:
            found = await asyncio.to_thread(self._look)
            if found and found == before:
                yield _event("landed", sorted(found))
                return
            before = found
            await asyncio.sleep(self.poll_seconds)
            waited += self.poll_seconds
        yield _event("nothing", [])

    def _look(self) -> dict[str, int]:
        if self.tables:
            return waiting_tables(self.store, self.use_case, self.tables, self._read)
        return waiting_files(self.store, self.use_case, self.prefix, self._read)


def _event(status: str, uris: list[str]) -> TriggerEvent:
    return TriggerEvent({"status": status, "uris": uris})  # type: ignore[no-untyped-call]


def waiting_files(store: str, use_case: str, prefix: str, read: Digests | None = None) -> dict[str, int]:
    """Return landed files that no run has accepted or refused, with their sizes.

    Folder markers, hidden files and empty files have not landed. Who looks again and again hands over what it has read.
    """
    from stepzero.adapters.ledger import waiting_uris
    from stepzero.adapters.store import Store

    opened = Store(store)
    return {uri: opened.size(uri) or 0 for uri in waiting_uris(opened, use_case, prefix, read)}


def waiting_tables(store: str, use_case: str, tables: Mapping[str, str], read: Digests | None = None) -> dict[str, int]:
    """Return the new files of all tables, with their sizes; nothing while a table has none."""
    found = [waiting_files(store, ledger_name(use_case, name), prefix, read) for name, prefix in tables.items()]
    return {uri: size for files in found for uri, size in files.items()} if all(found) else {}
