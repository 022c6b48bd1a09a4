"""What rules ask of the columns that they name: that they are there, and of a kind that the rule can judge.

Spark would compare text with a number by reading it as one, and call what it cannot read bad; a rule that does
not fit its column is an error of the rule instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stepzero.adapters.spark import quoted
from stepzero.core.errors import RuleError, did_you_mean

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from stepzero.spec.data import Source
    from stepzero.spec.quality import ForeignKeyRule

INTEGERS = ("tinyint", "smallint", "int", "bigint")
NUMBERS = (*INTEGERS, "float", "double")
_KINDS = {
    **dict.fromkeys(NUMBERS, "number"),
    "string": "text",
    "boolean": "boolean",
    "date": "time",
    "timestamp": "time",
    "timestamp_ntz": "time",
}
_EXAMPLES = {
    "number": "numbers",
    "text": "text",
    "boolean": "booleans",
    "time": "dates or timestamps",
}


def kind_of(spark_type: str) -> str:
    """Return the kind of values that a Spark type holds.

    >>> kind_of("bigint"), kind_of("decimal(10,2)"), kind_of("array<int>")
    ('number', 'number', 'array<int>')
    """
    return "number" if spark_type.startswith("decimal") else _KINDS.get(spark_type, spark_type)


def kinds_of(values: Iterable[object]) -> tuple[str, ...]:
    """Return the kinds of columns that can be compared with all the values; dates are written as text."""
    kinds = {bool: {"boolean"}, str: {"text", "time"}}
    allowed = [kinds.get(type(value), {"number"}) for value in values]
    return tuple(sorted(set.intersection(*allowed))) or ("of one kind, and so the values",)


def check_column(frame: DataFrame, column: str, what: str) -> str:
    """Return a column's quoted name.

    Raises:
        RuleError: The batch has no such column.
    """
    if column not in frame.columns:
        known = [name for name in frame.columns if not name.startswith("_")]
        raise RuleError(what, value=column, allowed=did_you_mean(column, known), action="correct the rule's column")
    return quoted(column)


def check_kind(frame: DataFrame, column: str, what: str, *kinds: str) -> None:
    """Check that a column holds one of some kinds of values.

    Raises:
        RuleError: It holds others, or the batch has no such column.
    """
    check_column(frame, column, what)
    found = dict(frame.dtypes)[column]
    if kind_of(found) not in kinds:
        raise RuleError(
            what,
            value=f"{column} of type {found}",
            allowed=f"a column of {' or '.join(_EXAMPLES.get(kind, kind) for kind in kinds)}",
            action="name another column, or declare this one with the type that it has",
        )


def check_same_kind(frame: DataFrame, rule: ForeignKeyRule, other: Source, what: str) -> None:
    """Check that the columns of a foreign key can be compared with those that they refer to.

    Raises:
        RuleError: Their types differ; a number never equals a text.
    """
    kinds = dict(frame.dtypes)
    for name, key in zip(rule.columns, rule.referenced, strict=True):
        if kind_of(kinds[name]) != kind_of(other.columns[key]):
            raise RuleError(
                what,
                value=f"{name} of type {kinds[name]}",
                allowed=f"the type of {key} in {rule.dataset}: {other.columns[key]}",
                action="declare both with one type",
            )
