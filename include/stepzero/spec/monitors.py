"""The `monitors` section: what is watched of served traffic, how seldom chance may fire, and what follows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from stepzero.spec.base import OpenShare, Section
from stepzero.spec.quality import HandOver

Distance = Literal["population_stability_index", "jensen_shannon", "kolmogorov_smirnov", "wasserstein", "chi_square"]
Severity = Literal["error", "warning"]


class Judged(Section):
    """How many windows it takes: a monitor fires when `at_least` of the last `of` windows are over, the newest too."""

    at_least: int = Field(default=2, ge=1)
    of: int = Field(default=3, ge=1, le=30)

    @model_validator(mode="after")
    def _possible(self) -> Judged:
        if self.at_least > self.of:
            msg = f"at_least is at most of: {self.at_least} of {self.of} windows is never"
            raise ValueError(msg)
        return self


class FalseAlarms(Section):
    """The budget that thresholds are calibrated to: over all monitors and columns together.

    Declared bounds (data quality, limits of bias, skew) are no thresholds of chance, and outside it.
    """

    at_most: float = Field(default=1, gt=0)
    days: float = Field(default=30, gt=0)
    draws: int = Field(default=300, ge=50, le=10_000)
    """How often chance is drawn from the reference."""
    seed: int = Field(default=7, ge=0, le=2**31 - 1)


class Labels(Section):
    """When a window's labels are ripe; before, nothing is said of the model's quality."""

    delay_days: float = Field(default=7, ge=0)
    """How long after the prediction labels are known."""
    at_least: int = Field(default=200, ge=1)
    """Labelled rows of a window."""
    of_a_class: int = Field(default=10, ge=1)
    """Rows of each class among them."""


class Volume(Section):
    """Rows of a window against the median of the windows before it."""

    against: int = Field(default=14, ge=1, le=100)
    """Windows before it."""
    drop: OpenShare = 0.5
    """Share of the median below which the window is an incident."""
    surge: float = Field(default=5, gt=1)
    """Multiple of the median above which it is."""


class DataQuality(Section):
    """Incidents: what is wrong with the rows themselves, so that no model could help."""

    requests: HandOver = HandOver()
    """Rules on the features of answered requests, in the words of `quality.rules`."""
    refused: OpenShare = 0.05
    """Share of requests that the endpoint may refuse for their content."""
    missing: OpenShare = 0.05
    """By how much the share of missing values of a column may rise."""
    unit_factor: float = Field(default=5, gt=1)
    """A column whose size changed by at least this factor while its shape stayed has changed its unit."""
    volume: Volume = Volume()


class DataDrift(Section):
    """Features against the reference, one by one and together."""

    columns: tuple[str, ...] | None = None
    """Those that are watched; all features if absent."""
    ignore: tuple[str, ...] = ()
    """Columns that shift by nature, such as a time."""
    distances: tuple[Distance, ...] = Field(default=("population_stability_index", "kolmogorov_smirnov"), min_length=1)
    """Those that are judged; all are measured."""
    smallest: dict[Distance, float] = Field(
        default={"population_stability_index": 0.02, "kolmogorov_smirnov": 0.03, "wasserstein": 0.05}
    )
    """No threshold is below: with many rows every difference is certain, and few matter."""
    multivariate: bool = True
    """Whether a classifier may tell the window from the reference, too."""
    severity: Severity = "error"


class PredictionDrift(Section):
    """Scores against those of the held-out rows."""

    distances: tuple[Distance, ...] = Field(default=("population_stability_index", "kolmogorov_smirnov"), min_length=1)
    smallest: dict[Distance, float] = Field(default={"population_stability_index": 0.05, "kolmogorov_smirnov": 0.05})
    severity: Severity = "error"


class ModelQuality(Section):
    """Labelled windows against the held-out rows."""

    metric: Literal["average_precision", "roc_auc", "f1", "precision", "recall", "rmse", "mae", "r2", "accuracy"] = (
        "average_precision"
    )
    """Of a regression ``rmse`` if absent."""
    smallest: float = Field(default=0.02, ge=0)
    """A loss below is none, in the metric's unit."""
    confidence: OpenShare = 0.95
    """Of the windows' intervals: a window is a loss only where its own lies wholly beyond the reference."""
    predicted: bool = True
    """Whether a loss may be predicted from the scores alone while labels are not ripe; a regression's say nothing."""


