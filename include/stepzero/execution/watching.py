"""The first task of a run of the watch: which window of served traffic, and which champion."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from stepzero.core.digests import digest_json
from stepzero.core.errors import InputError, SpecError, bare
from stepzero.core.references import ResultReference
from stepzero.core.stages import Record
from stepzero.execution.execute import Request, read_plan
from stepzero.execution.first import find_champion, note_plan
from stepzero.execution.planning import PlanRequest, commit_plan
from stepzero.spec.load import load_use_case
from stepzero.spec.plan import Batch, Plan, Watched, run_folder

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.spec.environment import Environment
    from stepzero.spec.plan import Champion


def run_watch_plan(asked: PlanRequest, request: Request, store: Store, environment: Environment) -> ResultReference:
    """Freeze which window a run of the watch is about, or find what it froze; open its run in the tracking server.

    Raises:
        SpecError: The use case watches nothing.
        InputError: The form's window has not ended, or is no time.
        ServiceError: The tracking server does not answer.
    """
    from stepzero.adapters.tracking import Tracking

    tracking = Tracking(environment.tracking)
    uri = f"{run_folder(request.use_case, asked.run)}/plan.json"
    if store.exists(uri):
        plan = read_plan(store, request.use_case, asked.run)
    else:
        plan = commit_plan(store, make_watch_plan(asked, environment, find_champion(asked.use_case, tracking)))
    values = {"partition": plan.batch.partition}
    return note_plan(plan, request, store, tracking, record=_record(plan), told=summary(plan), values=values)


def make_watch_plan(asked: PlanRequest, environment: Environment, champion: Champion | None) -> Plan:
    """Make the plan of a run of the watch without writing it.

    Its window is the last whole one before the run's time, or the one that ends when the form says.

    Raises:
        SpecError: The use case watches nothing.
        InputError: The form's window has not ended, or is no time.
    """
    use_case = load_use_case(asked.use_case)
    if use_case.monitors is None:
        raise SpecError(
            f"{use_case.name}: monitors",
            value=bare("none"),
            allowed="a monitors section, which says what is watched",
            action="add one to the use-case file",
        )
    as_of = datetime.fromisoformat(asked.as_of).astimezone(UTC)
    end = window_end(as_of, use_case.monitors.window_hours, asked.form.get("window_end"))
    watched = Watched(start=(end - timedelta(hours=use_case.monitors.window_hours)).isoformat(), end=end.isoformat())
    return Plan(
        run=asked.run,
        use_case=use_case,
        environment=environment.name,
        batch=Batch(partition=f"{end:%Y-%m-%dT%H}", digest=digest_json(watched.model_dump()), files=()),
        champion=champion,
        as_of=as_of.isoformat(),
        approval="rule",
        promotes=asked.promotes,
        links=asked.links,
        purpose="watch",
        watched=watched,
    )


def window_end(as_of: datetime, hours: int, asked: str | None) -> datetime:
    """Return the end of a window: windows begin at midnight UTC of 1970, one after the other.

    Raises:
        InputError: The one that is asked for is no time, or not over.
    """
    moment = as_of
    if asked:
        try:
            moment = datetime.fromisoformat(asked)
        except ValueError as error:
            raise InputError(
                "form.window_end", value=asked, allowed="ISO 8601, such as 2026-11-21T00:00+00:00", action="correct it"
            ) from error
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        if moment > as_of:
            raise InputError(
                "form.window_end", value=asked, allowed=f"a time before the run's, {as_of.isoformat()}", action="wait"
            )
    length = hours * 3600
    return datetime.fromtimestamp(int(moment.timestamp()) // length * length, UTC)


def summary(plan: Plan) -> str:
    """Return what a run of the watch is about, in one line."""
    against = f"champion is version {plan.champion.version}" if plan.champion else "no champion yet"
    watched = plan.watched
    late = "" if plan.promotes else ", long gone: no retrain is asked for"
    return f"window {watched.start[:16]} to {watched.end[:16]} UTC, {against}{late}" if watched else against


def _record(plan: Plan) -> Record:
    watched = plan.watched
    parameters = {"window_start": watched.start, "window_end": watched.end} if watched else {}
    parameters["champion"] = plan.champion.version if plan.champion else "none"
    return Record(parameters=parameters, tags={"stepzero.purpose": "watch"}, files={"plan.json": "plan.json"})
