"""The batch's metrics against those of accepted batches before it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stepzero.adapters.deequ_metrics import TIMES, check_metrics, measure_metrics
from stepzero.adapters.history import moment
from stepzero.measures.anomalies import Bounds, change_bounds, normal_bounds, on_calendar, seasonal_bounds
from stepzero.measures.quality import Counts, Finding, told_number
from stepzero.spec import anomalies as spec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from stepzero.adapters.workspace import Workspace
    from stepzero.spec.plan import Batch, HistoryPoint

_PROFILE: dict[str, spec.MetricName] = {
    "Completeness": "completeness",
    "Mean": "mean",
    "Minimum": "minimum",
    "Maximum": "maximum",
    "StandardDeviation": "standard_deviation",
}
"""What the gate measures of each column that a rule names: Deequ's name → ours."""


_MOMENTS = ("minimum", "maximum", "mean")
"""Metrics that of moments are moments themselves."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What one anomaly rule saw."""

    rule: Any
    observed: float | None
    """None: the metric has no value, as the mean of nothing but nulls."""
    bounds: Bounds
    is_time: bool = False
    """Whether it is a moment, in seconds since 1970."""

    @property
    def passed(self) -> bool:
        """Whether the value may be; one that is missing may not be where earlier batches had one."""
        return not self.bounds.known if self.observed is None else self.bounds.allow(self.observed)

    def finding(self) -> Finding:
        """Return it as a finding about the whole batch."""
        return Finding(
            rule=self.rule.strategy,
            column=self.rule.key,
            observed="no value" if self.observed is None else told_number(self.observed, is_time=self.is_time),
            bound=_told(self.bounds, is_time=self.is_time),
            passed=self.passed,
            severity=self.rule.severity,
        )

    def to_json(self) -> dict[str, Any]:
        """Return metric, strategy, observed value, bounds (null where there is none), points and whether it passed."""
        known = self.bounds.known
        return {
            "metric": self.rule.key,
            "strategy": self.rule.strategy,
            "observed": self.observed,
            "low": self.bounds.low if known and math.isfinite(self.bounds.low) else None,
            "high": self.bounds.high if known and math.isfinite(self.bounds.high) else None,
            "points": self.bounds.points,
            "needed": self.bounds.needed,
            "passed": self.passed,
            **({"is_time": True} if self.is_time else {}),
        }


def check_anomaly_rules(frame: DataFrame, rules: Sequence[Any]) -> None:
    """Check what anomaly rules name, before any row is read.

    Raises:
        RuleError: A rule names an unknown column, a text where a number is needed, or what is not SQL.
    """
    check_metrics(frame, rules)


def judge_against_history(
    workspace: Workspace, good: DataFrame, rules: Sequence[Any], profile: Mapping[str, float], counts: Counts
) -> tuple[dict[str, float], list[Judgement]]:
    """Return the metrics of the rows that go on, and what the rules say to them."""
    metrics = measure_history(workspace.spark, good, rules, profile, counts)
    times = {name for name, kind in good.dtypes if kind in TIMES}
    return metrics, judge_anomalies(rules, metrics, workspace.plan.history, workspace.plan.batch, times=times)


def told_anomalies(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Return what a result's values say of them: observed values, bounds and points; nothing where there is no rule."""
    return {"anomalies": [judgement.to_json() for judgement in judgements]} if judgements else {}


def measure_history(
    session: SparkSession, good: DataFrame, rules: Sequence[Any], profile: Mapping[str, float], counts: Counts
) -> dict[str, float]:
    """Return the metrics that the history keeps of a batch, over the rows that go on.

    Besides what anomaly rules name, those are the size and what the gate measured anyway, so that a rule that is
    declared later has a history. Where rows were set aside, that was measured over others, and is measured again.
    """
    seen = {_profile_metric(name).key: value for name, value in profile.items()}
    known = {"size": float(counts.accepted), **({} if counts.quarantined else seen)}
    again = [_profile_metric(name) for name in profile] if counts.quarantined else []
    return known | measure_metrics(session, good, [one for one in [*again, *rules] if one.key not in known])


def judge_anomalies(
    rules: Sequence[Any],
    metrics: Mapping[str, float],
    history: Sequence[HistoryPoint],
    batch: Batch,
    *,
    times: Collection[str] = (),
) -> list[Judgement]:
    """Judge every metric by the bounds that its history gives; refused batches move none.

    Args:
        rules: What is asked of them.
        metrics: Of the batch, by their keys.
        history: Of batches before it, the oldest first.
        batch: Where it lies in time.
        times: Columns that hold moments: their extremes are told as such.
    """
    return [
        Judgement(
            rule=rule,
            observed=metrics.get(rule.key),
            bounds=_bounds(rule, history, batch),
            is_time=rule.metric in _MOMENTS and rule.column in times,
        )
        for rule in rules
    ]


def compared_values(rule: Any, history: Sequence[HistoryPoint], batch: Batch) -> list[float]:
    """Return the values that a rule's bounds come from, oldest first: those of accepted batches, as far as it looks.

    A seasonal rule lays days on a calendar and fills those that are missing, for the season's sake; partitions
    without a date follow one another.
    """
    points = _points(rule, history)
    values = [point.values[rule.key] for point in points]
    if not isinstance(rule, spec.SeasonalRule) or len(values) < 2 * rule.season:
        return values
    days = _days([*(point.partition for point in points), batch.partition])
    if not days:
        return values
    # The day before the judged one is the last: a gap right before it is filled too.
    known = dict(zip(days, values, strict=False))
    return on_calendar(list(known), list(known.values()), rule.season, until=days[-1] - 1)


def _points(rule: Any, history: Sequence[HistoryPoint]) -> list[HistoryPoint]:
    return [point for point in history if point.accepted and rule.key in point.values][-rule.depth :]


def _bounds(rule: Any, history: Sequence[HistoryPoint], batch: Batch) -> Bounds:
    values = compared_values(rule, history, batch)
    if isinstance(rule, spec.ChangeRule):
        relative = rule.strategy == "relative_change"
        bounds = change_bounds(values, at_least=rule.at_least, at_most=rule.at_most, relative=relative)
    elif isinstance(rule, spec.NormalRule):
        bounds = normal_bounds(values, deviations=rule.deviations, needed=rule.needed)
    else:
        bounds = seasonal_bounds(values, season=rule.season, deviations=rule.deviations)
        # Days that were filled in are no accepted batches.
        bounds = replace(bounds, points=len(_points(rule, history)))
    return bounds.widened(rule.tolerance)


def _days(partitions: list[str]) -> list[int]:
    """Return each partition's day, or nothing where one is not a day."""
    try:
        return [moment(partition, "").toordinal() for partition in partitions]
    except ValueError:
        return []


def _told(bounds: Bounds, *, is_time: bool) -> str:
    if not bounds.known:
        return f"not enough history: {bounds.points} of {bounds.needed} accepted batches"
    low = f"at least {told_number(bounds.low, is_time=is_time)}" if math.isfinite(bounds.low) else ""
    high = f"at most {told_number(bounds.high, is_time=is_time)}" if math.isfinite(bounds.high) else ""
    batches = "the accepted batch before" if bounds.points == 1 else f"{bounds.points} accepted batches"
    return f"{' and '.join(part for part in (low, high) if part)} (from {batches})"


def _profile_metric(name: str) -> spec.Metric:
    kind, _, column = name.partition(" of ")
    return spec.Metric(metric=_PROFILE[kind], column=column)
