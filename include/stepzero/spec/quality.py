"""The `quality` section: rules that a batch must meet before anything else sees it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stepzero.core.errors import did_you_mean
from stepzero.spec.anomalies import KnownAnomaly
from stepzero.spec.base import ElsewhereError, Section, Share, is_dotted
from stepzero.spec.batch_rules import (
    ClassBalanceRule,
    DistinctCountRule,
    FreshnessRule,
    MetricRule,
    PairRule,
    QuantileRule,
    SchemaRule,
    SizeRule,
)
from stepzero.spec.data import Source
from stepzero.spec.rules import (
    BetweenRule,
    BoundedRule,
    CompleteRule,
    ComplianceRule,
    CustomRule,
    ForeignKeyRule,
    LengthRule,
    OneOfRule,
    PatternRule,
    Rule,
    TypeRule,
    UniqueRule,
    check_bounds,
)

__all__ = [
    "BetweenRule",
    "BoundedRule",
    "ClassBalanceRule",
    "CompleteRule",
    "ComplianceRule",
    "CustomRule",
    "DistinctCountRule",
    "ForeignKeyRule",
    "FreshnessRule",
    "LengthRule",
    "MetricRule",
    "OneOfRule",
    "PairRule",
    "PatternRule",
    "Quality",
    "QuantileRule",
    "Rule",
    "SchemaRule",
    "SizeRule",
    "TypeRule",
    "UniqueRule",
    "check_bounds",
    "check_name",
]

RULES = (
    "size",
    "complete",
    "unique",
    "distinct_count",
    "between",
    "min",
    "max",
    "mean",
    "sum",
    "standard_deviation",
    "quantile",
    "one_of",
    "pattern",
    "compliance",
    "correlation",
    "type",
    "length",
    "entropy",
    "mutual_information",
    "foreign_key",
    "schema",
    "freshness",
    "class_balance",
)

KnownRule = Annotated[
    SizeRule
    | CompleteRule
    | UniqueRule
    | DistinctCountRule
    | BetweenRule
    | MetricRule
    | QuantileRule
    | OneOfRule
    | PatternRule
    | ComplianceRule
    | PairRule
    | TypeRule
    | LengthRule
    | ForeignKeyRule
    | SchemaRule
    | FreshnessRule
    | ClassBalanceRule,
    Field(discriminator="rule"),
]


class HandOver(Section):
    """What rows must be at a later hand-over: nothing is set aside there, rows go on together or not at all."""

    bad_rows: Share = 0.0
    """Share of bad rows up to which they go on."""
    rules: tuple[KnownRule | CustomRule, ...] = ()

    @field_validator("rules", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        return check_rules(value)

    @field_validator("rules", mode="after")
    @classmethod
    def _of_rows_at_hand(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        elsewhere = [rule.rule for rule in value if isinstance(rule, ForeignKeyRule | FreshnessRule | SchemaRule)]
        if elsewhere:
            msg = f"{elsewhere[0]} is judged where a batch lands: it belongs to quality.rules"
            raise ValueError(msg)
        return value


class Quality(Section):
    """What a batch must be."""

    on_bad_rows: Literal["quarantine", "fail"] = "quarantine"
    quarantine_limit: Share = 0.01
    """Share of bad rows above which the whole batch fails."""
    rules: tuple[KnownRule | CustomRule, ...] = ()
    anomalies: tuple[KnownAnomaly, ...] = ()
    after_prepare: HandOver = HandOver()
    """Judges prepared rows, training and held-out ones, in the stage `prepare`."""
    predictions: HandOver = HandOver()
    """Judges held-out rows with the columns ``score`` and ``prediction``, in the stage `check_predictions`."""
    datasets: dict[str, Source] = Field(default_factory=dict)
    """Other datasets, by the name that foreign keys refer to: all files that landed under their prefix."""
    protected: tuple[str, ...] = ()
    """Columns that tell groups of people apart: how many rows of each group go on is told in every report."""

    @field_validator("rules", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        return check_rules(value)

    @model_validator(mode="after")
    def _datasets(self) -> Quality:
        for number, rule in enumerate(self.rules):
            if isinstance(rule, ForeignKeyRule):
                self._must_know(rule, number)
        return self

    def _must_know(self, rule: ForeignKeyRule, number: int) -> None:
        place = ("rules", number)
        if rule.dataset not in self.datasets:
            near = did_you_mean(rule.dataset, self.datasets) if self.datasets else "quality.datasets declares none"
            msg = f"a name in quality.datasets; {near}"
            raise ElsewhereError(msg, location=(*place, "dataset"), value=rule.dataset)
        columns = self.datasets[rule.dataset].columns
        for name in rule.referenced:
            if name not in columns:
                msg = f"a column of quality.datasets.{rule.dataset}; {did_you_mean(name, columns)}"
                raise ElsewhereError(msg, location=(*place, "keys"), value=name)


def check_rules(value: Any) -> Any:
    """Reject a list in which a rule's name is neither ours nor dotted.

    Raises:
        ValueError: A name is unknown.
    """
    for rule in value if isinstance(value, list | tuple) else ():
        if isinstance(rule, dict):
            check_name(rule.get("rule"), RULES, "rule")
    return value


def check_name(name: Any, known: tuple[str, ...], kind: str) -> None:
    """Reject a name that is neither ours nor dotted, with a suggestion.

    Raises:
        ValueError: The name is unknown.
    """
    if not isinstance(name, str) or (name not in known and not is_dotted(name)):
        msg = f"unknown {kind} {name!r}: {did_you_mean(str(name), known)}, or a dotted name of yours"
        raise ValueError(msg)
