"""Step zero: judge a landed batch before anything else sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.adapters.batches import UNREADABLE, explained_reading, read_batch
from stepzero.adapters.deequ import Measured, Wanted, measure
from stepzero.adapters.ledger import Accepted, accept
from stepzero.adapters.quarantine import REASONS
from stepzero.adapters.spark import quoted, write_dataset
from stepzero.core.stages import Engine, Record, StageInput, StageResult, stage
from stepzero.core.verdict import Verdict
from stepzero.measures.quality import Counts, Finding, decide
from stepzero.spec import quality as spec
from stepzero.stages.quality_anomalies import check_anomaly_rules, judge_against_history, told_anomalies
from stepzero.stages.quality_page import about, report_page, sample_of, series_of
from stepzero.stages.quality_report import picture, table
from stepzero.stages.quality_rules import RowRule, broken_column, check_batch_rules, interval, row_rules

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from stepzero.adapters.workspace import Workspace
    from stepzero.core.references import Reference

NUMERIC = ("int", "bigint", "double", "float", "smallint", "tinyint")


@stage(sections=("quality", "source"), plan=("batch", "history"), engine=Engine.SPARK)
def quality_gate(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge a batch: PASS, QUARANTINE (bad rows set aside, each with its reasons) or FAIL.

    Raises:
        InputError: The batch is no table, or has other columns than declared.
        RuleError: A rule cannot be evaluated; that says nothing about the data.
    """
    del inputs
    quality, batch = use_case.quality, workspace.plan.batch
    with explained_reading(batch):
        frame = read_batch(workspace.spark, workspace.store, batch, use_case.source)
        rules = row_rules(frame, quality.rules)
        check_batch_rules(frame, quality.rules)
        check_anomaly_rules(frame, quality.anomalies)
        judged = _judged(frame, rules).cache()
        rows = judged.count()
    measured = _measure(workspace, judged, rules, quality.rules, rows)
    findings, broken = _row_findings(rules, measured)
    bad = [rule for rule in rules if rule.severity == "error" and broken[rule.label]]
    counts = Counts(rows=measured.size, quarantined=_count_bad(judged, bad))
    findings += _batch_findings(judged, ~_is_bad(bad), quality.rules, counts)
    good = judged.filter(~_is_bad(bad))
    history, anomalies = judge_against_history(workspace, good, quality.anomalies, measured.profile, counts)
    findings += [anomaly.finding() for anomaly in anomalies]
    verdict = decide(
        findings,
        counts,
        on_bad_rows=quality.on_bad_rows,
        quarantine_limit=quality.quarantine_limit,
        subject=f"batch {batch.partition}, {counts.rows} rows, {counts.quarantined} quarantined",
    )
    outputs = _write_rows(workspace, judged, bad, rules, counts)
    judged.unpersist()
    if verdict.accepted:
        _enter(workspace, use_case.name, outputs)
    watched = told_anomalies(anomalies)
    outputs |= _write_reports(workspace, use_case.name, outputs, findings, verdict, measured, watched)
    return StageResult(
        outputs=outputs,
        values=_values(counts, broken) | watched,
        verdict=verdict,
        summary=verdict.sentence(),
        records=(_record(verdict, counts),),
        history=history,
    )


def _values(counts: Counts, broken: dict[str, int]) -> dict[str, Any]:
    return {
        "rows": counts.rows,
        "accepted": counts.accepted,
        "quarantined": counts.quarantined,
        "broken": {label: rows for label, rows in broken.items() if rows},
    }


def _judged(frame: DataFrame, rules: list[RowRule]) -> DataFrame:
    """Add one flag per rule: whether the row breaks it; a single projection."""
    return frame.select("*", *(broken_column(rule).alias(rule.flag) for rule in rules))


def _measure(workspace: Workspace, judged: DataFrame, rules: list[RowRule], declared: Any, rows: int) -> Measured:
    """Measure by Deequ; a frame without a row is not given to it."""
    columns = sorted({name for rule in declared for name in _columns_of(rule)})
    if rows == 0:
        unique = {tuple(rule.keys): 1.0 for rule in rules if rule.keys}
        return Measured(size=0, compliance={rule.label: 1.0 for rule in rules}, uniqueness=unique, profile={})
    kinds = dict(judged.dtypes)
    wanted = Wanted(
        compliance={rule.label: f"NOT {rule.flag}" for rule in rules},
        uniqueness=[rule.keys for rule in rules if rule.keys],
        complete=columns,
        numeric=[name for name in columns if kinds[name] in NUMERIC],
    )
    return measure(workspace.spark, judged, wanted)


def _columns_of(rule: Any) -> tuple[str, ...]:
    """Return the columns that a rule names: those are profiled, for a wide table would cost seconds."""
    return getattr(rule, "columns", None) or ((rule.column,) if getattr(rule, "column", None) else ())


def _row_findings(rules: list[RowRule], measured: Measured) -> tuple[list[Finding], dict[str, int]]:
    """Return what each row rule saw, and how many rows it condemns (0 where enough rows comply)."""
    findings, broken = [], {}
    for rule in rules:
        share = measured.compliance[rule.label]
        rows = round((1 - share) * measured.size)
        passed = share >= rule.at_least
        broken[rule.label] = 0 if passed else rows
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


