"""Watch decisions of groups: the difference between them against the held-out rows', and the declared limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stepzero.adapters.captured import DECISION, VERSION, beside
from stepzero.adapters.labels import KNOWN_AT, LABEL
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

FEWEST_OF_A_GROUP = FEWEST_ROWS
"""A share of fewer rows, of a group or of all others, says nothing."""


@stage(sections=("monitors", "bias", "problem"), plan=("champion",))
def watch_bias(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge by how much favourable decisions differ between groups (DPPL); with ripe labels, all declared limits.

    Rows without a facet's value, such as requests that name no record, are left out of what is said of that facet.

    Raises:
        RuleError: A metric that has a limit has no value.
    """
    watched, why = watched_by(use_case.name, workspace)
    if watched is None:
        return unwatched("bias", why, workspace)
    rows = workspace.read_frame(inputs["collected"].output("captured"))
    windows = windows_of(rows, use_case.monitors.judged.of, watched.version)
    if windows[-1].empty:
        return unwatched("bias", f"no row of version {watched.version} in the newest window", workspace)
    threshold = read_registration(workspace.store, use_case.name, watched.version).threshold
    reference = workspace.read_frame(watched.files["scored"])
    if DECISION not in reference:  # of a version that was registered before decisions were kept
        reference = reference.assign(**{DECISION: (reference["_score"] >= threshold).astype(np.float64)})
    told = _differences(use_case, reference, windows)
    _limits(use_case, inputs["collected"], watched.version, workspace, told)
    seen = Seen(
        monitor="bias",
        subject=f"decisions of version {watched.version} on {len(told.ratios)} groups{told.without}",
        findings=told.findings,
        signals=told.signals,
        not_yet="; ".join(told.unjudged) or None,
        metrics=told.metrics,
        picture=_picture(told),
        alt="change of each group's difference in favourable decisions, window by window",
        note="DPPL: share of favourable decisions of all others minus the group's. With ripe labels, every metric that "
        "has a limit under bias.limits.after is judged, too. Rows without a value of the facet are left out.",
    )
    return result_of(seen, workspace)


@dataclass
class _Told:
    """What is said of all groups."""

    findings: list[Finding] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    """Group → how far from the reference each window is, in units of what is allowed."""
    unjudged: list[str] = field(default_factory=list)
    """Why something cannot be judged."""
    without: str = ""
    """Which facets have rows without a value, and how many."""


def _picture(told: _Told) -> bytes | None:
    title = "Groups, as far from the reference as is allowed at 1"
    return ratios_picture(told.ratios, title, "change of DPPL") if told.ratios else None


def _differences(use_case: Any, reference: pd.DataFrame, windows: list[pd.DataFrame]) -> _Told:
    """Judge facet by facet, each on the rows that have a value of it."""
    told = _Told()
    number = sum(max(len(facet.values), len(facet.above)) for facet in use_case.bias.facets.values())
    for name in use_case.bias.facets:
        known, expected = [_with_value(rows, name) for rows in windows], _with_value(reference, name)
        _note_missing(name, windows[-1], known[-1], told)
        if not len(expected) or not len(known[-1]):
            told.unjudged.append(_nothing(name, "held-out row" if len(known[-1]) else "request of the newest window"))
            continue
        for group in _groups(use_case, name, expected, windows=known):
            _judge(group, use_case, number, told)
    return told


def _with_value(rows: pd.DataFrame, facet: str) -> pd.DataFrame:
    """Return the rows that have a value of a facet, under its name; it may be one that no model sees."""
    found = next((name for name in (facet, beside(facet)) if name in rows), None)
    if found is None:
        return rows.iloc[:0].assign(**{facet: pd.Series(dtype="float64")})
    kept = rows[rows[found].notna()].reset_index(drop=True)
    values = kept[found].infer_objects()  # numbers, though another window had nothing at all
    return kept.assign(**{found: values, facet: values})


def _note_missing(facet: str, rows: pd.DataFrame, known: pd.DataFrame, told: _Told) -> None:
    if len(rows) == len(known):
        return
    share = 1 - len(known) / len(rows)
    told.metrics[f"without.{facet}"] = share
    told.without += f", {share:.1%} of the newest window's rows without {facet} left out"


def _nothing(facet: str, of: str) -> str:
    return (
        f"no {of} has a value of {facet}: it is a feature, or captured beside requests by id where "
        "serve.groups.GROUP.beside names it"
    )


@dataclass(frozen=True, kw_only=True)
class _Group:
    """A group's rows and all others', of the reference and of each window."""

    facet: str
    name: str
    difference: _Difference
    reference: pd.DataFrame
    windows: list[pd.DataFrame]


def _groups(use_case: Any, facet: str, reference: pd.DataFrame, windows: list[pd.DataFrame]) -> Iterator[_Group]:
    bias = use_case.bias.model_copy(update={"facets": {facet: use_case.bias.facets[facet]}})
    wanted = bool(is_favourable(pd.Series([use_case.problem.positive]), bias.favourable)[0])
    for place, group in enumerate(find_groups(reference, bias)):
        difference = _Difference(bias, place, wanted)
        name = f"{facet} = {group.value}"
        yield _Group(facet=facet, name=name, difference=difference, reference=reference, windows=windows)


