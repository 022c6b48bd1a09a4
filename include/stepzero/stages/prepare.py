"""Prepare accepted rows on Spark: unite the window, drop duplicates, derive, split by a stable hash or by time."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from stepzero.adapters.derived import ROW_ID, derive, must_have
from stepzero.adapters.spark import quoted, read_alike, read_dataset, sorted_in_one_file, text_of, write_dataset
from stepzero.core.errors import StageError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Engine, Record, StageInput, StageResult, stage
from stepzero.learning.columns import FIT_WEIGHT
from stepzero.stages.prepare_columns import must_look_back, must_make_no_rows
from stepzero.stages.prepare_split import BETWEEN, FOLDS, SIDE, split_rows
from stepzero.stages.prepare_transforms import transform
from stepzero.stages.quality_hand_over import judge_hand_over

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from stepzero.adapters.workspace import Workspace


_BESIDE = ("_event_time", "_known_time", FIT_WEIGHT)
"""When a row was known, as `join_features` says, and how much it counts in fits: no part of what it says."""


@stage(
    sections=("problem", "source", "transforms", "prepare", "split", "train.folds", "quality.after_prepare"),
    plan=("window", "released", "days", "released_days", "half_life"),
    engine=Engine.SPARK,
)
def prepare(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Write training and test rows, sorted by row id: the order in which rows arrived has no effect.

    The row id is the SHA-256 of the row's source values, so equal rows have equal ids and always
    lie on the same side of the split. When a row's features became known is no part of it.

    The verdict is what `quality.after_prepare` says of them; None without such rules.

    Raises:
        RuleError: An expression or a rule names an unknown column or is not SQL.
        StageError: A side of the split is empty.
    """
    from pyspark.sql import functions

    united, released = _united(inputs, workspace)
    said = [name for name in united.columns if name not in _BESIDE]
    identified = united.withColumn(ROW_ID, functions.sha2(text_of(said), 256))
    kept = _once(identified) if use_case.prepare.drop_duplicates else identified
    changed, met = transform(kept, use_case.transforms, "transforms")
    columns = derive(changed, use_case.prepare)
    if use_case.split.by == "time":
        # Asked several times over: where the parts begin, and the folds.
        columns = columns.cache()
    if workspace.plan.half_life:
        must_have(columns, FIT_WEIGHT, "columns that SQL or transforms leave, where rows count less as they age")
    split = split_rows(columns, use_case).cache()
    given, classes = united.count(), _classes(split, use_case)
    if use_case.prepare.sql:
        must_make_no_rows(changed, split)
    if use_case.split.by == "time":
        must_look_back(changed, split, columns.columns, use_case.prepare)
    counts, left = _counts(classes, use_case.split.parts), sum(rows for *_, rows in classes)
    written = split.drop(*use_case.prepare.drop)
    outputs = _write(written, use_case.prepare.set_aside, counts, workspace)
    verdict = judge_hand_over(written, use_case.quality.after_prepare, workspace, "prepared rows")
    split.unpersist()
    columns.unpersist()
    values: dict[str, Any] = {"rows": given, "dropped": given - left, "released": released, **counts}
    if use_case.split.by == "time":
        values["between"] = left - sum(sum(classes.values()) for classes in counts.values())
    if met:
        values["unseen"] = [one.to_json() for one in met]
    record = Record(metrics={f"prepare.{name}": float(value) for name, value in _flat(values).items()})
    told = _summary(values, counts)
    return StageResult(outputs=outputs, values=values, verdict=verdict, summary=told, records=(record,))


def _written(name: str, set_aside: tuple[str, ...]) -> Column:
    """Return a column as it is written; what is set aside under a name that models do not see."""
    from pyspark.sql import functions

    return functions.col(quoted(name)).alias(f"_{name}" if name in set_aside else name)


def _write(
    split: DataFrame, set_aside: tuple[str, ...], counts: dict[str, dict[str, int]], workspace: Workspace
) -> dict[str, Reference]:
    """Write each part; folds are of training rows only."""
    from pyspark.sql import functions

    outputs = {}
    for side, classes in counts.items():
        hidden = {SIDE} if side == "train" else {SIDE, *FOLDS, FIT_WEIGHT}
        columns = [_written(name, set_aside) for name in split.columns if name not in hidden]
        chosen = sorted_in_one_file(split.filter(functions.col(SIDE) == side).select(*columns), ROW_ID)
        folder = f"{workspace.folder}/{side}"
        total = sum(classes.values())
        outputs[side] = write_dataset(workspace.store, folder, chosen, rows=total, producer=workspace.stage)
    return outputs


