"""Do offline and online agree? Rows of a snapshot against what the online store says of the same records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stepzero.adapters.online_features import EVENT, KNOWN, SINCE, OnlineReader, Record

if TYPE_CHECKING:
    import pandas as pd

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class FeatureReplay:
    """One group's records, offline and online, in the order of the rows."""

    offline: list[Record]
    online: list[Record | None]

    @classmethod
    def of(cls, reader: OnlineReader, group: str, record_id: str, rows: pd.DataFrame) -> FeatureReplay:
        """Read the records of these rows, which have the columns of a published snapshot.

        Raises:
            ServiceError: The online store does not answer.
        """
        wanted = rows.drop(columns=[record_id, SINCE])
        names = [str(name) for name in wanted.columns]
        columns = [
            [None if absent else value for value, absent in zip(values.tolist(), values.isna(), strict=True)]
            for _, values in wanted.items()
        ]
        ids = rows[record_id].tolist()
        return cls(
            offline=[dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)],
            online=reader.read(group, record_id, ids),
        )

    @property
    def differing(self) -> Flags:
        """Which records are not there, or not as offline."""
        return np.array([_differs(*both) for both in self._both()], dtype=np.bool_)

    @property
    def newer_online(self) -> Flags:
        """Which records are newer online: of a later event, or known later."""
        return np.array(
            [there is not None and _times(there) > _times(row) for row, there in self._both()], dtype=np.bool_
        )

    @property
    def as_new_online(self) -> Flags:
        """Which records are at least as new online."""
        return np.array(
            [there is not None and _times(there) >= _times(row) for row, there in self._both()], dtype=np.bool_
        )

    def told(self, place: int) -> str:
        """Say how a record differs."""
        row, there = self.offline[place], self.online[place]
        if there is None:
            return "not there"
        names = [name for name, value in row.items() if not _same(value, there.get(name))]
        return ", ".join(f"{name} {row[name]!r} offline, {there.get(name)!r} online" for name in names[:3])

    def _both(self) -> list[tuple[Record, Record | None]]:
        return list(zip(self.offline, self.online, strict=True))


def _differs(row: Record, there: Record | None) -> bool:
    return there is None or any(not _same(value, there.get(name)) for name, value in row.items())


def _same(offline: Any, online: Any) -> bool:
    return (offline is None and online is None) or bool(offline == online)


def _times(record: Record) -> tuple[int, int]:
    return int(record.get(EVENT) or 0), int(record.get(KNOWN) or 0)
