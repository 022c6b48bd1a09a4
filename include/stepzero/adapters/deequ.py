"""Deequ's analyzers: numbers in as few passes as possible; a metric that fails is an error, never bad data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepzero.core.errors import RuleError, bare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is measured, besides the size.

    ``compliance`` maps a unique label to a Spark SQL predicate; null counts as false.
    """

    compliance: Mapping[str, str]
    uniqueness: Sequence[tuple[str, ...]] = ()
    complete: Sequence[str] = ()
    numeric: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What Deequ returned; shares are of all rows."""

    size: int
    compliance: dict[str, float]
    uniqueness: dict[tuple[str, ...], float]
    profile: dict[str, float]
    """``Mean of Amount`` and the like; all-null columns have no such entry."""


_PROFILE = ("Completeness", "Mean", "Minimum", "Maximum", "StandardDeviation")


def measure(session: SparkSession, frame: DataFrame, wanted: Wanted) -> Measured:
    """Measure a frame with at least one row.

    One aggregate serves all but uniqueness, which takes a grouping of its own per set of columns.

    Raises:
        RuleError: A metric that a rule needs could not be computed.
    """
    values, failures = _run(session, frame, wanted)
    size = int(_needed(values, failures, ("Size", "*")))
    return Measured(
        size=size,
        compliance={label: _needed(values, failures, ("Compliance", label)) for label in wanted.compliance},
        uniqueness={
            columns: _needed(values, failures, ("Uniqueness", ",".join(columns))) for columns in wanted.uniqueness
        },
        profile={
            f"{name} of {column}": value
            for (name, column), value in sorted(values.items())
            if name in _PROFILE and math.isfinite(value)
        },
    )


def _run(session: SparkSession, frame: DataFrame, wanted: Wanted) -> tuple[dict[Any, float], dict[Any, str]]:
    """Return values and failures by (name, instance), read from the metric map: nothing is dropped there."""
    from pydeequ import analyzers

    asked = [analyzers.Size()]
    asked += [analyzers.Compliance(label, predicate) for label, predicate in wanted.compliance.items()]
    asked += [analyzers.Uniqueness(list(columns)) for columns in wanted.uniqueness]
    asked += [analyzers.Completeness(column) for column in wanted.complete]
    kinds = (analyzers.Mean, analyzers.Minimum, analyzers.Maximum, analyzers.StandardDeviation)
    asked += [kind(column) for column in wanted.numeric for kind in kinds]
    run = analyzers.AnalysisRunner(session).onData(frame)
    for analyzer in asked:
        run = run.addAnalyzer(analyzer)
    return _metric_map(run.run())


def _metric_map(context: Any) -> tuple[dict[Any, float], dict[Any, str]]:
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


def _needed(values: Mapping[Any, float], failures: Mapping[Any, str], name: tuple[str, str]) -> float:
    if name not in values:
        raise RuleError(
            f"metric {name[0]} of {name[1]}",
            value=bare(failures.get(name, "no answer from Deequ")[:300]),
            allowed="a number",
            action="check the rule that needs it; the data were not judged",
        )
    return values[name]
