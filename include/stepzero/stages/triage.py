"""From all monitors of a window to what is done about it: page, watch, retrain, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stepzero.adapters import pages, watching
from stepzero.adapters.watching import AlarmEntry, IncidentEntry, RetrainEntry
from stepzero.adapters.workspace import Workspace
from stepzero.core.stages import Record, Reuse, StageInput, StageResult, stage
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.learning.triage import Decision, Remembered, Retrain, Signal, State, decide
from stepzero.spec.monitors import RetrainWindow

NO_VERSION = "none"
_STATES: dict[str, pages.State] = {"page": "bad", "retrain": "warning", "watch": "warning", "nothing": "good"}


@stage(sections=("monitors",), plan=("champion", "watched", "promotes"), reuse=Reuse.RUN)
def triage(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Decide once for a run of the watch, and note in the store what follows: an incident, a retrain, an alarm.

    A retrain takes its place here, before it is triggered: of two runs at the same moment only one gets it. A run that
    has one, and was killed before it could say so, says so when it is tried again.
    """
    asked = _Asked(use_case, inputs, workspace)
    decision, entry = _decided(asked)
    incident, is_new = _noted(asked, decision)
    values = {
        "action": decision.action,
        "reasons": list(decision.reasons),
        "retrain": entry.model_dump(mode="json") if entry else None,
        "incident": incident.number if incident else None,
        "tell": is_new,
        "fired": asked.fired,
    }
    verdict = Verdict(
        outcome=Outcome.PASS,
        subject=decision.sentence(),
        reasons=tuple(
            Reason(rule=one.kind, column=one.column, observed=one.sentence, bound="no signal", severity="warning")
            for one in asked.signals
        ),
    )
    workspace.log.info("%s", decision.sentence())
    page = workspace.write_file("page.html", _page(asked, decision))
    tags = {"watch.action": decision.action, "watch.triage": decision.sentence()[:4000]}
    record = Record(
        metrics={f"watch.triage.{decision.action}": 1.0}, tags=tags, files={"watch/triage.html": "page.html"}
    )
    return StageResult(
        outputs={"page": page}, values=values, verdict=verdict, summary=decision.sentence(), records=(record,)
    )


@dataclass(frozen=True)
class _Asked:
    """What the decision is about."""

    use_case: Any
    inputs: dict[str, StageInput]
    workspace: Workspace

    @property
    def version(self) -> str:
        champion = self.workspace.plan.champion
        return champion.version if champion else NO_VERSION

    @property
    def signals(self) -> list[Signal]:
        """Return the signals of all monitors, in the order of their names."""
        told = [one for name in sorted(self.inputs) for one in self.inputs[name].values.get("signals", [])]
        return [Signal(**one) for one in told]

    @property
    def fired(self) -> list[str]:
        """Return the monitors that saw something, the first one by name first: their pages say what."""
        return [one.values["monitor"] for _, one in sorted(self.inputs.items()) if one.values.get("signals")]

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.workspace.plan.as_of)

    def state(self) -> State:
        store, name = self.workspace.store, self.use_case.name
        kept = watching.remembered(store, name, until=self.now)
        return State(
            now=self.now,
            version=self.version,
            is_late=not self.workspace.plan.promotes,
            labels_reach=any(one.values.get("labels_reach") for one in self.inputs.values()),
            retrains=[
                Retrain(
                    number=one.number,
                    at=watching.moment(one),
                    version=one.version,
                    ended=watching.has_ended(store, name, one.dag_run),
                )
                for one in watching.retrains(store, name)
            ],
            remembered=Remembered(at=watching.moment(kept), version=kept.version, why=kept.why) if kept else None,
        )

    def entry(self, why: str) -> dict[str, Any]:
        """Return what all entries of the logs begin with."""
        plan = self.workspace.plan
        return {"number": 1, "at": plan.as_of, "run": plan.run, "version": self.version, "why": why[:2000]}


def _decided(asked: _Asked) -> tuple[Decision, RetrainEntry | None]:
    """Decide; a retrain whose place somebody else took is decided anew, with that one known."""
    store, name = asked.workspace.store, asked.use_case.name
    mine = [one for one in watching.retrains(store, name) if one.run == asked.workspace.plan.run]
    if mine:
        return Decision(action="retrain", reasons=(mine[0].why,), forget=True), mine[0]
    while True:
        decision = decide(asked.signals, asked.state(), asked.use_case.monitors.triage)
        if decision.action != "retrain":
            return decision, None
        entry = _next(asked, decision)
        if watching.claim_retrain(store, name, entry):
            return decision, entry


def _next(asked: _Asked, decision: Decision) -> RetrainEntry:
    number = len(watching.retrains(asked.workspace.store, asked.use_case.name)) + 1
    why = "; ".join(decision.reasons)
    form = retrain_form(asked.use_case.monitors.triage.window) | {"reason": f"the watch asked for it: {why}"[:1000]}
    collected = asked.inputs.get("collected")
    if collected is not None and collected.output("labelled").rows:
        form["compared_on"] = collected.output("labelled").to_json()
    dag_run = f"retrain__{number:06d}__{asked.workspace.plan.as_of}"
    return RetrainEntry(**{**asked.entry(why), "number": number}, dag_run=dag_run, form=form)


def retrain_form(window: RetrainWindow) -> dict[str, Any]:
    """Return what the policy sets in the training DAG's form."""
    asked = {
        "window": None if window.use == "declared" else window.use,
        "recent_batches": window.batches,
        "half_life": window.half_life,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _noted(asked: _Asked, decision: Decision) -> tuple[IncidentEntry | None, bool]:
    """Note what follows of a decision; return the incident, and whether people are to be told of it."""
    store, name, run = asked.workspace.store, asked.use_case.name, asked.workspace.plan.run
    if decision.forget or decision.action == "retrain":
        watching.settle(store, name, run, until=asked.now)
    if decision.remember:
        watching.remember(store, name, AlarmEntry(**asked.entry(decision.remember)))
    if decision.action == "page":
        entry = IncidentEntry(**asked.entry("; ".join(decision.reasons)), kinds=decision.kinds)
        return watching.note_incident(store, name, entry)
    known = watching.open_incident(store, name)
    if known is not None:
        watching.close_incident(store, name, known, run)
    return None, False


def _page(asked: _Asked, decision: Decision) -> bytes:
    rows = [
        [name, pages.badge(one.verdict.outcome if one.verdict else "", _state(one)), one.reference.summary]
        for name, one in sorted(asked.inputs.items())
        if one.verdict
    ]
    reasons = [[reason] for reason in decision.reasons]
    return pages.page(
        f"Watch of {asked.use_case.name}",
        pages.section("Why", pages.table(["reason"], reasons)),
        pages.section("Monitors", pages.table(["monitor", "verdict", "what it saw"], rows)),
        sentence=decision.sentence()[:600],
        state=_STATES[decision.action],
    )


def _state(one: StageInput) -> pages.State:
    if one.verdict is None or one.verdict.outcome is Outcome.NOT_YET:
        return "warning"
    return "good" if one.verdict.accepted else "bad"
