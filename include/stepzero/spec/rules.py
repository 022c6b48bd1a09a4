"""Rules that judge each row: a bad row is set aside with its reasons."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from stepzero.spec.base import Section, Share, is_dotted

Severity = Literal["error", "warning"]


class Rule(Section):
    """What every rule has.

    ``where`` is a Spark SQL predicate: only rows for which it is true are judged.
    """

    severity: Severity = "error"
    where: str | None = None


class BoundedRule(Rule):
    """A rule with bounds; a value at a bound is within it."""

    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> BoundedRule:
        check_bounds(self.at_least, self.at_most)
        return self


class CompleteRule(Rule):
    """Require values: a row with a null in one of the columns is bad."""

    rule: Literal["complete"]
    columns: tuple[str, ...] = Field(min_length=1)
    at_least: Share = 1.0
    """Share of rows that must comply; below it the bad rows count."""


class UniqueRule(Rule):
    """Require that the columns together identify a row: all members of a duplicate group are bad.

    Nulls are alike. With ``where``, rows that are not judged are nobody's duplicates.
    """

    rule: Literal["unique"]
    columns: tuple[str, ...] = Field(min_length=1)


class BetweenRule(BoundedRule):
    """Bound the values of a numeric column; null passes (say `complete` too), NaN is bad."""

    rule: Literal["between"]
    column: str


class LengthRule(BoundedRule):
    """Bound the number of characters of a text column; null passes, an empty text has none."""

    rule: Literal["length"]
    column: str
    at_least: int | None = Field(default=None, ge=0)
    at_most: int | None = Field(default=None, ge=0)


class OneOfRule(Rule):
    """Require that values come from a list; null passes."""

    rule: Literal["one_of"]
    column: str
    values: tuple[str | int | float | bool, ...] = Field(min_length=1)


class PatternRule(Rule):
    """Require that text matches a regular expression as a whole; null passes."""

    rule: Literal["pattern"]
    column: str
    pattern: str

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            msg = f"not a regular expression: {error}"
            raise ValueError(msg) from error
        return value


class TypeRule(Rule):
    """Require that every value of a column can be read as a type; null passes."""

    rule: Literal["type"]
    column: str
    type: Literal["integer", "double", "boolean", "date", "timestamp"]


class ComplianceRule(Rule):
    """Require a Spark SQL predicate; a row for which it is false or null is bad."""

    rule: Literal["compliance"]
    name: str
    predicate: str
    column: str | None = None
    at_least: Share = 1.0
    """Share of rows that must comply; below it the bad rows count."""


class ForeignKeyRule(Rule):
    """Require that a row's key is there in another dataset; a key with a null in it passes, as in SQL."""

    rule: Literal["foreign_key"]
    columns: tuple[str, ...] = Field(min_length=1)
    dataset: str
    """Name in ``quality.datasets``."""
    keys: tuple[str, ...] = ()
    """The columns' names there, in the same order; left out, they are the same."""

    @model_validator(mode="after")
    def _pairs(self) -> ForeignKeyRule:
        if self.keys and len(self.keys) != len(self.columns):
            msg = f"{len(self.keys)} keys for {len(self.columns)} columns: name one key for each column"
            raise ValueError(msg)
        return self

    @property
    def referenced(self) -> tuple[str, ...]:
        """Return the key's columns in the other dataset."""
        return self.keys or self.columns


class CustomRule(Rule):
    """A rule of the user's own: ``package.module:function``.

    The function takes the options and returns a Spark SQL predicate that is true for good rows.
    """

    rule: str
    column: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("rule")
    @classmethod
    def _dotted(cls, value: str) -> str:
        if not is_dotted(value) or ":" not in value:
            msg = f"unknown rule {value!r}"
            raise ValueError(msg)
        return value


def check_bounds(low: float | None, high: float | None) -> None:
    """Reject bounds that nothing can meet.

    Raises:
        ValueError: No bound is given, or the lower one is above the upper one.
    """
    if low is None and high is None:
        msg = "no bound: give at_least, at_most or both"
        raise ValueError(msg)
    if low is not None and high is not None and low > high:
        msg = f"impossible bounds: at_least {low} is above at_most {high}"
        raise ValueError(msg)