def _batch_findings(judged: DataFrame, is_good: Column, declared: Any, counts: Counts) -> list[Finding]:
    """Judge the batch as a whole: its size, and the classes among the rows that would go on."""
    findings = []
    for rule in declared:
        if isinstance(rule, spec.SizeRule):
            bound = interval(rule.at_least, rule.at_most) + " rows"
            rows = judged.filter(rule.where).count() if rule.where else counts.rows
            low, high = rule.at_least or 0, rule.at_most if rule.at_most is not None else rows
            findings.append(_whole("size", None, f"{rows} rows", bound, low <= rows <= high, rule))
        if isinstance(rule, spec.ClassBalanceRule):
            good = judged.filter(is_good).filter(rule.where or "true")
            classes = {str(row[0]): int(row[1]) for row in good.groupBy(quoted(rule.column)).count().collect()}
            classes.pop("None", None)
            told = ", ".join(f"{name}: {rows}" for name, rows in sorted(classes.items())) or "no class"
            passed = len(classes) >= rule.classes and min(classes.values(), default=0) >= rule.at_least
            bound = f"at least {rule.classes} classes with at least {rule.at_least} rows each"
            findings.append(_whole("class_balance", rule.column, told, bound, passed, rule))
    return findings


def _whole(name: str, column: str | None, observed: str, bound: str, passed: bool, rule: Any) -> Finding:
    return Finding(rule=name, column=column, observed=observed, bound=bound, passed=passed, severity=rule.severity)


def _is_bad(rules: list[RowRule]) -> Column:
    from pyspark.sql import functions

    bad = functions.lit(False)
    for rule in rules:
        bad = bad | functions.col(rule.flag)
    return bad


def _count_bad(judged: DataFrame, bad: list[RowRule]) -> int:
    return judged.filter(_is_bad(bad)).count() if bad else 0


def _write_rows(
    workspace: Workspace, judged: DataFrame, bad: list[RowRule], rules: list[RowRule], counts: Counts
) -> dict[str, Reference]:
    """Write good rows, and bad rows with all their reasons."""
    from pyspark.sql import functions

    ours = {UNREADABLE, *(rule.flag for rule in rules)}
    columns = [quoted(name) for name in judged.columns if name not in ours]
    store, producer = workspace.store, workspace.stage
    good = judged.filter(~_is_bad(bad)).select(*columns)
    folder = f"{workspace.folder}/accepted"
    outputs = {"accepted": write_dataset(store, folder, good, rows=counts.accepted, producer=producer)}
    if counts.quarantined:
        told = [functions.when(functions.col(rule.flag), _told(rule)) for rule in rules]
        reasons = functions.array_compact(functions.array(*told)).alias(REASONS)
        aside = judged.filter(_is_bad(bad)).select(*columns, reasons)
        folder = f"{workspace.folder}/quarantined"
        outputs["quarantined"] = write_dataset(store, folder, aside, rows=counts.quarantined, producer=producer)
    return outputs


def _told(rule: RowRule) -> Column:
    from pyspark.sql import functions

    if rule.label == "0 type":
        return functions.concat(functions.lit("type of "), functions.concat_ws(", ", functions.col(UNREADABLE)))
    return functions.lit(f"{rule.rule} of {rule.column}: {rule.bound}" if rule.column else f"{rule.rule}: {rule.bound}")


def _enter(workspace: Workspace, use_case: str, outputs: dict[str, Reference]) -> None:
    batch = workspace.plan.batch
    aside = outputs.get("quarantined")
    entry = Accepted(
        partition=batch.partition,
        digest=batch.digest,
        files=batch.files,
        accepted=outputs["accepted"].to_json(),
        quarantined=aside.to_json() if aside else None,
        as_of=workspace.plan.as_of,
        run=workspace.plan.run,
    )
    accept(workspace.store, use_case, entry)


def _write_reports(
    workspace: Workspace,
    use_case: str,
    rows: dict[str, Reference],
    findings: list[Finding],
    verdict: Verdict,
    measured: Measured,
    watched: dict[str, Any],
) -> dict[str, Reference]:
    workspace.log.info("%s", table(findings, verdict))
    metrics = {
        "size": measured.size,
        "compliance": measured.compliance,
        "uniqueness": {", ".join(columns): share for columns, share in measured.uniqueness.items()},
        "profile": measured.profile,
    }
    judged = about(use_case, workspace.plan.batch, rows)
    sample = sample_of(workspace.store, rows.get("quarantined"))
    earlier = [(point.partition, point.values) for point in workspace.plan.history]
    history = series_of(watched.get("anomalies", []), earlier, judged.partition)
    report = report_page(judged, verdict, findings, measured.profile, sample=sample, history=history)
    return {
        "metrics": workspace.write_json("metrics.json", metrics),
        "report": workspace.write_file("quality.html", report),
        "picture": workspace.write_file("quality.png", picture(findings, verdict)),
    }


def _record(verdict: Verdict, counts: Counts) -> Record:
    return Record(
        metrics={
            "quality.rows": counts.rows,
            "quality.quarantined": counts.quarantined,
            "quality.accepted": counts.accepted,
        },
        tags={"quality.outcome": str(verdict.outcome), "quality.sentence": verdict.sentence()[:4000]},
        files={"quality/quality.html": "quality.html", "quality/quality.png": "quality.png"},
    )
