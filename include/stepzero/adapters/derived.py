"""The `prepare` section's columns on a Spark frame: wherever rows are to look as the training rows did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepzero.adapters.spark import check_expression
from stepzero.core.errors import RuleError, bare, did_you_mean

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from stepzero.spec.data import Prepare


VIEW = "accepted"
"""What the SELECT of ``prepare.sql`` reads."""
ROW_ID = "_row_id"


def derived(frame: DataFrame, prepare: Prepare) -> DataFrame:
    """Derive columns, keep the wanted rows and drop columns, in this order.

    Raises:
        RuleError: A statement or an expression names an unknown column or is not SQL.
    """
    return derive(frame, prepare).drop(*prepare.drop)


def derive(frame: DataFrame, prepare: Prepare) -> DataFrame:
    """Do what `derived` does, and leave the columns that are dropped: the split may be by them.

    Raises:
        RuleError: A statement or an expression names an unknown column or is not SQL.
    """
    from pyspark.sql import functions

    frame = _queried(frame, prepare.sql) if prepare.sql else frame
    for name, expression in prepare.derive.items():
        check_expression(frame, expression, f"prepare.derive.{name}", predicate=False)
        frame = frame.withColumn(name, functions.expr(expression))
    if prepare.keep_where:
        check_expression(frame, prepare.keep_where, "prepare.keep_where")
        frame = frame.filter(prepare.keep_where)
    for part in ("drop", "set_aside"):
        for name in getattr(prepare, part):
            must_have(frame, name, f"prepare.{part}")
    return frame


def must_have(frame: DataFrame, name: str, what: str) -> None:
    """Check that a frame has a column.

    Raises:
        RuleError: It has not.
    """
    if name not in frame.columns:
        raise RuleError(what, value=name, allowed=did_you_mean(name, frame.columns), action="correct the name")


def _queried(frame: DataFrame, statement: str) -> DataFrame:
    """Return what the SELECT makes of accepted rows."""
    from pyspark.errors import PySparkException

    frame.createOrReplaceTempView(VIEW)
    try:
        queried = frame.sparkSession.sql(statement)
    except PySparkException as error:
        raise RuleError(
            "prepare.sql",
            value=bare(" ".join(statement.split())[:60] + " …"),
            allowed=f"one SELECT over the view {VIEW} with {', '.join(frame.columns[:20])}",
            action=f"correct it: {str(error).splitlines()[0][:300]}",
        ) from error
    if ROW_ID in frame.columns:
        must_have(queried, ROW_ID, "prepare.sql")
    return queried
