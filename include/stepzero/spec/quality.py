"""The `quality` section: rules that a batch must meet before anything else sees it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stepzero.spec.anomalies import KnownAnomaly
from stepzero.spec.base import Section, Share, is_dotted

Severity = Literal["error", "warning"]


class Rule(Section):
    """What every rule has.

    ``where`` is a Spark SQL predicate: only rows for which it is true are judged.
    """

    severity: Severity = "error"
    where: str | None = None


class SizeRule(Rule):
    """Bound the number of rows."""

    rule: Literal["size"]
    at_least: int | None = Field(default=None, ge=0)
    at_most: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _bounded(self) -> SizeRule:
        check_bounds(self.at_least, self.at_most)
        return self


class CompleteRule(Rule):
    """Require values: a row with a null in one of the columns is bad."""

    rule: Literal["complete"]
    columns: tuple[str, ...] = Field(min_length=1)


class UniqueRule(Rule):
    """Require that the columns together identify a row: all members of a duplicate group are bad.

    Nulls are alike. With ``where``, rows that are not judged are nobody's duplicates.
    """

    rule: Literal["unique"]
    columns: tuple[str, ...] = Field(min_length=1)


class BetweenRule(Rule):
    """Bound the values of a numeric column; null passes (say `complete` too), NaN is bad."""

    rule: Literal["between"]
    column: str
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> BetweenRule:
        check_bounds(self.at_least, self.at_most)
        return self


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


class ClassBalanceRule(Rule):
    """Check the label: at least two classes, each with enough rows."""

    rule: Literal["class_balance"]
    column: str
    at_least: int = Field(default=2, ge=1)
    """Rows that the smallest class must have."""
    classes: int = Field(default=2, ge=2)


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


RULES = ("size", "complete", "unique", "between", "one_of", "pattern", "type", "compliance", "class_balance")

KnownRule = Annotated[
    SizeRule
    | CompleteRule
    | UniqueRule
    | BetweenRule
    | OneOfRule
    | PatternRule
    | TypeRule
    | ComplianceRule
    | ClassBalanceRule,
    Field(discriminator="rule"),
]


class Quality(Section):
    """What a batch must be."""

    on_bad_rows: Literal["quarantine", "fail"] = "quarantine"
    quarantine_limit: Share = 0.01
    """Share of bad rows above which the whole batch fails."""
    rules: tuple[KnownRule | CustomRule, ...] = ()
    anomalies: tuple[KnownAnomaly, ...] = ()

    @field_validator("rules", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        for rule in value if isinstance(value, list | tuple) else ():
            if isinstance(rule, dict):
                check_name(rule.get("rule"), RULES, "rule")
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


def check_name(name: Any, known: tuple[str, ...], kind: str) -> None:
    """Reject a name that is neither ours nor dotted, with a suggestion.

    Raises:
        ValueError: The name is unknown.
    """
    from stepzero.core.errors import did_you_mean

    if not isinstance(name, str) or (name not in known and not is_dotted(name)):
        msg = f"unknown {kind} {name!r}: {did_you_mean(str(name), known)}, or a dotted name of yours"
        raise ValueError(msg)
