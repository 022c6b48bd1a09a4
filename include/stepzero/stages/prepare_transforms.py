"""Declared transforms on Spark, and what they met that they were not told of.

Each step that may meet an unseen value leaves a marker beside the rows (`_unseen_…`): the value where it was unseen,
null elsewhere. All are counted in one pass at the end, and taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from stepzero.adapters.spark import check_expression, quoted
from stepzero.core.errors import InputError, RuleError, bare, did_you_mean
from stepzero.learning.names import load_name
from stepzero.spec.transforms import (
    CaseStep,
    CastStep,
    CustomStep,
    DeriveStep,
    DropStep,
    OneHotStep,
    OrdinalStep,
    RemoveSymbolsStep,
    RenameStep,
    SelectStep,
    Step,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_MARKER, _ROW_ID = "_unseen_", "_row_id"
_MOST_VALUES = 20
"""Values that are named where many were unseen."""
_NOTHING = "null"


@dataclass(frozen=True, kw_only=True)
class Met:
    """Values of one column that a step was not told of."""

    where: str
    column: str
    rule: str
    allowed: str
    rows: int = 0
    values: Mapping[str, int] | None = None

    def sentence(self) -> str:
        """Return how many rows, with which values."""
        named = ", ".join(f"{value} ({rows})" for value, rows in (self.values or {}).items())
        return f"{self.column}: {self.rows} rows with unseen values: {named}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {"column": self.column, "rule": self.rule, "rows": self.rows, "values": dict(self.values or {})}


def transform(frame: DataFrame, steps: Sequence[Step], where: str) -> tuple[DataFrame, list[Met]]:
    """Do the steps in order; return the rows and what was unseen, steps that met nothing included.

    Args:
        frame: Rows.
        steps: As declared.
        where: Name of the section, for messages.

    Raises:
        RuleError: A step names an unknown column, or an expression is no SQL.
        InputError: Values were unseen where that is declared an error.
    """
    markers: list[Met] = []
    for number, step in enumerate(steps):
        frame = _DOERS[type(step)](frame, step, f"{where}.{number}", markers)
    if not markers:
        return frame, []
    left = [quoted(name) for name in frame.columns if not name.startswith(_MARKER)]
    frame = frame.cache()
    met = _counted(frame, markers)
    refused = [one for one in met if one.rows and one.rule == "error"]
    if refused:
        frame.unpersist()
        raise InputError(
            f"{refused[0].where} {refused[0].column}",
            value=bare("; ".join(one.sentence() for one in refused)),
            allowed=refused[0].allowed,
            action="declare the values, or say what becomes of them: unseen: other or unseen: count",
        )
    return frame.select(*left), met


def _counted(frame: DataFrame, markers: Sequence[Met]) -> list[Met]:
    from pyspark.sql import functions

    names = [f"{_MARKER}{number}" for number in range(len(markers))]
    counts = frame.select(*(functions.count(name).alias(name) for name in names)).first()
    found = []
    for name, marker in zip(names, markers, strict=True):
        rows = int(counts[name]) if counts else 0
        values = _values(frame, name) if rows else {}
        found.append(Met(**{**marker.__dict__, "rows": rows, "values": values}))
    return found


def _values(frame: DataFrame, marker: str) -> dict[str, int]:
    from pyspark.sql import functions

    counted = frame.filter(functions.col(marker).isNotNull()).groupBy(marker).count()
    ordered = counted.orderBy(functions.desc("count"), marker).limit(_MOST_VALUES).collect()
    return {str(row[0]): int(row[1]) for row in ordered}


def _visible(frame: DataFrame) -> list[str]:
    return [name for name in frame.columns if not _is_ours(name)]


def _is_ours(name: str) -> bool:
    return name.startswith(_MARKER) or name == _ROW_ID


def _marked(frame: DataFrame, unseen: Column, value: Column, met: Met, markers: list[Met]) -> DataFrame:
    """Remember the values of rows for which `unseen` is true."""
    from pyspark.sql import functions

    name = f"{_MARKER}{len(markers)}"
    markers.append(met)
    told = functions.coalesce(value.cast("string"), functions.lit(_NOTHING))
    return frame.withColumn(name, functions.when(unseen, told))


def _replaced(frame: DataFrame, new: Mapping[str, Column]) -> DataFrame:
    for name, column in new.items():
        frame = frame.withColumn(name, column)
    return frame


def _case(frame: DataFrame, step: CaseStep, where: str, _: list[Met]) -> DataFrame:
    from pyspark.sql import functions

    change = functions.lower if step.to == "lower" else functions.upper
    kinds = {
        field.name: field.dataType.simpleString() for field in frame.schema.fields if field.name in _visible(frame)
    }
    columns = step.chosen(kinds)
    _check(frame, columns, f"{where}.columns")
    return _replaced(frame, {name: change(functions.col(quoted(name))) for name in columns})


def _remove_symbols(frame: DataFrame, step: RemoveSymbolsStep, where: str, _: list[Met]) -> DataFrame:
    from pyspark.sql import functions

    _check(frame, step.columns, f"{where}.columns")
    columns = {
        name: functions.translate(functions.col(quoted(name)).cast("string"), step.symbols, "") for name in step.columns
    }
    return _replaced(frame, columns)


def _one_hot(frame: DataFrame, step: OneHotStep, where: str, markers: list[Met]) -> DataFrame:
    from pyspark.sql import functions

    _check(frame, [step.column], f"{where}.column")
    value = functions.col(quoted(step.column)).cast("string")
    known = functions.coalesce(value.isin(*step.vocabulary), functions.lit(False))
    met = Met(where=where, column=step.column, rule=step.unseen, allowed=", ".join(step.vocabulary))
    frame = _marked(frame, ~known, value, met, markers)
    for word in step.words:
        is_word = functions.coalesce(value == word, functions.lit(False))
        flag = is_word | ~known if step.unseen == "other" and word == "other" else is_word
        frame = frame.withColumn(step.flag(word), flag.cast("int"))
    return frame.drop(step.column)


def _ordinal(frame: DataFrame, step: OrdinalStep, where: str, markers: list[Met]) -> DataFrame:
    from pyspark.sql import functions

    _check(frame, [step.column], f"{where}.column")
    value = functions.col(quoted(step.column)).cast("string")
    known = functions.coalesce(value.isin(*step.values), functions.lit(False))
    met = Met(where=where, column=step.column, rule=step.unseen, allowed=", ".join(step.values))
    frame = _marked(frame, ~known, value, met, markers)
    pairs = chain.from_iterable((functions.lit(word), functions.lit(number)) for word, number in step.values.items())
    number = functions.create_map(*pairs)[value]
    other = functions.lit(step.other).cast("int")
    return frame.withColumn(step.column, functions.when(known, number).otherwise(other).cast("int"))


def _cast(frame: DataFrame, step: CastStep, where: str, markers: list[Met]) -> DataFrame:
    from pyspark.sql import functions

    _check(frame, list(step.columns), f"{where}.columns")
    for name, kind in step.columns.items():
        value = functions.col(quoted(name))
        # A plain cast wraps numbers that do not fit, and says nothing.
        expression = f"try_cast({quoted(name)} AS {kind})"
        check_expression(frame, expression, f"{where}.columns.{name}", predicate=False)
        read = functions.expr(expression)
        met = Met(where=where, column=name, rule=step.unreadable, allowed=f"values that can be read as {kind}")
        frame = _marked(frame, value.isNotNull() & read.isNull(), value, met, markers)
        frame = frame.withColumn(name, read)
    return frame


def _drop(frame: DataFrame, step: DropStep, where: str, _: list[Met]) -> DataFrame:
    _check(frame, step.columns, f"{where}.columns")
    return frame.drop(*step.columns)


def _select(frame: DataFrame, step: SelectStep, where: str, _: list[Met]) -> DataFrame:
    _check(frame, step.columns, f"{where}.columns")
    ours = [name for name in frame.columns if _is_ours(name)]
    return frame.select(*(quoted(name) for name in [*step.columns, *ours]))


def _rename(frame: DataFrame, step: RenameStep, where: str, _: list[Met]) -> DataFrame:
    from pyspark.sql import functions

    _check(frame, list(step.columns), f"{where}.columns")
    return frame.select(*(functions.col(quoted(name)).alias(step.columns.get(name, name)) for name in frame.columns))


def _derive(frame: DataFrame, step: DeriveStep, where: str, _: list[Met]) -> DataFrame:
    from pyspark.sql import functions

    for name, expression in step.columns.items():
        check_expression(frame, expression, f"{where}.columns.{name}", predicate=False)
        frame = frame.withColumn(name, functions.expr(expression))
    return frame


def _custom(frame: DataFrame, step: CustomStep, where: str, _: list[Met]) -> DataFrame:
    """Let the user's function see the frame; it keeps the markers if it keeps the columns that it does not know."""
    before = {name for name in frame.columns if _is_ours(name)}
    made: DataFrame = load_name(step.step, "step")(frame, **step.options)
    lost = before - set(made.columns)
    if lost:
        raise RuleError(
            f"{where} {step.step}",
            value=bare(f"dropped {', '.join(sorted(lost))}"),
            allowed="a frame that keeps columns that it does not know",
            action="drop columns by name, instead of selecting some",
        )
    return made


def _check(frame: DataFrame, names: Sequence[str], what: str) -> None:
    for name in names:
        if name not in frame.columns:
            allowed = did_you_mean(name, _visible(frame))
            raise RuleError(what, value=name, allowed=allowed, action="correct the name")


_DOERS: dict[type[Step], Callable[[Any, Any, str, list[Met]], Any]] = {
    CaseStep: _case,
    RemoveSymbolsStep: _remove_symbols,
    OneHotStep: _one_hot,
    OrdinalStep: _ordinal,
    CastStep: _cast,
    DropStep: _drop,
    SelectStep: _select,
    RenameStep: _rename,
    DeriveStep: _derive,
    CustomStep: _custom,
}
