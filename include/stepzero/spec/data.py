"""Sections about rows and columns: problem, source, prepare, pipeline, split, weight."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from stepzero.spec.base import ElsewhereError, OpenShare, Section, StorePrefix

_SQL_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
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
    """Those of so many days, which end with the run's own batch; null is all.

    A batch's time is the end of its day; where its partition is no day, the time of the run that judged it first: to
    judge an old batch again makes it no younger. With daily partitions the window is explicit: these very days, the
    run's own the last, whatever ran before; null is that day alone.
    """


class Source(Section):
    """Where rows come from: files under a prefix of the store."""

    format: Literal["csv", "json", "parquet", "libsvm"]
    """``libsvm``: each line is ``LABEL INDEX:VALUE …``; the label is the first column, index i the one after i others,
    and an index that a line leaves out is 0, as the format has it."""
    prefix: StorePrefix
    columns: dict[str, ColumnType] = Field(min_length=1)
    """The schema, in order. Extra, missing, renamed or reordered columns are errors."""
    null_values: tuple[str, ...] = ("",)
    """Words for "no value" in CSV; an empty cell is one in any case."""
    multiline: bool = False
    """Whether quoted cells of CSV may hold line breaks; each file is then read by one worker alone."""
    window: Window = Window()
    partition: str | None = None
    """Column whose day (UTC) is the partition: files lie under ``PREFIX/YYYY-MM-DD/``, and a run takes one day."""

    parts: int = Field(default=1, ge=1, le=100)
    """In how many parts, a run after each, `run` lands a file: to see later arrivals add up."""

    @model_validator(mode="after")
    def _partitioned(self) -> Source:
        if self.format == "libsvm":
            self._numbers_only()
        if self.partition is None:
            return self
        if self.columns.get(self.partition) not in {"date", "timestamp"}:
            msg = f"partition names a column of type date or timestamp, not {self.partition!r}"
            raise ValueError(msg)
        if self.parts > 1:
            msg = "with a partition a file is cut into its days, not into parts"
            raise ValueError(msg)
        if self.window.batches:
            msg = "with a partition the window is in days: window: {days: 30}"
            raise ValueError(msg)
        return self

    def _numbers_only(self) -> None:
        for name, kind in self.columns.items():
            if kind not in {"int", "bigint", "double"}:
                msg = f"a libsvm file holds numbers: int, bigint or double, not {kind} ({name})"
                raise ElsewhereError(msg, location=("columns", name), value=kind)


class Prepare(Section):
    """What is done on Spark, nothing learned: row by row, or from a row's own past."""

    drop_duplicates: bool = False
    sql: str | None = None
    """One SELECT over the view ``accepted``; it keeps ``_row_id`` and makes no rows. In a file: the name of a
    ``.sql`` file beside it. For columns that look back, such as a customer's last payments."""
    derive: dict[str, str] = Field(default_factory=dict)
    """New or replaced columns as Spark SQL expressions, in order."""
    drop: tuple[str, ...] = ()
    """Columns that are no features; the split may still be by them."""
    set_aside: tuple[str, ...] = ()
    """Columns kept beside the features, under their name with a leading underscore: models never see them."""
    keep_where: str | None = None

    @field_validator("sql")
    @classmethod
    def _one_select(cls, value: str | None) -> str | None:
        if value is None:
            return None
        words = _SQL_COMMENT.sub(" ", value).lower().split()
        if not words or words[0] not in {"select", "with"} or "insert" in words:
            msg = "one statement that begins with SELECT or WITH, or the name of a .sql file beside this one"
            raise ValueError(msg)
        return value


class Pipeline(Section):
    """What learns from data: fitted on training folds, travels in the model."""

    scale: dict[Literal["robust", "standard", "min_max"], tuple[str, ...]] = Field(default_factory=dict)
    impute: dict[Literal["median", "mean", "most_frequent"], tuple[str, ...]] = Field(default_factory=dict)
    one_hot: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Column → declared vocabulary; unseen values become all zeros and are counted."""
    outliers: dict[Literal["iqr"], tuple[str, ...]] = Field(default_factory=dict)
    """Columns whose outliers are removed from training rows only."""


class Split(Section):
    """Which rows are held out: by a stable hash, once and for ever; or by time, the newest ones."""

    by: str = "row"
    """``row``; ``time``; or the name of an entity column that must never be on both sides."""
    test: OpenShare = 0.2
    validation: OpenShare | None = None
    """A third part: no stage of ours learns from it or is judged by it; it is yours."""
    salt: str = "v1"
    stratified: bool = False
    """Exact shares per class, by rank of the hash; a few rows may change side as data grow."""
    time: str | None = None
    """With ``by: time``: the column that orders rows, a date, a timestamp or a number of seconds."""
    gap_days: float = Field(default=0, ge=0)
    """Days between the end of one part and the begin of the next: how long it takes until labels are known."""
    test_days: float | None = Field(default=None, gt=0)
    """Test on the last so many whole days (UTC) instead of on a share of the rows."""
    validation_days: float | None = Field(default=None, gt=0)
    entity: str | None = None
    """With ``by: time``: besides, no value of this column on two sides; ``test`` is the share of values held out."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the names of the parts."""
        return ("train", "validation", "test") if self.validation or self.validation_days else ("train", "test")

    @model_validator(mode="after")
    def _consistent(self) -> Split:
        if self.validation and self.test + self.validation >= 1:
            msg = f"test and validation leave rows to train on; together they take {self.test + self.validation:.0%}"
            raise ValueError(msg)
        if self.by == "time":
            self._timed()
            return self
        for name in ("time", "gap_days", "test_days", "validation_days", "entity"):
            if getattr(self, name):
                msg = f"{name} goes with by: time, not with by: {self.by}"
                raise ValueError(msg)
        return self

    def _timed(self) -> None:
        if not self.time:
            msg = "by: time names the column that orders rows: time: COLUMN"
            raise ValueError(msg)
        if self.stratified:
            msg = "stratified goes with by: row; with by: time the newest rows are held out, whatever their class"
            raise ValueError(msg)
        if self.entity and self.validation_days and not self.validation:
            msg = "with an entity, validation_days needs validation, too: the share of its values"
            raise ValueError(msg)
        if bool(self.validation_days) != bool(self.test_days) and (self.validation or self.validation_days):
            msg = "give test_days and validation_days both, or shares for both"
            raise ValueError(msg)


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