def _judge(group: _Group, use_case: Any, number: int, told: _Told) -> None:
    """Judge one group of so many in the windows that have enough of its rows, the newest among them."""
    monitors, difference = use_case.monitors, group.difference
    windows = [rows for rows in group.windows if difference.fewest(columns_of(rows)) >= FEWEST_OF_A_GROUP]
    why = _too_few(group, len(windows), monitors.judged.at_least)
    if why:
        told.unjudged.append(why)
        return
    before, now = difference(columns_of(group.reference)), difference(columns_of(windows[-1]))
    rule = rule_of(monitors, share=1 / number)
    judged = judge_values(_near(difference, before), group.reference, windows, rule, monitors.bias.smallest)
    finding = Finding(
        rule="DPPL",
        column=group.name,
        observed=f"{now:+.3f}, {before:+.3f} on held-out rows, over in {judged.over} of {len(windows)} windows",
        bound=f"at most {-judged.low:.3f} away in {judged.at_least} windows",
        passed=not judged.fires,
    )
    told.findings.append(finding)
    told.ratios[group.name] = [-value / max(-judged.low, 1e-12) for value in judged.values]
    told.metrics[f"DPPL.{group.name.replace(' = ', '.')}".replace(" ", "_")] = now
    if judged.fires:
        told.signals.append(Signal(kind="bias_drift", column=group.facet, sentence=finding.reason().sentence()))


def _too_few(group: _Group, windows: int, needed: int) -> str:
    """Return why a group cannot be judged; nothing where it can."""
    for what, rows in (("held-out rows", group.reference), ("the newest window", group.windows[-1])):
        fewest = group.difference.fewest(columns_of(rows))
        if fewest < FEWEST_OF_A_GROUP:
            return f"{group.name}: {fewest} rows of it, or of all others, in {what}; {FEWEST_OF_A_GROUP} are needed"
    return "" if windows >= needed else f"{group.name}: {windows} of {needed} windows have enough rows"


class _Difference:
    """The difference in favourable decisions between a group and all others; not a number without one of them."""

    def __init__(self, bias: Any, place: int, wanted: bool) -> None:
        self.bias, self.place, self.wanted = bias, place, wanted

    def __call__(self, rows: Rows) -> float:
        disfavoured = self._disfavoured(rows)
        favourable = (np.asarray(rows[DECISION], dtype=np.float64) == 1.0) == self.wanted
        if not 0 < disfavoured.sum() < len(disfavoured):
            return float("nan")
        return float(favourable[~disfavoured].mean() - favourable[disfavoured].mean())

    def fewest(self, rows: Rows) -> int:
        """Return how many rows the smaller of both has."""
        disfavoured = self._disfavoured(rows)
        return int(min(disfavoured.sum(), (~disfavoured).sum()))

    def _disfavoured(self, rows: Rows) -> Any:
        facets = pd.DataFrame({name: rows[name] for name in self.bias.facets})
        return list(find_groups(facets, self.bias))[self.place].disfavoured


def _near(difference: _Difference, before: float) -> Callable[[Rows], float]:
    """Return minus the distance from the reference's difference: larger is better."""

    def nearness(rows: Rows) -> float:
        return -abs(difference(rows) - before)

    return nearness


def _limits(use_case: Any, collected: StageInput, version: str, workspace: Workspace, told: _Told) -> None:
    """Judge the declared limits on the newest window with ripe labels; nothing where there is none."""
    bias, problem = use_case.bias, use_case.problem
    ripe = [number for number, one in enumerate(collected.values["labels"]) if one["ripe"]]
    if not bias.limits.after or not ripe:
        return
    rows = workspace.read_frame(collected.output("labelled"))
    rows = rows[(rows["_window"] == ripe[-1]) & (rows[VERSION].astype(str) == version)]
    for name in bias.facets:
        rows = _with_value(rows, name)
    few = _few_labelled(rows, bias)
    if few:
        told.unjudged.append(few)
        return
    positive, others = problem.positive, [one for one in bias.favourable.values if one != problem.positive]
    other = others[0] if others else (0 if positive != 0 else 1)
    target = pd.Series(np.where(rows[LABEL] == 1, positive, other), index=rows.index)
    aside = [name for name in bias.facets if beside(name) in rows]
    frame = rows.drop(columns=[LABEL, KNOWN_AT, *aside]).assign(**{problem.target: target})
    verdict = judge_bias(report_after(frame, (frame[DECISION] == 1.0).to_numpy(), problem, bias), bias)
    made = [
        Finding(rule=one.rule, column=one.column, observed=one.observed, bound=one.bound, passed=False)
        for one in verdict.reasons
    ]
    kept = f"{len(bias.limits.after)} limits on {len(frame)} labelled rows"
    told.findings += made or [Finding(rule="limits", column=None, observed=kept, bound="as declared", passed=True)]
    told.signals += [Signal(kind="bias_limit", column=one.column, sentence=one.reason().sentence()) for one in made]


def _few_labelled(rows: pd.DataFrame, bias: Any) -> str:
    """Return why the limits cannot be judged on labelled rows; nothing where they can."""
    if rows.empty:
        return "limits: no labelled row of the watched version has a value of every facet"
    for group in find_groups(rows, bias):
        fewest = int(min(group.disfavoured.sum(), (~group.disfavoured).sum()))
        if fewest < FEWEST_OF_A_GROUP:
            name = f"{group.facet} = {group.value}"
            return f"limits: {fewest} labelled rows of {name}, or of all others; {FEWEST_OF_A_GROUP} are needed"
    return ""