def _united(inputs: dict[str, Any], workspace: Workspace) -> tuple[DataFrame, int]:
    """Return this run's rows and those of the window, columns in this run's order, and how many were released."""
    accepted, released = _accepted(inputs, workspace)
    session, store, batches = workspace.spark, workspace.store, [*accepted, *released]
    if workspace.plan.half_life:
        named = [(name, read_dataset(session, store, reference)) for name, reference in batches]
    else:
        named = read_alike(session, store, batches)
    frames = [frame for _, frame in named]
    for name, frame in named:
        if sorted(frame.columns) != sorted(frames[0].columns):
            differing = sorted(set(frame.columns) ^ set(frames[0].columns))
            raise StageError(
                f"accepted batch {name} of the window",
                value=bare(f"other columns: {', '.join(differing)}"),
                allowed="the columns of this run's batch",
                action="shorten source.window, or run on this batch alone (window: batch)",
            )
    if workspace.plan.half_life:
        frames = _aged(frames, accepted, released, workspace.plan.half_life)
    united = reduce(lambda one, other: one.unionByName(other), frames)
    return united, sum(reference.rows or 0 for _, reference in released)


def _aged(
    frames: list[DataFrame],
    accepted: list[tuple[str, Reference]],
    released: list[tuple[str, Reference]],
    half_life: float,
) -> list[DataFrame]:
    """Let rows count less in fits the older their batch is: half after so many batches, exponentially."""
    from pyspark.sql import functions

    # This run's batch comes first, then the others, the oldest of them first.
    ages = {name: (len(accepted) - place) % len(accepted) for place, (name, _) in enumerate(accepted)}
    return [
        frame.withColumn(FIT_WEIGHT, functions.lit(0.5 ** (ages[name] / half_life)))
        for (name, _), frame in zip([*accepted, *released], frames, strict=True)
    ]


def _once(rows: DataFrame) -> DataFrame:
    """Return each row once; of equal rows of several batches the newest."""
    from pyspark.sql import Window, functions

    if FIT_WEIGHT not in rows.columns:
        return rows.dropDuplicates([ROW_ID])
    place = functions.row_number().over(Window.partitionBy(ROW_ID).orderBy(functions.desc(FIT_WEIGHT)))
    return rows.withColumn("_place", place).filter("_place = 1").drop("_place")


def _accepted(inputs: dict[str, Any], workspace: Workspace) -> tuple[list[tuple[str, Reference]], ...]:
    """Return what was accepted, this run's batch first, and what left quarantine since; days that failed are left out.

    Rows that were released go with the accepted rows that they were set aside from: where the gate accepts others
    today, none of them count.
    """
    plan = workspace.plan
    accepted = [("of this run", inputs["checked"].output("accepted"))]
    accepted += [(member.partition, Reference.from_json(member.accepted)) for member in plan.window]
    passed = [judged for judged in inputs.get("days", []) if judged.verdict.accepted]
    accepted += [(judged.reference.uri, judged.output("accepted")) for judged in passed]
    released = [(member.partition, Reference.from_json(rows)) for member in plan.window for rows in member.released]
    digests = {reference.digest: name for name, reference in accepted}
    for one in [*plan.released, *plan.released_days]:
        if one.accepted in digests:
            released += [(digests[one.accepted], Reference.from_json(rows)) for rows in one.rows]
    return accepted, released


def _classes(split: DataFrame, use_case: Any) -> list[tuple[str, str, int]]:
    """Return each side's classes and their rows; a regression has one class, "all"."""
    from pyspark.sql import functions

    classified = use_case.problem.kind == "classification"
    label = functions.col(quoted(use_case.problem.target)) if classified else functions.lit("all")
    return [(side, str(value), int(rows)) for side, value, rows in split.groupBy(SIDE, label).count().collect()]


def _counts(classes: list[tuple[str, str, int]], parts: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Return rows per part and class; those in between are in none.

    Raises:
        StageError: A part has no row.
    """
    counts: dict[str, dict[str, int]] = {part: {} for part in parts}
    for side, value, rows in classes:
        if side != BETWEEN:
            counts[side][value] = rows
    for side, found in counts.items():
        if not found:
            raise StageError(
                f"{side} rows", value=bare("none"), allowed="at least one row on each side", action="land more rows"
            )
    return {side: dict(sorted(found.items())) for side, found in counts.items()}


def _flat(values: dict[str, Any]) -> dict[str, int]:
    flat = {name: value for name, value in values.items() if isinstance(value, int)}
    for side, classes in values.items():
        if isinstance(classes, dict):
            flat |= {f"{side}.class_{name}": rows for name, rows in classes.items()}
    return flat


def _summary(values: dict[str, Any], counts: dict[str, dict[str, int]]) -> str:
    held = f", {_told(counts['validation'])} to validate on" if "validation" in counts else ""
    between = f", {values['between']} in between" if values.get("between") else ""
    told = f" ({values['released']} released from quarantine)" if values["released"] else ""
    return (
        f"{values['rows']} rows{told}, {values['dropped']} dropped; {_told(counts['train'])} to train{held}, "
        f"{_told(counts['test'])} held out{between}"
    )


def _told(classes: dict[str, int]) -> str:
    if len(classes) > 5:
        return f"{sum(classes.values())} rows"
    return f"{sum(classes.values())} rows (" + ", ".join(f"{name}: {rows}" for name, rows in classes.items()) + ")"
