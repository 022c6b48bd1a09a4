"""Publish feature groups: the catalogue, and into the online store what is known of every record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from stepzero.adapters.feast_catalogue import (
    Opened,
    Published,
    keep_registry,
    kinds_of,
    open_feast,
    published_groups,
    reader_of,
    write_online,
)
from stepzero.adapters.feature_history import read_history
from stepzero.adapters.feature_replay import FeatureReplay
from stepzero.adapters.online_features import (
    EVENT,
    FOLDER,
    KNOWN,
    SINCE,
    OnlineReader,
    marker_uri,
)
from stepzero.adapters.turns import turn
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import StageError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Record, Reuse, StageInput, StageResult, stage
from stepzero.learning.as_known import snapshot, utc_moment
from stepzero.spec.features import FeatureGroup

CHUNK = 20_000
"""Records that are compared and written at a time."""


@dataclass(kw_only=True)
class Counts:
    """What was done to one group's records."""

    records: int = 0
    written: int = 0
    unchanged: int = 0
    newer: int = 0
    """Left alone, since a later run published what became known after this run's moment."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What is known of a group's records at the run's moment."""

    published: Published
    frame: pd.DataFrame


@stage(sections=("features.groups", "problem.target"), reuse=Reuse.NEVER)
def publish_features(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Publish what is known of every record at the run's moment; each ingested group is an input by its name.

    It makes the online store as it should be: only rows that differ are written, none is replaced by an older one, and
    what was written is read back. Publishing again writes nothing. The target is not published.

    Raises:
        InputError: A feature is neither text, a number nor a boolean.
        StageError: The online store gives back something else than was written.
        ServiceError: It does not answer; a retry may help.
    """
    target = use_case.problem.target if use_case.problem else None
    made = {
        name: _snapshot(name, use_case.features.groups[name], one, target, workspace) for name, one in inputs.items()
    }
    settings = workspace.environment.feature_store
    with turn(workspace.store, f"{FOLDER}/publishing"):
        before = published_groups(workspace.store)
        newest = before | {name: one.published for name, one in made.items() if _is_newest(one.published, before)}
        with open_feast(workspace.store, settings, newest) as opened:
            reader = reader_of(workspace.store, settings, opened)
            counted = {name: _publish(opened, reader, one, before) for name, one in made.items()}
            keep_registry(workspace.store, opened)
        for name in made:
            # Last: whoever reads it finds all that it speaks of.
            workspace.store.write_json(marker_uri(name), newest[name].model_dump(mode="json"))
    for name, counts in counted.items():
        workspace.log.info("feature group %s: %s", name, _told(counts))
    metrics = {
        f"features.{name}.{what}": float(count)
        for name, counts in counted.items()
        for what, count in asdict(counts).items()
    }
    return StageResult(
        outputs={name: Reference.from_json(one.published.snapshot) for name, one in made.items()},
        values={"groups": {name: asdict(counts) for name, counts in counted.items()}, "as_of": _as_of(made)},
        summary="; ".join(f"{name}: {_told(counts)}" for name, counts in counted.items()),
        records=(Record(metrics={f"{name}.published": value for name, value in metrics.items()}),),
    )


def _snapshot(
    name: str, group: FeatureGroup, ingested: StageInput, target: str | None, workspace: Workspace
) -> Snapshot:
    listed = workspace.store.read_json(ingested.output("members").uri)
    history = read_history(workspace.store, [Reference.from_json(one) for one in listed])
    as_of = str(ingested.values["as_of"])
    known = snapshot(history, group, as_of=as_of, times=True)
    features = known.drop(columns=["_event_time", "_known_time", *([target] if target in known.columns else [])])
    times = {EVENT: known["_event_time"], KNOWN: known["_known_time"]}
    frame = features.assign(
        **{key: values.dt.as_unit("us").astype("int64") for key, values in times.items()},
        **{SINCE: known[["_event_time", "_known_time"]].max(axis=1).dt.as_unit("us")},
    )
    published = Published(
        group=name,
        **group.model_dump(),
        kinds=kinds_of(features, name, group.record_id),
        snapshot=workspace.write_frame(name, frame).to_json(),
        as_of=as_of,
        records=len(frame),
    )
    return Snapshot(published=published, frame=frame)


def _is_newest(published: Published, before: Mapping[str, Published]) -> bool:
    known = before.get(published.group)
    return known is None or utc_moment(known.as_of) <= utc_moment(published.as_of)


def _publish(opened: Opened, reader: OnlineReader, made: Snapshot, before: Mapping[str, Published]) -> Counts:
    counts, is_newest = Counts(records=len(made.frame)), _is_newest(made.published, before)
    for start in range(0, len(made.frame), CHUNK):
        part = made.frame.iloc[start : start + CHUNK]
        replay = FeatureReplay.of(reader, made.published.group, made.published.record_id, part)
        wanted = replay.differing & ~(replay.newer_online if is_newest else replay.as_new_online)
        counts.unchanged += int((~replay.differing).sum())
        counts.newer += int((replay.differing & ~wanted).sum())
        if wanted.any():
            rows = part[wanted]
            write_online(opened.feast, made.published.group, rows)
            counts.written += len(rows)
            _must_be_there(FeatureReplay.of(reader, made.published.group, made.published.record_id, rows), rows, made)
    return counts


def _must_be_there(replay: FeatureReplay, rows: pd.DataFrame, made: Snapshot) -> None:
    """Refuse an online store that does not give back what was written.

    Raises:
        StageError: It does not.
    """
    if not replay.differing.any():
        return
    first = int(np.flatnonzero(replay.differing)[0])
    record = rows[made.published.record_id].iloc[first]
    raise StageError(
        f"online store, group {made.published.group}",
        value=bare(
            f"{int(replay.differing.sum())} records read back otherwise, for example {record}: {replay.told(first)}"
        ),
        allowed="what was written",
        action="look who else writes there; clear the task when nobody does",
    )


def _as_of(made: Mapping[str, Snapshot]) -> str:
    return max((one.published.as_of for one in made.values()), default="")


def _told(counts: Counts) -> str:
    kept = f", {counts.newer} newer ones left" if counts.newer else ""
    return f"{counts.records} records, {counts.written} written, {counts.unchanged} were there{kept}"
