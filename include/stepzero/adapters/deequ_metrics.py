"""Named metrics by Deequ's analyzers: what the history keeps and a profile tells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from stepzero.adapters.deequ_runs import analyzers, run_analyzers
from stepzero.adapters.spark import check_expression, quoted
from stepzero.core.errors import RuleError, bare, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pyspark.sql import Column, DataFrame, SparkSession

    from stepzero.spec.anomalies import Metric

_NUMERIC = {"minimum", "maximum", "mean", "sum", "standard_deviation"}
TIMES = {"date", "timestamp", "timestamp_ntz"}
_NAMES = {
    "completeness": "Completeness",
    "distinct_count": "CountDistinct",
    "uniqueness": "Uniqueness",
    "entropy": "Entropy",
    "minimum": "Minimum",
    "maximum": "Maximum",
    "mean": "Mean",
    "sum": "Sum",
    "standard_deviation": "StandardDeviation",
}
"""Deequ's name of each."""
_SIZE = "Size", "*"


def check_metrics(frame: DataFrame, metrics: Iterable[Metric]) -> None:
    """Check what metrics name, before any row is read.

    Raises:
        RuleError: A metric names an unknown column, a text where a number is needed, or what is not SQL.
    """
    kinds = dict(frame.dtypes)
    for metric in metrics:
        what, column = f"metric {metric.key}", metric.column
        if column is not None and column not in kinds:
            known = [name for name in kinds if not name.startswith("_")]
            raise RuleError(what, value=column, allowed=did_you_mean(column, known), action="correct the column")
        if column is not None and metric.metric in _NUMERIC and not _is_number(kinds[column]):
            raise RuleError(
                what,
                value=bare(f"a column of type {kinds[column]}"),
                allowed="a number, date or timestamp",
                action="take completeness, distinct_count, uniqueness or entropy of it",
            )
        for expression in (metric.predicate, metric.where):
            if expression is not None:
                check_expression(frame, expression, what)


def measure_metrics(session: SparkSession, frame: DataFrame, metrics: Iterable[Metric]) -> dict[str, float]:
    """Return metrics by their keys; one that has no value (of nulls only, or of no row) is left out.

    One aggregate serves all but distinct counts, uniqueness and entropy, which group by their column; each
    ``where`` is a pass of its own.

    Raises:
        RuleError: A metric cannot be computed.
    """
    groups: dict[str, dict[str, Metric]] = {}
    for metric in metrics:
        groups.setdefault(metric.where or "", {})[metric.key] = metric
    measured: dict[str, float] = {}
    for where, group in groups.items():
        measured |= _measure(session, frame.filter(where) if where else frame, group)
    return measured


def _measure(session: SparkSession, frame: DataFrame, metrics: Mapping[str, Metric]) -> dict[str, float]:
    columns = sorted({metric.column for metric in metrics.values() if metric.column})
    aliases = {name: f"_metric_{number}" for number, name in enumerate(columns)}
    kinds = dict(frame.dtypes)
    plain = [_plain(name, kinds[name]).alias(alias) for name, alias in aliases.items()]
    values, failures = _run(session, frame.select("*", *plain), metrics, aliases)
    if values.get(_SIZE) == 0:
        return {key: 0.0 for key, metric in metrics.items() if metric.metric == "size"}
    found = {}
    for key, metric in metrics.items():
        name = _name(metric, aliases)
        if name not in values and "EmptyStateException" not in failures.get(name, ""):
            told = bare(failures.get(name, "no answer from Deequ")[:300])
            raise RuleError(f"metric {key}", value=told, allowed="a number", action="correct what names it")
        if math.isfinite(values.get(name, math.nan)):
            found[key] = values[name]
    return found


def _run(
    session: SparkSession, frame: DataFrame, metrics: Mapping[str, Metric], aliases: Mapping[str, str]
) -> tuple[dict[Any, float], dict[Any, str]]:
    """Return values and failures by name and instance; the size is among them, asked for or not."""
    asked = [analyzers().Size()]
    for key, metric in metrics.items():
        if metric.metric == "share":
            asked.append(analyzers().Compliance(key, metric.predicate))
        elif metric.metric != "size":
            alias = aliases[str(metric.column)]
            kind = getattr(analyzers(), _NAMES[metric.metric])
            asked.append(kind([alias]) if metric.metric in {"uniqueness", "distinct_count"} else kind(alias))
    context, _ = run_analyzers(session, frame, asked)
    return metric_map(context)


def metric_map(context: Any) -> tuple[dict[Any, float], dict[Any, str]]:
    """Return values and failures of a finished run by (name, instance): nothing is dropped from the metric map."""
    values: dict[Any, float] = {}
    failures: dict[Any, str] = {}
    iterator = context.metricMap().iterator()
    while iterator.hasNext():
        metric = iterator.next()._2()  # noqa: SLF001 - the name of a Scala pair's second member
        name, result = (metric.name(), metric.instance()), metric.value()
        if result.isSuccess():
            values[name] = float(result.get())
        else:
            failures[name] = str(result.failed().get().toString())
    return values, failures


def _name(metric: Metric, aliases: Mapping[str, str]) -> tuple[str, str]:
    """Return under which name and instance Deequ answers."""
    if metric.metric == "size":
        return _SIZE
    if metric.metric == "share":
        return "Compliance", metric.key
    return _NAMES[metric.metric], aliases[str(metric.column)]


def _plain(name: str, kind: str) -> Column:
    """Return a column as Deequ takes it: times as seconds, truth values as 0 and 1."""
    from pyspark.sql import functions

    column = functions.col(quoted(name))
    if kind in TIMES:
        return column.cast("timestamp").cast("double")
    return column.cast("int") if kind == "boolean" else column


def _is_number(kind: str) -> bool:
    return kind in TIMES or kind.startswith(
        ("int", "bigint", "double", "float", "smallint", "tinyint", "decimal", "bool")
    )
