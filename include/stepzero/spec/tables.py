"""Sections `tables` and `join`: a use case whose rows come from several tables."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from stepzero.spec.base import ElsewhereError, Section
from stepzero.spec.data import Source, Window
from stepzero.spec.quality import Quality
from stepzero.spec.transforms import Columns, Steps, columns_after


class SourceTable(Section):
    """One table: where it comes from, and what is done to it before it is joined."""

    source: Source
    quality: Quality = Quality()
    """What the gate asks of this table. A foreign key may name another table: then it is that one of the same batch."""
    transforms: Steps = ()

    @model_validator(mode="after")
    def _whole(self) -> SourceTable:
        if self.source.partition or self.source.window != Window():
            msg = "a table has neither partition nor window: what earlier batches said is kept by `features`"
            raise ElsewhereError(msg, location=("source", "window"), value=self.source.partition or "a window")
        for name in ("after_prepare", "predictions"):
            if getattr(self.quality, name).rules:
                msg = f"quality.{name} at the top of the file: it judges the joined rows, not one table's"
                raise ElsewhereError(msg, location=("quality", name), value="rules")
        return self


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Join(Section):
    """How a table is joined to those before it.

    The joined table has one row for each key at most, or the join is an error: a join that multiplies rows is how
    the same entity comes to lie on both sides of a split.
    """

    table: str
    by: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(min_length=1)
    """Columns that both have; they are kept once."""
    how: Literal["inner", "left"] = "left"
    unmatched: Literal["error", "count"] = "error"
    """What a row without a partner in the joined table is: an error, or dropped (``inner``) or kept without values
    (``left``), and counted."""


def with_table_datasets(data: Any) -> Any:
    """Let a table's foreign keys refer to the other tables by their names, as to any dataset.

    It is done before validation, on the file's plain data; what it cannot read is left for validation to tell.
    """
    tables = data.get("tables") if isinstance(data, dict) else None
    if not isinstance(tables, dict):
        return data
    return data | {"tables": {name: _with_datasets(name, table, tables) for name, table in tables.items()}}


def _with_datasets(name: str, table: Any, tables: dict[str, Any]) -> Any:
    quality = table.get("quality") if isinstance(table, dict) else None
    rules = quality.get("rules") if isinstance(quality, dict) else None
    if not isinstance(quality, dict) or not isinstance(rules, list | tuple):
        return table
    declared = quality.get("datasets") or {}
    named = [rule.get("dataset") for rule in rules if isinstance(rule, dict) and rule.get("rule") == "foreign_key"]
    others = {
        other: table_of["source"]
        for other, table_of in tables.items()
        if other in named and other not in {name, *declared} and isinstance(table_of, dict) and "source" in table_of
    }
    return table | {"quality": quality | {"datasets": {**declared, **others}}} if others else table


def table_columns(tables: dict[str, SourceTable]) -> dict[str, Columns]:
    """Return the columns that each table's transforms leave.

    Raises:
        ElsewhereError: A step names a column that is not there.
    """
    return {
        name: columns_after(table.source.columns, table.transforms, ("tables", name, "transforms"))
        for name, table in tables.items()
    }


def joined_columns(tables: dict[str, SourceTable], joins: tuple[Join, ...]) -> Columns:
    """Return the columns of the joined rows: the first table's, then those of each joined one.

    Raises:
        ElsewhereError: A table is unknown, never joined or joined twice, or a column is not there or twice.
    """
    left = table_columns(tables)
    first = next(iter(tables))
    columns = left.pop(first)
    for number, join in enumerate(joins):
        columns = _joined(columns, left, join, ("join", number))
    if left:
        raise ElsewhereError("a join for every table but the first", location=("tables",), value=", ".join(left))
    return columns


def _joined(columns: Columns, left: dict[str, Columns], join: Join, place: tuple[str | int, ...]) -> Columns:
    from stepzero.core.errors import did_you_mean

    if join.table not in left:
        allowed = f"a table that is not joined yet; {did_you_mean(join.table, left)}" if left else "no more joins"
        raise ElsewhereError(allowed, location=(*place, "table"), value=join.table)
    other = left.pop(join.table)
    for key in join.by:
        if key not in columns or key not in other:
            allowed = f"a column of both; {did_you_mean(key, set(columns) & set(other))}"
            raise ElsewhereError(allowed, location=(*place, "by"), value=key)
    twice = sorted((set(columns) & set(other)) - set(join.by))
    if twice:
        allowed = "columns that only one table has, besides those of the join: rename or drop it in one"
        raise ElsewhereError(allowed, location=(*place, "table"), value=twice[0])
    return {**columns, **{name: kind for name, kind in other.items() if name not in join.by}}
