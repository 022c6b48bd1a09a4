"""Feature groups: ingest what is new into their histories, and put training rows together as known at a moment."""

from __future__ import annotations

from typing import Any

import pandas as pd

from stepzero.adapters.feature_history import append_history, history_members, read_history
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import SpecError, bare, did_you_mean
from stepzero.core.stages import Record, Reuse, StageInput, StageResult, stage
from stepzero.learning.as_known import is_news, moments, snapshot, training_set
from stepzero.spec.features import FeatureGroup
from stepzero.stages.features_joined import read_histories, say_joined


@stage(sections=("features.groups",), plan=("as_of",), reuse=Reuse.RUN)
def ingest_features(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Add a table's rows to the history of the group that the parameter ``group`` names; what is known already is not.

    A time that the table has no column for is the run's moment. The result names all datasets of the history, so that
    what is made from it depends on these and on none that comes later.

    Raises:
        SpecError: The use case has no such group.
        InputError: The columns are not those of the history, or an id or a time has no value.
    """
    name = workspace.parameters["group"]
    group = _group(use_case, name)
    # To the microsecond, which is what Parquet keeps.
    moment = pd.Timestamp(workspace.plan.as_of).tz_convert("UTC").floor("us")
    frame = workspace.read_frame(inputs["prepared"].output("accepted"))
    timed = frame.assign(**{key: moment for key in (group.event_time, group.known_time) if key not in frame.columns})
    for key in (group.event_time, group.known_time):
        timed[key] = moments(timed, key, f"rows of feature group {name}").astype("datetime64[us, UTC]")
    before = history_members(workspace.store, name)
    news = timed
    if before:
        own = group.event_time in frame.columns
        news = timed[is_news(read_history(workspace.store, before), timed, group, by_event=own)]
    versions = workspace.write_frame("versions", news.reset_index(drop=True))
    if len(news):
        append_history(workspace.store, name, group, versions)
    members = {one.digest: one for one in [*before, *([versions] if len(news) else [])]}
    listed = [members[digest].to_json() for digest in sorted(members)]
    return StageResult(
        outputs={"versions": versions, "members": workspace.write_json("members.json", listed)},
        values={
            "group": name,
            "as_of": moment.isoformat(),
            "rows": len(frame),
            "new": len(news),
            "datasets": len(listed),
        },
        summary=f"{name}: {len(news)} of {len(frame)} rows are new; {len(listed)} datasets in its history",
        records=(
            Record(metrics={f"features.{name}.rows": float(len(frame)), f"features.{name}.new": float(len(news))}),
        ),
    )


@stage(sections=("features",))
def join_features(use_case: Any, inputs: dict[str, Any], workspace: Workspace) -> StageResult:
    """Return training rows with the features that were known at each row's moment; each group is an input by its name.

    The times of the rows stay beside them as ``_event_time`` and ``_known_time``: no model sees them.

    Raises:
        InputError: A column is missing, or there twice.
    """
    features = use_case.features
    taken = read_histories(features, inputs, workspace, lambda members: read_history(workspace.store, members))
    rows = snapshot(taken.history, taken.group, as_of=taken.as_of, times=True)
    column = features.moment_column
    rows["_moment"] = pd.Timestamp(taken.as_of) if column is None else moments(rows, column, "rows")
    joined, missing = training_set(rows, taken.others, as_of="_moment")
    # To the microsecond: Spark reads no finer times. The moment is the run's, and no part of what is known.
    times = {name: joined[name].astype("datetime64[us, UTC]") for name in ("_event_time", "_known_time")}
    written = workspace.write_frame("joined", joined.assign(**times).drop(columns="_moment"))
    return say_joined(features, taken.as_of, written, len(joined), missing)


def _group(use_case: Any, name: str) -> FeatureGroup:
    groups: dict[str, FeatureGroup] = use_case.features.groups if use_case.features else {}
    if name in groups:
        return groups[name]
    raise SpecError(
        f"{use_case.name}: feature group",
        value=bare(name),
        allowed=did_you_mean(name, groups) if groups else "a features section with groups",
        action="correct the parameter, or declare the group",
    )
