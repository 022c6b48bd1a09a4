"""Declared transforms of a table: what a step does, and which columns it leaves.

Vocabularies and orders are declared, never learned from how often a word occurs: other data cannot swap columns.
Every step knows the columns that it leaves, so that a wrong name is found when the file is read, before any data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from stepzero.spec.base import ElsewhereError, Section, is_dotted
from stepzero.spec.data import ColumnType

SYMBOLS = "!@#$%^&*()_+=-/\\`~{}|<>?"
"""What `remove_symbols` removes unless told otherwise."""
Columns = dict[str, str]
"""Column → type, in order."""


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Step(Section):
    """What every step has: its name, and the columns that it leaves."""

    def after(self, columns: Columns) -> Columns:
        """Return the columns after this step.

        Raises:
            ElsewhereError: A column that the step names is not there.
        """
        raise NotImplementedError


class Unseen(Step):
    """A step that may meet a value it was not told of: null, or a word outside its vocabulary."""

    unseen: Literal["error", "other", "count"] = "error"
    """Refuse the rows; take them as "other"; or leave them without a value (flags 0, numbers null) and report how
    many rows with which values there were."""


class CaseStep(Step):
    """Write text in lower or upper case."""

    step: Literal["case"]
    to: Literal["lower", "upper"] = "lower"
    columns: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ("text",)
    """``text`` alone is every column of type string."""

    def chosen(self, columns: Columns) -> list[str]:
        """Return the columns that are meant."""
        if self.columns == ("text",) and "text" not in columns:
            return [name for name, kind in columns.items() if kind == "string"]
        return list(self.columns)

    def after(self, columns: Columns) -> Columns:
        """Return the columns after this step."""
        must_know(columns, self.chosen(columns), "columns")
        return columns


class RemoveSymbolsStep(Step):
    """Remove characters from text: ``break-in`` becomes ``breakin``, ``n/a`` becomes ``na``."""

    step: Literal["remove_symbols"]
    columns: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(min_length=1)
    symbols: str = Field(default=SYMBOLS, min_length=1)

    def after(self, columns: Columns) -> Columns:
        """Return the columns after this step."""
        must_know(columns, self.columns, "columns")
        return columns


class OneHotStep(Unseen):
    """Replace a column by one flag (0 or 1) for each word of its vocabulary: ``COLUMN_WORD``, in that order.

    With ``unseen: other`` there is a flag ``COLUMN_other``, the last unless the vocabulary has that word.
    """

    step: Literal["one_hot"]
    column: str
    vocabulary: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> OneHotStep:
        if len(set(self.vocabulary)) != len(self.vocabulary):
            msg = f"a word stands twice in the vocabulary of {self.column}"
            raise ValueError(msg)
        return self

    @property
    def words(self) -> tuple[str, ...]:
        """Return the words that have a flag."""
        extra = ("other",) if self.unseen == "other" and "other" not in self.vocabulary else ()
        return (*self.vocabulary, *extra)

    def flag(self, word: str) -> str:
        """Return the name of a word's flag."""
        return f"{self.column}_{word}"

    def after(self, columns: Columns) -> Columns:
        """Return the columns after this step."""
        must_know(columns, [self.column], "column")
        left = {name: kind for name, kind in columns.items() if name != self.column}
        return _with_new(left, {self.flag(word): "int" for word in self.words}, "vocabulary")


class OrdinalStep(Unseen):
    """Replace words by declared numbers."""

    step: Literal["ordinal"]
    column: str
    values: dict[str, int] = Field(min_length=1)
    other: int | None = None
    """The number of words outside ``values``, with ``unseen: other``."""

    @model_validator(mode="after")
    def _other(self) -> OrdinalStep:
        if (self.unseen == "other") != (self.other is not None):
            msg = "unseen: other goes with other: NUMBER, and neither without the other"
            raise ValueError(msg)
        return self

    def after(self, columns: Columns) -> Columns:
        """Return the columns after this step."""
        must_know(columns, [self.column], "column")
        return {**columns, self.column: "int"}


class CastStep(Step):
    """Read columns as other types; a number with a fraction loses it when it becomes a whole number.

    A value that is there and cannot be read as the type is ``unreadable``: an error, or null and counted.
    """

    step: Literal["cast"]
    columns: dict[str, ColumnType] = Field(min_length=1)
    unreadable: Literal["error", "count"] = "error"

    def after(self, columns: Columns) -> Columns:
        """Return the columns after this step."""
        must_know(columns, self.columns, "columns")
        return {**columns, **self.columns}


