"""The profile of a frame: every column's numbers by Deequ in two passes, and the values of those with few."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from stepzero.adapters.deequ_metrics import metric_map
from stepzero.adapters.deequ_runs import analyzers, run_analyzers
from stepzero.adapters.profile_pairs import correlations
from stepzero.adapters.profile_texts import Look, looks
from stepzero.adapters.spark import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FEW = 50
"""Distinct values up to which a column's values are listed with their rows."""
KEY_SHARE = 0.9
"""Distinct values per row from which a column is looked at as a key; the sketch that counts them errs by 5 %."""
_PARTS = (0.25, 0.5, 0.75)
_NUMBERS = ("int", "bigint", "double", "float", "smallint", "tinyint", "decimal")


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """What a column holds; numbers are None where it has none, or is no number."""

    name: str
    kind: str
    """Spark's name of the type."""
    rows: int
    completeness: float
    distinct: float
    """Of the values, by a sketch."""
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    standard_deviation: float | None = None
    median: float | None = None
    low_quartile: float | None = None
    high_quartile: float | None = None
    shortest: int | None = None
    longest: int | None = None
    unique: bool = False
    """Every value is there once; looked at only where the sketch says that it may be."""
    values: dict[Any, int] = field(default_factory=dict)
    """Rows by value, nulls apart; only where there are few."""
    nan: int = 0
    """Rows that hold "not a number"."""
    look: Look = field(default_factory=Look)
    """What all its texts have in common."""
    moves_with: dict[str, float] = field(default_factory=dict)
    """Numeric columns after it → Pearson's correlation."""

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.kind.startswith(_NUMBERS)

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers."""
        return self.kind in {"int", "bigint", "smallint", "tinyint"}


def profile_frame(session: SparkSession, frame: DataFrame) -> list[ColumnProfile]:
    """Profile all columns but our own (``_unreadable``) of a frame with at least one row; it should be cached.

    Deequ's own profiler takes minutes on wide tables of numbers; its analyzers tell the same in seconds.
    """
    columns = [(name, kind) for name, kind in frame.dtypes if not kind.startswith(("array", "struct", "map"))]
    aliased = _aliased(frame, columns)
    measured = _measure(session, aliased, columns)
    rows = int(measured["Size", "*"])
    distinct = [measured.get(("ApproxCountDistinct", f"c{place}"), 0.0) for place in range(len(columns))]
    few = [place for place, number in enumerate(distinct) if 0 < number <= FEW]
    keys = [place for place, number in enumerate(distinct) if number >= KEY_SHARE * rows]
    uniqueness = _uniqueness(session, aliased, keys)
    values = _values(aliased, few)
    not_numbers = _not_numbers(aliased, columns)
    texts = looks(aliased, [f"c{place}" for place, (_, kind) in enumerate(columns) if kind == "string"])
    moving = _moving(aliased, columns)
    profiles = [_column(name, kind, place, rows, measured) for place, (name, kind) in enumerate(columns)]
    return [
        replace(
            column,
            unique=uniqueness.get(place) == 1.0,
            values=values.get(place, {}),
            nan=not_numbers.get(place, 0),
            look=texts.get(f"c{place}", Look()),
            moves_with=moving.get(place, {}),
        )
        for place, column in enumerate(profiles)
    ]


def _aliased(frame: DataFrame, columns: Sequence[tuple[str, str]]) -> DataFrame:
    from pyspark.sql import functions

    made = []
    for place, (name, kind) in enumerate(columns):
        column = functions.col(quoted(name))
        made.append((column.cast("double") if kind.startswith("decimal") else column).alias(f"c{place}"))
    return frame.select(*made)


def _measure(
    session: SparkSession, frame: DataFrame, columns: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], float]:
    known = analyzers()
    asked = [known.Size()]
    for place, (_, kind) in enumerate(columns):
        alias = f"c{place}"
        asked += [known.Completeness(alias), known.ApproxCountDistinct(alias)]
        if kind.startswith(_NUMBERS):
            asked += [known.Minimum(alias), known.Maximum(alias), known.Mean(alias)]
            asked += [known.StandardDeviation(alias), *(known.ApproxQuantile(alias, part) for part in _PARTS)]
        if kind == "string":
            asked += [known.MinLength(alias), known.MaxLength(alias)]
    context, _ = run_analyzers(session, frame, asked)
    values, _ = metric_map(context)
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _uniqueness(session: SparkSession, frame: DataFrame, places: Sequence[int]) -> dict[int, float]:
    if not places:
        return {}
    context, _ = run_analyzers(session, frame, [analyzers().Uniqueness([f"c{place}"]) for place in places])
    values, _ = metric_map(context)
    return {place: values.get(("Uniqueness", f"c{place}"), 0.0) for place in places}


def _values(frame: DataFrame, places: Sequence[int]) -> dict[int, dict[Any, int]]:
    """Return rows by value of several columns from one job; Deequ's histograms take several jobs each."""
    from pyspark.sql import functions

    if not places:
        return {}
    pairs = [
        functions.struct(functions.lit(place).alias("place"), functions.col(f"c{place}").cast("string").alias("value"))
        for place in places
    ]
    counted = frame.select(functions.explode(functions.array(*pairs)).alias("pair")).groupBy("pair").count()
    kinds = dict(frame.dtypes)
    found: dict[int, dict[Any, int]] = {}
    for (place, value), rows in counted.collect():
        if value is not None:
            found.setdefault(place, {})[_typed(value, kinds[f"c{place}"])] = int(rows)
    return {place: dict(sorted(values.items(), key=lambda pair: str(pair[0]))) for place, values in found.items()}


