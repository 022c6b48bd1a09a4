"""Watch the model: its quality where labels are ripe, what its scores promise before, and what moves them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stepzero.adapters.captured import DECISION, SCORE, VERSION
from stepzero.adapters.labels import LABEL
from stepzero.adapters.registry_records import Registration, read_registration
from stepzero.adapters.workspace import Workspace
from stepzero.core.stages import StageInput, StageResult, stage
from stepzero.learning.attributions import agreement, attributions
from stepzero.learning.drift import FEWEST_ROWS, Rule
from stepzero.learning.model import load_model
from stepzero.learning.triage import LOSS, PREDICTED_LOSS, Signal
from stepzero.learning.two_samples import BLOCK
from stepzero.learning.watch_pictures import values_picture
from stepzero.learning.window_values import (
    Fallen,
    Rows,
    can_tell,
    judge_metric,
    judge_values,
    sign_of,
)
from stepzero.measures.expected import expected_quality
from stepzero.measures.quality import Finding
from stepzero.stages.watch_results import Seen, Watched, result_of, rule_of, span_of, unwatched, watched_by, windows_of

SHARED = 0.5
"""Of the monitor's budget: the measured metric, and the foretold one, where both are judged."""


@stage(sections=("monitors",), plan=("champion",))
def watch_model_quality(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge labelled windows that are ripe; until there are enough of them, say so, and what the scores promise."""
    watched, why = watched_by(use_case.name, workspace)
    if watched is None:
        return unwatched("model_quality", why, workspace)
    monitors, collected = use_case.monitors, inputs["collected"]
    section, version = monitors.model_quality, watched.version
    threshold = read_registration(workspace.store, use_case.name, version).threshold
    reference = workspace.read_frame(watched.files["scored"])
    ripe = _ripe_windows(collected, version, workspace)
    promising = (
        _answered(collected, version, monitors, workspace) if section.predicted and threshold is not None else []
    )
    enough, foretells = (len(windows) >= monitors.judged.at_least for windows in (ripe, promising))
    rule = rule_of(monitors, share=SHARED if enough and foretells else 1.0)
    parts = [_measured(ripe, reference, threshold, section, rule)] if enough else []
    reach = False
    if foretells and threshold is not None:
        promised = _foretold(promising, reference, threshold, section, rule)
        reach = _shows_in(ripe, promised[1], threshold)
        parts.append(promised)
    findings = [finding for finding, _, _ in parts]
    kinds = [LOSS] * enough + [PREDICTED_LOSS] * len(parts)
    fired = [(kind, finding) for kind, (finding, fallen, _) in zip(kinds, parts, strict=False) if fallen.fires]
    fallen = parts[0][1] if enough else None
    seen = Seen(
        monitor="model_quality",
        subject=f"{section.metric} of version {version}",
        findings=findings,
        signals=[Signal(kind=kind, sentence=finding.reason().sentence()) for kind, finding in fired],
        not_yet=None if enough else _unripe(collected, ripe, version, monitors),
        metrics={finding.rule: sign_of(finding.rule) * fallen.values[-1] for finding, fallen, _ in parts},
        values={"intervals": parts[0][2] if enough else [], "labels_ripe": enough, "labels_reach": reach},
        picture=_picture("Windows with ripe labels", fallen, section.metric) if fallen else None,
        alt=f"{section.metric} window by window, with reference and threshold",
        note=f"Labels are due {monitors.labels.delay_days:g} days after the prediction. {_SURELY}"
        + (_PROMISED if foretells else "")
        + (_HALVED if enough and foretells else ""),
    )
    return result_of(seen, workspace)


@stage(sections=("monitors",), plan=("champion",), architecture_matters=True)
def watch_attribution_drift(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge whether the features keep their order of importance, by SHAP values of each window's rows."""
    watched, why = watched_by(use_case.name, workspace)
    if watched is None:
        return unwatched("attribution_drift", why, workspace)
    if "attributions" not in watched.files:
        why = f"version {watched.version} has no attributions: its model is explained too slowly for hundreds of rows"
        return unwatched("attribution_drift", why, workspace)
    monitors, section = use_case.monitors, use_case.monitors.attribution_drift
    windows = _answered(inputs["collected"], watched.version, monitors, workspace)
    if len(windows) < monitors.judged.at_least:
        few = f"{len(windows)} of {monitors.judged.at_least} windows have enough rows"
        return unwatched("attribution_drift", few, workspace)
    registration = read_registration(workspace.store, use_case.name, watched.version)
    fallen, order = _order(watched, registration, windows, monitors, workspace)
    finding = _finding(section.by, fallen, None)
    seen = Seen(
        monitor="attribution_drift",
        subject=f"what moves the scores of version {watched.version} from {span_of(inputs['collected'])}",
        findings=[finding],
        signals=[Signal(kind="attribution_drift", sentence=finding.reason().sentence())] if fallen.fires else [],
        metrics={section.by: fallen.values[-1]},
        values={"order": order},
        picture=_picture("Agreement of the order of features", fallen, section.by),
        alt="agreement of the order of features window by window",
        note=f"Mean absolute SHAP values of {section.rows} rows a window. Most moving now: {', '.join(order[:5])}.",
    )
    return result_of(seen, workspace)


_SURELY = "A window is surely worse where it is beyond the threshold, and its whole interval beyond the reference."
_HALVED = " Each of the two has half of the monitor's budget of false alarms."
_PROMISED = " The expected F1 is what the scores themselves promise; it is blind to a change of what features mean."


def _ripe_windows(collected: StageInput, version: str, workspace: Workspace) -> list[pd.DataFrame]:
    """Return the labelled rows of ripe windows that a version answered, the oldest first."""
    rows = workspace.read_frame(collected.output("labelled"))
    kept = []
    for number, told in enumerate(collected.values["labels"]):
        window = rows[(rows["_window"] == number) & (rows[VERSION].astype(str) == version)] if len(rows) else rows
        label = window[LABEL]
        if told["ripe"] and can_tell(label.to_numpy(dtype=np.float64)):
            made = pd.DataFrame({"_score": window[SCORE], "_label": label, DECISION: window[DECISION]})
            kept.append(made.dropna(axis="columns").reset_index(drop=True))
    return kept


def _unripe(collected: StageInput, ripe: list[pd.DataFrame], version: str, monitors: Any) -> str:
    told = [one["why"] for one in collected.values["labels"] if not one["ripe"]]
    why = told[-1] if told else f"the others were answered by other versions than {version}"
    return f"{len(ripe)} of {monitors.judged.at_least} windows that it takes have ripe labels ({why})"


Judged = tuple[Finding, Fallen, list[dict[str, float]]]


def _measured(
    ripe: list[pd.DataFrame], reference: pd.DataFrame, threshold: float | None, section: Any, rule: Rule
) -> Judged:
    fallen, intervals = judge_metric(
        section.metric,
        threshold,
        reference,
        ripe,
        rule,
        smallest=section.smallest,
        confidence=section.confidence,
    )
    told = [one.to_json() for one in intervals]
    return _finding(section.metric, fallen, told[-1]), fallen, told


def _foretold(
    windows: list[pd.DataFrame], reference: pd.DataFrame, threshold: float, section: Any, rule: Rule
) -> Judged:
    """Return the F1 that the scores of the newest windows promise."""

    def value(rows: Rows) -> float:
        return expected_quality(rows[SCORE], threshold).f1

    fallen = judge_values(value, reference, windows, rule, section.smallest)
    return _finding("expected_f1", fallen, None, severity="warning"), fallen, []


def _shows_in(ripe: list[pd.DataFrame], fallen: Fallen, threshold: float) -> bool:
    """Tell whether the labels reach what the newest scores foretell: their windows foretell the same loss.

    Labels of a week ago say nothing of a shift of yesterday; those of windows that had shifted already do.
    """
    promised = [expected_quality(rows["_score"].to_numpy(dtype=np.float64), threshold).f1 for rows in ripe]
    shown = Fallen(values=promised, reference=fallen.reference, allowed=fallen.allowed, at_least=fallen.at_least)
    return bool(promised) and shown.fires


def _order(
    watched: Watched, registration: Registration, windows: list[pd.DataFrame], monitors: Any, workspace: Workspace
) -> tuple[Fallen, list[str]]:
    """Return how well the features keep their order, and their order now.

    The old order is that of every second explained row; chance is drawn from the others, in their blocks.
    """
    section, seed = monitors.attribution_drift, monitors.false_alarms.seed
    model = load_model(workspace.store, registration.reference)
    moved = workspace.read_frame(watched.files["attributions"])
    if BLOCK not in moved:  # of a version that was registered before blocks were kept
        moved[BLOCK] = 0
    names = [name for name in moved.columns if name != BLOCK]
    before = moved.iloc[::2][names].to_numpy().mean(axis=0)
    chosen = [rows.sample(min(section.rows, len(rows)), random_state=seed)[list(model.features)] for rows in windows]
    explained = [attributions(model, rows, seed)[names] for rows in chosen]

    def value(rows: Rows) -> float:
        return agreement(before, np.array([rows[name].mean() for name in names]), section.by)

    others = moved.iloc[1::2].assign(_weight=1.0)
    fallen = judge_values(value, others, explained, rule_of(monitors), section.smallest)
    now = explained[-1].to_numpy().mean(axis=0)
    return fallen, [names[at] for at in np.argsort(-now, kind="stable")]


def _answered(collected: StageInput, version: str, monitors: Any, workspace: Workspace) -> list[pd.DataFrame]:
    """Return the windows in which a version answered enough rows; none unless the newest is among them."""
    rows = workspace.read_frame(collected.output("captured"))
    windows = windows_of(rows, monitors.judged.of, version)
    filled = [one for one in windows if len(one) >= FEWEST_ROWS]
    return filled if len(windows[-1]) >= FEWEST_ROWS else []


def _picture(title: str, fallen: Fallen, name: str) -> bytes:
    sign = sign_of(name)
    return values_picture(
        title, [sign * one for one in fallen.values], sign * fallen.low, sign * fallen.reference, name
    )


def _finding(name: str, fallen: Fallen, interval: dict[str, float] | None, severity: str = "error") -> Finding:
    between = f" [{interval['low']:.3f}, {interval['high']:.3f}]" if interval else ""
    sign = sign_of(name)
    worse, least = ("below", "at least") if sign > 0 else ("above", "at most")
    surely = "" if fallen.highs is None else "surely "
    times = f"{surely}{worse} in {fallen.over} of {len(fallen.values)}"
    return Finding(
        rule=name,
        column=None,
        observed=f"{sign * fallen.values[-1]:.3f}{between} in the newest window, {times}",
        bound=f"{least} {sign * fallen.low:.3f} in {fallen.at_least} windows; {sign * fallen.reference:.3f} on the "
        "reference",
        passed=not fallen.fires,
        severity=severity,
    )
