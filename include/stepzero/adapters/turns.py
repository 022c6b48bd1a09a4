"""Turns: at most one process at a time does something to a place outside the store, on a folder and on S3 alike.

A turn is a number that is taken by creating its file if it is absent. The next number may be taken once the holder of
the last one is gone, which its presence tells: a kernel lock ends with its process, a heartbeat falls silent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stepzero.adapters.presence import open_presence
from stepzero.core.errors import ServiceError, bare

if TYPE_CHECKING:
    from stepzero.adapters.presence import Presence
    from stepzero.adapters.store import Store

PATIENCE_SECONDS = 900.0


@contextmanager
def turn(store: Store, folder: str, *, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[int]:
    """Wait for one's turn, hold it, and let go of it; yields its number.

    Args:
        store: Where the turns are written down.
        folder: Of this kind of turns.
        patience_seconds: How long to wait for others.

    Raises:
        ServiceError: Another process held its turn for too long; a retry may help.
    """
    presence = open_presence(store, f"{folder}/present")
    try:
        yield _take(store, folder, presence, patience_seconds)
    finally:
        presence.close()


def _take(store: Store, folder: str, presence: Presence, patience_seconds: float) -> int:
    deadline = time.monotonic() + patience_seconds
    while True:
        number, holder = _last(store, folder)
        if holder is None or not presence.lives(str(holder["name"])):
            if store.create(f"{folder}/taken/{number + 1:08d}.json", {"name": presence.name}):
                return number + 1
        elif time.monotonic() > deadline:
            raise ServiceError(
                f"turn {number} of {folder}",
                value=bare(f"held by another process for more than {patience_seconds:g} s"),
                allowed="a turn that ends",
                action="look what that process is at; clear the task when it is done",
            )
        else:
            time.sleep(presence.poll_seconds)


def _last(store: Store, folder: str) -> tuple[int, dict[str, Any] | None]:
    taken = [uri for uri in store.list(f"{folder}/taken") if uri.endswith(".json")]
    if not taken:
        return 0, None
    return int(taken[-1].rpartition("/")[2].removesuffix(".json")), store.read_json(taken[-1])
