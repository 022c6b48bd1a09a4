"""Captured traffic of an endpoint: Parquet files in hourly windows, written by many processes, read as one table.

    captured/USE_CASE/2026-11-21T14/PROCESS-000003-000003.parquet

A file's name says which process wrote it, and which of its flushes it holds. When an hour is over its writer merges
its files into one; whoever reads takes the widest files and leaves out what they hold, so that a kill in between
shows no row twice and hides none.

Versions may have other features, and the same feature in another type. Read together, a column has the type of the
newest rows that have it, those of the version that serves: numbers become text, a text that is no number is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from stepzero.core.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from stepzero.adapters.store import Store

ID, REQUEST, AT, STATUS = "_id", "_request", "_at", "_status"
VERSION, MODEL, SCORE, DECISION = "_version", "_model_digest", "_score", "_decision"
LATENCY, REFUSED = "_latency_ms", "_refused"
RECORD = "_record_id"
"""The id by which a request named the record that features were looked up of, as text; nothing where it named none."""
ANSWERED = 200
"""Status of a request that has a score."""
BESIDE = (ID, REQUEST, AT, STATUS, VERSION, MODEL, SCORE, DECISION, LATENCY, REFUSED)
"""Columns beside the features; a refused request is one row with no more than the reason."""
HOUR = timedelta(hours=1)
_FILE = re.compile(r"(?P<process>[0-9a-f]{12})-(?P<first>\d{6})-(?P<last>\d{6})\.parquet")
_TRIES = 5


class Part(NamedTuple):
    """A captured file: which flushes of which process it holds."""

    process: str
    first: int
    last: int

    @property
    def name(self) -> str:
        """Return the file's name."""
        return f"{self.process}-{self.first:06d}-{self.last:06d}.parquet"

    def holds(self, other: Part) -> bool:
        """Tell whether all flushes of another file are in this one."""
        return self.process == other.process and self.first <= other.first and other.last <= self.last


def beside(column: str) -> str:
    """Return under which name a column is captured that no model takes: as prepared rows have it, set aside."""
    return f"_{column}"


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of a moment's hour, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hour_folder(use_case: str, hour: datetime) -> str:
    """Return where the rows of an hour lie."""
    return f"captured/{use_case}/{hour_of(hour):%Y-%m-%dT%H}"


def widest(names: Iterable[str]) -> list[str]:
    """Return the files that together hold every flush once, in order; other names are left out.

    >>> widest(["0123456789ab-000001-000001.parquet", "0123456789ab-000001-000002.parquet"])
    ['0123456789ab-000001-000002.parquet']
    """
    kept: list[Part] = []
    found = [
        Part(match["process"], int(match["first"]), int(match["last"]))
        for match in map(_FILE.fullmatch, names)
        if match
    ]
    for part in sorted(found, key=lambda one: (one.process, one.first, -one.last)):
        if not (kept and kept[-1].holds(part)):
            kept.append(part)
    return [part.name for part in kept]


def captured_uris(store: Store, use_case: str, start: datetime, end: datetime) -> list[str]:
    """Return the files that hold rows of a span of time, hour by hour; the first and last may hold more."""
    uris, hour = [], hour_of(start)
    while hour < end:
        folder = hour_folder(use_case, hour)
        uris += [f"{folder}/{name}" for name in widest(uri.rpartition("/")[2] for uri in store.list(folder))]
        hour += HOUR
    return uris


def read_captured(store: Store, use_case: str, start: datetime, end: datetime) -> pd.DataFrame:
    """Return the rows captured in a span of time, oldest first; features of several versions side by side.

    Raises:
        StoreError: Files go faster than they can be read.
    """
    import pandas as pd
    import pyarrow as pa
    from pyarrow import compute, parquet

    for left in reversed(range(_TRIES)):
        try:
            tables = []
            for uri in captured_uris(store, use_case, start, end):
                with store.open(uri) as stream:
                    tables.append(parquet.read_table(stream))
            break
        except StoreError:  # merged by its writer since it was listed
            if not left:
                raise
    if not tables:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _EMPTY.items()})
    first, last = pa.scalar(start), pa.scalar(end)
    inside = [
        one.filter(compute.and_(compute.greater_equal(one[AT], first), compute.less(one[AT], last))) for one in tables
    ]
    filled = [one for one in inside if one.num_rows] or inside[:1]
    joined = [pa.concat_tables(group, promote_options="permissive") for group in _by_type(filled)]
    newest_last = sorted(joined, key=lambda one: compute.max(one[AT]).as_py() or start)
    frame = together([one.to_pandas() for one in newest_last])
    return frame.sort_values([AT, ID], kind="stable", ignore_index=True)


def _by_type(tables: Iterable[pa.Table]) -> list[list[pa.Table]]:
    """Return tables in groups whose columns of one name can be one column."""
    groups: list[list[pa.Table]] = []
    schemas: list[pa.Schema] = []
    for table in tables:
        for number, schema in enumerate(schemas):
            united = _united(schema, table.schema)
            if united is not None:
                schemas[number] = united
                groups[number].append(table)
                break
        else:
            groups.append([table])
            schemas.append(table.schema)
    return groups


