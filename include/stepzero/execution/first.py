"""The first task of a run: look up the champion, freeze the plan, open the run in the tracking server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from stepzero.adapters.registry_succession import moved_by_hand
from stepzero.core.digests import digest_json
from stepzero.core.errors import PromotionError, bare
from stepzero.core.references import ResultReference
from stepzero.core.stages import Record
from stepzero.execution.execute import Request, read_plan
from stepzero.execution.planning import PlanRequest, commit_plan, make_plan
from stepzero.spec.load import load_use_case
from stepzero.spec.plan import Champion, Plan, run_folder

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.adapters.tracking import Tracking
    from stepzero.spec.environment import Environment

log = logging.getLogger("stepzero")


def run_plan(asked: PlanRequest, request: Request, store: Store, environment: Environment) -> ResultReference:
    """Make the plan of a run, or find the one it has, and note it where later tasks look.

    Raises:
        SpecError: A file or the form says something impossible.
        InputError: Nothing has landed.
        ServiceError: The tracking server does not answer.
    """
    tracking = _tracking(environment)
    uri = f"{run_folder(request.use_case, asked.run)}/plan.json"
    if store.exists(uri):
        plan = read_plan(store, request.use_case, asked.run)
        log.info("plan: this run has one already; a cleared task changes nothing")
    else:
        champion = find_champion(asked.use_case, tracking)
        _must_be_the_approved_one(asked, store, tracking)
        plan = commit_plan(store, make_plan(asked, store, environment, champion))
    told, values = summary(plan), plan_values(plan)
    reference = note_plan(plan, request, store, tracking, record=plan_record(plan), told=told, values=values)
    log.info("%s", reference.summary)
    return reference


def note_plan(
    plan: Plan,
    request: Request,
    store: Store,
    tracking: Tracking,
    *,
    record: Record,
    told: str,
    values: dict[str, Any],
) -> ResultReference:
    """Open the run of a committed plan in the tracking server, and note the plan where later tasks look.

    Raises:
        ServiceError: The tracking server does not answer.
    """
    run_id = tracking.publish(plan, "plan", [record], store, plan.folder)
    data = plan.model_dump(mode="json", by_alias=True)
    reference = ResultReference(stage="plan", uri=f"{plan.folder}/plan.json", digest=digest_json(data), summary=told)
    links = {**plan.links, "mlflow": tracking.link_run(plan.use_case.name, run_id)}
    noted = {"result": reference.to_json(), "values": values | {"links": links}, "why": "frozen"}
    store.write_json(request.pointer, noted)
    return reference


def _must_be_the_approved_one(asked: PlanRequest, store: Store, tracking: Tracking) -> None:
    """Refuse to begin when the alias `champion` was moved by hand: everything would be compared with the wrong model.

    A backfill never promotes, and only says so.

    Raises:
        PromotionError: The alias shows another version than the one that was approved last.
    """
    use_case = load_use_case(asked.use_case)
    moved = moved_by_hand(store, tracking.registry, use_case.name) if use_case.train else None
    if moved and asked.promotes:
        raise PromotionError(
            f"alias champion of {use_case.name}",
            value=bare(moved),
            allowed="the version that the stage `approve` approved last",
            action="set the alias back in MLflow; another version comes to serve by a run and an approval only",
        )
    if moved:
        log.warning("alias champion of %s: %s", use_case.name, moved)


def plan_values(plan: Plan) -> dict[str, Any]:
    """Return what the orchestrator needs of a plan: what to map over, and who approves."""
    return {
        "cells": plan.cells(),
        "samplers": list(plan.use_case.resample),
        "approval": plan.approval,
        "partition": plan.batch.partition,
        "promotes": plan.promotes,
    }


def find_champion(use_case: str, tracking: Tracking) -> Champion | None:
    """Return the version that serves now; a use case that trains nothing has none."""
    return tracking.champion(use_case) if load_use_case(use_case).train else None


def _tracking(environment: Environment) -> Tracking:
    from stepzero.adapters.tracking import Tracking

    return Tracking(environment.tracking)


def plan_record(plan: Plan) -> Record:
    """Return what the tracking server shows of a plan: what the run is about, and why it was started."""
    train = plan.use_case.train
    return Record(
        parameters={
            "partition": plan.batch.partition,
            "batch_digest": plan.batch.digest,
            "window_batches": str(len(plan.window) + len(plan.days) + 1),
            "samplers": ", ".join(plan.use_case.resample),
            "models": ", ".join(train.models) if train else "",
            "champion_before": plan.champion.version if plan.champion else "none",
        },
        tags={"stepzero.reason": plan.reason} if plan.reason else {},
        files={"plan.json": "plan.json"},
    )


def summary(plan: Plan) -> str:
    """Return what a run is about, in one line."""
    files = ", ".join(file.uri.rpartition("/")[2] for file in plan.batch.files)
    against = f"champion is version {plan.champion.version}" if plan.champion else "no champion yet"
    cells = f", {len(plan.cells())} combinations to try" if plan.use_case.train else ""
    earlier = len(plan.window) + len(plan.days)
    backfill = "" if plan.promotes else ", a backfill: it evaluates and never promotes"
    return f"batch {plan.batch.partition} ({files}), {earlier} earlier batches, {against}{cells}{backfill}"
