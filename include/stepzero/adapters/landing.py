"""Bringing a file of this machine into the landing folder: looked at first, landed once, never half."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from stepzero.adapters.libsvm import check_lines
from stepzero.core.digests import digest_file
from stepzero.core.errors import InputError, bare, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from stepzero.adapters.store import Store
    from stepzero.spec.data import Source

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_HEAD_BYTES = 1 << 16


def land(store: Store, source: Source, path: Path) -> str:
    """Copy a file into a source's landing folder, under a name made from its content; return its URI.

    The same content lands once. Readers see the whole file or none.

    Raises:
        InputError: The file is missing, empty, or plainly not what the source declares.
        StoreFullError: No room is left.
    """
    suffix = inspect(source, path)
    uri = f"{source.prefix}{digest_file(path)[:16]}{suffix}"
    if not store.exists(uri):
        store.put(path, uri)
    return uri


def land_days(store: Store, source: Source, path: Path) -> dict[str, str]:
    """Cut a file into its days (UTC) and land each as a file of its own; return day → URI.

    The same rows land once. A Parquet file is taken, too, where the source is CSV.

    Raises:
        InputError: The file is not what the source declares, or a row has no day.
        StoreFullError: No room is left.
    """
    import pandas as pd

    frame = _whole(source, path)
    days = pd.to_datetime(frame[source.partition], format="ISO8601", errors="coerce", utc=True).dt.strftime("%Y-%m-%d")
    if days.isna().any():
        raise _wrong(path, f"{int(days.isna().sum())} rows without {source.partition}", "a day in every row")
    landed = {}
    with tempfile.TemporaryDirectory(prefix="stepzero-") as folder:
        for day, rows in frame.groupby(days.to_numpy(), sort=True):
            part = _write(source, rows, Path(folder) / f"{day}")
            uri = f"{source.prefix}{day}/{digest_file(part)[:16]}{''.join(part.suffixes)}"
            if not store.exists(uri):
                store.put(part, uri)
            landed[str(day)] = uri
    return landed


def land_parts(store: Store, source: Source, path: Path) -> list[str]:
    """Cut a file of lines into its declared number of parts, in its order, and land each; return their URIs.

    Of 4,177 rows the first half has 2,088. A header stands in every part.

    Raises:
        InputError: The file is not what the source declares, is not made of lines, or has fewer rows than parts.
        StoreFullError: No room is left.
    """
    if source.parts == 1:
        return [land(store, source, path)]
    suffix = inspect(source, path)
    if source.format == "parquet" or source.multiline:
        raise _wrong(path, f"a file of {source.format}", "lines, one a row, to be cut into parts")
    data = gzip.decompress(path.read_bytes()) if suffix.endswith(".gz") else path.read_bytes()
    lines = [line for line in data.splitlines(keepends=True) if line.strip()]
    head, rows = (lines[:1], lines[1:]) if source.format == "csv" else ([], lines)
    if len(rows) < source.parts:
        raise _wrong(path, f"{len(rows)} rows", f"at least one row for each of {source.parts} parts")
    borders = [len(rows) * number // source.parts for number in range(source.parts + 1)]
    landed = []
    with tempfile.TemporaryDirectory(prefix="stepzero-") as folder:
        for number, (first, last) in enumerate(pairwise(borders), start=1):
            part = Path(folder) / f"part-{number}{suffix.removesuffix('.gz')}"
            part.write_bytes(b"".join([*head, *rows[first:last]]))
            landed.append(land(store, source, part))
    return landed


def table_files(tables: Mapping[str, Source], folder: Path) -> dict[str, Path]:
    """Return the file of each table in a folder, known by its name: ``claims.csv``, ``claims.csv.gz``; looked at.

    Raises:
        InputError: A table has no file, or several, or one that is plainly not what its source declares.
    """
    if not folder.is_dir():
        raise InputError(
            f"data folder {folder}",
            value=bare("a file" if folder.exists() else "no such folder"),
            allowed=f"a folder with a file of each table: {', '.join(f'{name}.csv' for name in tables)}",
            action="give the folder that holds them",
        )
    found = {}
    for name, source in tables.items():
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name.partition(".")[0] == name]
        if len(files) != 1:
            raise InputError(
                f"table {name} in {folder}",
                value=bare(", ".join(path.name for path in files) or "no file"),
                allowed=f"one file whose name is {name}, such as {name}.{source.format}",
                action="name the files by their tables",
            )
        inspect(source, files[0])
        found[name] = files[0]
    return found


def land_tables(store: Store, tables: Mapping[str, Source], folder: Path) -> dict[str, str]:
    """Land the file of each table in a folder; return table → URI. None is landed where one is wrong.

    Raises:
        InputError: A table has no file, or several, or one that is plainly not what its source declares.
        StoreFullError: No room is left.
    """
    files = table_files(tables, folder)
    return {name: land(store, tables[name], path) for name, path in files.items()}


def inspect(source: Source, path: Path) -> str:
    """Look at the beginning of a file; return the suffix under which it lands.

    Raises:
        InputError: The file is missing, empty, or plainly not what the source declares.
    """
    head = _head(path)
    packed = head.startswith(_GZIP)
    text = _unpacked(path) if packed else head
    if not text.strip():
        raise _wrong(path, f"nothing in it ({path.stat().st_size} bytes)", "a file with a header and rows")
    if source.format == "parquet":
        if not head.startswith(_PARQUET):
            raise _wrong(path, f"a file that begins with {head[:4]!r}", "a Parquet file, as the source declares")
        return ".parquet"
    if source.format == "libsvm":
        check_lines(f"data file {path}", _decoded(path, text).splitlines())
    elif source.format == "csv":
        _check_header(source, path, _decoded(path, text))
    else:
        _decoded(path, text)
    return f".{source.format}{'.gz' if packed else ''}"


def _whole(source: Source, path: Path) -> pd.DataFrame:
    """Return a file's rows as text where they are text; a number keeps the digits that it has."""
    import pandas as pd

    if _head(path).startswith(_PARQUET):
        frame = pd.read_parquet(path)
        missing = [name for name in source.columns if name not in frame.columns]
        if missing:
            raise _wrong(
                path, f"a Parquet file without {_listed(missing)}", f"the columns {_listed(list(source.columns))}"
            )
        return frame[list(source.columns)]
    inspect(source, path)
    if source.format != "csv":
        raise _wrong(path, f"{source.format}", "CSV or Parquet, to be cut into days")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _write(source: Source, rows: pd.DataFrame, path: Path) -> Path:
    """Write one day's rows in the source's format; the same rows give the same bytes."""
    if source.format == "parquet":
        part = path.with_suffix(".parquet")
        rows.to_parquet(part, index=False)
        return part
    part = path.with_suffix(".csv.gz")
    text = str(rows.to_csv(index=False, lineterminator="\n", date_format="%Y-%m-%d %H:%M:%S"))
    part.write_bytes(gzip.compress(text.encode(), mtime=0))
    return part


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        near = did_you_mean(path.name, [one.name for one in path.parent.glob("*")][:200]) if _has_files(path) else ""
        raise InputError(
            f"data file {path}", value=bare("no such file"), allowed=f"an existing file; {near}".rstrip("; "),
            action="correct the path",
        ) from error  # fmt: skip
    except OSError as error:
        what = "a folder" if path.is_dir() else str(error.strerror)
        raise InputError(
            f"data file {path}", value=bare(what), allowed="one readable file", action="name a file we may read"
        ) from error


