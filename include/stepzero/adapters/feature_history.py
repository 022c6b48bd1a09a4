"""Histories of feature groups in the store: append-only, each ingested dataset once, and nothing ever overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepzero.adapters.datasets import manifest_of, read_frame
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, bare
from stepzero.core.references import Reference
from stepzero.spec.features import FeatureGroup

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "features"


def append_history(store: Store, name: str, group: FeatureGroup, rows: Reference) -> bool:
    """Add a dataset of versions to a group's history; return whether it was new.

    The dataset stays where it is. The same content is added once, whoever adds it again or at the same time.

    Args:
        store: Where the history is.
        name: Of the group.
        group: What its columns are; the first dataset fixes that, for the group's life.
        rows: A committed dataset.

    Raises:
        InputError: A key column is missing, or the columns are not those of the history.
    """
    _must_fit(store, name, group, [str(column) for column, _ in manifest_of(store, rows)["schema"]])
    return store.create(f"{FOLDER}/{name}/history/{rows.digest}.json", rows.to_json())


def history_members(store: Store, name: str) -> list[Reference]:
    """Return the datasets of a group's history, sorted by digest; none where nothing was ingested."""
    uris = store.list(f"{FOLDER}/{name}/history")
    return [Reference.from_json(store.read_json(uri)) for uri in uris if uri.endswith(".json")]


def read_history(store: Store, members: list[Reference]) -> pd.DataFrame:
    """Return all versions of some members together.

    Raises:
        InputError: There are none.
    """
    import pandas as pd

    if not members:
        raise InputError(
            "history of a feature group", value=bare("empty"), allowed="at least one dataset", action="ingest one first"
        )
    return pd.concat([read_frame(store, member) for member in members], ignore_index=True)


def _must_fit(store: Store, name: str, group: FeatureGroup, columns: list[str]) -> None:
    told = {**group.model_dump(mode="json"), "columns": sorted(columns)}
    missing = [key for key in group.keys if key not in columns]
    if missing:
        raise InputError(
            f"rows of feature group {name}",
            value=bare(f"no {', '.join(missing)}"),
            allowed=f"record id, event time and known time among the columns: {', '.join(columns)}",
            action="derive what is missing, or correct the group",
        )
    uri = f"{FOLDER}/{name}/group.json"
    if store.create(uri, told):
        return
    fixed = store.read_json(uri)
    if fixed != told:
        differing = sorted(set(fixed["columns"]) ^ set(columns)) or [key for key in told if told[key] != fixed[key]]
        raise InputError(
            f"rows of feature group {name}",
            value=bare(f"another shape: {', '.join(differing)}"),
            allowed=f"{', '.join(fixed['columns'])}; keys {fixed['record_id']}, {fixed['event_time']}, "
            f"{fixed['known_time']}",
            action="ingest them under a new name: a history keeps its shape",
        )
