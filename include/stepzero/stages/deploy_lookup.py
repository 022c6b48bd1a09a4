"""A record to ask a deployed version for by its id: what was published of it, and the score that it must get."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from stepzero.adapters.feast_catalogue import find_published
from stepzero.core.references import Reference

if TYPE_CHECKING:
    import pandas as pd

    from stepzero.adapters.online_features import RecordId
    from stepzero.adapters.workspace import Workspace
    from stepzero.learning.model import ScoringModel
    from stepzero.spec.serve import Lookup


class KnownRecord(NamedTuple):
    """A record whose features are all looked up, and its score by the model itself."""

    record: RecordId
    score: float


def find_record(lookup: Lookup | None, model: ScoringModel, workspace: Workspace) -> KnownRecord | None:
    """Return the first published record of which all features are known; None where there is none, or no look-up."""
    if lookup is None:
        return None
    # A group that is there for what is captured beside requests adds nothing to the model's features.
    rows = [_published(name, lookup, workspace) for name, served in lookup.groups.items() if served.columns != ()]
    known = [frame for frame in rows if frame is not None]
    if len(known) < max(len(rows), 1):
        workspace.log.info("not proved by id: not every looked-up feature group was published yet")
        return None
    whole = reduce(lambda left, right: left.merge(right, on=lookup.record_id), known)
    if not set(model.asked) <= set(whole.columns):
        workspace.log.info("not proved by id: requests must bring some features along")
        return None
    first = whole.dropna(subset=list(model.asked)).sort_values(lookup.record_id).head(1)
    if first.empty:
        return None
    record = first[lookup.record_id].iloc[0]
    return KnownRecord(record.item() if hasattr(record, "item") else record, float(model.score(first)[0]))


def _published(name: str, lookup: Lookup, workspace: Workspace) -> pd.DataFrame | None:
    found = find_published(workspace.store, name)
    if found is None:
        return None
    columns = [lookup.record_id, *(lookup.groups[name].columns or found.features)]
    return workspace.read_frame(Reference.from_json(found.snapshot), columns)
