"""Releasing quarantined rows: a run of its own, about a batch that was accepted before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.adapters.releases import find_entry
from stepzero.core.errors import InputError, SpecError, bare
from stepzero.execution.execute import Request, execute
from stepzero.execution.planning import PlanRequest, commit_plan
from stepzero.execution.planning_parts import referenced_datasets
from stepzero.execution.results import read_input
from stepzero.spec.load import load_use_case
from stepzero.spec.plan import Batch, Plan, TablePlan, ledger_name
from stepzero.spec.release import CORRECTIONS, ReleaseForm

if TYPE_CHECKING:
    from pathlib import Path

    from stepzero.adapters.store import Store
    from stepzero.core.stages import StageInput
    from stepzero.spec.environment import Environment
    from stepzero.spec.use_case import UseCase


def plan_release(asked: PlanRequest, store: Store, environment: Environment) -> Plan:
    """Freeze which batch a release is about, or find what its run froze before.

    The use case is a name, the path of a YAML file, or ``USE_CASE.TABLE`` where there are several tables; the form may
    name the table instead.

    Raises:
        InputError: No accepted batch is called so.
        SpecError: There is no such use case, or it has no such table, or several of which none is named.
    """
    use_case, table = _named(asked.use_case)
    table = table or str(asked.form.get("table") or "")
    if use_case.tables and not table:
        names = [ledger_name(use_case.name, one) for one in use_case.tables]
        raise SpecError(
            f"table of {use_case.name} whose rows are to be released",
            value=bare("none"),
            allowed=", ".join(names),
            action=f"name the table, too: {names[0]}",
        )
    entry = find_entry(store, ledger_name(use_case.name, table), str(asked.form.get("batch") or ""))
    batch = Batch(partition=entry.partition, digest=entry.digest, files=entry.files)
    quality = use_case.of_table(table).quality if table else use_case.quality
    datasets = referenced_datasets(store, quality)
    plan = Plan(
        run=asked.run,
        use_case=use_case,
        tables={table: TablePlan(batch=batch, datasets=datasets)} if table else {},
        environment=environment.name,
        batch=batch,
        as_of=asked.as_of,
        datasets=datasets,
        approval="rule",
        links=asked.links,
        purpose="release",
    )
    return commit_plan(store, plan)


def _named(name: str) -> tuple[UseCase, str]:
    """Return the use case and the table."""
    found, _, table = (name, "", "") if name.endswith(".yaml") else name.partition(".")
    return load_use_case(found), table


def run_release(
    form: ReleaseForm, use_case: str, run: str, as_of: str, store: Store, environment: Environment
) -> StageInput:
    """Plan and execute a release in this process, and return its result."""
    plan = plan_release(
        PlanRequest(use_case=use_case, run=run, as_of=as_of, form={"batch": form.batch}), store, environment
    )
    request = Request(
        stage="release",
        use_case=plan.use_case.name,
        run=run,
        attempt="hand",
        parameters=release_parameters(form) | ({"table": next(iter(plan.tables))} if plan.tables else {}),
    )
    return read_input(store, execute(request, store, environment))


def release_parameters(form: ReleaseForm) -> dict[str, str]:
    """Return the stage's parameters."""
    return {"form": form.model_dump_json()}


def put_corrections(store: Store, use_case: str, path: Path) -> str:
    """Copy a local file of corrections into the store, under its digest, and return where it is."""
    from stepzero.core.digests import digest_file

    uri = f"{CORRECTIONS}/{use_case}/{digest_file(path)}.csv"
    store.put(path, uri)
    return uri


def quarantine_csv(store: Store, use_case: str, batch: str) -> tuple[str, int]:
    """Return the rows that are still in a batch's quarantine as a CSV file to correct, and how many they are.

    Raises:
        InputError: No accepted batch is called so, or nothing of it is in quarantine.
    """
    from stepzero.adapters.quarantine import read_quarantine
    from stepzero.adapters.releases import released_ids, releases_of
    from stepzero.core.references import Reference

    entry = find_entry(store, use_case, batch)
    out = released_ids(store, releases_of(store, use_case, entry))
    quarantine: Any = read_quarantine(store, Reference.from_json(entry.quarantined)) if entry.quarantined else None
    if quarantine is None or len(out) == len(quarantine.ids):
        raise InputError(
            f"quarantine of batch {entry.partition}", value=bare("no row"), allowed="rows", action="name another batch"
        )
    return quarantine.to_csv(without=out), len(quarantine.ids) - len(out)
