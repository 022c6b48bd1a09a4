"""What all monitors share: the champion's reference, the windows, and the way to verdict, page and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stepzero.adapters import pages
from stepzero.adapters.captured import ANSWERED, STATUS, VERSION
from stepzero.adapters.registry_records import read_registration
from stepzero.core.references import Reference
from stepzero.core.stages import Record, StageInput, StageResult
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.learning.drift import Rule
from stepzero.learning.triage import Signal
from stepzero.measures.drift import DriftColumn
from stepzero.measures.false_alarms import level_of_evaluation
from stepzero.measures.quality import Finding

if TYPE_CHECKING:
    import pandas as pd

    from stepzero.adapters.workspace import Workspace

WINDOW = "_window"
_STATES: dict[Outcome, pages.State] = {Outcome.PASS: "good", Outcome.NOT_YET: "warning", Outcome.FAIL: "bad"}


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a champion's traffic is compared with."""

    version: str
    files: dict[str, Reference]
    columns: dict[str, DriftColumn]
    score: DriftColumn


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a monitor found."""

    monitor: str
    subject: str
    findings: Sequence[Finding] = ()
    signals: Sequence[Signal] = ()
    not_yet: str | None = None
    """Why nothing can be said; then nothing is called good."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    picture: bytes | None = None
    alt: str = ""
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Return FAIL where something fired, NOT YET where nothing could be judged, else PASS."""
        reasons = tuple(one.reason() for one in self.findings if not one.passed)
        if any(one.severity == "error" for one in reasons):
            return Verdict(outcome=Outcome.FAIL, subject=self.subject, reasons=reasons)
        if self.not_yet is not None:
            told = Reason(rule=self.monitor, column=None, observed=self.not_yet, bound="ripe", severity="warning")
            subject = f"{self.subject}: {self.not_yet}"
            return Verdict(outcome=Outcome.NOT_YET, subject=subject, reasons=(told, *reasons))
        return Verdict(outcome=Outcome.PASS, subject=self.subject, reasons=reasons)


def watched_by(name: str, workspace: Workspace) -> tuple[Watched | None, str]:
    """Return what the champion's traffic is compared with; or None and why there is nothing."""
    champion = workspace.plan.champion
    if champion is None:
        return None, "no champion yet"
    registration = read_registration(workspace.store, name, champion.version)
    if not registration.watched:
        return None, f"version {champion.version} was registered without a reference"
    files = {output: Reference.from_json(one) for output, one in registration.watched.items()}
    told = workspace.store.read_json(files["reference"].uri)
    columns = {column: DriftColumn.from_json(data) for column, data in told["columns"].items()}
    score = DriftColumn.from_json(told["score"])
    return Watched(version=champion.version, files=files, columns=columns, score=score), ""


def windows_of(rows: pd.DataFrame, number: int, version: str | None = None) -> list[pd.DataFrame]:
    """Return answered rows window by window, the oldest first; of one version if it is named."""
    answered = rows[rows[STATUS] == ANSWERED]
    if version is not None:
        answered = answered[answered[VERSION].astype(str) == version]
    return [answered[answered[WINDOW] == at].reset_index(drop=True) for at in range(number)]


def rule_of(monitors: Any, section: Any = None, *, share: float = 1.0) -> Rule:
    """Return how windows are judged within a monitor's part of the budget."""
    return Rule(
        at_least=monitors.judged.at_least,
        level=level_of(monitors) * share,
        draws=monitors.false_alarms.draws,
        seed=monitors.false_alarms.seed,
        names=tuple(getattr(section, "distances", ())),
        smallest=dict(section.smallest) if hasattr(section, "distances") else {},
    )


def level_of(monitors: Any) -> float:
    """Return how likely one evaluation of one monitor may fire by chance."""
    budget = monitors.false_alarms
    return level_of_evaluation(
        at_most=budget.at_most, days=budget.days, window_hours=monitors.window_hours, monitors=monitors.statistical
    )


def unwatched(monitor: str, why: str, workspace: Workspace) -> StageResult:
    """Return what a monitor says where there is nothing to compare with, or too little: never that all is well."""
    return result_of(Seen(monitor=monitor, subject=_title(monitor), not_yet=why), workspace)


def result_of(seen: Seen, workspace: Workspace) -> StageResult:
    """Return a monitor's result with its page."""
    verdict = seen.verdict
    workspace.log.info("%s", _text(seen.findings, verdict))
    page = workspace.write_file("page.html", _page(seen, verdict))
    name = f"watch.{seen.monitor}"
    metrics = {f"{name}.fired": float(verdict.outcome is Outcome.FAIL)} | {
        f"{name}.{metric}": float(value) for metric, value in seen.metrics.items()
    }
    tags = {f"{name}.outcome": str(verdict.outcome), f"{name}.sentence": verdict.sentence()[:4000]}
    values = {"monitor": seen.monitor, "signals": [one.to_json() for one in seen.signals], **seen.values}
    record = Record(metrics=metrics, tags=tags, files={f"watch/{seen.monitor}.html": "page.html"})
    return StageResult(
        outputs={"page": page}, values=values, verdict=verdict, summary=verdict.sentence(), records=(record,)
    )


def span_of(collected: StageInput) -> str:
    """Return the newest window's span as a person reads it."""
    newest = collected.values["windows"][-1]
    return f"{newest['start'][:16]} to {newest['end'][:16]}"


def _page(seen: Seen, verdict: Verdict) -> bytes:
    rows = [
        [
            one.rule,
            one.column or "",
            one.observed,
            one.bound,
            pages.badge(*(("kept", "good") if one.passed else ("over", "bad"))),
        ]
        for one in sorted(seen.findings, key=lambda one: one.passed)
    ]
    parts: list[Any] = []
    if seen.picture is not None:
        parts.append(pages.section("At a glance", pages.picture(seen.picture, seen.alt)))
    if rows:
        parts.append(pages.section("Findings", pages.table(["what", "of", "seen", "allowed", ""], rows)))
    if seen.note:
        parts.append(pages.section("How it is judged", pages.text(seen.note)))
    return pages.page(_title(seen.monitor), *parts, sentence=verdict.sentence(), state=_STATES[verdict.outcome])


def _text(findings: Sequence[Finding], verdict: Verdict) -> str:
    lines = [f"  {one.reason().sentence()}" for one in findings if not one.passed]
    return "\n".join([verdict.sentence(), *lines])


def _title(monitor: str) -> str:
    return monitor.replace("_", " ").capitalize()
