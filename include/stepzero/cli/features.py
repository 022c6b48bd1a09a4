"""`stepzero features`: which feature groups are published, how old they are, and whether offline and online agree."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepzero.core.errors import VERDICT_NO, InputError, did_you_mean
from stepzero.spec.load import load_environment

if TYPE_CHECKING:
    from stepzero.adapters.feast_catalogue import Published
    from stepzero.adapters.store import Store
    from stepzero.spec.environment import FeatureStore


def features(
    group: Annotated[str | None, typer.Argument(help="Only this one; all if absent.")] = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Read every record back, and compare it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for machines.")] = False,
) -> None:
    """List the published feature groups; with --check, replay them: exit status 10 where offline and online differ."""
    from stepzero.adapters.feast_catalogue import published_groups
    from stepzero.adapters.store import Store

    environment = load_environment()
    store = Store(environment.store)
    known = published_groups(store)
    if group is not None and group not in known:
        allowed = did_you_mean(group, known) if known else "a group that was published; none was"
        raise InputError("feature group", value=group, allowed=allowed, action="correct it, or run the DAG")
    told = [_told(one) for name, one in sorted(known.items()) if group in (None, name)]
    for one in told:
        if check:
            one["differing"] = _differing(store, environment.feature_store, known[one["group"]])
    typer.echo(json.dumps(told) if as_json else "\n".join(map(_line, told)) or "no feature group was published")
    if any(one.get("differing") for one in told):
        raise typer.Exit(VERDICT_NO)


def _told(one: Published) -> dict[str, Any]:
    age = (datetime.now(UTC) - datetime.fromisoformat(one.as_of)).total_seconds()
    return {
        "group": one.group,
        "record_id": one.record_id,
        "features": one.features,
        "records": one.records,
        "as_of": one.as_of,
        "age_seconds": round(age),
    }


def _differing(store: Store, settings: FeatureStore, one: Published) -> int:
    """Return how many records are not online as they are in the snapshot."""
    from stepzero.adapters.datasets import read_frame
    from stepzero.adapters.feature_replay import FeatureReplay
    from stepzero.adapters.online_features import open_reader
    from stepzero.core.references import Reference

    rows = read_frame(store, Reference.from_json(one.snapshot))
    replay = FeatureReplay.of(open_reader(store, settings), one.group, one.record_id, rows)
    return int(replay.differing.sum())


def _line(told: dict[str, Any]) -> str:
    said = f"{told['group']}: {told['records']} records by {told['record_id']}, {len(told['features'])} features"
    said += f", as known at {told['as_of']} ({told['age_seconds'] / 3600:.1f} hours ago)"
    if "differing" in told:
        said += f"; {told['differing']} records differ online" if told["differing"] else "; offline and online agree"
    return said
