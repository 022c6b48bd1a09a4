"""Prepare accepted rows on Spark: unite the window, drop duplicates, derive, split by a stable hash."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from stepzero.adapters.derived import derived, must_have
from stepzero.adapters.spark import quoted, read_dataset, sorted_in_one_file, text_of, write_dataset
from stepzero.core.errors import StageError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Engine, Record, StageInput, StageResult, stage
from stepzero.stages.prepare_transforms import transform
from stepzero.stages.quality_hand_over import judge_hand_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

    from stepzero.adapters.workspace import Workspace

ROW_ID, FOLD, SIDE, UNIT = "_row_id", "_fold", "_side", "_unit"
_DIGITS = 13
"""Hex digits of a hash that fit a double exactly: 52 bits."""


@stage(
    sections=("problem", "source", "transforms", "prepare", "split", "train.folds", "quality.after_prepare"),
    plan=("window", "released"),
    engine=Engine.SPARK,
)
def prepare(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Write training and test rows, sorted by row id: the order in which rows arrived has no effect.

    The row id is the SHA-256 of the row's source values, so equal rows have equal ids and always
    lie on the same side of the split.

    The verdict is what `quality.after_prepare` says of them; None without such rules.

    Raises:
        RuleError: An expression or a rule names an unknown column or is not SQL.
        StageError: A side of the split is empty.
    """
    from pyspark.sql import functions

    released = _released(inputs["checked"], workspace)
    united = _united([inputs["checked"].output("accepted"), *released], workspace)
    source = united.columns
    identified = united.withColumn(ROW_ID, functions.sha2(text_of(source), 256))
    kept = identified.dropDuplicates([ROW_ID]) if use_case.prepare.drop_duplicates else identified
    changed, met = transform(kept, use_case.transforms, "transforms")
    split = _with_fold(_with_side(derived(changed, use_case.prepare), use_case), use_case).cache()
    classes = use_case.problem.target if use_case.problem.kind == "classification" else None
    rows = united.count()
    counts = _counts(split, classes)
    outputs = {}
    for side, extra in (("train", [FOLD]), ("test", [])):
        columns = _written(split.columns, use_case.prepare.set_aside)
        chosen = sorted_in_one_file(split.filter(functions.col(SIDE) == side).select(*columns, *extra), ROW_ID)
        folder = f"{workspace.folder}/{side}"
        total = sum(counts[side].values())
        outputs[side] = write_dataset(workspace.store, folder, chosen, rows=total, producer=workspace.stage)
    after = use_case.quality.after_prepare
    verdict = judge_hand_over(split.drop(UNIT), after, workspace, "prepared rows")
    split.unpersist()
    left = sum(sum(classes.values()) for classes in counts.values())
    values = {"rows": rows, "dropped": rows - left, "released": _count(released, workspace), **counts}
    if met:
        values["unseen"] = [one.to_json() for one in met]
    record = Record(metrics={f"prepare.{name}": float(value) for name, value in _flat(values).items()})
    told = f" ({values['released']} released from quarantine)" if values["released"] else ""
    summary = (
        f"{rows} rows{told}, {rows - left} dropped; {_told(counts['train'])} to train, {_told(counts['test'])} held out"
    )
    return StageResult(outputs=outputs, values=values, verdict=verdict, summary=summary, records=(record,))


def _released(checked: StageInput, workspace: Workspace) -> list[Reference]:
    """Return the rows that left quarantine, where the gate accepts the same rows as it did then, and no others."""
    released = workspace.plan.released
    if released is None or released.accepted != checked.output("accepted").digest:
        return []
    return [Reference.from_json(rows) for rows in released.rows]


def _count(released: list[Reference], workspace: Workspace) -> int:
    """Return how many rows are there because somebody let them out of quarantine."""
    earlier = [Reference.from_json(rows) for member in workspace.plan.window for rows in member.released]
    return sum(reference.rows or 0 for reference in [*released, *earlier])


def _united(own: list[Reference], workspace: Workspace) -> DataFrame:
    """Return this run's rows and those of the window, released ones included, columns in this run's order."""
    window = [(member, rows) for member in workspace.plan.window for rows in (member.accepted, *member.released)]
    references = [*own, *(Reference.from_json(rows) for _, rows in window)]
    frames = [read_dataset(workspace.spark, workspace.store, reference) for reference in references]
    for (member, _), frame in zip(window, frames[len(own) :], strict=True):
        if sorted(frame.columns) != sorted(frames[0].columns):
            differing = sorted(set(frame.columns) ^ set(frames[0].columns))
            raise StageError(
                f"accepted batch {member.partition} of the window",
                value=bare(f"other columns: {', '.join(differing)}"),
                allowed="the columns of this run's batch",
                action="shorten source.window, or run on this batch alone (window: batch)",
            )
    return reduce(lambda one, other: one.unionByName(other), frames)


