"""The gate's rules at a later hand-over: nothing is set aside there, a batch goes on or it does not."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from stepzero.adapters.batches import UNREADABLE
from stepzero.core.verdict import Outcome, Verdict
from stepzero.measures.quality import Counts, Finding, decide
from stepzero.spec.quality import Quality
from stepzero.stages.quality_batch import check_batch_rules
from stepzero.stages.quality_judge import judge_frame
from stepzero.stages.quality_plain import judge_plainly
from stepzero.stages.quality_report import table
from stepzero.stages.quality_rules import row_rules

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from stepzero.adapters.workspace import Workspace
    from stepzero.spec.quality import HandOver


def judge_hand_over(frame: DataFrame, section: HandOver, workspace: Workspace, subject: str) -> Verdict | None:
    """Judge rows that were accepted before; None where no rule is declared.

    PASS or FAIL: up to the tolerated share, bad rows are told and go on.

    Raises:
        RuleError: A rule cannot be evaluated.
    """
    from pyspark.sql import functions

    if not section.rules:
        return None
    quality = Quality(rules=section.rules, quarantine_limit=section.bad_rows)
    readable = frame.withColumn(UNREADABLE, functions.array().cast("array<string>"))
    rules = row_rules(readable, quality.rules, {})
    check_batch_rules(readable, quality)
    with ExitStack() as kept:
        judged = judge_frame(workspace, readable, rules, quality, kept, None)
    return _decided(judged.findings, judged.counts, section, workspace, subject)


def judge_hand_over_plainly(
    frame: pd.DataFrame, section: HandOver, workspace: Workspace, subject: str
) -> Verdict | None:
    """Judge rows in memory, as `judge_hand_over` would; None where only Spark can."""
    judged = judge_plainly(frame, section.rules)
    return None if judged is None else _decided(*judged, section, workspace, subject)


def _decided(findings: list[Finding], counts: Counts, section: HandOver, workspace: Workspace, subject: str) -> Verdict:
    told = f"{subject}, {counts.rows} rows, {counts.quarantined} bad"
    limit = section.bad_rows
    verdict = decide(findings, counts, on_bad_rows="quarantine", quarantine_limit=limit, subject=told)
    if verdict.outcome is Outcome.QUARANTINE:
        verdict = replace(verdict, outcome=Outcome.PASS)
    workspace.log.info("%s", table(findings, verdict))
    return verdict
