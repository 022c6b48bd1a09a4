"""The batch of a use case with several tables: files of every table, judged apart and gone on with together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepzero.adapters.ledger import accepted_batches, landed_uris, waiting_uris
from stepzero.adapters.releases import released_of
from stepzero.core.digests import digest_json
from stepzero.execution.planning_parts import (
    asks_how_fresh,
    history_before,
    landed_batch,
    named_files,
    nothing_to_judge,
    referenced_datasets,
)
from stepzero.spec.plan import Batch, TablePlan, ledger_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stepzero.adapters.store import Store
    from stepzero.execution.planning import PlanRequest
    from stepzero.spec.use_case import UseCase


def plan_tables(request: PlanRequest, named: str | None, use_case: UseCase, store: Store) -> dict[str, TablePlan]:
    """Return what is frozen of each table; nothing where the use case has one source.

    Of a table, the files are those that the form names, or the sensor found, or that no run has judged yet, or else
    those accepted last. So a corrected file of one table is judged with what was accepted of the other.

    Raises:
        InputError: Nothing of a table has landed, or a name is no landed file's.
    """
    if not use_case.tables:
        return {}
    prefixes = {name: table.source.prefix for name, table in use_case.tables.items()}
    landed = {name: landed_uris(store, prefix) for name, prefix in prefixes.items()}
    chosen = _named(named, landed) if named else {}
    batches = {}
    for name, prefix in prefixes.items():
        found = [uri for uri in request.uris if uri.startswith(prefix)]
        ledger = ledger_name(use_case.name, name)
        uris = chosen.get(name) or found or waiting_uris(store, ledger, prefix) or _accepted_last(store, ledger)
        if not uris:
            allowed = "at least one file of every table that is not empty"
            action = f"land a folder with a file of each: bin/run --use-case {use_case.name} --data FOLDER"
            raise nothing_to_judge(store, prefix, allowed=allowed, action=action)
        batches[name] = landed_batch(store, ledger, uris, request.partition)
    return {name: _plan(name, batches, use_case, request.as_of, store) for name in batches}


def whole_batch(tables: Mapping[str, TablePlan], partition: str | None) -> Batch:
    """Return the files of all tables as one batch: its digest speaks of which file belongs to which table."""
    digest = digest_json({name: table.batch.digest for name, table in tables.items()})
    files = tuple(file for table in tables.values() for file in table.batch.files)
    return Batch(partition=partition or digest[:12], digest=digest, files=files)


def _plan(name: str, batches: Mapping[str, Batch], use_case: UseCase, as_of: str, store: Store) -> TablePlan:
    quality, batch = use_case.tables[name].quality, batches[name]
    return TablePlan(
        batch=batch,
        history=history_before(store, use_case, batch, as_of, name),
        released=released_of(store, ledger_name(use_case.name, name), batch),
        datasets=referenced_datasets(store, quality, {other: one for other, one in batches.items() if other != name}),
        fresh_as_of=as_of if asks_how_fresh(quality) else None,
    )


def _accepted_last(store: Store, ledger: str) -> list[str]:
    return [file.uri for entry in accepted_batches(store, ledger)[-1:] for file in entry.files]


def _named(names: str, landed: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the files of each table that a person named; a name that no table knows is an error."""
    everything = [uri for uris in landed.values() for uri in uris]
    wanted = {uri for name in names.split(",") for uri in named_files(name.strip(), everything)}
    return {name: [uri for uri in uris if uri in wanted] for name, uris in landed.items()}
