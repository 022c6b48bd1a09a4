"""The `prepare` section's row-by-row part on a Spark frame: wherever rows are to look as the training rows did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepzero.adapters.spark import check_expression
from stepzero.core.errors import RuleError, did_you_mean

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from stepzero.spec.data import Prepare


def derived(frame: DataFrame, prepare: Prepare) -> DataFrame:
    """Derive columns, keep the wanted rows and drop columns, in this order.

    Raises:
        RuleError: An expression names an unknown column or is not SQL.
    """
    from pyspark.sql import functions

    for name, expression in prepare.derive.items():
        check_expression(frame, expression, f"prepare.derive.{name}", predicate=False)
        frame = frame.withColumn(name, functions.expr(expression))
    if prepare.keep_where:
        check_expression(frame, prepare.keep_where, "prepare.keep_where")
        frame = frame.filter(prepare.keep_where)
    for part in ("drop", "set_aside"):
        for name in getattr(prepare, part):
            must_have(frame, name, f"prepare.{part}")
    return frame.drop(*prepare.drop)


def must_have(frame: DataFrame, name: str, what: str) -> None:
    """Check that a frame has a column.

    Raises:
        RuleError: It has not.
    """
    if name not in frame.columns:
        raise RuleError(what, value=name, allowed=did_you_mean(name, frame.columns), action="correct the name")
