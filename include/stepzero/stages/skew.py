"""Compare what lands, or what was served, with the rows that the champion learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.adapters.captured import ANSWERED, STATUS
from stepzero.adapters.derived import derived
from stepzero.adapters.registry_records import read_registration
from stepzero.adapters.spark import quoted, read_dataset, text_of
from stepzero.core.references import Reference
from stepzero.core.stages import Engine, Record, StageInput, StageResult, stage
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.learning.skew import Baseline, Comparison, compare, judge
from stepzero.measures.baselines import ColumnBaseline
from stepzero.stages.prepare_transforms import transform

if TYPE_CHECKING:
    import pandas as pd

    from stepzero.adapters.workspace import Workspace
    from stepzero.measures.quality import Finding

MOST_ROWS = 200_000
"""Rows that are compared; of more, those with the smallest hashes."""


@stage(sections=("transforms", "prepare", "skew"), plan=("champion", "batch"), engine=Engine.SPARK)
def batch_skew(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge the accepted rows of this run's batch, prepared row by row as the training rows were.

    Raises:
        InputError: The rows and the baseline share no column.
    """
    baseline, reason = champion_baseline(use_case.name, workspace)
    if baseline is None:
        return _unjudged(reason)
    frame = read_dataset(workspace.spark, workspace.store, inputs["checked"].output("accepted"))
    changed, _ = transform(frame, use_case.transforms, "transforms")
    rows = _sample(derived(changed, use_case.prepare), list(baseline))
    subject = f"batch {workspace.plan.batch.partition} against the training rows of {_champion(use_case, workspace)}"
    return _judged(baseline, rows, use_case, workspace, subject)


@stage(sections=("skew",), plan=("champion",))
def captured_skew(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge captured requests: the output ``captured`` of the input of that name, as `collect_windows` brings it.

    A request that was refused has no features to compare; how many were is what `watch_data_quality` judges.

    Raises:
        InputError: The rows and the baseline share no column.
    """
    baseline, reason = champion_baseline(use_case.name, workspace)
    if baseline is None:
        return _unjudged(reason)
    rows = workspace.read_frame(inputs["captured"].output("captured"))
    if STATUS in rows:
        rows = rows[rows[STATUS] == ANSWERED].reset_index(drop=True)
    if rows.empty:
        return _unjudged("no request was answered")
    subject = f"{len(rows)} captured requests against the training rows of {_champion(use_case, workspace)}"
    return _judged(baseline, rows, use_case, workspace, subject)


def champion_baseline(name: str, workspace: Workspace) -> tuple[Baseline | None, str]:
    """Return the baseline of the version that serves; or None and why there is none."""
    champion = workspace.plan.champion
    if champion is None:
        return None, "no champion yet: nothing to compare with"
    registration = read_registration(workspace.store, name, champion.version)
    if registration.baseline is None:
        return None, f"version {champion.version} was registered without a baseline"
    stored = workspace.store.read_json(Reference.from_json(registration.baseline).uri)
    return {column: ColumnBaseline.from_json(data) for column, data in stored.items()}, ""


def _judged(baseline: Baseline, rows: pd.DataFrame, use_case: Any, workspace: Workspace, subject: str) -> StageResult:
    comparisons = compare(baseline, rows, use_case.skew)
    verdict, findings = judge(comparisons, use_case.skew, subject)
    workspace.log.info("%s", _table(findings, verdict))
    output = workspace.write_json("skew.json", [one.to_json() for one in comparisons])
    values = {
        "rows": len(rows),
        "columns": len(comparisons),
        "shifted": [one.column for one in comparisons if one.broken],
    }
    return StageResult(
        outputs={"skew": output},
        values=values,
        verdict=verdict,
        summary=verdict.sentence(),
        records=(_record(comparisons, verdict),),
    )


def _unjudged(reason: str) -> StageResult:
    told = Reason(rule="skew", column=None, observed=reason, bound="a baseline of the champion", severity="warning")
    verdict = Verdict(outcome=Outcome.NOT_YET, subject=f"skew not judged, {reason}", reasons=(told,))
    return StageResult(verdict=verdict, summary=verdict.sentence(), values={"rows": 0, "columns": 0, "shifted": []})


def _sample(frame: Any, names: list[str]) -> pd.DataFrame:
    """Bring the compared columns into memory; of too many rows a sample that the rows themselves determine."""
    from pyspark.sql import functions

    kept = [name for name in names if name in frame.columns]
    rows = frame.count()
    if rows > MOST_ROWS:
        frame = frame.orderBy(functions.xxhash64(text_of(frame.columns))).limit(MOST_ROWS)
    sampled: pd.DataFrame = frame.select(*(quoted(name) for name in kept)).toPandas()
    return sampled


def _champion(use_case: Any, workspace: Workspace) -> str:
    champion = workspace.plan.champion
    return f"{use_case.name} version {champion.version if champion else 'none'}"


def _table(findings: list[Finding], verdict: Verdict) -> str:
    lines = [
        f"  {finding.column} {finding.rule}: {finding.observed} ({finding.bound}){'' if finding.passed else ' SHIFTED'}"
        for finding in findings
    ]
    return "\n".join([verdict.sentence(), *lines])


def _record(comparisons: list[Comparison], verdict: Verdict) -> Record:
    indices = [one.distances["population_stability_index"] for one in comparisons]
    return Record(
        metrics={
            "skew.shifted_columns": float(sum(bool(one.broken) for one in comparisons)),
            "skew.largest_population_stability_index": max(indices),
        },
        tags={"skew.outcome": str(verdict.outcome), "skew.sentence": verdict.sentence()[:4000]},
        files={"skew/skew.json": "skew.json"},
    )
