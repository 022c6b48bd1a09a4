"""Landed files as a Spark frame: nothing is silently dropped, reordered or read as something else."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import TYPE_CHECKING

from stepzero.adapters.libsvm import check_lines, read_libsvm
from stepzero.adapters.spark import quoted
from stepzero.core.errors import InputError, RuleError, bare, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame, SparkSession

    from stepzero.adapters.store import Store
    from stepzero.spec.data import Source
    from stepzero.spec.plan import Batch, BatchFile

UNREADABLE = "_unreadable"
"""Names of the row's columns whose cell cannot be read as the declared type."""
Columns = list[tuple[str, str]]
"""Names in order, each with its type in Spark's words; an empty one where the file has no types."""
_LOSSLESS = {
    *((narrow, wide) for narrow in ("tinyint", "smallint", "int") for wide in ("int", "bigint", "double")),
    ("float", "double"),
    ("timestamp_ntz", "timestamp"),
}
"""Casts that every value survives, and which therefore need no second look."""
_CORRUPT = "_corrupt"
_HEAD_BYTES = 1 << 16
_CSV = {"escape": '"'}
"""A quote within quotes is doubled, as RFC 4180 has it; a backslash is a backslash."""
_UNREADABLE_FILE = re.compile(
    r"[\w.]+(?:EOFException|ZipException|URISyntaxException|ChecksumException|"
    r"IOException: (?:incorrect|invalid|not a gzip|unexpected))[^\n]*"
)


def read_batch(session: SparkSession, store: Store, batch: Batch, source: Source | None) -> DataFrame:
    """Read a batch with its declared columns and types, plus the column `UNREADABLE`.

    A cell that cannot be read as its type becomes null and is named in `UNREADABLE`; the row is
    judged by the gate. Without a source, Parquet is read as it is, CSV and JSON lines by inference.

    Raises:
        InputError: A file is no table, or its columns are not the declared ones.
    """
    if source is None:
        return read_undeclared(session, store, batch)
    if source.format == "parquet":
        return _read_parquet(session, store, batch, source)
    if source.format == "libsvm":
        for file in batch.files:
            check_lines(f"landed file {file.uri}", _head(store, file, "lines of libsvm"))
        return read_libsvm(session, [_url(store, file.uri) for file in batch.files], source, UNREADABLE)
    if source.format == "csv":
        for file in batch.files:
            check_header(store, file, list(source.columns))
    return _read_text_file(session, [_url(store, file.uri) for file in batch.files], source)


@contextmanager
def explained_reading(batch: Batch) -> Iterator[None]:
    """Tell a broken file from other faults of a Spark job: a cut archive shows only when it is read.

    An error about files says which batch they are of, also where another dataset is read in the midst of this one.

    Raises:
        InputError: A landed file cannot be read to its end.
    """
    from py4j.protocol import Py4JJavaError

    try:
        yield
    except InputError as error:
        error.batch = error.batch or batch.digest
        raise
    except (Py4JJavaError, RuleError) as error:
        told = _UNREADABLE_FILE.search(f"{error} {error.__cause__ or ''}")
        if told is None:
            raise
        unreadable = InputError(
            f"landed files {', '.join(file.uri for file in batch.files)}",
            value=bare(told[0].strip()),
            allowed="files that can be read to their end",
            action="land them again, under names without colons",
        )
        unreadable.batch = batch.digest
        raise unreadable from error


def check_header(store: Store, file: BatchFile, declared: Sequence[str]) -> None:
    """Check the first line of a CSV file, and that a row follows it.

    Raises:
        InputError: The file is binary, has another header, or has no row.
    """
    lines = _head(store, file)
    columns = next(csv.reader(lines[:1]))
    check_columns(file.uri, [name.strip() for name in columns], declared)
    if len([line for line in lines[1:] if line.strip()]) == 0:
        raise InputError(
            f"landed file {file.uri}", value=bare("a header and no row"), allowed="rows", action="land the file again"
        )


