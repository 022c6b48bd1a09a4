"""Watch decisions of groups: the difference between them against the held-out rows', and the declared limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from stepzero.adapters.captured import DECISION, VERSION
from stepzero.adapters.labels import LABEL
from stepzero.adapters.registry_records import read_registration
from stepzero.adapters.workspace import Workspace
from stepzero.core.stages import StageInput, StageResult, stage
from stepzero.learning.bias import find_groups, is_favourable, judge_bias, report_after
from stepzero.learning.drift import FEWEST_ROWS
from stepzero.learning.triage import Signal
from stepzero.learning.watch_pictures import ratios_picture
from stepzero.learning.window_values import Rows, columns_of, judge_values
from stepzero.measures.quality import Finding
from stepzero.stages.watch_results import Seen, result_of, rule_of, unwatched, watched_by, windows_of


@stage(sections=("monitors", "bias", "problem"), plan=("champion",))
def watch_bias(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge by how much favourable decisions differ between groups (DPPL); with ripe labels, all declared limits.

    Raises:
        RuleError: A metric that has a limit has no value.
    """
    watched, why = watched_by(use_case.name, workspace)
    if watched is None:
        return unwatched("bias", why, workspace)
    monitors, bias = use_case.monitors, use_case.bias
    rows = workspace.read_frame(inputs["collected"].output("captured"))
    gone = [name for name in bias.facets if name not in rows.columns]
    if gone:
        return unwatched("bias", f"{', '.join(gone)}: no feature, so it is not captured", workspace)
    windows = [one for one in windows_of(rows, monitors.judged.of, watched.version) if len(one) >= FEWEST_ROWS]
    if len(windows) < monitors.judged.at_least:
        return unwatched("bias", f"{len(windows)} of {monitors.judged.at_least} windows have enough rows", workspace)
    threshold = read_registration(workspace.store, use_case.name, watched.version).threshold
    reference = workspace.read_frame(watched.files["scored"])
    if DECISION not in reference:  # of a version that was registered before decisions were kept
        reference = reference.assign(**{DECISION: (reference["_score"] >= threshold).astype(np.float64)})
    findings, signals, metrics, ratios = _differences(use_case, reference, windows)
    limited = _limits(use_case, inputs["collected"], watched.version, workspace)
    findings += limited
    signals += [
        Signal(kind="bias_limit", column=one.column, sentence=one.reason().sentence())
        for one in limited
        if not one.passed
    ]
    seen = Seen(
        monitor="bias",
        subject=f"decisions of version {watched.version} on {len(metrics)} groups",
        findings=findings,
        signals=signals,
        metrics=metrics,
        picture=ratios_picture(ratios, "Groups, as far from the reference as is allowed at 1", "change of DPPL"),
        alt="change of each group's difference in favourable decisions, window by window",
        note="DPPL: share of favourable decisions of all others minus the group's. With ripe labels, every metric that "
        "has a limit under bias.limits.after is judged, too.",
    )
    return result_of(seen, workspace)


def _differences(
    use_case: Any, reference: pd.DataFrame, windows: list[pd.DataFrame]
) -> tuple[list[Finding], list[Signal], dict[str, float], dict[str, list[float]]]:
    """Return findings, signals, the newest differences, and how far each window's is away, in units of its limit."""
    monitors, bias = use_case.monitors, use_case.bias
    wanted = bool(is_favourable(pd.Series([use_case.problem.positive]), bias.favourable)[0])
    groups = [(group.facet, group.value) for group in find_groups(reference, bias)]
    findings, signals, metrics, ratios = [], [], {}, {}
    for place, (facet, value) in enumerate(groups):
        difference = _Difference(bias, place, wanted)
        before, now = difference(columns_of(reference)), difference(columns_of(windows[-1]))
        rule = rule_of(monitors, share=1 / len(groups))
        judged = judge_values(_near(difference, before), reference, windows, rule, monitors.bias.smallest)
        finding = Finding(
            rule="DPPL",
            column=f"{facet} = {value}",
            observed=f"{now:+.3f}, {before:+.3f} on held-out rows, over in {judged.over} of {len(windows)} windows",
            bound=f"at most {-judged.low:.3f} away in {judged.at_least} windows",
            passed=not judged.fires,
        )
        findings.append(finding)
        ratios[f"{facet} = {value}"] = [-value / max(-judged.low, 1e-12) for value in judged.values]
        metrics[f"DPPL.{facet}.{value}".replace(" ", "_")] = now
        if judged.fires:
            signals.append(Signal(kind="bias_drift", column=facet, sentence=finding.reason().sentence()))
    return findings, signals, metrics, ratios


class _Difference:
    """The difference in favourable decisions between a group and all others; not a number without one of them."""

    def __init__(self, bias: Any, place: int, wanted: bool) -> None:
        self.bias, self.place, self.wanted = bias, place, wanted

    def __call__(self, rows: Rows) -> float:
        facets = pd.DataFrame({name: rows[name] for name in self.bias.facets})
        disfavoured = list(find_groups(facets, self.bias))[self.place].disfavoured
        favourable = (np.asarray(rows[DECISION], dtype=np.float64) == 1.0) == self.wanted
        if not 0 < disfavoured.sum() < len(disfavoured):
            return float("nan")
        return float(favourable[~disfavoured].mean() - favourable[disfavoured].mean())


def _near(difference: _Difference, before: float) -> Callable[[Rows], float]:
    """Return minus the distance from the reference's difference: larger is better."""

    def nearness(rows: Rows) -> float:
        return -abs(difference(rows) - before)

    return nearness


def _limits(use_case: Any, collected: StageInput, version: str, workspace: Workspace) -> list[Finding]:
    """Judge the declared limits on the newest window with ripe labels; nothing where there is none."""
    bias, problem = use_case.bias, use_case.problem
    ripe = [number for number, told in enumerate(collected.values["labels"]) if told["ripe"]]
    rows = workspace.read_frame(collected.output("labelled"))
    rows = rows[(rows["_window"] == (ripe[-1] if ripe else -1)) & (rows[VERSION].astype(str) == version)]
    if not bias.limits.after or rows.empty:
        return []
    positive, others = problem.positive, [one for one in bias.favourable.values if one != problem.positive]
    other = others[0] if others else (0 if positive != 0 else 1)
    target = pd.Series(np.where(rows[LABEL] == 1, positive, other), index=rows.index)
    frame = rows.assign(**{problem.target: target}).reset_index(drop=True)
    verdict = judge_bias(report_after(frame, (frame[DECISION] == 1.0).to_numpy(), problem, bias), bias)
    made = [
        Finding(rule=one.rule, column=one.column, observed=one.observed, bound=one.bound, passed=False)
        for one in verdict.reasons
    ]
    kept = f"{len(bias.limits.after)} limits on {len(frame)} labelled rows"
    return made or [Finding(rule="limits", column=None, observed=kept, bound="as declared", passed=True)]
