"""Bring the windows that a run of the watch is about into datasets: everything after it depends on content alone."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from stepzero.adapters.captured import ANSWERED, ID, STATUS, count_captured, read_captured, together
from stepzero.adapters.labels import LABEL, join_labels, read_labels
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import SpecError, bare
from stepzero.core.stages import Reuse, StageInput, StageResult, stage
from stepzero.learning.ripeness import ripeness

MOST_ROWS = 200_000
"""Rows of a window that are looked at; of more, those with the smallest hashes of their ids."""
WINDOW = "_window"
"""Number of a row's window: 0 is the oldest."""


@stage(
    sections=("problem", "monitors.window_hours", "monitors.judged", "monitors.labels", "monitors.data_quality.volume"),
    plan=("watched",),
    reuse=Reuse.RUN,
)
def collect_windows(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Read the last windows of traffic, and those whose labels should be known by now.

    Labels are by a row's id, or by that of the record that it named. They are those that were known at the run's time;
    a window is ripe when its delay is over and enough have come.

    Raises:
        SpecError: Nothing is watched.
    """
    del inputs
    monitors, watched = use_case.monitors, workspace.plan.watched
    if monitors is None or watched is None:
        raise SpecError(
            f"{use_case.name}: monitors",
            value=bare("none" if monitors is None else "a run that watches nothing"),
            allowed="a monitors section, and a run of the watching DAG",
            action="declare what is watched, and trigger the DAG that ends in _watch",
        )
    length = timedelta(hours=monitors.window_hours)
    end = datetime.fromisoformat(watched.end)
    recent = _spans(end, length, monitors.judged.of)
    captured, counts = _windows(use_case.name, recent, workspace)
    late = math.ceil(timedelta(days=monitors.labels.delay_days) / length)
    spans = _spans(end - late * length, length, monitors.judged.of)
    as_of = datetime.fromisoformat(workspace.plan.as_of)
    labelled, labels = _labelled(use_case, spans, as_of, workspace)
    borders = [end - number * length for number in range(monitors.data_quality.volume.against + 1, 0, -1)]
    values = {
        "windows": counts,
        "before": count_captured(workspace.store, use_case.name, borders),
        "labels": labels,
    }
    ripe = sum(bool(one["ripe"]) for one in labels)
    newest = counts[-1]
    summary = (
        f"{newest['rows']} rows from {watched.start} to {watched.end}, {newest['refused']} requests refused; "
        f"{ripe} of {len(labels)} earlier windows have ripe labels"
    )
    unclear = sum(int(one["unclear"]) for one in labels)
    if unclear:
        summary += f"; {unclear} rows have none: their record was asked for more than once in a window"
    outputs = {
        "captured": workspace.write_frame("captured", captured),
        "labelled": workspace.write_frame("labelled", labelled),
    }
    return StageResult(outputs=outputs, values=values, summary=summary)


def _spans(end: datetime, length: timedelta, number: int) -> list[tuple[datetime, datetime]]:
    """Return windows that end with a moment, the oldest first."""
    return [(end - (left + 1) * length, end - left * length) for left in reversed(range(number))]


def _windows(
    name: str, spans: list[tuple[datetime, datetime]], workspace: Workspace
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    frames, counts = [], []
    for number, (start, end) in enumerate(spans):
        rows = read_captured(workspace.store, name, start, end)
        refused = int((rows[STATUS] != ANSWERED).sum())
        counts.append({**_told(start, end), "rows": len(rows) - refused, "refused": refused})
        frames.append(_some(rows).assign(**{WINDOW: number}))
    return _together(frames), counts


def _labelled(
    use_case: Any, spans: list[tuple[datetime, datetime]], as_of: datetime, workspace: Workspace
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    labels = read_labels(workspace.store, use_case.name, spans[0][0], as_of)
    frames, told = [], []
    for number, (start, end) in enumerate(spans):
        rows = read_captured(workspace.store, use_case.name, start, end)
        joined, unclear = join_labels(rows[rows[STATUS] == ANSWERED].reset_index(drop=True), labels)
        joined = _some(joined)
        found = ripeness(joined[LABEL], end, as_of, use_case.monitors.labels, use_case.problem.kind)
        why = found.why + (f", {unclear} others name a record that was asked for more than once" if unclear else "")
        told.append({**_told(start, end), **found.to_json(), "why": why, "unclear": unclear})
        frames.append(joined[joined[LABEL].notna()].assign(**{WINDOW: number}))
    return _together(frames), told


def _some(rows: pd.DataFrame) -> pd.DataFrame:
    if len(rows) <= MOST_ROWS:
        return rows
    order = np.argsort(pd.util.hash_array(rows[ID].to_numpy(dtype=object)), kind="stable")
    return rows.iloc[np.sort(order[:MOST_ROWS])].reset_index(drop=True)


def _together(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Return windows as one table; empty ones must not change the types of the others."""
    filled = [frame for frame in frames if len(frame)]
    return together(filled) if filled else frames[0]


def _told(start: datetime, end: datetime) -> dict[str, str]:
    return {"start": start.isoformat(), "end": end.isoformat()}
