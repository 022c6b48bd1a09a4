"""Checks on derived columns: a SELECT makes no rows, and no column knows its row's future."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.adapters.derived import ROW_ID, derive
from stepzero.adapters.spark import quoted
from stepzero.core.errors import StageError, bare
from stepzero.stages.prepare_split import SIDE, TIME

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def must_look_back(kept: DataFrame, split: DataFrame, columns: list[str], section: Any) -> None:
    """Check that no derived column of a row depends on later rows.

    Columns are derived once more from the rows before the test alone: every value must come out again.

    Args:
        kept: Accepted rows, before anything is derived.
        split: Rows with their derived columns, sides and times.
        columns: What of `split` was accepted or derived.
        section: The use case's ``prepare`` section.

    Raises:
        StageError: Some came out otherwise.
    """
    from pyspark.sql import functions

    if not section.sql and not section.derive:
        return
    begin = split.filter(functions.col(SIDE) == "test").agg(functions.min(TIME)).collect()[0][0]
    if begin is None:
        return
    before = split.filter(functions.col(TIME) < begin).select(*map(quoted, columns))
    # What the SELECT leaves out, such as days that serve as history only, is history here, too.
    later = split.filter(functions.col(TIME) >= begin).select(ROW_ID).distinct()
    past = kept.join(later, ROW_ID, "left_anti").select(*map(quoted, kept.columns))
    again = derive(past, section).select(*map(quoted, columns))
    changed = 0 if _content(before) == _content(again) else before.exceptAll(again).count()
    if changed:
        raise StageError(
            "columns of the prepare section",
            value=bare(f"{changed} rows before the test have other values once the test's rows are there"),
            allowed="columns that look back only, so that a model learns nothing of its future",
            action="let each window end before its row: RANGE BETWEEN … PRECEDING AND 1 PRECEDING",
        )


def _content(frame: DataFrame) -> tuple[int, ...]:
    """Return what is the same for the same rows in any order, and for hardly any others."""
    from pyspark.sql import functions

    drawn = functions.xxhash64(*map(quoted, frame.columns))
    told = frame.agg(functions.count(functions.lit(1)), functions.sum(drawn.cast("decimal(38,0)")))
    rows, total = told.collect()[0]
    return int(rows), int(total or 0)


def must_make_no_rows(kept: DataFrame, derived: DataFrame) -> None:
    """Check that a SELECT returned accepted rows, each at most as often as it was accepted.

    Raises:
        StageError: It made some, or changed their ids.
    """
    from pyspark.sql import functions

    given = kept.select(ROW_ID, functions.lit(1).alias("rows"))
    made = derived.select(ROW_ID, functions.lit(-1).alias("rows"))
    more = given.unionByName(made).groupBy(ROW_ID).agg(functions.sum("rows").alias("left")).filter("left < 0").count()
    if more:
        raise StageError(
            "prepare.sql",
            value=bare(f"{more} rows that were not accepted, or more than once"),
            allowed="the accepted rows, each at most as often as it was accepted",
            action="join what has one row for each key only, and keep _row_id as it is",
        )
