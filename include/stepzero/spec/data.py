"""Sections about rows and columns: problem, source, prepare, pipeline, split, weight."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from stepzero.spec.base import OpenShare, Section

ColumnType = Literal["int", "bigint", "double", "string", "boolean", "date", "timestamp"]


class Problem(Section):
    """What is predicted."""

    kind: Literal["classification", "regression"]
    target: str
    positive: str | int | bool | None = None
    """The class whose probability is the score."""

    @model_validator(mode="after")
    def _positive(self) -> Problem:
        if self.kind == "classification" and self.positive is None:
            msg = "a classification names its positive class: positive: 1"
            raise ValueError(msg)
        return self


class Window(Section):
    """Which accepted batches a run trains on, its own included."""

    batches: int | None = Field(default=None, ge=1)
    """The newest so many; null is all."""
    days: int | None = Field(default=None, ge=1)
    """Those whose partition lies within so many days before the run's; null is all."""


class Source(Section):
    """Where rows come from: files under a prefix of the store."""

    format: Literal["csv", "json", "parquet"]
    prefix: str
    columns: dict[str, ColumnType] = Field(min_length=1)
    """The schema, in order. Extra, missing, renamed or reordered columns are errors."""
    null_values: tuple[str, ...] = ("",)
    """Words for "no value" in CSV; an empty cell is one in any case."""
    multiline: bool = False
    """Whether quoted cells of CSV may hold line breaks; each file is then read by one worker alone."""
    window: Window = Window()

    @field_validator("prefix")
    @classmethod
    def _relative(cls, value: str) -> str:
        if value.startswith("/") or ".." in value.split("/") or "://" in value:
            msg = "a prefix is relative to the store, without '..'"
            raise ValueError(msg)
        return value.rstrip("/") + "/"


class Prepare(Section):
    """What is done row by row on Spark, nothing learned."""

    drop_duplicates: bool = False
    derive: dict[str, str] = Field(default_factory=dict)
    """New or replaced columns as Spark SQL expressions, in order."""
    drop: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()
    """Columns kept beside the features, under their name with a leading underscore: models never see them."""
    keep_where: str | None = None


class Pipeline(Section):
    """What learns from data: fitted on training folds, travels in the model."""

    scale: dict[Literal["robust", "standard", "min_max"], tuple[str, ...]] = Field(default_factory=dict)
    impute: dict[Literal["median", "mean", "most_frequent"], tuple[str, ...]] = Field(default_factory=dict)
    one_hot: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Column → declared vocabulary; unseen values become all zeros and are counted."""
    outliers: dict[Literal["iqr"], tuple[str, ...]] = Field(default_factory=dict)
    """Columns whose outliers are removed from training rows only."""


class Split(Section):
    """Which rows are held out, once and for ever, by a stable hash."""

    by: str = "row"
    """``row``, or the name of an entity column that must never be on both sides."""
    test: OpenShare = 0.2
    salt: str = "v1"
    stratified: bool = False
    """Exact shares per class, by rank of the hash; a few rows may change side as data grows."""


class Weight(Section):
    """How rows count in metrics."""

    column: str | None = None
    base_rate: OpenShare | None = None
    """Share of the positive class at which metrics are stated."""

    @model_validator(mode="after")
    def _one(self) -> Weight:
        if self.column and self.base_rate:
            msg = "give a column or a base_rate, not both"
            raise ValueError(msg)
        return self


Sections = dict[str, Any]
