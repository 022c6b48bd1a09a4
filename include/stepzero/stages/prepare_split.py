"""Which rows train, validate and test, and in which folds: by a stable hash, or by time without looking ahead.

With ``by: time`` three columns say it all: a training row is judged by fold `FOLD` (-1: by none), and it trains
the folds from `FIRST` on, except `GROUP` (-1: no exception). A fold's training rows end `gap_days` before
its validation rows begin, so that their labels were known by then.
"""

from __future__ import annotations

from functools import reduce
from math import floor, inf, nextafter
from typing import TYPE_CHECKING, Any

from stepzero.adapters.derived import ROW_ID, must_have
from stepzero.adapters.spark import quoted
from stepzero.core.errors import RuleError, StageError, bare

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

SIDE = "_side"
FOLD, FIRST, GROUP = "_fold", "_first_fold", "_group_fold"
FOLDS = (FOLD, FIRST, GROUP)
TIME, ENTITY = "_split_time", "_split_entity"
"""Kept beside the rows for the leak sentinels; what begins with ``_`` is never a feature."""
BETWEEN = "between"
"""Side of rows that belong to no part: in a gap, or a held-out entity's before the test begins."""
SECONDS_PER_DAY = 86_400
_UNIT = "_unit"
_DIGITS = 13
"""Hex digits of a hash that fit a double exactly: 52 bits."""
_NUMBERS = ("int", "bigint", "double", "float", "smallint")


def split_rows(frame: DataFrame, use_case: Any) -> DataFrame:
    """Add side and folds; and entity or time, where the split is by them.

    Raises:
        RuleError: A named column is missing, or is no time.
        StageError: A row has no time, or a fold has no row to train on.
    """
    if use_case.split.by == "time":
        return _split_by_time(frame, use_case)
    return _with_fold(_with_side(frame, use_case), use_case).drop(_UNIT)


def unit(salt: str, key: Column) -> Column:
    """Return a number in [0, 1) that depends on salt and key only."""
    from pyspark.sql import functions

    digest = functions.sha2(functions.concat_ws("\x01", functions.lit(salt), key), 256)
    whole = functions.conv(functions.substring(digest, 1, _DIGITS), 16, 10).cast("double")
    return whole / float(16**_DIGITS)


def _with_side(frame: DataFrame, use_case: Any) -> DataFrame:
    """Hold rows out by a hash of the row or of its entity: once held out, held out for ever.

    With exact shares per class the borders move a little as data grow, and a few rows with them.
    """
    from pyspark.sql import Window, functions

    split = use_case.split
    by_row = split.by == "row"
    if not by_row and split.stratified:
        raise StageError(
            f"{use_case.name} split",
            value=bare(f"stratified, by {split.by}"),
            allowed="stratified: true with by: row only",
            action="leave one of them out: an entity has rows of several classes",
        )
    if not by_row:
        frame = _with_entity(frame, split.by, "split.by")
    frame = frame.withColumn(_UNIT, unit(f"{split.salt} side", functions.col(ROW_ID if by_row else ENTITY)))
    held, kept = split.test, split.test + (split.validation or 0.0)
    if split.stratified and use_case.problem.kind == "classification":
        classes = Window.partitionBy(quoted(use_case.problem.target))
        place, rows = functions.rank().over(classes.orderBy(_UNIT)), functions.count(functions.lit(1)).over(classes)
        return frame.withColumn(
            SIDE, _side(place <= functions.round(rows * held), place <= functions.round(rows * kept))
        )
    return frame.withColumn(SIDE, _side(functions.col(_UNIT) < held, functions.col(_UNIT) < kept))


def _side(test: Column, validation: Column) -> Column:
    from pyspark.sql import functions

    return functions.when(test, "test").when(validation, "validation").otherwise("train")


def _with_fold(frame: DataFrame, use_case: Any) -> DataFrame:
    """Number the folds of training rows: balanced by class where rows are split, whole entities otherwise."""
    from pyspark.sql import Window, functions

    folds = _folds(use_case)
    by_row = use_case.split.by == "row"
    fold_unit = unit(f"{use_case.split.salt} fold", functions.col(ROW_ID if by_row else ENTITY))
    if by_row and use_case.problem.kind == "classification":
        window = Window.partitionBy(SIDE, quoted(use_case.problem.target)).orderBy(fold_unit)
        fold = (functions.dense_rank().over(window) - 1) % folds
    else:
        fold = functions.floor(fold_unit * folds)
    return frame.withColumn(FOLD, fold.cast("int"))


def _with_entity(frame: DataFrame, name: str, what: str) -> DataFrame:
    from pyspark.sql import functions

    must_have(frame, name, what)
    return frame.withColumn(ENTITY, functions.col(quoted(name)).cast("string"))


def _split_by_time(frame: DataFrame, use_case: Any) -> DataFrame:
    """Train on what was known before the newest rows; with an entity, besides, on other entities than theirs."""
    split = use_case.split
    timed = _with_time(frame, split.time)
    if split.entity:
        timed = _with_entity(timed, split.entity, "split.entity")
    sided = timed.withColumn(SIDE, _side_in_time(split, _cuts(timed, split)))
    return _with_forward_folds(sided, use_case)