def _united(first: pa.Schema, second: pa.Schema) -> pa.Schema | None:
    """Return the schema of both together; None where a column has types that no column can have."""
    import pyarrow as pa

    try:
        return pa.unify_schemas([first, second], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None


def together(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Return captured rows as one frame, the newest last: they say which type a column has.

    Where types differ, numbers become text, and a text that is no number is missing.
    """
    import pandas as pd

    if len(frames) == 1:
        return frames[0]
    kinds = [{str(name): _kind(frame[name]) for name in frame.columns} for frame in frames]
    found: dict[str, list[str]] = {}
    for one in kinds:
        for name, kind in one.items():
            found.setdefault(name, []).extend([kind] if kind else [])
    wanted = {name: all_of[-1] for name, all_of in found.items() if len(set(all_of)) > 1}
    alike = [
        frame.assign(**{name: _cast(frame[name], kind) for name, kind in wanted.items() if name in frame.columns})
        for frame in frames
    ]
    return pd.concat(alike, ignore_index=True)


def _kind(values: pd.Series[Any]) -> str | None:
    """Return what a column's values are; None where there is none."""
    import pandas as pd

    if not values.notna().any():
        return None
    found = pd.api.types.infer_dtype(values, skipna=True)
    return "number" if found in {"integer", "floating", "mixed-integer-float", "decimal"} else found


def _cast(values: pd.Series[Any], kind: str) -> pd.Series[Any]:
    """Return values as numbers or booleans, missing where they are none; else as text."""
    import pandas as pd

    if kind == "number":
        return pd.to_numeric(values, errors="coerce").astype("float64")
    if kind == "boolean":
        words = values.astype(str).str.lower()
        return words.map({"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False})
    return values.map(str, na_action="ignore").astype("object")


def count_captured(store: Store, use_case: str, borders: list[datetime]) -> list[int]:
    """Return how many rows were captured between each two neighbouring borders; only their times are read.

    Raises:
        StoreError: Files go faster than they can be read.
    """
    import numpy as np
    from pyarrow import parquet

    for left in reversed(range(_TRIES)):
        times: list[Any] = []
        try:
            for uri in captured_uris(store, use_case, borders[0], borders[-1]):
                with store.open(uri) as stream:
                    times.append(parquet.read_table(stream, columns=[AT])[AT].cast("int64").to_numpy())
            break
        except StoreError:
            if not left:
                raise
    edges = [int(border.timestamp() * 1_000_000) for border in borders]
    found = np.concatenate(times) if times else np.zeros(0, dtype=np.int64)
    places = np.searchsorted(np.asarray(edges), found, side="right") - 1
    counts = np.bincount(places[(places >= 0) & (places < len(edges) - 1)], minlength=len(edges) - 1)
    return [int(one) for one in counts]


_EMPTY: dict[str, Any] = {
    ID: "object",
    REQUEST: "object",
    AT: "datetime64[us, UTC]",
    STATUS: "int64",
    VERSION: "object",
    MODEL: "object",
    SCORE: "float64",
    DECISION: "float64",
    LATENCY: "float64",
    REFUSED: "object",
}


def write_part(store: Store, folder: str, part: Part, table: pa.Table) -> str:
    """Write a captured file, whole or not at all; return its URI."""
    import tempfile
    from pathlib import Path

    from pyarrow import parquet

    uri = f"{folder}/{part.name}"
    with tempfile.TemporaryDirectory(prefix="stepzero-capture-") as local:
        path = Path(local) / part.name
        parquet.write_table(table, path, compression="zstd")
        store.put(path, uri)
    return uri


def merge_parts(store: Store, folder: str, parts: list[Part]) -> list[Part]:
    """Merge files of one process, then remove them; a kill at any point loses and doubles nothing.

    Where a version changed a column's type, the files before and after it stay apart.
    """
    from pyarrow import parquet

    runs: list[tuple[list[Part], list[pa.Table]]] = []
    schema = None
    for part in parts:
        with store.open(f"{folder}/{part.name}") as stream:
            table = parquet.read_table(stream)
        schema = _united(schema, table.schema) if schema is not None else None
        if schema is None:
            runs.append(([], []))
            schema = table.schema
        runs[-1][0].append(part)
        runs[-1][1].append(table)
    return [_merge(store, folder, *one) for one in runs]


def _merge(store: Store, folder: str, parts: list[Part], tables: list[pa.Table]) -> Part:
    import pyarrow as pa

    merged = Part(parts[0].process, min(one.first for one in parts), max(one.last for one in parts))
    if len(parts) > 1:
        write_part(store, folder, merged, pa.concat_tables(tables, promote_options="permissive"))
        for part in parts:
            if part != merged:
                store.remove(f"{folder}/{part.name}")
    return merged
