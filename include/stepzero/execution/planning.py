"""The first task of a run: freeze everything that must not change under it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from stepzero.adapters.arrivals import claimed_uris
from stepzero.adapters.history import without_refused
from stepzero.adapters.ledger import (
    Accepted,
    accepted_batches,
    dataset_uris,
    known_batch,
    landed_days,
    landed_uris,
    make_batch,
    time_of,
    waiting_uris,
    was_refused,
)
from stepzero.adapters.releases import member_of, released_of
from stepzero.core.errors import InputError, SpecError, bare, did_you_mean
from stepzero.core.stages import STAGES
from stepzero.execution.planning_parts import (
    asks_how_fresh,
    history_before,
    landed_batch,
    named_files,
    nothing_to_judge,
    referenced_datasets,
)
from stepzero.execution.planning_tables import plan_tables, whole_batch
from stepzero.execution.warm_start import find_searches
from stepzero.spec.data import Window
from stepzero.spec.environment import require_price
from stepzero.spec.load import load_use_case, validate
from stepzero.spec.plan import Batch, Champion, Form, Member, Plan, apply_form, run_folder

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.spec.environment import Environment
    from stepzero.spec.use_case import UseCase


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What the orchestrator knows when a run begins.

    ``as_of`` is the run's time (data interval end, or when it was asked for). ``uris`` are the
    landed files that the sensor found; without them, the form or the listing decides.
    """

    use_case: str
    run: str
    as_of: str
    partition: str | None = None
    uris: tuple[str, ...] = ()
    form: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    promotes: bool = True
    """Whether the run may register a version; a backfill may not."""
    author: str = ""
    """Who started it, where a person did."""


def make_plan(request: PlanRequest, store: Store, environment: Environment, champion: Champion | None) -> Plan:
    """Make the plan of a run without writing it (`stepzero plan` prints it).

    Raises:
        SpecError: The form asks for something that the use case does not declare.
        InputError: Nothing has landed.
    """
    form = validate(request.form, Form)
    use_case = apply_form(load_use_case(request.use_case), form)
    _check_recompute(form)
    _check_window(form)
    _check_earlier(form, use_case)
    tables = plan_tables(request, form.batch, use_case, store)
    batch = whole_batch(tables, request.partition) if tables else _batch(request, form, use_case, store)
    days = _days(store, use_case, batch, form)
    return Plan(
        run=request.run,
        use_case=use_case,
        environment=environment.name,
        batch=batch,
        window=_window(store, use_case, batch, request.as_of, form),
        released=released_of(store, use_case.name, batch),
        history=history_before(store, use_case, batch, request.as_of),
        days=days,
        tables=tables,
        released_days=released_of(store, use_case.name, *days),
        promotes=request.promotes,
        champion=champion,
        as_of=request.as_of,
        datasets=referenced_datasets(store, use_case.quality),
        fresh_as_of=request.as_of if asks_how_fresh(use_case.quality) else None,
        approval=_approval(use_case, environment, form),
        recompute=form.recompute,
        warm_start=find_searches(store, use_case),
        author=request.author,
        links=request.links,
        price_per_hour=_price(use_case, environment),
        half_life=form.half_life,
        reason=form.reason,
        compared_on=form.compared_on,
    )


def commit_plan(store: Store, plan: Plan) -> Plan:
    """Write the plan, or return the one that this run already has: a cleared task changes nothing."""
    uri = f"{run_folder(plan.use_case.name, plan.run)}/plan.json"
    if store.create(uri, plan.model_dump(mode="json", by_alias=True)):
        return plan
    return Plan.model_validate(store.read_json(uri))


def _batch(request: PlanRequest, form: Form, use_case: UseCase, store: Store) -> Batch:
    if use_case.source is None:
        return _dataset(request, use_case, store)
    prefix = use_case.source.prefix
    if use_case.source.partition:
        return _day(request, form, use_case, prefix, store)
    if form.batch:
        known = known_batch(store, use_case.name, form.batch)
        return known or _landed(request, named_files(form.batch, landed_uris(store, prefix)), use_case, store)
    claimed = claimed_uris(store, use_case.name, request.run)
    uris = list(request.uris) or claimed or waiting_uris(store, use_case.name, prefix)
    if uris:
        return _landed(request, uris, use_case, store)
    accepted = accepted_batches(store, use_case.name)
    if accepted:
        return accepted[-1].batch()
    action = f"land one: bin/run --use-case {use_case.name} --data FILE"
    raise nothing_to_judge(store, prefix, allowed="at least one file that is not empty", action=action)


def _landed(request: PlanRequest, uris: list[str], use_case: UseCase, store: Store) -> Batch:
    return landed_batch(store, use_case.name, uris, request.partition)


def _day(request: PlanRequest, form: Form, use_case: UseCase, prefix: str, store: Store) -> Batch:
    """Return the whole of one day: the run's, the one named, that of the named file, or the newest not refused."""
    days = landed_days(store, prefix)
    if form.batch and form.batch not in days:
        uri = named_files(form.batch, [uri for uris in days.values() for uri in uris])[0]
        day: str | None = uri.removeprefix(prefix).partition("/")[0]
    else:
        day = form.batch or request.partition
    if day is None:
        newest_first = (make_batch(store, days[one], one) for one in sorted(days, reverse=True))
        found = next((batch for batch in newest_first if not was_refused(store, use_case.name, batch)), None)
    else:
        found = make_batch(store, days[day], day) if day in days else None
    if found is None:
        allowed = "at least one file of that day that is not empty"
        action = f"land one: bin/stepzero data land {request.use_case} FILE"
        raise nothing_to_judge(store, f"{prefix}{day or ''}", allowed=allowed, action=action)
    return found


