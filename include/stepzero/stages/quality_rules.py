"""Each kind of rule about rows as Spark SQL: a predicate that is true for good rows."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepzero.adapters.batches import UNREADABLE
from stepzero.adapters.spark import check_expression, literal, quoted
from stepzero.core.errors import RuleError
from stepzero.spec import quality as spec
from stepzero.stages.quality_columns import check_column, check_kind, check_same_kind, kinds_of

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from stepzero.spec.data import Source

AnyRule = Any
READABLE = "type"
"""Name of the rule that every declared column has: its cells can be read as its type."""
_OF_ROWS = (
    spec.CompleteRule,
    spec.UniqueRule,
    spec.BetweenRule,
    spec.LengthRule,
    spec.OneOfRule,
    spec.PatternRule,
    spec.TypeRule,
    spec.ComplianceRule,
    spec.ForeignKeyRule,
    spec.CustomRule,
)


@dataclass(frozen=True, kw_only=True)
class RowRule:
    """A rule that judges rows.

    ``predicate`` is SQL, never null. What it cannot say of a row alone is looked up first and stands in
    the column `found`: with ``keys``, whether another row has the same ones; with ``foreign_key``, whether
    the other dataset has the key. ``judged`` is SQL for the rows that ``where`` chooses.
    """

    label: str
    rule: str
    column: str | None
    bound: str
    severity: str
    predicate: str
    judged: str | None = None
    keys: tuple[str, ...] = ()
    foreign_key: spec.ForeignKeyRule | None = None
    at_least: float = 1.0

    @property
    def found(self) -> str:
        """Return the column for what is looked up of a row."""
        return f"_found_{self.label.partition(' ')[0]}"

    @property
    def flag(self) -> str:
        """Return a name for a column that says of each row whether it breaks the rule."""
        return f"_broken_{self.label.partition(' ')[0]}"

    @property
    def broken(self) -> Column:
        """Return whether a row breaks the rule."""
        from pyspark.sql import functions

        return ~functions.expr(self.predicate)


def row_rules(frame: DataFrame, rules: Sequence[AnyRule], datasets: Mapping[str, Source]) -> list[RowRule]:
    """Return the rules that judge rows, their SQL analysed by Spark before any row is read.

    Raises:
        RuleError: A rule names an unknown column or one of a wrong type, is not SQL, or cannot be imported.
    """
    unreadable = RowRule(
        label="0 type",
        rule=READABLE,
        column=None,
        bound="cells that can be read as the declared type",
        severity="error",
        predicate=f"size({UNREADABLE}) = 0",
    )
    numbered = [(number, rule) for number, rule in enumerate(rules, start=1) if is_row_rule(rule)]
    return [unreadable, *(_row_rule(frame, rule, number, datasets) for number, rule in numbered)]


def is_row_rule(rule: AnyRule) -> bool:
    """Tell whether a rule judges rows, not the batch as a whole."""
    return isinstance(rule, _OF_ROWS)


def _row_rule(frame: DataFrame, rule: AnyRule, number: int, datasets: Mapping[str, Source]) -> RowRule:
    what = f"rule {number} ({rule.rule})"
    column = getattr(rule, "column", None)
    columns = getattr(rule, "columns", None)
    for name in columns or ([column] if column else []):
        check_column(frame, name, what)
    label = f"{number} {rule.rule}"
    good = _predicate(frame, rule, what, label)
    judged = None
    if rule.where:
        check_expression(frame, rule.where, f"{what} where")
        judged = f"coalesce(({rule.where}), false)"
        good = f"(NOT {judged} OR {good})"
    if isinstance(rule, spec.ForeignKeyRule):
        check_same_kind(frame, rule, datasets[rule.dataset], what)
    return as_row_rule(rule, number, predicate=good, judged=judged)


def as_row_rule(rule: AnyRule, number: int, *, predicate: str, judged: str | None = None) -> RowRule:
    """Return a declared rule with its number and its predicate, as it is told."""
    column, columns = getattr(rule, "column", None), getattr(rule, "columns", None)
    return RowRule(
        label=f"{number} {rule.rule}",
        rule=getattr(rule, "name", None) or rule.rule,
        column=column or (", ".join(columns) if columns else None),
        bound=_bound(rule),
        severity=rule.severity,
        predicate=predicate,
        judged=judged,
        keys=rule.columns if isinstance(rule, spec.UniqueRule) else (),
        foreign_key=rule if isinstance(rule, spec.ForeignKeyRule) else None,
        at_least=rule.at_least if isinstance(rule, spec.ComplianceRule | spec.CompleteRule) else 1.0,
    )


def _predicate(frame: DataFrame, rule: AnyRule, what: str, label: str) -> str:
    match rule:
        case spec.UniqueRule():
            return "true"
        case spec.ForeignKeyRule():
            missing = " OR ".join(f"{quoted(name)} IS NULL" for name in rule.columns)
            return f"({missing} OR coalesce(_found_{label.partition(' ')[0]}, false))"
        case spec.CompleteRule():
            return "(" + " AND ".join(f"{quoted(name)} IS NOT NULL" for name in rule.columns) + ")"
        case spec.ComplianceRule():
            check_expression(frame, rule.predicate, what)
            return f"coalesce(({rule.predicate}), false)"
        case spec.CustomRule():
            predicate = _custom(rule, what)
            check_expression(frame, predicate, what)
            return f"coalesce(({predicate}), false)"
    name = quoted(rule.column)
    good = _value_predicate(frame, rule, name, what)
    check_expression(frame, good, what)
    return f"({name} IS NULL OR coalesce({good}, false))"


def _value_predicate(frame: DataFrame, rule: AnyRule, name: str, what: str) -> str:
    """Return what must hold for a value that is not null."""
    match rule:
        case spec.OneOfRule():
            check_kind(frame, rule.column, what, *kinds_of(rule.values))
            return f"{name} IN ({', '.join(literal(value) for value in rule.values)})"
        case spec.PatternRule():
            check_kind(frame, rule.column, what, "text")
            _check_pattern(frame, rule, what)
            whole = rf"\A(?:{rule.pattern})\z"
            return f"{name} RLIKE {literal(whole)}"
        case spec.LengthRule():
            check_kind(frame, rule.column, what, "text")
            return _within(f"length({name})", rule)
        case spec.TypeRule():
            return _readable_sql(rule)
    check_kind(frame, rule.column, what, "number")
    real = f"NOT isnan({name}) AND " if dict(frame.dtypes)[rule.column] in {"double", "float"} else ""
    return f"({real}{_within(name, rule)})"


def _within(value: str, rule: spec.BoundedRule) -> str:
    bounds = [f"{value} >= {literal(rule.at_least)}"] if rule.at_least is not None else []
    bounds += [f"{value} <= {literal(rule.at_most)}"] if rule.at_most is not None else []
    return " AND ".join(bounds)


def _check_pattern(frame: DataFrame, rule: spec.PatternRule, what: str) -> None:
    """Let Java compile a regular expression: Spark would only do so in the midst of the rows."""
    from pyspark.errors import PySparkException

    try:
        frame.sparkSession.sparkContext._jvm.java.util.regex.Pattern.compile(rule.pattern)  # type: ignore[union-attr]  # noqa: SLF001
    except PySparkException as error:
        told = str(error).splitlines()[0]
        raise RuleError(
            what, value=rule.pattern, allowed="a regular expression of Java", action=f"correct it: {told}"
        ) from error


def _readable_sql(rule: spec.TypeRule) -> str:
    kind = "bigint" if rule.type == "integer" else rule.type
    if kind == "bigint":
        name = f"CAST({quoted(rule.column)} AS STRING)"
        return rf"({name} RLIKE '^\\s*[+-]?\\d+\\s*$' AND CAST({name} AS BIGINT) IS NOT NULL)"
    return f"CAST(CAST({quoted(rule.column)} AS STRING) AS {kind.upper()}) IS NOT NULL"


def _custom(rule: spec.CustomRule, what: str) -> str:
    module, _, function = rule.rule.partition(":")
    try:  # somebody else's code may raise anything
        made = getattr(importlib.import_module(module), function)(column=rule.column, **rule.options)
    except Exception as error:
        raise RuleError(
            what,
            value=rule.rule,
            allowed="a function (column=…, **options) -> Spark SQL predicate",
            action=f"correct it: {type(error).__name__}: {error}",
        ) from error
    return str(made)


def _bound(rule: AnyRule) -> str:
    """Return what a rule allows, in words."""
    match rule:
        case spec.CompleteRule():
            told = "no null" if rule.at_least == 1 else f"no null in at least {rule.at_least:.2%} of the rows"
        case spec.UniqueRule():
            told = "no two rows alike"
        case spec.OneOfRule():
            told = "one of " + ", ".join(str(value) for value in rule.values)
        case spec.PatternRule():
            told = f"matches {rule.pattern}"
        case spec.TypeRule():
            told = f"can be read as {rule.type}"
        case spec.BetweenRule():
            told = interval(rule.at_least, rule.at_most)
        case spec.LengthRule():
            told = f"{interval(rule.at_least, rule.at_most)} characters"
        case spec.ForeignKeyRule():
            told = f"there in {rule.dataset} as {', '.join(rule.referenced)}"
        case spec.ComplianceRule():
            told = f"{rule.predicate} in at least {rule.at_least:.2%} of the rows"
        case _:
            told = f"{rule.rule} {rule.options or ''}".strip()
    return told


def interval(low: float | None, high: float | None) -> str:
    """Return bounds in words.

    >>> interval(0.5, 1_000_000)
    'at least 0.5 and at most 1000000'
    """
    told = [f"at least {low:.12g}" if low is not None else "", f"at most {high:.12g}" if high is not None else ""]
    return " and ".join(part for part in told if part)