def _typed(value: str, kind: str) -> Any:
    if kind in {"int", "bigint", "smallint", "tinyint"}:
        return int(value)
    if kind == "boolean":
        return value == "true"
    return float(value) if kind in {"double", "float"} else value


def _not_numbers(frame: DataFrame, columns: Sequence[tuple[str, str]]) -> dict[int, int]:
    """Return how many rows hold "not a number", by the column's place."""
    from pyspark.sql import functions

    places = [place for place, (_, kind) in enumerate(columns) if kind in {"double", "float"}]
    if not places:
        return {}
    counts = [functions.sum(functions.isnan(f"c{place}").cast("int")).alias(f"c{place}") for place in places]
    counted = frame.agg(*counts).collect()[0]
    return {place: int(counted[f"c{place}"] or 0) for place in places}


def _moving(frame: DataFrame, columns: Sequence[tuple[str, str]]) -> dict[int, dict[str, float]]:
    places = [place for place, (_, kind) in enumerate(columns) if kind.startswith(_NUMBERS)]
    found: dict[int, dict[str, float]] = {}
    for (one, other), value in correlations(frame, [f"c{place}" for place in places]).items():
        found.setdefault(int(one[1:]), {})[columns[int(other[1:])][0]] = value
    return found


def _column(name: str, kind: str, place: int, rows: int, measured: dict[tuple[str, str], float]) -> ColumnProfile:
    def number(metric: str) -> float | None:
        return measured.get((metric, f"c{place}"))

    shortest, longest = number("MinLength"), number("MaxLength")
    return ColumnProfile(
        name=name,
        kind=kind,
        rows=rows,
        completeness=number("Completeness") or 0.0,
        distinct=number("ApproxCountDistinct") or 0.0,
        minimum=number("Minimum"),
        maximum=number("Maximum"),
        mean=number("Mean"),
        standard_deviation=number("StandardDeviation"),
        median=number("ApproxQuantile-0.5"),
        low_quartile=number("ApproxQuantile-0.25"),
        high_quartile=number("ApproxQuantile-0.75"),
        shortest=None if shortest is None else int(shortest),
        longest=None if longest is None else int(longest),
    )
