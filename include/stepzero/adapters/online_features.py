"""Reading the online store: the features of a few records, in well under a millisecond each.

Importing Feast takes seconds, and its answers pass through its registry and several tables of types. So the SQLite
store is read as Feast wrote it (entity keys of version 3, values as protocol buffers); a test compares both answers.
Every other store is read by Feast itself.
"""

from __future__ import annotations

import math
import sqlite3
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stepzero.core.errors import ServiceError, SpecError, bare

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.spec.environment import FeatureStore

PROJECT = "stepzero"
EVENT, KNOWN, SINCE = "stepzero_event_time", "stepzero_known_time", "stepzero_since"
"""Published beside the features: both times of what was taken, in microseconds since 1970, and since when it counts."""
FOLDER = "features"

RecordId = int | str
Record = dict[str, Any]

_BATCH = 500
_STRING, _INT64 = 2, 4
"""Feast's numbers of types in an entity key."""


class OnlineReader(Protocol):
    """Looks records up."""

    def read(self, group: str, record_id: str, ids: Sequence[RecordId]) -> list[Record | None]:
        """Return the published features of each record, with both times; None for one that is not there.

        Raises:
            ServiceError: The online store does not answer.
        """
        ...


def open_reader(store: Store, settings: FeatureStore) -> OnlineReader:
    """Return the reader that fits the environment's online store; Feast is imported only where it is not SQLite."""
    if settings.online["type"] == "sqlite":
        return SqliteReader(sqlite_path(store, settings))
    from stepzero.adapters.feast_catalogue import FeastReader

    return FeastReader(store, settings)


def sqlite_path(store: Store, settings: FeatureStore) -> Path:
    """Return where the SQLite online store lies.

    Raises:
        SpecError: It has no path, and the store is no folder.
    """
    if settings.online.get("path"):
        return Path(str(settings.online["path"]))
    if store.is_local:
        return Path(store.path(f"{FOLDER}/online.db"))
    raise SpecError(
        "feature_store.online",
        value=settings.online,
        allowed="a path of a file that endpoints reach, where the store is no folder; or redis, dynamodb",
        action="correct the environment file",
    )


def marker_uri(group: str) -> str:
    """Return where it is noted what of a group was published last."""
    return f"{FOLDER}/{group}/published.json"


class SqliteReader:
    """Reads Feast's SQLite online store without Feast; one connection a thread, none of which can write.

    A connection outlives the file that it reads, so another file at the same place is opened anew.

    Args:
        path: The database; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._own = path, threading.local()

    def read(self, group: str, record_id: str, ids: Sequence[RecordId]) -> list[Record | None]:
        """Return the published features of each record, with both times; None for one that is not there.

        Raises:
            ServiceError: The database cannot be read; a retry may help.
        """
        keys = [entity_key(record_id, one) for one in ids]
        found: dict[bytes, Record] = {}
        try:
            for start in range(0, len(keys), _BATCH):
                self._read(group, keys[start : start + _BATCH], found)
        except sqlite3.Error as error:
            self._own.opened = None
            raise ServiceError(
                f"online store {self.path}",
                value=bare(error),
                allowed="a database that the stage `publish_features` wrote",
                action="run the DAG: it publishes the features",
            ) from error
        return [found.get(key) for key in keys]

    def _read(self, group: str, keys: Sequence[bytes], found: dict[bytes, Record]) -> None:
        marks = ",".join("?" * len(keys))
        query = f'SELECT entity_key, feature_name, value FROM "{PROJECT}_{group}" WHERE entity_key IN ({marks})'  # noqa: S608 - a group's name has no quotes
        for key, name, value in self._connection().execute(query, keys):
            found.setdefault(key, {})[name] = decode_value(value)

    def _connection(self) -> sqlite3.Connection:
        there = self.path.stat().st_ino if self.path.exists() else None
        opened: tuple[sqlite3.Connection, int | None] | None = getattr(self._own, "opened", None)
        if opened is None or opened[1] != there:
            opened = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=5), there
            self._own.opened = opened
        return opened[0]


def entity_key(record_id: str, value: RecordId) -> bytes:
    """Return a record's key as Feast serialises it, version 3.

    >>> entity_key("id", 7).hex()
    '010000000200000002000000696404000000080000000700000000000000'
    """
    name = record_id.encode()
    raw, kind = (struct.pack("<q", value), _INT64) if isinstance(value, int) else (value.encode(), _STRING)
    head = struct.pack(f"<III{len(name)}s", 1, _STRING, len(record_id), name)
    return head + struct.pack("<II", kind, len(raw)) + raw


def decode_value(data: bytes) -> Any:
    """Return what a serialised ``feast.types.Value`` holds; None for an empty one.

    Only the kinds that `publish_features` writes are known: text, whole numbers, numbers and booleans.

    Raises:
        ServiceError: It is something else.
    """
    if not data:
        return None
    decode = _DECODERS.get(data[0])
    if decode is None:
        raise ServiceError(
            "value in the online store",
            value=data[:20],
            allowed="text, a number or a boolean",
            action="publish the features again: another program wrote there",
        )
    return decode(data)


def _varint(data: bytes, at: int = 1) -> tuple[int, int]:
    """Return an unsigned number of protocol buffers, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _integer(data: bytes) -> int:
    value, _ = _varint(data)
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(data: bytes) -> str:
    length, start = _varint(data)
    return data[start : start + length].decode()


def _double(data: bytes) -> float | None:
    value = float(struct.unpack_from("<d", data, 1)[0])
    return None if math.isnan(value) else value


_DECODERS: dict[int, Callable[[bytes], Any]] = {
    2 << 3 | 2: _text,
    3 << 3: _integer,
    4 << 3: _integer,
    5 << 3 | 1: _double,
    7 << 3: lambda data: bool(data[1]),
}
"""Number and wire type of the field in ``feast.types.Value`` → what reads it."""
