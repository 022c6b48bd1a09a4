"""Deequ's analyzers: numbers in as few passes as possible; a metric that fails is an error, never bad data.

One aggregate serves all metrics that need no grouping; each set of grouped columns takes a grouping of its own,
which all metrics of that set share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepzero.adapters.deequ_runs import analyzers, run_analyzers
from stepzero.adapters.spark import quoted
from stepzero.core.errors import RuleError, bare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession

RANK_ERROR = 0.001
"""How far the rank of an approximate quantile may be off, as a share of the rows."""
_PROFILE = {
    "Completeness": "completeness",
    "Mean": "mean",
    "Minimum": "min",
    "Maximum": "max",
    "StandardDeviation": "standard_deviation",
}
_FULL_NAME = 300


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number about a frame, or about the rows for which ``where`` (Spark SQL) is true.

    ``kind`` is one of `KINDS`; all but ``size`` name one column, or several that are taken together.
    """

    kind: str
    columns: tuple[str, ...] = ()
    where: str | None = None
    quantile: float | None = None

    def __str__(self) -> str:
        told = f"{self.kind} of {', '.join(self.columns) or '*'}"
        return f"{told} where {self.where}" if self.where else told


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is measured, besides the size.

    ``compliance`` maps a unique label to a Spark SQL predicate; null counts as false.
    """

    compliance: Mapping[str, str]
    metrics: Sequence[Metric] = ()
    complete: Sequence[str] = ()
    """Columns whose share of values is profiled."""
    numeric: Sequence[str] = ()
    """Columns whose mean, extremes and standard deviation are profiled."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What Deequ returned; shares are of all rows."""

    size: int
    compliance: dict[str, float]
    metrics: dict[Metric, float | None]
    """None where there was no value to measure."""
    profile: dict[str, float]
    """``Mean of Amount`` and the like; all-null columns have no such entry."""


def measure(session: SparkSession, frame: DataFrame, wanted: Wanted) -> Measured:
    """Measure a frame; of one without a row every share is 1, and what needs a value is None.

    Raises:
        RuleError: A metric that a rule needs could not be computed.
    """
    profile = {f"{name} of {column}": metric for name, column, metric in _profile_metrics(wanted)}
    asked = [Metric(kind="size"), *wanted.metrics, *profile.values()]
    found = _Run(session, frame, asked, wanted.compliance)
    size = int(found.number(asked[0]) or 0)
    return Measured(
        size=size,
        compliance={label: found.share(label) if size else 1.0 for label in wanted.compliance},
        metrics={metric: found.number(metric) for metric in wanted.metrics},
        profile=found.finite(profile),
    )


def _profile_metrics(wanted: Wanted) -> list[tuple[str, str, Metric]]:
    groups = {name: wanted.complete if name == "Completeness" else wanted.numeric for name in _PROFILE}
    return [
        (name, column, Metric(kind=_PROFILE[name], columns=(column,)))
        for name, columns in groups.items()
        for column in columns
    ]


class _Run:
    """One run of Deequ: its answers are asked for by analyzer, so that none can be taken for another's."""

    def __init__(
        self, session: SparkSession, frame: DataFrame, metrics: Sequence[Metric], compliance: Mapping[str, str]
    ) -> None:
        aliases = _aliases(metrics)
        asked: dict[Any, Any] = {metric: KINDS[metric.kind](metric, aliases) for metric in metrics}
        asked |= {label: analyzers().Compliance(label, predicate) for label, predicate in compliance.items()}
        self._context, made = run_analyzers(session, _with_aliases(frame, aliases), asked.values())
        self._asked = dict(zip(asked, made, strict=True))

    def number(self, metric: Metric) -> float | None:
        """Return a metric's value, or None where nothing was there to be measured."""
        return self._answer(metric, str(metric))

    def share(self, label: str) -> float:
        """Return the share of rows for which a predicate is true."""
        answer = self._answer(label, f"share of rows that comply with rule {label}")
        return 1.0 if answer is None else answer

    def finite(self, profile: Mapping[str, Metric]) -> dict[str, float]:
        """Return those numbers that could be measured and are finite."""
        found = {}
        for name, metric in profile.items():
            value, _ = self._value(metric)
            if value is not None and math.isfinite(value):
                found[name] = value
        return found

    def _answer(self, name: Any, told: str) -> float | None:
        value, failure = self._value(name)
        if failure is None:
            return value
        raise RuleError(
            told,
            value=bare(failure[:_FULL_NAME]),
            allowed="a number",
            action="check the rule that needs it; the data were not judged",
        ) from ScanError(failure)

    def _value(self, name: Any) -> tuple[float | None, str | None]:
        """Return the value, or why there is none; no value to measure is no failure."""
        answer = self._context.metric(self._asked[name])
        if not answer.isDefined():
            return None, "no answer from Deequ"
        result = answer.get().value()
        if result.isSuccess():
            return float(result.get()), None
        failure = result.failed().get()
        empty = failure.getClass().getSimpleName() == "EmptyStateException"
        return None, None if empty else str(failure.toString())


class ScanError(Exception):
    """All that Spark said of a metric that failed."""


def _aliases(metrics: Sequence[Metric]) -> dict[str, str]:
    """Return a plain name for every column: Deequ stumbles over backticks, and some names it needs quoted."""
    names = sorted({name for metric in metrics for name in metric.columns})
    return {name: f"_measured_{number}" for number, name in enumerate(names)}


def _with_aliases(frame: DataFrame, aliases: Mapping[str, str]) -> DataFrame:
    from pyspark.sql import functions

    return frame.select("*", *(functions.col(quoted(name)).alias(alias) for name, alias in aliases.items()))


def _of_column(name: str) -> Callable[[Metric, Mapping[str, str]], Any]:
    return lambda metric, aliases: getattr(analyzers(), name)(aliases[metric.columns[0]], where=metric.where)


def _of_columns(name: str) -> Callable[[Metric, Mapping[str, str]], Any]:
    def make(metric: Metric, aliases: Mapping[str, str]) -> Any:
        return getattr(analyzers(), name)([aliases[column] for column in metric.columns], where=metric.where)

    return make


def _quantile(metric: Metric, aliases: Mapping[str, str]) -> Any:
    column = aliases[metric.columns[0]]
    return analyzers().ApproxQuantile(column, metric.quantile, relativeError=RANK_ERROR, where=metric.where)


def _correlation(metric: Metric, aliases: Mapping[str, str]) -> Any:
    one, other = (aliases[column] for column in metric.columns)
    return analyzers().Correlation(one, other, where=metric.where)


KINDS: dict[str, Callable[[Metric, Mapping[str, str]], Any]] = {
    "size": lambda metric, _: analyzers().Size(where=metric.where),
    "completeness": _of_column("Completeness"),
    "min": _of_column("Minimum"),
    "max": _of_column("Maximum"),
    "mean": _of_column("Mean"),
    "sum": _of_column("Sum"),
    "standard_deviation": _of_column("StandardDeviation"),
    "entropy": _of_column("Entropy"),
    "quantile": _quantile,
    "correlation": _correlation,
    "mutual_information": _of_columns("MutualInformation"),
    "uniqueness": _of_columns("Uniqueness"),
    "distinctness": _of_columns("Distinctness"),
}
"""Kind of metric → the analyzer of Deequ that measures it."""
