"""From what monitors saw to what is done: page a person, watch, retrain, or nothing. Pure decisions, no data.

Broken data are a person's matter: a model that learned from them would be worse than the one that serves. A shift
that costs nothing is watched. A loss, or one that is foretold of windows that ripe labels do not reach yet, asks for a
retrain, as often as the policy allows; what it does not allow is said, and remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from stepzero.spec.monitors import Triage

Action = Literal["page", "watch", "retrain", "nothing"]
INCIDENTS = (
    "broken_rules",
    "missing_values",
    "unit_change",
    "upstream_schema",
    "volume_drop",
    "volume_surge",
    "bias_limit",
)
"""What no retrain can mend."""
SHIFTS = ("data_drift", "multivariate_drift", "prediction_drift", "attribution_drift", "bias_drift")
LOSS, PREDICTED_LOSS = "loss", "predicted_loss"
_WEEK = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One thing that a monitor saw."""

    kind: str
    sentence: str
    column: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that ``Signal(**…)`` reads."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """A retrain that was asked for."""

    number: int
    at: datetime
    version: str
    """The champion of then."""
    ended: bool = False


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """An alarm that could not be answered when it came."""

    at: datetime
    version: str
    why: str


@dataclass(frozen=True, kw_only=True)
class State:
    """What earlier triages left behind, and what time it is."""

    now: datetime
    version: str
    """The champion that the signals are about."""
    is_late: bool = False
    """Whether the window is long gone: of a backfill, or of a run that catches up."""
    labels_reach: bool = False
    """Whether labels are ripe of windows that foretold the same loss: then they say what came of it."""
    retrains: Sequence[Retrain] = ()
    """All of them: runs come in any order, so that some may be of a later time."""
    remembered: Remembered | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is done, and why."""

    action: Action
    reasons: tuple[str, ...]
    remember: str | None = None
    """An alarm to come back to."""
    forget: bool = False
    """Whether the remembered alarm is settled."""
    kinds: tuple[str, ...] = field(default=())
    """Kinds of incidents, for those who were told already."""

    def sentence(self) -> str:
        """Return action and reasons in one sentence."""
        return f"{self.action}: {'; '.join(self.reasons)}"


def decide(signals: Sequence[Signal], state: State, policy: Triage) -> Decision:
    """Return what follows from all signals together."""
    incidents = [one for one in signals if one.kind in INCIDENTS]
    losses = [one for one in signals if one.kind == LOSS]
    shifts = [one for one in signals if one.kind in SHIFTS]
    predicted = [one for one in signals if one.kind == PREDICTED_LOSS] if shifts and not state.labels_reach else []
    if incidents:
        kinds = tuple(sorted({one.kind for one in incidents}))
        kept = None if state.is_late else "; ".join(_told(losses)) or None
        return Decision(action="page", reasons=_told([*incidents, *losses]), kinds=kinds, remember=kept)
    if losses or predicted:
        return _wanted(_told([*losses, *predicted, *shifts]), state, policy)
    if state.remembered is not None:
        return _remembered(state.remembered, _told(shifts), state, policy)
    if shifts:
        return Decision(action="watch", reasons=("no loss is seen", *_told(shifts)))
    told = _told([one for one in signals if one.kind == PREDICTED_LOSS])
    if told:
        return Decision(action="watch", reasons=("a loss is foretold, but no feature has shifted", *told))
    return Decision(action="nothing", reasons=("no monitor fired",))


def _wanted(reasons: tuple[str, ...], state: State, policy: Triage) -> Decision:
    """Retrain if the policy allows it now; what a later run has looked at, or will, asks for none."""
    if state.is_late:
        told = "the window is long gone, and a run that comes so late asks for no retrain"
        return Decision(action="watch", reasons=(told, *reasons))
    why, newest = "; ".join(reasons), max(state.retrains, key=lambda one: one.at, default=None)
    if newest is not None and newest.at > state.now:
        told = f"retrain {newest.number} of {newest.at:%Y-%m-%d %H:%M} is newer than this run, which asks for none"
        return Decision(action="watch", reasons=(told, *reasons))
    for one in state.retrains:
        if not one.ended and state.now - one.at < timedelta(hours=policy.longest_retrain_hours):
            told = f"retrain {one.number} of {one.at:%Y-%m-%d %H:%M} still runs: this alarm is remembered"
            return Decision(action="watch", reasons=(told, *reasons), remember=why)
    if newest is not None and state.now - newest.at < timedelta(hours=policy.cool_down_hours):
        until = newest.at + timedelta(hours=policy.cool_down_hours)
        told = f"cooling down until {until:%Y-%m-%d %H:%M}: this alarm is remembered"
        return Decision(action="watch", reasons=(told, *reasons), remember=why)
    spent = sum(state.now - one.at < _WEEK for one in state.retrains)
    if spent >= policy.retrains_per_week:
        told = f"the budget of {policy.retrains_per_week} retrains a week is spent: a person must look"
        return Decision(action="page", reasons=(told, *reasons), remember=why, kinds=("retrain_budget",))
    return Decision(action="retrain", reasons=reasons, forget=state.remembered is not None)


def _remembered(kept: Remembered, shifts: tuple[str, ...], state: State, policy: Triage) -> Decision:
    """Come back to an alarm: it counts as long as the model that it was about still serves."""
    said = f"the alarm of {kept.at:%Y-%m-%d %H:%M} is not answered yet ({kept.why})"
    if kept.version != state.version:
        told = f"the alarm of {kept.at:%Y-%m-%d %H:%M} was about version {kept.version}, which serves no more"
        return Decision(action="watch" if shifts else "nothing", reasons=(told, *shifts), forget=True)
    return _wanted((said, *shifts), state, policy)


def _told(signals: Sequence[Signal]) -> tuple[str, ...]:
    return tuple(one.sentence for one in signals)
