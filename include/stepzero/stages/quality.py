"""Step zero: judge a landed batch before anything else sees it."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stepzero.adapters.batches import UNREADABLE, explained_reading, is_parquet, read_batch
from stepzero.adapters.deequ import Measured
from stepzero.adapters.quarantine import REASONS
from stepzero.adapters.spark import quoted, write_dataset
from stepzero.core.stages import Engine, Record, StageInput, StageResult, stage
from stepzero.core.verdict import Outcome, Verdict
from stepzero.measures.quality import Counts, Finding, decide
from stepzero.stages.quality_anomalies import (
    check_anomaly_rules,
    judge_against_history,
    told_anomalies,
)
from stepzero.stages.quality_batch import check_batch_rules, with_times
from stepzero.stages.quality_judge import Judged, is_bad, judge_frame
from stepzero.stages.quality_lookups import look_up_foreign_keys
from stepzero.stages.quality_page import about, report_page, sample_of, series_of
from stepzero.stages.quality_report import picture, table
from stepzero.stages.quality_rules import RowRule, row_rules
from stepzero.stages.quality_schema import schema_findings

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from stepzero.adapters.workspace import Workspace
    from stepzero.core.references import Reference
    from stepzero.spec.quality import Quality


@stage(sections=("quality", "source"), plan=("batch", "history", "datasets", "fresh_as_of"), engine=Engine.SPARK)
def quality_gate(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge a batch: PASS, QUARANTINE (bad rows set aside, each with its reasons) or FAIL.

    Raises:
        InputError: The batch is no table, or has other columns than declared.
        RuleError: A rule cannot be evaluated; that says nothing about the data.
    """
    del inputs
    with ExitStack() as kept, explained_reading(workspace.plan.batch):
        schema = schema_findings(use_case, workspace)
        if any(not finding.passed and finding.severity == "error" for finding in schema):
            return _refused(schema, workspace)
        judged = judge(use_case, workspace, kept)
        findings = [*schema, *judged.findings]
        verdict = _verdict(use_case.quality, judged, findings, workspace)
        outputs = _write_rows(workspace, judged)
    watched = told_anomalies(judged.anomalies)
    outputs |= _write_reports(workspace, outputs, findings, verdict, judged.measured, watched)
    return StageResult(
        outputs=outputs,
        values=_values(judged, workspace) | watched,
        verdict=verdict,
        summary=verdict.sentence(),
        records=(_record(verdict, judged.counts, workspace),),
        history=judged.history,
    )


def _values(judged: Judged, workspace: Workspace) -> dict[str, Any]:
    counts = judged.counts
    return _table(workspace) | {
        "rows": counts.rows,
        "accepted": counts.accepted,
        "quarantined": counts.quarantined,
        "broken": judged.broken,
    }


def _table(workspace: Workspace) -> dict[str, Any]:
    """Return which of several tables was judged."""
    return {"table": workspace.parameters["table"]} if "table" in workspace.parameters else {}


def judge(use_case: Any, workspace: Workspace, kept: ExitStack) -> Judged:
    """Read the batch, evaluate all rules but the schema, and compare the rows that go on with earlier batches."""
    quality = use_case.quality
    frame, rules = _prepared(use_case, workspace, kept)
    judged = judge_frame(workspace, frame, rules, quality, kept, workspace.plan.fresh_as_of)
    good = judged.frame.filter(~is_bad(judged.bad))
    history, anomalies = judge_against_history(
        workspace, good, quality.anomalies, judged.measured.profile, judged.counts
    )
    findings = [*judged.findings, *(anomaly.finding() for anomaly in anomalies)]
    return replace(judged, history=history, anomalies=tuple(anomalies), findings=findings)


def _prepared(use_case: Any, workspace: Workspace, kept: ExitStack) -> tuple[DataFrame, list[RowRule]]:
    """Return the rows with all that rules look up of them; text is parsed once and kept."""
    quality, batch = use_case.quality, workspace.plan.batch
    frame = read_batch(workspace.spark, workspace.store, batch, use_case.source)
    rules = row_rules(frame, quality.rules, quality.datasets)
    check_batch_rules(frame, quality)
    check_anomaly_rules(frame, quality.anomalies)
    if not is_parquet(batch, use_case.source):
        frame = frame.cache()
        kept.callback(frame.unpersist)
    frame = look_up_foreign_keys(frame, rules, quality, workspace, kept)
    return with_times(frame, quality.rules, workspace.plan.fresh_as_of), rules


def _verdict(quality: Quality, judged: Judged, findings: list[Finding], workspace: Workspace) -> Verdict:
    counts = judged.counts
    return decide(
        findings,
        counts,
        on_bad_rows=quality.on_bad_rows,
        quarantine_limit=quality.quarantine_limit,
        subject=f"{_subject(workspace)}, {counts.rows} rows, {counts.quarantined} quarantined",
    )


