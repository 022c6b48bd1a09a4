"""Each kind of rule as Spark SQL: a predicate that is true for good rows."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepzero.adapters.batches import UNREADABLE
from stepzero.adapters.spark import check_expression, literal, quoted
from stepzero.core.errors import RuleError, did_you_mean
from stepzero.spec import quality as spec

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

AnyRule = Any
READABLE = "type"
"""Name of the rule that every declared column has: its cells can be read as its type."""


@dataclass(frozen=True, kw_only=True)
class RowRule:
    """A rule that judges rows.

    ``predicate`` is SQL over the batch's columns, never null; ``keys`` are set for uniqueness,
    which a predicate cannot say.
    """

    label: str
    rule: str
    column: str | None
    bound: str
    severity: str
    predicate: str
    keys: tuple[str, ...] = ()
    at_least: float = 1.0

    @property
    def flag(self) -> str:
        """Return the column that says of each row whether it breaks the rule."""
        return f"_broken_{self.label.partition(' ')[0]}"


def row_rules(frame: DataFrame, rules: Sequence[AnyRule]) -> list[RowRule]:
    """Return the rules that judge rows, their SQL analysed by Spark before any row is read.

    Raises:
        RuleError: A rule names an unknown column, is not SQL, or cannot be imported.
    """
    unreadable = RowRule(
        label="0 type",
        rule=READABLE,
        column=None,
        bound="cells that can be read as the declared type",
        severity="error",
        predicate=f"size({UNREADABLE}) = 0",
    )
    made = [_row_rule(frame, rule, number) for number, rule in enumerate(rules, start=1) if is_row_rule(rule)]
    return [unreadable, *made]


def check_batch_rules(frame: DataFrame, rules: Sequence[AnyRule]) -> None:
    """Check what rules about the batch as a whole name, before any row is read.

    Raises:
        RuleError: A rule names an unknown column, or its ``where`` is not SQL.
    """
    for number, rule in enumerate(rules, start=1):
        what = f"rule {number} ({rule.rule})"
        if isinstance(rule, spec.ClassBalanceRule):
            check_column(frame, rule.column, what)
        if rule.where and not is_row_rule(rule):
            check_expression(frame, rule.where, f"{what} where")


def is_row_rule(rule: AnyRule) -> bool:
    """Tell whether a rule judges rows, not the batch as a whole."""
    return not isinstance(rule, spec.SizeRule | spec.ClassBalanceRule)


def check_column(frame: DataFrame, column: str, what: str) -> str:
    """Return a column's quoted name.

    Raises:
        RuleError: The batch has no such column.
    """
    if column not in frame.columns:
        known = [name for name in frame.columns if not name.startswith("_")]
        raise RuleError(what, value=column, allowed=did_you_mean(column, known), action="correct the rule's column")
    return quoted(column)


def broken_column(rule: RowRule) -> Column:
    """Return whether a row breaks a rule."""
    from pyspark.sql import Window, functions

    if rule.keys:
        keys = [functions.col(quoted(name)) for name in rule.keys]
        judged = functions.expr(rule.predicate)
        return (functions.count(functions.when(judged, 1)).over(Window.partitionBy(*keys)) > 1) & judged
    return ~functions.expr(rule.predicate)


def _row_rule(frame: DataFrame, rule: AnyRule, number: int) -> RowRule:
    what = f"rule {number} ({rule.rule})"
    column = getattr(rule, "column", None)
    columns = getattr(rule, "columns", None)
    for name in columns or ([column] if column else []):
        check_column(frame, name, what)
    keys = rule.columns if isinstance(rule, spec.UniqueRule) else ()
    good = "true" if keys else _predicate(frame, rule, what)
    if rule.where:
        check_expression(frame, rule.where, f"{what} where")
        judged = f"coalesce(({rule.where}), false)"
        good = judged if keys else f"(NOT {judged} OR {good})"
    share = rule.at_least if isinstance(rule, spec.ComplianceRule) else 1.0
    return RowRule(
        label=f"{number} {rule.rule}",
        rule=getattr(rule, "name", None) or rule.rule,
        column=column or (", ".join(columns) if columns else None),
        bound=_bound(rule),
        severity=rule.severity,
        predicate=good,
        keys=keys,
        at_least=share,
    )


def _predicate(frame: DataFrame, rule: AnyRule, what: str) -> str:
    if isinstance(rule, spec.CompleteRule):
        return "(" + " AND ".join(f"{quoted(name)} IS NOT NULL" for name in rule.columns) + ")"
    if isinstance(rule, spec.ComplianceRule):
        check_expression(frame, rule.predicate, what)
        return f"coalesce(({rule.predicate}), false)"
    if isinstance(rule, spec.CustomRule):
        predicate = _custom(rule, what)
        check_expression(frame, predicate, what)
        return f"coalesce(({predicate}), false)"
    if isinstance(rule, spec.PatternRule):
        _check_pattern(frame, rule, what)
    name = quoted(rule.column)
    good = _value_predicate(frame, rule, name)
    check_expression(frame, good, what)
    return f"({name} IS NULL OR coalesce({good}, false))"


def _value_predicate(frame: DataFrame, rule: AnyRule, name: str) -> str:
    """Return what must hold for a value that is not null."""
    if isinstance(rule, spec.OneOfRule):
        return f"{name} IN ({', '.join(literal(value) for value in rule.values)})"
    if isinstance(rule, spec.PatternRule):
        whole = rf"\A(?:{rule.pattern})\z"
        return f"{name} RLIKE {literal(whole)}"
    if isinstance(rule, spec.TypeRule):
        return _readable_sql(rule)
    bounds = [f"NOT isnan({name})"] if dict(frame.dtypes)[rule.column] in {"double", "float"} else []
    bounds += [f"{name} >= {literal(rule.at_least)}"] if rule.at_least is not None else []
    bounds += [f"{name} <= {literal(rule.at_most)}"] if rule.at_most is not None else []
    return "(" + " AND ".join(bounds) + ")"


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
            told = "no null"
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
        case spec.ComplianceRule():
            told = f"{rule.predicate} in at least {rule.at_least:.2%} of the rows"
        case _:
            told = f"{rule.rule} {rule.options or ''}".strip()
    return told


def interval(low: float | None, high: float | None) -> str:
    """Return bounds in words."""
    told = [f"at least {low:g}" if low is not None else "", f"at most {high:g}" if high is not None else ""]
    return " and ".join(part for part in told if part)