def check_columns(uri: str, found: Sequence[str], declared: Sequence[str]) -> None:
    """Compare columns with the declared ones, in order.

    Raises:
        InputError: One is missing, renamed, extra, given twice, or at another place.
    """
    problem = difference(found, declared)
    if problem is not None:
        raise InputError(
            f"columns of {uri}",
            value=bare(problem),
            allowed=f"exactly {', '.join(declared)}",
            action="mend the file, or declare its columns in source.columns",
        )


def difference(found: Sequence[str], declared: Sequence[str]) -> str | None:
    """Return in words how columns differ from the declared ones, or None.

    >>> difference(["a", "c"], ["a", "b"])
    "missing b; not declared: c; expected one of c"
    """
    if list(found) == list(declared):
        return None
    missing = [name for name in declared if name not in found]
    extra = [name for name in found if name not in declared]
    if missing and extra:
        nearest = did_you_mean(missing[0], extra)
        return f"missing {', '.join(missing)}; not declared: {', '.join(extra)}; {nearest}"
    if missing:
        return f"missing {', '.join(missing)}"
    if extra:
        return f"not declared: {', '.join(extra)}"
    place = next((i for i, pair in enumerate(zip(found, declared, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        return f"given twice: {', '.join(sorted({name for name in found if list(found).count(name) > 1}))}"
    return f"another order: column {place + 1} is {found[place]}, declared is {declared[place]}"


def found_columns(session: SparkSession, store: Store, batch: Batch, source: Source | None) -> dict[str, Columns]:
    """Return the columns of each file.

    Raises:
        InputError: A file is no table.
    """
    return {file.uri: _found_columns(session, store, file, source) for file in batch.files}


def is_parquet(batch: Batch, source: Source | None) -> bool:
    """Tell whether a batch is read column by column, cheaply again and again; text is parsed as a whole."""
    return (source.format if source else format_of([file.uri for file in batch.files])) == "parquet"


def format_of(names: Sequence[str]) -> str:
    """Return the format that files have by their names: ``csv``, ``json`` (one object a line) or ``parquet``.

    >>> format_of(["a.csv.gz"]), format_of(["a.jsonl"]), format_of(["part-0"])
    ('csv', 'json', 'parquet')
    """
    if any(".csv" in name for name in names):
        return "csv"
    is_json = any(name.removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson")) for name in names)
    return "json" if is_json else "parquet"


def _found_columns(session: SparkSession, store: Store, file: BatchFile, source: Source | None) -> Columns:
    if source is not None and source.format == "libsvm":
        return [(name, "") for name in source.columns]
    if (source.format if source else format_of([file.uri])) == "json":
        return [(name, "") for name in session.read.json(_url(store, file.uri)).columns]
    if (source.format if source else format_of([file.uri])) == "csv":
        return [(name.strip(), "") for name in next(csv.reader(_head(store, file)[:1]))]
    _parquet_schema(store, file)
    return list(session.read.parquet(_url(store, file.uri)).dtypes)


def _read_text_file(session: SparkSession, paths: list[str], source: Source) -> DataFrame:
    """Let Spark's own parser read types: one pass; only lines that it could not read are looked at again."""
    from pyspark.sql import functions

    schema = ", ".join(f"{quoted(name)} {kind}" for name, kind in source.columns.items())
    reader = session.read.schema(f"{schema}, {_CORRUPT} string").option("columnNameOfCorruptRecord", _CORRUPT)
    if source.format == "json":
        frame = reader.json(paths)
        texts = functions.from_json(functions.col(_CORRUPT), _text_schema(source))
    else:
        form = _CSV | ({"multiLine": "true"} if source.multiline else {})
        options = {"header": "true", "enforceSchema": "true", **form}
        texts = functions.from_csv(functions.col(_CORRUPT), _text_schema(source), form)
        if set(source.null_values) <= {""}:
            frame = reader.options(**options).csv(paths)
        else:
            reader = session.read.schema(f"{_text_schema(source)}, {_CORRUPT} string")
            corrupt = {"columnNameOfCorruptRecord": _CORRUPT}
            frame = _without_null_values(
                reader.options(**options, **corrupt).csv(paths), source, f"{schema}, {_CORRUPT} string", form
            )
    return _with_unreadable(frame, source, texts)


def _without_null_values(lines: DataFrame, source: Source, schema: str, form: dict[str, str]) -> DataFrame:
    """Take words for "no value" out of rows read as text, then let the same parser read the types."""
    from pyspark.sql import functions

    kept = [
        functions.when(~functions.col(quoted(name)).isin(*source.null_values), functions.col(quoted(name))).alias(name)
        for name in source.columns
    ]
    line = functions.to_csv(functions.struct(*kept), form)
    typed = functions.from_csv(line, schema, {**form, "columnNameOfCorruptRecord": _CORRUPT})
    parsed = lines.select(functions.col(_CORRUPT).alias("_ragged"), typed.alias("_typed"))
    columns = [functions.col(f"_typed.{quoted(name)}").alias(name) for name in source.columns]
    corrupt = functions.coalesce("_ragged", f"_typed.{_CORRUPT}").alias(_CORRUPT)
    return parsed.select(*columns, corrupt)


def _text_schema(source: Source) -> str:
    return ", ".join(f"{quoted(name)} string" for name in source.columns)


def _with_unreadable(frame: DataFrame, source: Source, texts: Column) -> DataFrame:
    """Name the cells of a corrupt line that have a text and no value; the line as a whole where none has."""
    from pyspark.sql import functions

    cells = [
        functions.when(
            functions.col(quoted(name)).isNull() & _has_text(functions.col(f"_texts.{quoted(name)}"), source),
            functions.lit(name),
        )
        for name in source.columns
    ]
    named = functions.array_compact(functions.array(*cells))
    whole = functions.array(functions.lit("the whole line"))
    unreadable = (
        functions.when(functions.col(_CORRUPT).isNull(), functions.array().cast("array<string>"))
        .when(functions.size(named) > 0, named)
        .otherwise(whole)
    )
    columns = [functions.col(quoted(name)) for name in source.columns]
    return frame.withColumn("_texts", texts).select(*columns, unreadable.alias(UNREADABLE))


def _has_text(text: Column, source: Source) -> Column:
    return text.isNotNull() & ~text.isin(*source.null_values)


def _read_parquet(session: SparkSession, store: Store, batch: Batch, source: Source) -> DataFrame:
    """Read Parquet and cast to the declared types; a value that the type cannot hold is unreadable."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for file in batch.files:
        schema = _parquet_schema(store, file)
        check_columns(file.uri, [name for name, _ in schema], list(source.columns))
        groups.setdefault(tuple(kind for _, kind in schema), []).append(_url(store, file.uri))
    frames = [_cast(session.read.parquet(*paths), source) for paths in groups.values()]
    return reduce(lambda one, other: one.unionByName(other), frames)


def _parquet_schema(store: Store, file: BatchFile) -> list[tuple[str, str]]:
    """Return a file's columns and their types from its footer: Spark would take one file's for all.

    Raises:
        InputError: It is no Parquet file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with store.open_any(file.uri) as stream:
            schema = parquet.read_schema(stream)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"landed file {file.uri}",
            value=bare(str(error).splitlines()[0]),
            allowed="Parquet",
            action="land the right file",
        ) from error
    return [(field.name, str(field.type)) for field in schema]


def _cast(frame: DataFrame, source: Source) -> DataFrame:
    """Cast what was read; a plain cast would wrap a large number and cut a fraction without a word."""
    from pyspark.sql import functions

    kinds, typed, lost = dict(frame.dtypes), [], []
    for name, kind in source.columns.items():
        column = functions.col(quoted(name))
        if (kinds[name], kind) in _LOSSLESS or kinds[name] == kind:
            typed.append(column.cast(kind))
            continue
        cast = functions.expr(f"TRY_CAST({quoted(name)} AS {kind})")
        is_lost = cast.isNull()
        if kind in {"int", "bigint"} and kinds[name].startswith(("double", "float", "decimal")):
            is_lost |= cast.cast(kinds[name]) != column
        typed.append(functions.when(~is_lost, cast).alias(name))
        lost.append(functions.when(column.isNotNull() & is_lost, functions.lit(name)))
    named = functions.array_compact(functions.array(*lost)) if lost else functions.array().cast("array<string>")
    return frame.select(*typed, named.alias(UNREADABLE))


def _without_broken_lines(frame: DataFrame, batch: Batch) -> DataFrame:
    """Return JSON as it was inferred.

    Raises:
        InputError: A line is no JSON object.
    """
    if _CORRUPT in frame.columns or not frame.columns:
        raise InputError(
            f"landed files {', '.join(file.uri for file in batch.files)}",
            value=bare("a line that is no JSON object"),
            allowed="JSON lines: one object a line",
            action="write each row on a line of its own, without an array around them",
        )
    return frame


def read_undeclared(session: SparkSession, store: Store, batch: Batch, *, multiline: bool = False) -> DataFrame:
    """Read a batch without a source: types as they are, or by inference; plus the column `UNREADABLE`.

    Args:
        session: Spark.
        store: Where the files are.
        batch: What is read.
        multiline: Whether quoted cells of CSV may hold line breaks.

    Raises:
        InputError: A file is no table.
    """
    from pyspark.sql import functions

    paths, kind = [_url(store, file.uri) for file in batch.files], format_of([file.uri for file in batch.files])
    if kind == "csv":
        for file in batch.files:
            _head(store, file)
        form = _CSV | ({"multiLine": "true"} if multiline else {})
        frame = session.read.options(header="true", inferSchema="true", **form).csv(paths)
    elif kind == "json":
        frame = _without_broken_lines(session.read.option("columnNameOfCorruptRecord", _CORRUPT).json(paths), batch)
    else:
        schemas = [(file.uri, [name for name, _ in _parquet_schema(store, file)]) for file in batch.files]
        for uri, columns in schemas:
            check_columns(uri, columns, schemas[0][1])
        frame = session.read.parquet(*paths)
    return frame.withColumn(UNREADABLE, functions.array().cast("array<string>"))


def _head(store: Store, file: BatchFile, allowed: str = "CSV with a header") -> list[str]:
    """Return the first lines of a text file.

    Raises:
        InputError: It is empty, binary, or a document of another kind.
    """
    with store.open_any(file.uri) as stream:
        data: bytes = stream.read(_HEAD_BYTES) if not file.uri.endswith(".gz") else _unzipped(stream.read(_HEAD_BYTES))
    problem = None
    if not data.strip():
        problem = "no text"
    elif b"\x00" in data:
        problem = "a binary file"
    elif data.lstrip()[:1] in {b"<", b"{", b"["}:
        problem = f"text that begins with {data.lstrip()[:20]!r}"
    if problem:
        raise InputError(f"landed file {file.uri}", value=bare(problem), allowed=allowed, action="land the right file")
    return data.decode("utf-8-sig", errors="replace").splitlines()


def _unzipped(data: bytes) -> bytes:
    import zlib

    try:
        return zlib.decompressobj(wbits=31).decompress(data, _HEAD_BYTES)
    except (zlib.error, gzip.BadGzipFile):
        return b"\x00"


def _url(store: Store, uri: str) -> str:
    """Return the address for Spark, which would read brackets and stars of a name as a pattern."""
    address = uri.replace("s3://", "s3a://") if "://" in uri else store.url(uri)
    return re.sub(r"([*?\[\]{}])", r"\\\1", address)