class DropStep(Step):
    """Leave columns out."""

    step: Literal["drop"]
    columns: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(min_length=1)

    def after(self, columns: Columns) -> Columns:
        """Return the columns after this step."""
        must_know(columns, self.columns, "columns")
        return {name: kind for name, kind in columns.items() if name not in self.columns}


class SelectStep(Step):
    """Keep these columns, in this order."""

    step: Literal["select"]
    columns: tuple[str, ...] = Field(min_length=1)

    def after(self, columns: Columns) -> Columns:
        """Return the columns after this step."""
        must_know(columns, self.columns, "columns")
        return {name: columns[name] for name in self.columns}


class RenameStep(Step):
    """Give columns other names, at their places."""

    step: Literal["rename"]
    columns: dict[str, str] = Field(min_length=1)

    def after(self, columns: Columns) -> Columns:
        """Return the columns after this step."""
        must_know(columns, self.columns, "columns")
        renamed = [self.columns.get(name, name) for name in columns]
        if len(set(renamed)) != len(renamed):
            raise ElsewhereError("names that no other column has", location=("columns",), value=dict(self.columns))
        return dict(zip(renamed, columns.values(), strict=True))


class DeriveStep(Step):
    """Make or replace columns by Spark SQL expressions, in order; each may use those before it."""

    step: Literal["derive"]
    columns: dict[str, str] = Field(min_length=1)

    def after(self, columns: Columns) -> Columns:
        """Return the columns after this step."""
        return {**columns, **dict.fromkeys(self.columns, "unknown")}


class CustomStep(Step):
    """A step of the user's own: ``package.module:function``, called with the Spark frame and the options.

    ``leaves`` says which columns it leaves, where later steps or sections name any that it makes.
    """

    step: str
    options: dict[str, Any] = Field(default_factory=dict)
    leaves: dict[str, ColumnType] | None = None

    @field_validator("step")
    @classmethod
    def _dotted(cls, value: str) -> str:
        if not is_dotted(value) or ":" not in value:
            msg = f"unknown step {value!r}"
            raise ValueError(msg)
        return value

    def after(self, columns: Columns) -> Columns:
        """Return the columns after this step."""
        return columns if self.leaves is None else dict(self.leaves)


STEPS = ("case", "remove_symbols", "one_hot", "ordinal", "cast", "drop", "select", "rename", "derive")
KnownStep = Annotated[
    CaseStep
    | RemoveSymbolsStep
    | OneHotStep
    | OrdinalStep
    | CastStep
    | DropStep
    | SelectStep
    | RenameStep
    | DeriveStep,
    Field(discriminator="step"),
]
AnyStep = KnownStep | CustomStep


def check_steps(value: Any) -> Any:
    """Reject a step whose name is unknown, before pydantic tries all kinds.

    Raises:
        ValueError: The name is neither ours nor dotted.
    """
    from stepzero.spec.quality import check_name

    for one in value if isinstance(value, list | tuple) else ():
        if isinstance(one, dict):
            check_name(one.get("step"), STEPS, "step")
    return value


Steps = Annotated[tuple[AnyStep, ...], BeforeValidator(check_steps)]


def columns_after(columns: Mapping[str, str], steps: Sequence[Step], location: tuple[str | int, ...]) -> Columns:
    """Return the columns that steps leave.

    Raises:
        ElsewhereError: A step names a column that is not there; it names the step's place in the file.
    """
    left = dict(columns)
    for number, step in enumerate(steps):
        try:
            left = step.after(left)
        except ElsewhereError as error:
            place = (*location, number, *error.location)
            raise ElsewhereError(str(error), location=place, value=error.value) from error
    return left


def must_know(columns: Mapping[str, str], names: Sequence[str] | Mapping[str, Any], key: str) -> None:
    """Reject a name that no column has.

    Raises:
        ElsewhereError: There is one.
    """
    from stepzero.core.errors import did_you_mean

    for name in names:
        if name not in columns:
            raise ElsewhereError(f"a column at this step; {did_you_mean(name, columns)}", location=(key,), value=name)


def _with_new(columns: Columns, new: Columns, key: str) -> Columns:
    for name in new:
        if name in columns:
            raise ElsewhereError("flags that no other column is named like", location=(key,), value=name)
    return {**columns, **new}
