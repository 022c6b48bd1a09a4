"""Rows after all rules were evaluated: what each rule saw, and which rows are condemned."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from stepzero.adapters.deequ import Measured, Metric, Wanted, measure
from stepzero.adapters.spark import quoted
from stepzero.measures.quality import Counts, Finding
from stepzero.stages.quality_anomalies import Judgement
from stepzero.stages.quality_batch import class_findings, group_findings, metric_findings, wanted_metrics
from stepzero.stages.quality_columns import NUMBERS
from stepzero.stages.quality_lookups import look_up_duplicates
from stepzero.stages.quality_rules import RowRule

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from stepzero.adapters.workspace import Workspace
    from stepzero.spec.quality import Quality


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A batch after all its rules were evaluated; none of its rows is written yet."""

    frame: DataFrame
    rules: list[RowRule]
    bad: list[RowRule]
    """Rules that put a row into quarantine."""
    broken: dict[str, int]
    """Label of each broken rule about rows → rows at fault."""
    counts: Counts
    findings: list[Finding]
    measured: Measured
    history: dict[str, float] = field(default_factory=dict)
    """What later batches are compared with."""
    anomalies: tuple[Judgement, ...] = ()


def judge_frame(
    workspace: Workspace, frame: DataFrame, rules: list[RowRule], quality: Quality, kept: ExitStack, as_of: str | None
) -> Judged:
    """Evaluate all rules but the schema and the anomalies; what is computed once and used again is let go with `kept`.

    One pass measures everything that needs no grouping. Only when a key is not unique a second one says of
    which rows, and only when several rules are broken a third one counts the rows that any of them condemns.
    """
    measured = _measure(workspace, frame, rules, quality)
    frame, rules, measured = _with_duplicates(workspace, frame, rules, measured, kept)
    findings, broken = row_findings(rules, measured)
    bad = [rule for rule in rules if rule.severity == "error" and rule.label in broken]
    quarantined = broken[bad[0].label] if len(bad) == 1 else _count_bad(frame, bad)
    findings += metric_findings(quality.rules, measured, as_of)
    findings += class_findings(frame, ~is_bad(bad), quality.rules)
    findings += group_findings(frame, ~is_bad(bad), quality.protected)
    counts = Counts(rows=measured.size, quarantined=quarantined)
    return Judged(frame=frame, rules=rules, bad=bad, broken=broken, counts=counts, findings=findings, measured=measured)


def _measure(workspace: Workspace, frame: DataFrame, rules: list[RowRule], quality: Quality) -> Measured:
    """Measure all rules and the profile of the columns that they name: a wide table's would cost seconds."""
    columns = sorted({name for rule in quality.rules for name in _columns_of(rule)})
    kinds = dict(frame.dtypes)
    wanted = Wanted(
        compliance={rule.label: rule.predicate for rule in rules if not rule.keys},
        metrics=[
            *(metric for rule in rules if rule.keys for metric in _about_keys(rule)),
            *wanted_metrics(quality.rules),
        ],
        complete=columns,
        numeric=[name for name in columns if kinds[name] in NUMBERS],
    )
    return measure(workspace.spark, frame, wanted)


def _about_keys(rule: RowRule) -> tuple[Metric, Metric]:
    """Return the share of keys that are there once, and the rows without any key: Deequ leaves those out."""
    missing = [*([rule.judged] if rule.judged else []), *(f"{quoted(name)} IS NULL" for name in rule.keys)]
    unique = Metric(kind="uniqueness", columns=rule.keys, where=rule.judged)
    return unique, Metric(kind="size", where=" AND ".join(missing))


def _may_repeat(rule: RowRule, measured: Measured) -> bool:
    unique, keyless = (measured.metrics[metric] for metric in _about_keys(rule))
    return bool(measured.size) and (unique != 1 or (keyless or 0) > 1)


def _with_duplicates(
    workspace: Workspace, frame: DataFrame, rules: list[RowRule], measured: Measured, kept: ExitStack
) -> tuple[DataFrame, list[RowRule], Measured]:
    """Look up duplicates of those keys of which not every row has its own, and count them."""
    found = list(rules)
    for i, rule in enumerate(rules):
        if rule.keys and _may_repeat(rule, measured):
            frame, found[i] = look_up_duplicates(frame, rule, kept)
    fresh = [rule for rule, before in zip(found, rules, strict=True) if rule is not before]
    shares = {rule.label: 1.0 for rule in rules if rule.keys}
    if fresh:
        shares |= measure(workspace.spark, frame, Wanted(compliance={r.label: r.predicate for r in fresh})).compliance
    return frame, found, replace(measured, compliance=measured.compliance | shares)


def _columns_of(rule: Any) -> tuple[str, ...]:
    """Return the columns that a rule names."""
    return tuple(getattr(rule, "columns", None) or ((rule.column,) if getattr(rule, "column", None) else ()))


def row_findings(rules: list[RowRule], measured: Measured) -> tuple[list[Finding], dict[str, int]]:
    """Return what each row rule saw, and how many rows each broken one condemns."""
    findings, broken = [], {}
    for rule in rules:
        share = measured.compliance[rule.label]
        rows = round((1 - share) * measured.size)
        passed = share >= rule.at_least
        if rows and not passed:
            broken[rule.label] = rows
        observed = f"{rows} of {measured.size} rows break it" if rows else "every row complies"
        findings.append(
            Finding(
                rule=rule.rule,
                column=rule.column,
                observed=observed,
                bound=rule.bound,
                passed=passed,
                severity=rule.severity,
                rows=rows,
            )
        )
    return findings, broken


def is_bad(rules: list[RowRule]) -> Column:
    """Return whether any of the rules condemns a row."""
    from pyspark.sql import functions

    bad = functions.lit(False)
    for rule in rules:
        bad = bad | rule.broken
    return bad


def _count_bad(frame: DataFrame, bad: list[RowRule]) -> int:
    return frame.filter(is_bad(bad)).count() if bad else 0
