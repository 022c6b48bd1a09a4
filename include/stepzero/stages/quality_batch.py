"""Rules about a batch as a whole: which numbers they need, and what they say to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from stepzero.adapters.deequ import Measured, Metric
from stepzero.adapters.spark import check_expression, quoted
from stepzero.measures.quality import Finding
from stepzero.spec import quality as spec
from stepzero.stages.quality_columns import check_column, check_kind
from stepzero.stages.quality_rules import interval, is_row_rule

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

AnyRule = Any
_OF_ANY_TYPE = ("entropy", "mutual_information")
_MICROSECONDS = 1_000_000
MOST_GROUPS = 20
"""Groups of a protected column that are told one by one."""


def check_batch_rules(frame: DataFrame, quality: spec.Quality) -> None:
    """Check what rules about the batch as a whole name, before any row is read.

    Raises:
        RuleError: A rule names an unknown column or one of a wrong type, or its ``where`` is not SQL.
    """
    for name in quality.protected:
        check_column(frame, name, "quality.protected")
    for number, rule in _numbered(quality.rules):
        what = f"rule {number} ({rule.rule})"
        for name in _columns(rule):
            check_column(frame, name, what)
            if isinstance(rule, spec.MetricRule | spec.QuantileRule | spec.PairRule) and rule.rule not in _OF_ANY_TYPE:
                check_kind(frame, name, what, "number")
            if isinstance(rule, spec.FreshnessRule):
                check_kind(frame, name, what, "time")
        if rule.where:
            check_expression(frame, rule.where, f"{what} where")


def with_times(frame: DataFrame, rules: Sequence[AnyRule], as_of: str | None) -> DataFrame:
    """Add, per freshness rule, a row's time in microseconds since 1970; null where it lies after the run's."""
    times = {
        _time_column(number): _microseconds(rule, _moment(str(as_of)))
        for number, rule in _numbered(rules)
        if isinstance(rule, spec.FreshnessRule)
    }
    return frame.withColumns(times) if times else frame


def wanted_metrics(rules: Sequence[AnyRule]) -> list[Metric]:
    """Return what must be measured to judge the rules, each number once."""
    metrics = [metric for number, rule in _numbered(rules) for metric in _metrics(rule, number)]
    return list(dict.fromkeys(metrics))


def metric_findings(rules: Sequence[AnyRule], measured: Measured, as_of: str | None) -> list[Finding]:
    """Return what each rule about a number says to it."""
    found = []
    for number, rule in _numbered(rules):
        metrics = _metrics(rule, number)
        if not metrics:
            continue
        values = [measured.metrics[metric] for metric in metrics]
        if isinstance(rule, spec.FreshnessRule):
            found.append(_freshness(rule, values[0], _moment(str(as_of))))
        elif isinstance(rule, spec.DistinctCountRule):
            found.append(_bounded(rule, float(round((values[0] or 0.0) * (values[1] or 0.0)))))
        else:
            found.append(_bounded(rule, 0.0 if values[0] is None and rule.rule == "size" else values[0]))
    return found


def class_findings(frame: DataFrame, is_good: Column, rules: Sequence[AnyRule]) -> list[Finding]:
    """Judge the classes among the rows that would go on."""
    found = []
    for rule in rules:
        if isinstance(rule, spec.ClassBalanceRule):
            good = frame.filter(is_good).filter(rule.where or "true")
            found.append(_class_balance(rule, _counts(good.dropna(subset=[quoted(rule.column)]), rule.column)))
    return found


def group_findings(frame: DataFrame, is_good: Column, protected: Sequence[str]) -> list[Finding]:
    """Tell how many of the rows that would go on belong to each group; nothing is judged by it."""
    return [_groups(name, _counts(frame.filter(is_good), name)) for name in protected]


def _counts(frame: DataFrame, column: str) -> dict[str, int]:
    rows = frame.groupBy(quoted(column)).count().collect()
    return {"no value" if row[0] is None else str(row[0]): int(row[1]) for row in rows}


def _groups(name: str, groups: dict[str, int]) -> Finding:
    rows = max(1, sum(groups.values()))
    largest = sorted(groups.items(), key=lambda group: (-group[1], group[0]))
    told = [f"{value}: {count} ({count / rows:.1%})" for value, count in largest[:MOST_GROUPS]]
    more = [f"{len(groups) - MOST_GROUPS} more"] if len(groups) > MOST_GROUPS else []
    observed = ", ".join(told + more) or "no row"
    return Finding(rule="protected", column=name, observed=observed, bound="told, not judged", passed=True)


def whole_finding(rule: AnyRule, observed: str, bound: str, *, passed: bool) -> Finding:
    """Return what a rule about the batch as a whole says."""
    columns = _columns(rule)
    return Finding(
        rule=rule.rule,
        column=", ".join(columns) or None,
        observed=observed,
        bound=bound,
        passed=passed,
        severity=rule.severity,
    )


def _numbered(rules: Sequence[AnyRule]) -> list[tuple[int, AnyRule]]:
    return [(number, rule) for number, rule in enumerate(rules, start=1) if not is_row_rule(rule)]


def _columns(rule: AnyRule) -> tuple[str, ...]:
    if isinstance(rule, spec.SizeRule | spec.SchemaRule):
        return ()
    return (rule.column,) if hasattr(rule, "column") else tuple(rule.columns)


def _time_column(number: int) -> str:
    return f"_time_{number}"


def _microseconds(rule: spec.FreshnessRule, as_of: datetime) -> Column:
    from pyspark.sql import functions

    time = functions.expr(f"unix_micros(CAST({quoted(rule.column)} AS TIMESTAMP))")
    return functions.when(time <= round(as_of.timestamp() * _MICROSECONDS), time)


def _metrics(rule: AnyRule, number: int) -> tuple[Metric, ...]:
    match rule:
        case spec.SizeRule():
            return (Metric(kind="size", where=rule.where),)
        case spec.DistinctCountRule():
            # Deequ divides by the rows that have a key; a number of values is asked for.
            keyed = "(" + " OR ".join(f"{quoted(name)} IS NOT NULL" for name in rule.columns) + ")"
            rows = f"({rule.where}) AND {keyed}" if rule.where else keyed
            distinct = Metric(kind="distinctness", columns=rule.columns, where=rule.where)
            return distinct, Metric(kind="size", where=rows)
        case spec.QuantileRule():
            return (Metric(kind="quantile", columns=(rule.column,), where=rule.where, quantile=rule.quantile),)
        case spec.MetricRule() | spec.PairRule():
            return (Metric(kind=rule.rule, columns=_columns(rule), where=_where(rule)),)
        case spec.FreshnessRule():
            return (Metric(kind="max", columns=(_time_column(number),), where=rule.where),)
    return ()


def _where(rule: spec.MetricRule | spec.PairRule) -> str | None:
    """Return which rows count; Deequ would take rows without a value into the total of an entropy."""
    if rule.rule not in _OF_ANY_TYPE:
        return rule.where
    known = [f"{quoted(name)} IS NOT NULL" for name in _columns(rule)]
    return " AND ".join(([f"({rule.where})"] if rule.where else []) + known)


def _bounded(rule: spec.BoundedRule, value: float | None) -> Finding:
    quantile = f" for quantile {rule.quantile:g}" if isinstance(rule, spec.QuantileRule) else ""
    unit = {"size": " rows", "distinct_count": " values"}.get(getattr(rule, "rule", ""), "")
    bound = f"{interval(rule.at_least, rule.at_most)}{unit}{quantile}"
    if value is None or math.isnan(value):
        observed = "no value" if value is None else "not a number"
        return whole_finding(rule, observed, bound, passed=False)
    low = rule.at_least is None or value >= rule.at_least
    high = rule.at_most is None or value <= rule.at_most
    return whole_finding(rule, f"{value:.12g}{unit}", bound, passed=low and high)


def _freshness(rule: spec.FreshnessRule, value: float | None, as_of: datetime) -> Finding:
    bound = f"at most {told_span(rule.at_most)} before {as_of:%Y-%m-%d %H:%M:%S}"
    if value is None:
        return whole_finding(rule, "no time up to then", bound, passed=False)
    newest = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=value)
    age = as_of - newest
    observed = f"{newest:%Y-%m-%d %H:%M:%S}, {told_span(age)} before"
    return whole_finding(rule, observed, bound, passed=age <= rule.at_most)


def _class_balance(rule: spec.ClassBalanceRule, classes: dict[str, int]) -> Finding:
    told = ", ".join(f"{name}: {rows}" for name, rows in sorted(classes.items())) or "no class"
    smallest, rows = min(classes.values(), default=0), sum(classes.values())
    enough = smallest >= rule.at_least and smallest >= rule.share * rows
    share = f" and {rule.share:.2%} of the rows" if rule.share else ""
    bound = f"at least {rule.classes} classes with at least {rule.at_least} rows{share} each"
    return whole_finding(rule, told, bound, passed=len(classes) >= rule.classes and enough)


def told_span(span: timedelta) -> str:
    """Return a span of time in words.

    >>> told_span(timedelta(days=2)), told_span(timedelta(hours=25, seconds=1))
    ('2 days', '1 days 1:00:01')
    """
    rest = timedelta(seconds=span.seconds)
    days = f"{span.days} days" if span.days else ""
    return f"{days} {rest or ''}".strip() if days or rest else "0:00:00"


def _moment(as_of: str) -> datetime:
    moment = datetime.fromisoformat(as_of)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
