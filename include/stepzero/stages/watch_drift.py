"""Watch features and scores: do the last windows come from where the champion's rows came from?"""

from __future__ import annotations

from typing import Any

import pandas as pd

from stepzero.adapters.captured import SCORE
from stepzero.adapters.workspace import Workspace
from stepzero.core.stages import StageInput, StageResult, stage
from stepzero.learning.drift import FEWEST_ROWS, ColumnDrift, judge_columns, select_columns
from stepzero.learning.triage import Signal
from stepzero.learning.two_samples import Told, classifier_test
from stepzero.learning.watch_pictures import columns_picture
from stepzero.measures.quality import Finding
from stepzero.stages.watch_results import (
    Seen,
    Watched,
    level_of,
    result_of,
    rule_of,
    span_of,
    unwatched,
    watched_by,
    windows_of,
)

_CHANCE_DRAWS = 12
"""How often the classifier is tried on what chance alone makes, on as many windows as are judged."""
_SHARED = 0.5
"""Of the monitor's budget: columns one by one, and all together."""


@stage(sections=("monitors",), plan=("champion",))
def watch_data_drift(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge every feature by itself, and all of them together by a classifier.

    Raises:
        InputError: `monitors.data_drift` names a column that is none of the model's.
    """
    watched, why = watched_by(use_case.name, workspace)
    if watched is None:
        return unwatched("data_drift", why, workspace)
    monitors, section = use_case.monitors, use_case.monitors.data_drift
    windows, few = _windows(inputs["collected"], monitors, workspace)
    if few:
        return unwatched("data_drift", few, workspace)
    columns = select_columns(watched.columns, section.columns, section.ignore, "monitors.data_drift")
    rule = rule_of(monitors, section, share=_SHARED if section.multivariate else 1.0)
    drifts = judge_columns(columns, windows, rule)
    findings = [finding for one in drifts for finding in one.findings(section.severity)]
    signals = [_signal("data_drift", one, section.severity) for one in drifts if one.fires]
    metrics = {f"{name}.{one.column}": one.distances[name][-1] for one in drifts for name in one.thresholds}
    if section.multivariate:
        told = _together(watched, list(columns), windows, monitors, workspace)
        findings.append(_finding(told, section.severity))
        metrics["classifier_area"] = told.areas[-1]
        if told.fires:
            sentence = f"the newest window is told from the reference (area {told.areas[-1]:.3f}), by {_listed(told)}"
            signals.append(Signal(kind="multivariate_drift", sentence=sentence))
    seen = Seen(
        monitor="data_drift",
        subject=f"{len(drifts)} features of {span_of(inputs['collected'])} against those of version {watched.version}",
        findings=findings,
        signals=signals if section.severity == "error" else [],
        metrics={name: value for name, value in metrics.items() if value == value},  # noqa: PLR0124 - a number
        values={"columns": [one.to_json() for one in drifts]},
        picture=columns_picture(drifts),
        alt="distances of the columns nearest to their thresholds, window by window",
        note=_note(monitors, rule.level, len(next(iter(columns.values())).counts), shared=section.multivariate),
    )
    return result_of(seen, workspace)


@stage(sections=("monitors",), plan=("champion",))
def watch_prediction_drift(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge the champion's scores against those that it gave to held-out rows."""
    watched, why = watched_by(use_case.name, workspace)
    if watched is None:
        return unwatched("prediction_drift", why, workspace)
    monitors, section = use_case.monitors, use_case.monitors.prediction_drift
    windows, few = _windows(inputs["collected"], monitors, workspace, version=watched.version)
    if few:
        return unwatched("prediction_drift", few, workspace)
    scores = [pd.DataFrame({"score": rows[SCORE]}) for rows in windows]
    (drift,) = judge_columns({"score": watched.score}, scores, rule_of(monitors, section))
    seen = Seen(
        monitor="prediction_drift",
        subject=f"scores of version {watched.version} from {span_of(inputs['collected'])} against held-out rows",
        findings=drift.findings(section.severity),
        signals=[_signal("prediction_drift", drift, section.severity)] if drift.fires else [],
        metrics={name: drift.distances[name][-1] for name in drift.thresholds},
        values={"columns": [drift.to_json()]},
        picture=columns_picture([drift]),
        alt="distance of the scores from the held-out rows', window by window",
        note=_note(monitors, level_of(monitors), len(watched.score.counts)),
    )
    return result_of(seen, workspace)


def _windows(
    collected: StageInput, monitors: Any, workspace: Workspace, *, version: str | None = None
) -> tuple[list[pd.DataFrame], str]:
    """Return the windows, and why they cannot be judged."""
    rows = workspace.read_frame(collected.output("captured"))
    windows = windows_of(rows, monitors.judged.of, version)
    if len(windows[-1]) < FEWEST_ROWS:
        by = f" of version {version}" if version else ""
        return windows, f"{len(windows[-1])} answered rows{by} in the newest window, {FEWEST_ROWS} are needed"
    return windows, ""


def _together(
    watched: Watched, names: list[str], windows: list[pd.DataFrame], monitors: Any, workspace: Workspace
) -> Told:
    sample = workspace.read_frame(watched.files["sample"])
    judged = [rows for rows in windows if len(rows) >= FEWEST_ROWS]
    return classifier_test(
        sample[[*names, "_block"]],
        judged,
        level=level_of(monitors) * _SHARED,
        at_least=monitors.judged.at_least,
        draws=_CHANCE_DRAWS,
        seed=monitors.false_alarms.seed,
    )


def _finding(told: Told, severity: str) -> Finding:
    return Finding(
        rule="classifier",
        column=None,
        observed=f"area under the curve {told.areas[-1]:.3f}, over in {told.over} of {len(told.areas)} windows",
        bound=f"at most {told.threshold:.3f} in {told.at_least} windows",
        passed=not told.fires,
        severity=severity,
    )


def _listed(told: Told) -> str:
    return ", ".join(told.columns) or "no single column"


def _signal(kind: str, drift: ColumnDrift, severity: str) -> Signal:
    broken = [one for one in drift.findings(severity) if not one.passed]
    return Signal(kind=kind, column=drift.column, sentence=broken[0].reason().sentence())


def _note(monitors: Any, level: float, blocks: int, *, shared: bool = False) -> str:
    by = f"{blocks} blocks of a window's length" if blocks >= monitors.judged.of + 2 else "single rows: it has no time"
    budget = monitors.false_alarms
    part = "half of this monitor's part (the classifier has the other)" if shared else "the part of this monitor"
    return (
        f"Thresholds let chance alone fire with probability {level:.4f} in one evaluation of all columns together: "
        f"{part} in {budget.at_most:g} false alarms in {budget.days:g} days. Chance is drawn from the reference by "
        f"{by}."
    )
