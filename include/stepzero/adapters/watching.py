"""What triages leave behind in the store: retrains, incidents, alarms to come back to; each place is taken once.

watch/USE_CASE/retrains/000001.json     incidents/000001.json (.over.json)     alarms/000001.json (.over.json)
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from stepzero.adapters.numbered_log import NumberedLog
from stepzero.spec.base import Section
from stepzero.spec.plan import run_folder

if TYPE_CHECKING:
    from stepzero.adapters.store import Store

Kind = TypeVar("Kind", bound="Numbered")


class Numbered(Section):
    """An entry of a log."""

    number: int
    at: str
    """The triage's time, ISO 8601."""
    run: str
    """The run of the watch that made it."""
    version: str
    why: str


class RetrainEntry(Numbered):
    """A retrain that was asked for."""

    dag_run: str
    """Run id of the training DAG, which is also the run's name in the store."""
    form: dict[str, Any] = Field(default_factory=dict)


class IncidentEntry(Numbered):
    """An incident that a person was told of."""

    kinds: tuple[str, ...]


class AlarmEntry(Numbered):
    """An alarm that could not be answered when it came."""


def retrains(store: Store, use_case: str) -> list[RetrainEntry]:
    """Return all retrains, the oldest first."""
    return _entries(store, use_case, "retrains", RetrainEntry)


def has_ended(store: Store, use_case: str, dag_run: str) -> bool:
    """Tell whether a run has said how it ended."""
    return store.exists(f"{run_folder(use_case, dag_run)}/stages/report/result.json")


def claim_retrain(store: Store, use_case: str, entry: RetrainEntry) -> bool:
    """Take the next place, or find that this run of the watch has it; False where another has taken it."""
    log = _log(store, use_case, "retrains")
    if log.take(entry.number, entry.model_dump(mode="json")):
        return True
    return RetrainEntry.model_validate(log.read(entry.number)).run == entry.run


def open_incident(store: Store, use_case: str) -> IncidentEntry | None:
    """Return the incident that is not over."""
    entries = _entries(store, use_case, "incidents", IncidentEntry)
    return entries[-1] if entries and not _log(store, use_case, "incidents").is_settled(entries[-1].number) else None


def note_incident(store: Store, use_case: str, entry: IncidentEntry) -> tuple[IncidentEntry, bool]:
    """Return the incident that this belongs to, and whether people are to be told.

    People are told once: as long as it is not over, and nothing of another kind joins it. A task that is tried
    again tells again what it may not have told.
    """
    known = open_incident(store, use_case)
    if known is not None and (set(entry.kinds) <= set(known.kinds)):
        return known, known.run == entry.run
    if known is not None:
        close_incident(store, use_case, known, entry.run)
    entries = _entries(store, use_case, "incidents", IncidentEntry)
    kinds = tuple(sorted({*entry.kinds, *(known.kinds if known else ())}))
    made = entry.model_copy(update={"number": len(entries) + 1, "kinds": kinds})
    if _log(store, use_case, "incidents").take(made.number, made.model_dump(mode="json")):
        return made, True
    return note_incident(store, use_case, entry)


def close_incident(store: Store, use_case: str, entry: IncidentEntry, run: str) -> None:
    """Note that an incident is over."""
    _log(store, use_case, "incidents").settle(entry.number, {"run": run})


def remembered(store: Store, use_case: str, *, until: datetime | None = None) -> AlarmEntry | None:
    """Return the oldest alarm that is not settled; none that came after a moment: a run answers no later one's."""
    entries = _entries(store, use_case, "alarms", AlarmEntry)
    left = [one for one in entries if not _log(store, use_case, "alarms").is_settled(one.number)]
    return next((one for one in left if until is None or moment(one) <= until), None)


def remember(store: Store, use_case: str, entry: AlarmEntry) -> None:
    """Keep an alarm, unless one is kept already: an alarm that goes on is one."""
    if remembered(store, use_case) is not None:
        return
    entries = _entries(store, use_case, "alarms", AlarmEntry)
    made = entry.model_copy(update={"number": len(entries) + 1})
    if not _log(store, use_case, "alarms").take(made.number, made.model_dump(mode="json")):
        remember(store, use_case, entry)


def settle(store: Store, use_case: str, run: str, *, until: datetime) -> None:
    """Note that the alarm that was remembered at a moment is answered."""
    known = remembered(store, use_case, until=until)
    if known is not None:
        _log(store, use_case, "alarms").settle(known.number, {"run": run})


def moment(entry: Numbered) -> datetime:
    """Return an entry's time."""
    return datetime.fromisoformat(entry.at)


def _entries(store: Store, use_case: str, log: str, kind: type[Kind]) -> list[Kind]:
    return [kind.model_validate(one) for one in _log(store, use_case, log).entries()]


def _log(store: Store, use_case: str, name: str) -> NumberedLog:
    return NumberedLog(store=store, folder=f"watch/{use_case}/{name}", mark="over")