class BiasDrift(Section):
    """Decisions of each group, as the `bias` section declares groups and limits; labels where they are ripe.

    A facet is a feature, or captured beside requests by id (``serve.groups.GROUP.beside``).
    """

    smallest: float = Field(default=0.05, ge=0)
    """A change of the difference in positive proportions (DPPL) below is none."""


class AttributionDrift(Section):
    """Which features move the scores, by SHAP, against the order on held-out rows."""

    by: Literal["discounted_gain", "rank_correlation"] = "discounted_gain"
    rows: int = Field(default=200, ge=20, le=5_000)
    """Rows of a window that are explained."""
    smallest: float = Field(default=0.02, ge=0)
    """A loss of the order's agreement below is none."""


class ReferenceRows(Section):
    """Of which rows the reference is made, beside the split."""

    time: str | None = None
    """Prepared column that orders rows, a time or seconds: chance is then drawn in blocks of a window's length. With
    ``split.by: time`` it is the split's; without any, rows are drawn one by one."""
    sample: int = Field(default=20_000, ge=500)
    """Rows that are kept as they are, for what needs whole rows."""


class RetrainWindow(Section):
    """The data that a retrain learns from."""

    use: Literal["declared", "recent", "all"] = "declared"
    """``declared``: as `source.window` says (sliding); ``recent``: the newest batches; ``all``: all accepted ones."""
    batches: int | None = Field(default=None, ge=1)
    half_life: float | None = Field(default=None, gt=0)
    """Rows of a batch (a day, where a source has daily partitions) so many batches older count half in fits; null: all
    rows count alike. Only models with ``sample_weight`` can do it."""

    @model_validator(mode="after")
    def _recent(self) -> RetrainWindow:
        if (self.use == "recent") != (self.batches is not None):
            msg = "batches goes with use: recent, and use: recent with batches"
            raise ValueError(msg)
        return self


class Triage(Section):
    """From what fired to what is done."""

    cool_down_hours: float = Field(default=48, ge=0)
    """After a retrain was asked for, no other is."""
    retrains_per_week: int = Field(default=2, ge=0)
    longest_retrain_hours: float = Field(default=24, gt=0)
    """A retrain that has not ended by then is taken for lost."""
    window: RetrainWindow = RetrainWindow()


class Monitors(Section):
    """What is watched of an endpoint's captured traffic; each monitor is left out by ``null``."""

    window_hours: int = 24
    judged: Judged = Judged()
    false_alarms: FalseAlarms = FalseAlarms()
    labels: Labels = Labels()
    reference: ReferenceRows = ReferenceRows()
    data_quality: DataQuality = DataQuality()
    data_drift: DataDrift | None = DataDrift()
    prediction_drift: PredictionDrift | None = PredictionDrift()
    model_quality: ModelQuality | None = ModelQuality()
    bias: BiasDrift | None = None
    attribution_drift: AttributionDrift | None = None
    triage: Triage = Triage()

    @field_validator("window_hours")
    @classmethod
    def _whole(cls, value: int) -> int:
        if value < 1 or (24 % value if value < 24 else value % 24):
            msg = "hours that divide a day, or whole days: 1, 2, 3, 4, 6, 8, 12, 24, 48 …"
            raise ValueError(msg)
        return value

    @property
    def statistical(self) -> int:
        """Return how many monitors share the budget of false alarms."""
        one_by_one = (self.data_drift, self.prediction_drift, self.model_quality, self.bias, self.attribution_drift)
        return max(sum(section is not None for section in one_by_one), 1)