def _days(store: Store, use_case: UseCase, batch: Batch, form: Form) -> tuple[Batch, ...]:
    """Return the days of an explicit window before the batch's, as they have landed.

    No run before this one matters, but one that refused its own day as unlike the days before: that day is left out.
    """
    source = use_case.source
    if source is None or not source.partition or form.window == "batch":
        return ()
    days = landed_days(store, source.prefix)
    length = form.recent_batches if form.window == "recent" else source.window.days
    first = (date.fromisoformat(batch.partition) - timedelta(days=(length or 1) - 1)).isoformat()
    if form.window == "all":
        first = min(days)
    landed = [make_batch(store, days[day], day) for day in sorted(days) if first <= day < batch.partition]
    return without_refused(store, use_case.name, landed) if use_case.quality.anomalies else tuple(landed)


def _dataset(request: PlanRequest, use_case: UseCase, store: Store) -> Batch:
    """Return what a gate without a source judges: what it is given, wherever that lies."""
    uris = [uri for address in request.uris for uri in dataset_uris(store, address)]
    if not uris:
        raise SpecError(
            f"{use_case.name}.source",
            value=bare(f"none, and nothing under {', '.join(request.uris)}" if request.uris else "none"),
            allowed="a source section, or a dataset for the gate alone",
            action="declare where rows come from, or give `quality_gate` a dataset",
        )
    return make_batch(store, uris, request.partition)


def _window(store: Store, use_case: UseCase, batch: Batch, as_of: str, form: Form) -> tuple[Member, ...]:
    """Return accepted batches before this one: never itself, never from its future."""
    if form.window == "batch" or use_case.source is None or use_case.source.partition:
        return ()
    window = use_case.source.window
    if form.window in {"recent", "all"}:
        window = Window(batches=form.recent_batches if form.window == "recent" else None)
    earlier = [entry for entry in accepted_batches(store, use_case.name) if _is_before(entry, batch, as_of)]
    if form.earlier is not None:
        return tuple(member_of(store, use_case.name, entry) for entry in _asked_for(form.earlier, earlier))
    # One content is one batch, whatever its names: as it was judged last.
    last = {entry.digest: entry for entry in sorted(earlier, key=lambda entry: entry.as_of)}
    earlier = [entry for entry in earlier if last[entry.digest] is entry]
    if window.days:
        end = time_of(batch.partition, as_of)
        first = end - timedelta(days=window.days)
        earlier = [entry for entry in earlier if first < entry.time <= end]
    kept = earlier[-(window.batches - 1) :] if window.batches and window.batches > 1 else earlier
    return tuple(member_of(store, use_case.name, entry) for entry in ([] if window.batches == 1 else kept))


def _asked_for(names: tuple[str, ...], known: list[Accepted]) -> list[Accepted]:
    found = [entry for entry in known if entry.partition in names]
    missing = sorted(set(names) - {entry.partition for entry in found})
    if missing:
        raise InputError(
            "form.earlier",
            value=missing[0],
            allowed=did_you_mean(missing[0], [entry.partition for entry in known]) or "no batch was accepted before",
            action="name partitions that an earlier run accepted",
        )
    return found


def _is_before(entry: Accepted, batch: Batch, as_of: str) -> bool:
    before = datetime.fromisoformat(entry.since or entry.as_of) < datetime.fromisoformat(as_of)
    return before and entry.partition != batch.partition and entry.digest != batch.digest


def _approval(use_case: UseCase, environment: Environment, form: Form) -> Literal["rule", "person"]:
    """Return who approves: the environment says; a use case or a form may only tighten it."""
    asked = {environment.approval, use_case.promote.approval, form.approval}
    return "person" if "person" in asked else "rule"


def _price(use_case: UseCase, environment: Environment) -> float | None:
    """Return the price that decides where a search ends; None where no budget of money is declared."""
    if use_case.train is None or use_case.train.search.budget.money is None:
        return None
    return require_price(environment.price("tune"))


def _check_window(form: Form) -> None:
    if (form.window == "recent") != (form.recent_batches is not None):
        raise SpecError(
            "form.recent_batches",
            value=form.recent_batches,
            allowed="a number with window: recent, and none without",
            action="give both or neither",
        )


def _check_earlier(form: Form, use_case: UseCase) -> None:
    if form.earlier is None:
        return
    source = use_case.source
    if source is None:
        allowed, action = "nothing where a use case has no single source: there is no window", "leave it out"
    elif source.partition:
        allowed = "nothing where a source has daily partitions: the window is in days, as they have landed"
        action = "choose the window: declared, batch, all, or recent with recent_batches"
    elif form.window != "declared":
        allowed, action = (
            f"nothing with window: {form.window}, which says itself what is trained on",
            "give one of both",
        )
    else:
        return
    raise SpecError("form.earlier", value=list(form.earlier), allowed=allowed, action=action)


def _check_recompute(form: Form) -> None:
    for name in form.recompute:
        if name not in STAGES and ":" not in name:
            raise SpecError("form.recompute", value=name, allowed=did_you_mean(name, STAGES), action="name a stage")
