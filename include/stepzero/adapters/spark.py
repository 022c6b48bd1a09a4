"""Spark: the session, datasets as frames, frames as datasets."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stepzero.adapters.datasets import commit_dataset, manifest_of
from stepzero.core.errors import RuleError, StoreFullError, bare, is_disk_full
from stepzero.launchers.runtime import deequ_jar, s3_jars, s3_settings, spark_environment
from stepzero.launchers.spark import LOCAL_PARTITIONS, java_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyspark.sql import Column, DataFrame, SparkSession

    from stepzero.adapters.store import Store
    from stepzero.core.references import Reference
    from stepzero.spec.environment import Environment


def start_session(environment: Environment, name: str) -> SparkSession:
    """Return the session of spark-submit, or start one in this process.

    Raises:
        SetupError: Java or the Deequ jar is missing.
    """
    from pyspark.sql import SparkSession

    os.environ.update(spark_environment(environment))
    builder = SparkSession.builder.appName(f"stepzero {name}")
    if SparkSession.getActiveSession() is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        for key, value in _settings(environment).items():
            builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def read_dataset(session: SparkSession, store: Store, reference: Reference) -> DataFrame:
    """Read a Parquet dataset's files, as its manifest names them."""
    paths = [store.url(file["uri"]) for file in manifest_of(store, reference)["files"]]
    return session.read.parquet(*paths)


def read_alike(
    session: SparkSession, store: Store, named: Sequence[tuple[str, Reference]]
) -> list[tuple[str, DataFrame]]:
    """Read named datasets that will be united: those of the same columns and types are one frame, named by the first.

    A plan with a scan for each of many days takes Spark longer than the rows do.
    """
    alike: dict[str, tuple[str, list[str]]] = {}
    for name, reference in named:
        manifest = manifest_of(store, reference)
        kind = json.dumps(manifest["schema"])
        # What pandas calls an object may be text in one file and a date in the other.
        _, paths = alike.setdefault(kind if '"object"' not in kind else reference.uri, (name, []))
        paths += [store.url(file["uri"]) for file in manifest["files"]]
    return [(name, session.read.parquet(*paths)) for name, paths in alike.values()]


def write_dataset(store: Store, folder: str, frame: DataFrame, *, rows: int, producer: str) -> Reference:
    """Write a frame as Parquet and commit it.

    Raises:
        StoreFullError: No room is left.
    """
    with _explained(store):
        frame.write.mode("overwrite").option("compression", "zstd").parquet(store.url(folder))
    schema = [[field.name, field.dataType.simpleString()] for field in frame.schema.fields]
    return commit_dataset(store, folder, rows=rows, schema=schema, producer=producer)


def sorted_in_one_file(frame: DataFrame, *columns: str) -> DataFrame:
    """Sort a frame into one file, so that equal content gives equal bytes, whatever its partitions were."""
    return frame.repartition(1).sortWithinPartitions(*columns)


def check_expression(frame: DataFrame, expression: str, what: str, *, predicate: bool = True) -> None:
    """Let Spark analyse an expression beside all columns, without a job; an aggregate is none of a row.

    Raises:
        RuleError: It names an unknown column, is not SQL, is no predicate where one is needed, or draws lots: its
            answer would differ from pass to pass.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql import functions

    try:
        # Alone, the last word of "ok AND" would be taken for a name.
        checked = frame.select("*", functions.expr(f"({expression}\n)").alias("checked"))
        kind = checked.schema.fields[-1].dataType.simpleString()
    except PySparkException as error:
        told = str(error).splitlines()[0][:300]
        raise RuleError(
            what,
            value=expression,
            allowed=f"Spark SQL over {', '.join(frame.columns[:40])}",
            action=f"correct it: {told}",
        ) from error
    if not checked._jdf.queryExecution().analyzed().deterministic():  # noqa: SLF001 - no other way to ask
        raise RuleError(what, value=expression, allowed="the same answer each time", action="take the chance out of it")
    if predicate and kind not in {"boolean", "void"}:
        raise RuleError(what, value=expression, allowed=f"a predicate, not {kind}", action="compare it with something")


def text_of(columns: Sequence[str]) -> Column:
    """Return a row's values as one text: null differs from empty, and no value runs into the next."""
    from pyspark.sql import functions

    values = [functions.coalesce(functions.col(quoted(name)).cast("string"), functions.lit("\x00")) for name in columns]
    return functions.concat_ws("\x01", *values)


def quoted(column: str) -> str:
    """Return a column's name as Spark SQL takes it, whatever characters it has.

    >>> quoted("my.col")
    '`my.col`'
    """
    return "`" + column.replace("`", "``") + "`"


def literal(value: str | float | bool) -> str:
    r"""Return a value as a Spark SQL literal; text cannot break out.

    >>> literal("O'Brien"), literal(3), literal(True)
    ("'O\\\\'Brien'", '3', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return repr(value) + ("D" if isinstance(value, float) else "")


def _settings(environment: Environment) -> dict[str, str]:
    quiet = {
        "spark.driver.extraJavaOptions": java_options(environment),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Text without a zone is read the same on every machine.
        "spark.sql.session.timeZone": "UTC",
    }
    local = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": LOCAL_PARTITIONS,
    }
    return {
        "spark.master": environment.spark.master,
        "spark.driver.memory": environment.spark.memory,
        "spark.jars": ",".join(map(str, [deequ_jar(environment), *s3_jars(environment)])),
        **quiet,
        **s3_settings(environment),
        **(local if environment.spark.master.startswith("local") else {}),
        **environment.spark.settings,
    }


@contextmanager
def _explained(store: Store) -> Iterator[None]:
    """Tell a full disk from other faults: Spark wraps it deep in a Java exception."""
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise StoreFullError(
                f"store {store.root}",
                value=bare("no space left"),
                allowed="free space under the store",
                action="make room, then clear the task; nothing was lost",
            ) from error
        raise
