"""Watch the rows themselves: volume, refusals, missing values, units, and the gate's rules on live requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepzero.adapters.captured import REFUSED, VERSION
from stepzero.adapters.workspace import Workspace
from stepzero.core.stages import StageInput, StageResult, stage
from stepzero.learning.incidents import Found, missing_values, refusals, unit_changes, usual_volume, volume
from stepzero.learning.triage import Signal
from stepzero.learning.watch_pictures import volume_picture
from stepzero.measures.quality import Finding
from stepzero.stages.watch_results import Seen, result_of, span_of, watched_by, windows_of


@stage(sections=("monitors",), plan=("champion",))
def watch_data_quality(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge the newest window: an incident needs no second window to be one.

    Raises:
        RuleError: A rule cannot be evaluated.
    """
    section, collected = use_case.monitors.data_quality, inputs["collected"]
    rows = workspace.read_frame(collected.output("captured"))
    newest = rows[rows["_window"] == use_case.monitors.judged.of - 1]
    answered = windows_of(rows, use_case.monitors.judged.of)[-1]
    counts = collected.values["windows"][-1]
    found: list[Found] = [
        *volume(collected.values["before"], counts["rows"] + counts["refused"], section.volume),
        *refusals(newest[REFUSED].dropna().tolist(), counts["rows"], section),
    ]
    watched, _ = watched_by(use_case.name, workspace)
    if watched is not None:
        # An earlier version has other features, or the same ones in another type.
        own = answered[answered[VERSION].astype(str) == watched.version].reset_index(drop=True)
        answered = own if len(own) else answered
        found += missing_values(watched.columns, answered, section)
        found += unit_changes(watched.columns, answered, section)
    findings, signals = [one for one, _ in found], [signal for _, signal in found if signal is not None]
    if section.requests.rules and len(answered):
        told = _broken_rules(answered, section, workspace)
        findings, signals = [*findings, *told[0]], [*signals, *told[1]]
    not_yet = None if findings else "no request, and nothing to compare with"
    seen = Seen(
        monitor="data_quality",
        subject=f"requests of {span_of(collected)}, {counts['rows']} answered, {counts['refused']} refused",
        findings=findings,
        signals=signals,
        not_yet=not_yet,
        metrics={"rows": counts["rows"], "refused": counts["refused"]},
        picture=_picture([*collected.values["before"], counts["rows"] + counts["refused"]], section.volume),
        alt="requests of each window, and how many are allowed",
        note="Judged on the newest window alone; values by what the champion answered, where it answered anything. "
        "Rules are those of the quality gate, measured by Deequ; what they tolerate is told as a warning.",
    )
    return result_of(seen, workspace)


def _picture(counts: list[int], asked: Any) -> bytes | None:
    usual = usual_volume(counts[:-1])
    return None if usual is None else volume_picture(counts, asked.drop * usual, asked.surge * usual)


def _broken_rules(answered: Any, section: Any, workspace: Workspace) -> tuple[list[Finding], list[Signal]]:
    """Judge the features of answered requests by declared rules, on Spark.

    What is tolerated, a warning or a few bad rows, is told as a warning and is no signal.
    """
    from stepzero.adapters.spark import read_dataset
    from stepzero.stages.quality_hand_over import judge_hand_over

    features = answered[[name for name in answered.columns if not str(name).startswith("_")]]
    reference = workspace.write_frame("requests", features)
    frame = read_dataset(workspace.spark, workspace.store, reference)
    verdict = judge_hand_over(frame, section.requests, workspace, "live requests")
    reasons = (
        []
        if verdict is None
        else [replace(one, severity="warning") if verdict.accepted else one for one in verdict.reasons]
    )
    findings = [
        Finding(
            rule=one.rule,
            column=one.column,
            observed=one.observed,
            bound=one.bound,
            passed=False,
            severity=one.severity,
            rows=one.rows,
        )
        for one in reasons
    ]
    signals = [
        Signal(kind="broken_rules", column=one.column, sentence=one.sentence())
        for one in reasons
        if one.severity == "error"
    ]
    passed = Finding(rule="rules", column=None, observed="kept", bound="as declared", passed=True)
    return findings or [passed], signals