def _subject(workspace: Workspace) -> str:
    table = workspace.parameters.get("table")
    return f"batch {workspace.plan.batch.partition}{f' of {table}' if table else ''}"


def _refused(findings: list[Finding], workspace: Workspace) -> StageResult:
    """Fail a batch whose columns are others: none of its rows is read, and no other rule judged."""
    reasons = tuple(finding.reason() for finding in findings if not finding.passed)
    subject = f"{_subject(workspace)}, no row read"
    verdict = Verdict(outcome=Outcome.FAIL, subject=subject, reasons=reasons)
    outputs = _write_reports(workspace, {}, findings, verdict, None, {})
    values = _table(workspace) | {"rows": None, "accepted": 0, "quarantined": 0, "broken": {}}
    record = _record(verdict, Counts(rows=0, quarantined=0), workspace)
    return StageResult(
        outputs=outputs, values=values, verdict=verdict, summary=verdict.sentence(), records=(record,), history={}
    )


def _write_rows(workspace: Workspace, judged: Judged) -> dict[str, Reference]:
    """Write good rows, and bad rows with all their reasons."""
    from pyspark.sql import functions

    frame, counts, condemned = judged.frame, judged.counts, is_bad(judged.bad)
    columns = [quoted(name) for name in frame.columns[: frame.columns.index(UNREADABLE)]]
    store, producer = workspace.store, workspace.stage
    good = frame.filter(~condemned).select(*columns)
    folder = f"{workspace.folder}/accepted"
    outputs = {"accepted": write_dataset(store, folder, good, rows=counts.accepted, producer=producer)}
    if counts.quarantined:
        told = [functions.when(rule.broken, _told(rule)) for rule in judged.rules]
        reasons = functions.array_compact(functions.array(*told)).alias(REASONS)
        aside = frame.filter(condemned).select(*columns, reasons)
        folder = f"{workspace.folder}/quarantined"
        outputs["quarantined"] = write_dataset(store, folder, aside, rows=counts.quarantined, producer=producer)
    return outputs


def _told(rule: RowRule) -> Column:
    from pyspark.sql import functions

    if rule.label == "0 type":
        return functions.concat(functions.lit("type of "), functions.concat_ws(", ", functions.col(UNREADABLE)))
    return functions.lit(f"{rule.rule} of {rule.column}: {rule.bound}" if rule.column else f"{rule.rule}: {rule.bound}")


def _write_reports(
    workspace: Workspace,
    rows: dict[str, Reference],
    findings: list[Finding],
    verdict: Verdict,
    measured: Measured | None,
    watched: dict[str, Any],
) -> dict[str, Reference]:
    workspace.log.info("%s", table(findings, verdict))
    metrics = {"metrics": workspace.write_json("metrics.json", _told_metrics(measured))} if measured else {}
    told, sample = (
        about(workspace.plan.ledger, workspace.plan.batch, rows),
        sample_of(workspace.store, rows.get("quarantined")),
    )
    history = series_of(watched.get("anomalies", []), workspace.plan.history, told.partition)
    profile = measured.profile if measured else {}
    page = report_page(told, verdict, findings, profile, sample=sample, history=history)
    return metrics | {
        "report": workspace.write_file("quality.html", page),
        "picture": workspace.write_file("quality.png", picture(findings, verdict)),
    }


def _told_metrics(measured: Measured) -> dict[str, Any]:
    """Return all numbers by name; what is no number is null."""
    unique = {metric: value for metric, value in measured.metrics.items() if metric.kind == "uniqueness"}
    return {
        "size": measured.size,
        "compliance": measured.compliance,
        "uniqueness": {str(metric).removeprefix("uniqueness of "): value for metric, value in unique.items()},
        "metrics": {
            str(metric): value if value is not None and math.isfinite(value) else None
            for metric, value in measured.metrics.items()
            if metric not in unique
        },
        "profile": measured.profile,
    }


def _record(verdict: Verdict, counts: Counts, workspace: Workspace) -> Record:
    table = workspace.parameters.get("table")
    name, folder = (f"quality.{table}", f"quality/{table}") if table else ("quality", "quality")
    return Record(
        metrics={
            f"{name}.rows": counts.rows,
            f"{name}.quarantined": counts.quarantined,
            f"{name}.accepted": counts.accepted,
        },
        tags={f"{name}.outcome": str(verdict.outcome), f"{name}.sentence": verdict.sentence()[:4000]},
        files={f"{folder}/quality.html": "quality.html", f"{folder}/quality.png": "quality.png"},
    )
