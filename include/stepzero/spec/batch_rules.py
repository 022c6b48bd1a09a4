"""Rules that judge a batch as a whole: when one is broken, the batch fails."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from stepzero.spec.base import Share
from stepzero.spec.data import ColumnType
from stepzero.spec.rules import BoundedRule, Rule

_DURATION = re.compile(r"(\d+) (second|minute|hour|day|week)s?")


def read_duration(value: Any) -> Any:
    """Read ``2 days`` as a time span; a bare number says no unit and is refused.

    >>> read_duration("36 hours")
    datetime.timedelta(days=1, seconds=43200)

    Raises:
        ValueError: It is no number with a unit.
    """
    if isinstance(value, timedelta) or (isinstance(value, str) and value.startswith("P")):
        return value
    found = _DURATION.fullmatch(str(value).strip())
    if found is None:
        msg = f"a number and a unit, for example '2 days' or '36 hours', not {value!r}"
        raise ValueError(msg)
    return timedelta(**{f"{found[2]}s": int(found[1])})


Duration = Annotated[timedelta, BeforeValidator(read_duration)]


class SizeRule(BoundedRule):
    """Bound the number of rows."""

    rule: Literal["size"]
    at_least: int | None = Field(default=None, ge=0)
    at_most: int | None = Field(default=None, ge=0)


class DistinctCountRule(BoundedRule):
    """Bound how many different values one column has, or several together; null is no value."""

    rule: Literal["distinct_count"]
    columns: tuple[str, ...] = Field(min_length=1)
    at_least: int | None = Field(default=None, ge=0)
    at_most: int | None = Field(default=None, ge=0)


class MetricRule(BoundedRule):
    """Bound a number about one column, taken over the whole batch.

    Nulls are left out; where no value is left nothing was measured, and the rule is broken. So it is
    when the number is NaN. ``standard_deviation`` divides by n; ``entropy`` is in nats.
    """

    rule: Literal["min", "max", "mean", "sum", "standard_deviation", "entropy"]
    column: str


class QuantileRule(BoundedRule):
    """Bound a quantile of a numeric column: a value of the column whose rank is right to a thousandth.

    Nulls are left out; where no value is left the rule is broken.
    """

    rule: Literal["quantile"]
    column: str
    quantile: Share


class PairRule(BoundedRule):
    """Bound a number about two columns: Pearson's correlation, or mutual information in nats.

    Rows with a null in either column are left out of a correlation; in mutual information null is a value like
    any other. Where nothing is left, or a column is constant, there is no correlation, and the rule is broken.
    """

    rule: Literal["correlation", "mutual_information"]
    columns: tuple[str, str]


class ClassBalanceRule(Rule):
    """Check the label: at least two classes, each with enough rows."""

    rule: Literal["class_balance"]
    column: str
    at_least: int = Field(default=2, ge=1)
    """Rows that the smallest class must have."""
    classes: int = Field(default=2, ge=2)
    share: Share = 0.0
    """Share of all labelled rows that the smallest class must have."""


class SchemaRule(Rule):
    """Require the declared columns and no others, by name, in order, and with their types where the file has types.

    A batch that breaks it is judged by it alone: rules about columns that are not there cannot be evaluated.
    """

    rule: Literal["schema"]
    columns: dict[str, ColumnType] | None = None
    """The columns of a batch without a ``source`` section; with one, they are those of ``source.columns``."""

    @model_validator(mode="after")
    def _whole(self) -> SchemaRule:
        if self.where is not None:
            msg = "a schema has no rows to choose: leave `where` out"
            raise ValueError(msg)
        if self.columns is not None and not self.columns:
            msg = "no column is declared"
            raise ValueError(msg)
        return self


class FreshnessRule(Rule):
    """Require that the newest time in a column is not older than a span before the run's as-of time.

    Times after the run's are left out, so that one wrong clock does not hide a stale file; so are nulls.
    Where no time is left the rule is broken. Dates and times without a zone are taken in UTC.
    """

    rule: Literal["freshness"]
    column: str
    at_most: Duration
