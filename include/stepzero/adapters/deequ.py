"""Deequ's analyzers: numbers in as few passes as possible; a metric that fails is an error, never bad data."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepzero.adapters.spark import quoted
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
    aliases = _aliases(wanted)
    values, failures = _run(session, frame, wanted, aliases)
    size = int(_needed(values, failures, ("Size", "*")))
    return Measured(
        size=size,
        compliance={label: _needed(values, failures, ("Compliance", label)) for label in wanted.compliance},
        uniqueness={
            columns: _needed(values, failures, ("Uniqueness", ",".join(aliases[name] for name in columns)))
            for columns in wanted.uniqueness
        },
        profile={
            f"{kind} of {name}": values[kind, alias]
            for kind in _PROFILE
            for name, alias in aliases.items()
            if math.isfinite(values.get((kind, alias), math.nan))
        },
    )


def _aliases(wanted: Wanted) -> dict[str, str]:
    """Return a plain name for every column: Deequ stumbles over backticks, and some names it needs quoted."""
    keys = [name for columns in wanted.uniqueness for name in columns]
    names = sorted({*wanted.complete, *wanted.numeric, *keys})
    return {name: f"_measured_{number}" for number, name in enumerate(names)}


def _run(
    session: SparkSession, frame: DataFrame, wanted: Wanted, aliases: Mapping[str, str]
) -> tuple[dict[Any, float], dict[Any, str]]:
    """Return values and failures by (name, instance), read from the metric map: nothing is dropped there."""
    from pyspark.sql import functions

    with warnings.catch_warnings():
        # PyDeequ 1.7 has invalid escapes in its sources: Python says so wherever it compiles them.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", SyntaxWarning)
        from pydeequ import analyzers

    asked = [analyzers.Size()]
    asked += [analyzers.Compliance(label, predicate) for label, predicate in wanted.compliance.items()]
    asked += [analyzers.Uniqueness([aliases[name] for name in columns]) for columns in wanted.uniqueness]
    asked += [analyzers.Completeness(aliases[name]) for name in wanted.complete]
    kinds = (analyzers.Mean, analyzers.Minimum, analyzers.Maximum, analyzers.StandardDeviation)
    asked += [kind(aliases[name]) for name in wanted.numeric for kind in kinds]
    renamed = [functions.col(quoted(name)).alias(alias) for name, alias in aliases.items()]
    run = analyzers.AnalysisRunner(session).onData(frame.select("*", *renamed))
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
