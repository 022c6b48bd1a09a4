"""Measure bias: of the training rows' labels before training, of the winner's predictions on untouched rows after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import SpecError, StageError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Record, StageInput, StageResult, stage
from stepzero.learning.bias import BiasReport, judge_bias, report_after, report_before, report_text, summary_of
from stepzero.learning.bias_comparison import compare_reports, comparison_picture, comparison_text
from stepzero.learning.bias_pictures import bias_picture
from stepzero.learning.columns import LINE
from stepzero.learning.table import training_weight

_HEADLINES = {"before": ("DPL", "CI", "KS"), "after": ("DPPL", "DI", "AD")}


@stage(sections=("problem", "bias"), architecture_matters=True)
def bias(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Return every metric of every facet value, as `analysis.json`, text and picture, and the limits' verdict.

    With the input ``evaluated`` the winner's decisions at its threshold are measured, on rows that it has not
    seen; without it the labels of the training rows. Rows count once each, whatever weight they have in metrics;
    mitigated training rows count as they do in fits. With the input ``compared``, another result of this stage at the
    same time of training, all metrics of both are shown side by side.

    Raises:
        SpecError: There is no bias section.
        RuleError: A metric that has a limit has no value.
    """
    if use_case.bias is None:
        raise SpecError(
            f"{use_case.name}: bias",
            value=bare("none"),
            allowed="a bias section: favourable label and facets",
            action="add one, or take the stage out of the DAG",
        )
    report = _measured(use_case, inputs, workspace)
    verdict = judge_bias(report, use_case.bias)
    text = report_text(report)
    workspace.log.info("%s", text)
    summary = summary_of(report, _HEADLINES[report.time])
    outputs = {
        "analysis.json": workspace.write_json("analysis.json", report.to_json()),
        "bias.txt": workspace.write_file("bias.txt", text + "\n"),
        "bias.png": workspace.write_file("bias.png", bias_picture(report, use_case.bias)),
        **_side_by_side(report, inputs, workspace),
    }
    return StageResult(
        outputs=outputs,
        values=report.to_values(),
        verdict=verdict,
        summary=summary if verdict.accepted else verdict.sentence(),
        records=(_record(report, str(verdict.outcome), list(outputs)),),
    )


def _side_by_side(report: BiasReport, inputs: dict[str, StageInput], workspace: Workspace) -> dict[str, Reference]:
    if "compared" not in inputs:
        return {}
    other = BiasReport.from_values(inputs["compared"].values)
    if other.time != report.time:
        raise StageError(
            "bias results to compare",
            value=bare(f"one {other.time} training, one {report.time} training"),
            allowed="two of the same time",
            action="hand in another result",
        )
    changes = compare_reports(other, report)
    title = f"Bias {report.time} training, side by side"
    text = comparison_text(changes, title)
    workspace.log.info("%s", text)
    return {
        "comparison.txt": workspace.write_file("comparison.txt", text + "\n"),
        "comparison.png": workspace.write_file("comparison.png", comparison_picture(changes, title)),
    }


def _measured(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> BiasReport:
    prepared = inputs["prepared"]
    if "evaluated" not in inputs:
        train = workspace.read_frame(prepared.output("train"))
        return report_before(train, use_case.problem, use_case.bias, weight=training_weight(train))
    evaluated = inputs["evaluated"]
    frame = workspace.read_frame(prepared.output("test"))
    scored = workspace.read_frame(evaluated.output("test_scores"))
    _must_match(frame, scored)
    # Where groups have thresholds of their own, the stage that chose them wrote each row's beside its score.
    line = scored[LINE] if LINE in scored else float(evaluated.values["winner"]["threshold"])
    positive = np.asarray(scored["score"] >= line, dtype=bool)
    return report_after(frame, positive, use_case.problem, use_case.bias)


def _must_match(frame: pd.DataFrame, scored: pd.DataFrame) -> None:
    if frame["_row_id"].tolist() != scored["_row_id"].tolist():
        raise StageError(
            "scores to measure bias on",
            value=bare(f"{len(scored)} scores of other rows than the {len(frame)} held-out ones"),
            allowed="a score for each held-out row, in their order",
            action="hand in the prepared rows that the model was evaluated on",
        )


def _record(report: BiasReport, outcome: str, names: list[str]) -> Record:
    metrics = {
        f"bias_{report.time}.{metric.name}.{one.tag}": metric.value
        for one in report.facets
        for metric in one.metrics
        if metric.value is not None and np.isfinite(metric.value)
    }
    files = {f"bias/{report.time}_{name}": name for name in names}
    return Record(metrics=metrics, tags={f"bias_{report.time}_verdict": outcome}, files=files)
