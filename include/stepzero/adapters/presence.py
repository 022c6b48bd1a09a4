"""Who of several workers lives: a kernel lock on a local folder, a heartbeat elsewhere.

A kernel lock ends with its process, however that ends, and cannot be mistaken: no time-out, no process id
that another process got meanwhile. In an object store there are no locks, so a worker there counts up a number
now and then, and is lost when others have seen it unchanged for a while by their own clock.
"""

from __future__ import annotations

import contextlib
import fcntl
import threading
import time
import uuid
from pathlib import Path
from typing import Protocol

from stepzero.adapters.store import Store
from stepzero.core.errors import StoreError

BEAT_SECONDS, PATIENCE_SECONDS = 10.0, 60.0


class Presence(Protocol):
    """One worker's sign of life, and its eyes for those of others."""

    name: str
    poll_seconds: float
    """How long to wait before looking again whether others are done."""

    def lives(self, name: str) -> bool:
        """Tell whether another worker lives."""
        ...

    def close(self) -> None:
        """End the sign of life."""
        ...


def open_presence(store: Store, folder: str) -> Presence:
    """Begin a sign of life below a folder of the store."""
    return LockedPresence(Path(store.path(folder))) if store.is_local else BeatingPresence(store, folder)


class LockedPresence:
    """A file that is locked as long as this process lives.

    Args:
        folder: Folder of this machine, or one that machines share and that knows locks (NFS 4 does).
    """

    poll_seconds = 0.2

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self._folder = uuid.uuid4().hex, folder
        self._file = (folder / self.name).open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def lives(self, name: str) -> bool:
        """Tell whether another worker's lock is held."""
        try:
            with (self._folder / name).open() as other:
                # Shared, so that two who look at the same time do not take each other for the dead.
                fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def close(self) -> None:
        """Let go of the lock."""
        self._file.close()


class BeatingPresence:
    """A number that goes up as long as this process lives.

    Args:
        store: Where the numbers are.
        folder: Their folder.
        beat_seconds: Time between two beats; none are sent by itself when it is 0.
    """

    poll_seconds = 2.0

    def __init__(self, store: Store, folder: str, *, beat_seconds: float = BEAT_SECONDS) -> None:
        self.name, self._store, self._folder = uuid.uuid4().hex, store, folder
        self._count, self._end = 0, threading.Event()
        self._seen: dict[str, tuple[int, float]] = {}
        self.beat()
        if beat_seconds:
            threading.Thread(target=self._go_on, args=(beat_seconds,), daemon=True).start()

    def beat(self) -> None:
        """Count up."""
        self._count += 1
        self._store.write_json(f"{self._folder}/{self.name}", {"beat": self._count})

    def lives(self, name: str) -> bool:
        """Tell whether another worker's number changed lately; one that was never seen gets the full time."""
        uri = f"{self._folder}/{name}"
        if not self._store.exists(uri):
            return False
        beat, now = int(self._store.read_json(uri)["beat"]), time.monotonic()
        before, since = self._seen.get(name, (0, now))
        if beat != before:
            self._seen[name] = (beat, now)
            return True
        return now - since < PATIENCE_SECONDS

    def close(self) -> None:
        """Stop counting, and say at once that nobody is there."""
        self._end.set()
        with contextlib.suppress(StoreError):
            self._store.remove(f"{self._folder}/{self.name}")

    def _go_on(self, seconds: float) -> None:
        while not self._end.wait(seconds):
            # A store that does not answer for a moment: the next beat comes soon enough.
            with contextlib.suppress(StoreError):
                self.beat()