def _has_files(path: Path) -> bool:
    return path.parent.is_dir() and any(path.parent.iterdir())


def _unpacked(path: Path) -> bytes:
    try:
        with gzip.open(path) as stream:
            return stream.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"data file {path}",
            value=bare(f"a gzip file that cannot be unpacked ({error})"),
            allowed="a whole gzip file",
            action="copy it again: it may have been cut",
        ) from error


def _decoded(path: Path, data: bytes) -> str:
    if b"\0" in data:
        raise _wrong(path, f"binary data that begins with {data[:8]!r}", "text in UTF-8")
    # The last character may be cut by the size of what was read.
    return data.decode("utf-8", errors="ignore" if len(data) == _HEAD_BYTES else "replace")


def _check_header(source: Source, path: Path, text: str) -> None:
    declared, found = list(source.columns), _names(text)
    if found == declared:
        return
    missing = [name for name in declared if name not in found]
    extra = [name for name in found if name not in declared]
    if len(missing) == len(declared):
        raise _wrong(path, f"a first line {text.splitlines()[0][:80]!r}", f"CSV with the header {_listed(declared)}")
    told = [f"without {_listed(missing)}"] * bool(missing) + [f"with unknown {_listed(extra)}"] * bool(extra)
    if missing and extra:
        told.append(f"renamed? {extra[0]}: {did_you_mean(extra[0], missing)}")
    what = "; ".join(told) or f"columns in another order ({_listed(found)})"
    raise _wrong(path, f"a header {what}", f"the {len(declared)} columns {_listed(declared)} in this order")


def _names(text: str) -> list[str]:
    line = text.lstrip("\ufeff").splitlines()[0]
    return [name.strip().strip('"') for name in line.split(",")]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" … {names[-1]}" if len(names) > 6 else "")


def _wrong(path: Path, value: str, allowed: str) -> InputError:
    action = "correct the file, or the source section of the use case; nothing was landed"
    return InputError(f"data file {path}", value=bare(value), allowed=allowed, action=action)
