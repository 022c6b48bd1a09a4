"""What was known at a moment, on Spark: the same answers as `as_known`, for histories that no memory holds.

Rows and versions of one record lie in one partition in the order of time, and the largest version so far is kept while
walking through them: one shuffle a group, and memory for one row at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from stepzero.adapters.spark import quoted, read_dataset
from stepzero.core.errors import InputError, bare, did_you_mean
from stepzero.learning.as_known import HISTORY, ROWS, must_be_new, utc_moment
from stepzero.spec.features import FeatureGroup

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from stepzero.adapters.store import Store
    from stepzero.core.references import Reference

_RECORD, _AT, _SIDE, _VERSION, _ROW = "_record", "_at", "_side", "_version", "_asked"
_EVENT, _KNOWN = "_event_time", "_known_time"


def read_history_frame(session: SparkSession, store: Store, members: Sequence[Reference]) -> DataFrame:
    """Return all versions of some members together; a column of whole numbers in one is one of numbers if one is not.

    Raises:
        InputError: There are none.
    """
    if not members:
        raise InputError(HISTORY, value=bare("empty"), allowed="at least one dataset", action="ingest one first")
    frames = [read_dataset(session, store, member) for member in members]
    return reduce(lambda left, right: left.unionByName(right), frames)


def as_known_frame(history: DataFrame, rows: DataFrame, group: FeatureGroup, *, as_of: str) -> DataFrame:
    """Return rows with the group's features as known at their moments, and ``_there``: whether the record was known.

    Raises:
        InputError: A column is missing, or an id or a time has no value.
    """
    from pyspark.sql import Window, functions

    _must_be_present(rows, {group.record_id: None, as_of: _moment(rows, as_of, ROWS)}, ROWS)
    told = _versions(history, group).select(_RECORD, _AT, functions.lit(0).alias(_SIDE), _VERSION)
    asked = rows.select(
        functions.col(quoted(group.record_id)).alias(_RECORD),
        _moment(rows, as_of, ROWS).alias(_AT),
        functions.lit(1).alias(_SIDE),
        functions.struct(*[functions.col(quoted(name)) for name in rows.columns]).alias(_ROW),
    )
    # At the same moment versions come first: what becomes known at a moment is known at it.
    so_far = Window.partitionBy(_RECORD).orderBy(_AT, _SIDE).rowsBetween(Window.unboundedPreceding, Window.currentRow)
    newest = told.unionByName(asked, allowMissingColumns=True).withColumn(
        _VERSION, functions.max(_VERSION).over(so_far)
    )
    features = feature_columns_of(history, group)
    return newest.filter(f"{_SIDE} = 1").select(
        *[functions.col(f"{_ROW}.{quoted(name)}").alias(name) for name in rows.columns],
        functions.col(_VERSION).isNotNull().alias("_there"),
        *[functions.col(f"{_VERSION}.{quoted(name)}").alias(name) for name in features],
    )


def snapshot_frame(history: DataFrame, group: FeatureGroup, *, as_of: Any, times: bool = False) -> DataFrame:
    """Return one row for each record that was known at a moment; with ``_event_time`` and ``_known_time`` if asked.

    Raises:
        InputError: A column is missing, or an id or a time has no value.
    """
    from pyspark.sql import functions

    moment = functions.lit(utc_moment(as_of).isoformat()).cast("timestamp")
    visible = _versions(history, group).filter(functions.col(_AT) <= moment)
    newest = visible.groupBy(_RECORD).agg(functions.max(_VERSION).alias(_VERSION))
    names = [*((_EVENT, _KNOWN) if times else ()), *feature_columns_of(history, group)]
    return newest.select(
        functions.col(_RECORD).alias(group.record_id),
        *[functions.col(f"{_VERSION}.{quoted(name)}").alias(name) for name in names],
    )


def training_frame(
    rows: DataFrame, histories: Mapping[str, tuple[FeatureGroup, DataFrame]], *, as_of: str
) -> tuple[DataFrame, dict[str, int], int]:
    """Return rows with the features of every group as known, how many miss each group, and how many rows there are.

    The frame is kept in memory or on disk, since it is counted and then written.

    Raises:
        InputError: Two groups, or a group and the rows, have a column of the same name.
    """
    from pyspark.sql import functions

    joined = rows
    for name, (group, history) in histories.items():
        must_be_new(name, feature_columns_of(history, group), joined.columns)
        joined = as_known_frame(history, joined, group, as_of=as_of).withColumnRenamed("_there", f"_there_{name}")
    joined = joined.persist()
    sums = [functions.sum((~functions.col(quoted(f"_there_{name}"))).cast("bigint")) for name in histories]
    (count, *absent) = joined.agg(functions.count(functions.lit(1)), *sums).collect()[0]
    missing = {name: int(one or 0) for name, one in zip(histories, absent, strict=True)}
    return joined.drop(*[f"_there_{name}" for name in histories]), missing, int(count)


def feature_columns_of(history: DataFrame, group: FeatureGroup) -> list[str]:
    """Return the columns of a history that are features.

    Raises:
        InputError: A key column is missing.
    """
    for name in group.keys:
        _column(history, name, HISTORY)
    return [name for name in history.columns if name not in group.keys]


def _versions(history: DataFrame, group: FeatureGroup) -> DataFrame:
    """Return who, since when visible, and the version as one value that is larger the newer it is."""
    from pyspark.sql import functions

    names = sorted(feature_columns_of(history, group))
    times = {key: _moment(history, key, HISTORY) for key in (group.event_time, group.known_time)}
    _must_be_present(history, {group.record_id: None, **times}, HISTORY)
    kinds = dict(history.dtypes)
    event, known = times[group.event_time], times[group.known_time]
    values = [_or_null(functions.col(quoted(name)), kinds[name]).alias(name) for name in names]
    return history.select(
        functions.col(quoted(group.record_id)).alias(_RECORD),
        functions.greatest(event, known).alias(_AT),
        functions.struct(event.alias(_EVENT), known.alias(_KNOWN), *values).alias(_VERSION),
    )


def _or_null(column: Column, kind: str) -> Column:
    """Return no value where there is no number: what pandas writes as such is none, and Spark's NaN is the largest."""
    from pyspark.sql import functions

    return functions.when(~functions.isnan(column), column) if kind in {"double", "float"} else column


def _moment(frame: DataFrame, name: str, what: str) -> Column:
    """Return a column of times: timestamps, dates, ISO texts, or seconds since 1970."""
    from pyspark.sql import functions

    _column(frame, name, what)
    return functions.col(quoted(name)).cast("timestamp")


def _must_be_present(frame: DataFrame, columns: Mapping[str, Column | None], what: str) -> None:
    """Refuse ids and times without a value, or that are no times.

    Raises:
        InputError: There are some.
    """
    from pyspark.sql import functions

    for name in columns:
        _column(frame, name, what)
    read = [functions.col(quoted(name)) if made is None else made for name, made in columns.items()]
    sums = [functions.sum(one.isNull().cast("bigint")) for one in read]
    for name, absent in zip(columns, frame.agg(*sums).collect()[0], strict=True):
        if absent:
            raise InputError(
                f"{what}, column {name}",
                value=bare(f"{absent} rows without a value, or with one that is no time"),
                allowed="a value in every row",
                action="let the quality gate ask for it: {rule: complete, columns: [...]}",
            )


def _column(frame: DataFrame, name: str, what: str) -> None:
    if name not in frame.columns:
        allowed = did_you_mean(name, frame.columns)
        raise InputError(f"{what}, column {name}", value=bare("missing"), allowed=allowed, action="correct it")