def _with_time(frame: DataFrame, name: str) -> DataFrame:
    """Add the time in seconds; timestamps are UTC."""
    from pyspark.sql import functions

    must_have(frame, name, "split.time")
    kind, column = dict(frame.dtypes)[name], functions.col(quoted(name))
    if kind not in {*_NUMBERS, "date", "timestamp", "timestamp_ntz"}:
        allowed = "a date, a timestamp or a number of seconds"
        raise RuleError("split.time", value=f"{name}: {kind}", allowed=allowed, action="derive a timestamp from it")
    if kind in {"date", "timestamp_ntz"}:
        column = column.cast("timestamp")
    return frame.withColumn(TIME, column.cast("double"))


def _cuts(frame: DataFrame, split: Any) -> dict[str, float]:
    """Return where the parts after the training rows begin.

    Raises:
        StageError: A row has no time.
    """
    from pyspark.sql import functions

    after = {"test": split.test, "validation": split.test + (split.validation or 0.0)}
    # The last row that is not held out: equal times lie on one side together.
    lasts = [
        functions.expr(f"percentile_disc({1 - share!r}) WITHIN GROUP (ORDER BY {TIME})") for share in after.values()
    ]
    missing = functions.sum(functions.col(TIME).isNull().cast("int"))
    last, unknown, *ends = frame.agg(functions.max(TIME), missing, *lasts).collect()[0]
    if unknown:
        raise StageError(
            f"split.time {split.time}",
            value=bare(f"{unknown} rows have none"),
            allowed="a time in every row",
            action="add the rule `complete` for it, so that the gate sets such rows aside",
        )
    begins = {part: nextafter(end, inf) for part, end in zip(after, ends, strict=True) if part in split.parts and last}
    if split.test_days and last is not None:
        midnight = (floor(last / SECONDS_PER_DAY) + 1) * SECONDS_PER_DAY
        begins["test"] = midnight - split.test_days * SECONDS_PER_DAY
        if split.validation_days:
            back = (split.gap_days + split.validation_days) * SECONDS_PER_DAY
            begins["validation"] = begins["test"] - back
    return begins


def _side_in_time(split: Any, begins: dict[str, float]) -> Column:
    """Return the side: each part ends a gap before the next one begins, and holds its own entities only."""
    from pyspark.sql import functions

    gap, time = split.gap_days * SECONDS_PER_DAY, functions.col(TIME)
    side = functions.lit(None).cast("string")
    end = inf
    for part in reversed(split.parts):
        begin = begins.get(part, -inf)
        side = functions.when((time >= begin) & (time < end), part).otherwise(side)
        end = begin - gap
    if split.entity:
        draw = unit(f"{split.salt} side", functions.col(ENTITY))
        own = _side(draw < split.test, draw < split.test + (split.validation or 0.0))
        side = functions.when(side == own, side)
    return functions.coalesce(side, functions.lit(BETWEEN))


def _with_forward_folds(frame: DataFrame, use_case: Any) -> DataFrame:
    """Cut training rows into blocks of equal size in time; each after the first is judged by the ones before it.

    Raises:
        StageError: A fold has no row to train on, or none to be judged on.
    """
    from pyspark.sql import functions

    split, folds = use_case.split, _folds(use_case)
    borders = _borders(frame, folds)
    gap, time = split.gap_days * SECONDS_PER_DAY, functions.col(TIME)
    block = reduce(lambda one, other: one + other, [(time >= border).cast("int") for border in borders])
    first = reduce(lambda one, other: one + other, [(time >= border - gap).cast("int") for border in borders])
    group, fold = functions.lit(-1), block - 1
    if split.entity:
        group = functions.floor(unit(f"{split.salt} fold", functions.col(ENTITY)) * folds)
        fold = functions.when(group == fold, fold).otherwise(-1)
    done = frame.withColumn(FOLD, fold.cast("int")).withColumn(FIRST, first.cast("int"))
    done = done.withColumn(GROUP, group.cast("int"))
    _must_have_rows(done, split, folds)
    return done


def _borders(frame: DataFrame, folds: int) -> list[float]:
    """Return where each block after the first begins."""
    from pyspark.sql import functions

    shares = [number / (folds + 1) for number in range(1, folds + 1)]
    ends = [functions.expr(f"percentile_disc({share!r}) WITHIN GROUP (ORDER BY {TIME})") for share in shares]
    row = frame.filter(functions.col(SIDE) == "train").agg(*ends).collect()[0]
    return [inf if end is None else nextafter(float(end), inf) for end in row]


def _must_have_rows(frame: DataFrame, split: Any, folds: int) -> None:
    from pyspark.sql import functions

    train = frame.filter(functions.col(SIDE) == "train")
    judged, taught = [], []
    for number in range(folds):
        trains = (functions.col(FIRST) <= number) & (functions.col(GROUP) != number)
        judged.append(functions.count(functions.when(functions.col(FOLD) == number, 1)))
        taught.append(functions.count(functions.when(trains, 1)))
    rows = list(train.agg(*judged, *taught).collect()[0])
    if not sum(rows):
        return  # No training row at all: told where parts are counted.
    for number, (to_judge, to_learn) in enumerate(zip(rows[:folds], rows[folds:], strict=True)):
        if not to_judge or not to_learn:
            raise StageError(
                f"fold {number} of {folds}, forward in time",
                value=bare(f"{to_learn} rows to train on and {to_judge} to be judged on"),
                allowed="at least one of each",
                action=f"shorten split.gap_days ({split.gap_days:g}), declare fewer train.folds or a longer window",
            )


def _folds(use_case: Any) -> int:
    return int(use_case.train.folds) if use_case.train else 2