def _written(columns: Sequence[str], set_aside: Sequence[str]) -> list[Column]:
    """Return what is written of a row; what is set aside under a name that models do not see."""
    from pyspark.sql import functions

    kept = [name for name in columns if name not in {SIDE, UNIT, FOLD}]
    return [functions.col(quoted(name)).alias(f"_{name}" if name in set_aside else name) for name in kept]


def _with_side(frame: DataFrame, use_case: Any) -> DataFrame:
    """Hold rows out by a hash of the row or of its entity: once held out, held out for ever.

    With exact shares per class the border moves a little as data grow, and a few rows with it.
    """
    from pyspark.sql import Window, functions

    split = use_case.split
    by_row = split.by == "row"
    if not by_row:
        must_have(frame, split.by, "split.by")
    if not by_row and split.stratified:
        raise StageError(
            f"{use_case.name} split",
            value=bare(f"stratified, by {split.by}"),
            allowed="stratified: true with by: row only",
            action="leave one of them out: an entity has rows of several classes",
        )
    key = functions.col(ROW_ID if by_row else quoted(split.by)).cast("string")
    frame = frame.withColumn(UNIT, _unit(f"{split.salt} side", key))
    if split.stratified and use_case.problem.kind == "classification":
        classes = Window.partitionBy(quoted(use_case.problem.target))
        border = functions.round(functions.count(functions.lit(1)).over(classes) * split.test)
        held = functions.rank().over(classes.orderBy(UNIT)) <= border
    else:
        held = functions.col(UNIT) < split.test
    return frame.withColumn(SIDE, functions.when(held, "test").otherwise("train"))


def _with_fold(frame: DataFrame, use_case: Any) -> DataFrame:
    """Number the folds of training rows: balanced by class where rows are split, whole entities otherwise."""
    from pyspark.sql import Window, functions

    folds = use_case.train.folds if use_case.train else 2
    by_row = use_case.split.by == "row"
    key = functions.col(ROW_ID if by_row else quoted(use_case.split.by)).cast("string")
    unit = _unit(f"{use_case.split.salt} fold", key)
    if by_row and use_case.problem.kind == "classification":
        window = Window.partitionBy(SIDE, quoted(use_case.problem.target)).orderBy(unit)
        fold = (functions.dense_rank().over(window) - 1) % folds
    else:
        fold = functions.floor(unit * folds)
    return frame.withColumn(FOLD, fold.cast("int"))


def _unit(salt: str, key: Column) -> Column:
    """Return a number in [0, 1) that depends on salt and key only."""
    from pyspark.sql import functions

    digest = functions.sha2(functions.concat_ws("\x01", functions.lit(salt), key), 256)
    whole = functions.conv(functions.substring(digest, 1, _DIGITS), 16, 10).cast("double")
    return whole / float(16**_DIGITS)


def _counts(split: DataFrame, target: str | None) -> dict[str, dict[str, int]]:
    """Return rows per side and class; a regression has one class, "all".

    Raises:
        StageError: A side has no row.
    """
    from pyspark.sql import functions

    counts: dict[str, dict[str, int]] = {"train": {}, "test": {}}
    label = functions.col(quoted(target)) if target else functions.lit("all")
    for side, value, rows in split.groupBy(SIDE, label).count().collect():
        counts[side][str(value)] = int(rows)
    for side, classes in counts.items():
        if not classes:
            raise StageError(
                f"{side} rows", value=bare("none"), allowed="at least one row on each side", action="land more rows"
            )
    return {side: dict(sorted(classes.items())) for side, classes in counts.items()}


def _flat(values: dict[str, Any]) -> dict[str, int]:
    flat = {name: value for name, value in values.items() if isinstance(value, int)}
    for side in ("train", "test"):
        flat |= {f"{side}.class_{name}": rows for name, rows in values[side].items()}
    return flat


def _told(classes: dict[str, int]) -> str:
    if len(classes) > 5:
        return f"{sum(classes.values())} rows"
    return f"{sum(classes.values())} rows (" + ", ".join(f"{name}: {rows}" for name, rows in classes.items()) + ")"
