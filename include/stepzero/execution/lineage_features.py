"""Which landed files the feature groups of a version's run had learned of, and by which runs: history has a history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stepzero.core.references import Reference
from stepzero.execution.execute import read_plan

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.execution.noted import Noted
    from stepzero.spec.plan import BatchFile

INGEST = "ingest_features"


def group_members(store: Store, noted: list[Noted]) -> dict[str, list[Reference]]:
    """Return the datasets that each feature group consisted of when a run joined it; empty without feature groups."""
    found = {}
    for one in noted:
        if one.folder == INGEST:
            listed = store.read_json(one.outputs["members"].uri)
            found[one.label] = [Reference.from_json(member) for member in listed]
    return found


def ingested_by(store: Store, use_case: str) -> dict[tuple[str, str], str]:
    """Return ``(group, digest of a dataset) -> the run that ingested it first``; reads what all runs noted."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for folder, pointer in _pointers(store, use_case):
        result = store.read_json(pointer["result"]["uri"])
        versions = (result.get("outputs") or {}).get("versions")
        if versions:
            key = result["values"]["group"], versions["digest"]
            when = result["values"]["as_of"], str(store.read_json(f"{folder}/plan.json")["run"])
            found[key] = min(found.get(key, when), when)
    return {key: run for key, (_, run) in found.items()}


def files_of(store: Store, use_case: str, run: str, group: str) -> list[BatchFile]:
    """Return the landed files of one table that a run judged."""
    tables = read_plan(store, use_case, run).tables
    return list(tables[group].batch.files) if group in tables else []


def history_of(store: Store, use_case: str, noted: list[Noted]) -> Iterator[dict[str, Any]]:
    """Yield every dataset of every feature group, with the run that ingested it and the files that it came from."""
    groups = group_members(store, noted)
    runs = ingested_by(store, use_case) if groups else {}
    for group, members in groups.items():
        for member in members:
            run = runs.get((group, member.digest))
            files = files_of(store, use_case, run, group) if run else []
            told = [{"uri": file.uri, "digest": file.digest, "bytes": file.bytes} for file in files]
            yield {"group": group, "digest": member.digest, "rows": member.rows, "run": run, "files": told}


def _pointers(store: Store, use_case: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the folder of each run that ingested features, and what it noted of that."""
    for uri in store.list(f"runs/{use_case}"):
        folder, stage, name = uri.partition(f"/stages/{INGEST}/")
        if stage and ".error-" not in name:
            yield folder, store.read_json(uri)
