"""The rules under `quality.anomalies`: a metric of the batch against the metrics of accepted batches before it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stepzero.spec.base import Section

MetricName = Literal[
    "size",
    "completeness",
    "distinct_count",
    "uniqueness",
    "entropy",
    "minimum",
    "maximum",
    "mean",
    "sum",
    "standard_deviation",
    "share",
]
STRATEGIES = ("absolute_change", "relative_change", "rolling_normal", "holt_winters")


class Metric(Section):
    """A number that is measured of every batch, over the rows that go on.

    ``share`` is the share of rows for which a predicate is true. Minimum and maximum of a date or timestamp
    are in seconds since 1970.
    """

    metric: MetricName
    column: str | None = None
    predicate: str | None = None
    where: str | None = None
    """A Spark SQL predicate: only rows for which it is true are measured."""

    @model_validator(mode="after")
    def _whole(self) -> Metric:
        if (self.metric == "share") != (self.predicate is not None):
            msg = "the metric share has a predicate, and no other one has"
            raise ValueError(msg)
        if (self.metric in {"size", "share"}) == (self.column is not None):
            msg = "all metrics but size and share name a column"
            raise ValueError(msg)
        return self

    @property
    def key(self) -> str:
        """Return the name under which the history keeps it, for example ``mean of Amount``."""
        of = f" of {self.column or self.predicate}" if self.metric != "size" else ""
        return f"{self.metric}{of}" + (f" where {self.where}" if self.where else "")


class AnomalyRule(Metric):
    """What every anomaly rule has."""

    severity: Literal["error", "warning"] = "error"
    tolerance: float = Field(default=0, ge=0)
    """Widens the bounds on both sides, in the metric's own unit: for metrics that hardly ever move."""

    @property
    def depth(self) -> int:
        """Return how many accepted batches it looks back to."""
        return 1


class ChangeRule(AnomalyRule):
    """Bound the change against the newest accepted batch: the difference, or the ratio (new over old)."""

    strategy: Literal["absolute_change", "relative_change"]
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> ChangeRule:
        if self.at_least is None and self.at_most is None:
            msg = "no bound: give at_least, at_most or both"
            raise ValueError(msg)
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            msg = f"impossible bounds: at_least {self.at_least} is above at_most {self.at_most}"
            raise ValueError(msg)
        return self


class NormalRule(AnomalyRule):
    """Bound a metric by mean and standard deviation of the newest accepted batches."""

    strategy: Literal["rolling_normal"]
    deviations: float = Field(default=3, gt=0)
    window: int = Field(default=30, ge=2)
    """Accepted batches that are looked back to."""
    needed: int = Field(default=7, ge=2)
    """Accepted batches below which nothing is flagged."""

    @model_validator(mode="after")
    def _reachable(self) -> NormalRule:
        if self.needed > self.window:
            msg = f"impossible: needed {self.needed} is above window {self.window}"
            raise ValueError(msg)
        return self

    @property
    def depth(self) -> int:
        """Return the window."""
        return self.window


class SeasonalRule(AnomalyRule):
    """Bound a metric by what a Holt-Winters model forecasts; two whole seasons are needed."""

    strategy: Literal["holt_winters"]
    season: int = Field(default=7, ge=2)
    """Batches of a season; days, where partitions are days."""
    deviations: float = Field(default=5, gt=0)
    """Standard deviations of the absolute residuals; Deequ takes 1.96, which flags often."""
    window: int = Field(default=91, ge=4)

    @model_validator(mode="after")
    def _reachable(self) -> SeasonalRule:
        if self.window < 2 * self.season:
            msg = f"impossible: window {self.window} is below two seasons of {self.season}"
            raise ValueError(msg)
        return self

    @property
    def depth(self) -> int:
        """Return the window."""
        return self.window


KnownAnomaly = Annotated[ChangeRule | NormalRule | SeasonalRule, Field(discriminator="strategy")]
