"""What training data looked like, column by column, so that later rows can be counted in the same bins."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from stepzero.measures.checks import Floats

STEPS = 200
"""Bins of a numeric column, at most: borders at the quantiles of the training rows."""
NAMED = 50
"""Categories that have a bin of their own; the rest share one."""
KNOWN = 1000
"""Distinct texts above which a column holds no categories but free text or keys."""


@dataclass(frozen=True, kw_only=True)
class ColumnBaseline:
    """One column of the training rows.

    Counts are in the order of the bins: missing values first, then the ranges of a number; or the named
    categories, all others that were known, and new ones (none, of course).
    """

    kind: Literal["number", "category", "text"]
    rows: int
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    """Upper borders of all ranges but the last, ends included."""
    categories: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Categories that were known and have no bin of their own."""
    mean: float | None = None
    standard_deviation: float | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def missing(self) -> float:
        """Share of rows without a value."""
        return self.counts[0] / self.rows

    def count(self, values: pd.Series[Any]) -> Floats:
        """Return how many of these values lie in each bin."""
        missing = float(_missing(values).sum())
        present = values[~_missing(values)]
        if self.kind == "number":
            ranges = np.searchsorted(np.asarray(self.edges), _numbers(present), side="left")
            inner = np.bincount(ranges, minlength=len(self.edges) + 1)
        elif self.kind == "category":
            places = {name: place for place, name in enumerate(self.categories)}
            places |= dict.fromkeys(self.others, len(self.categories))
            found = _words(present).map(places).fillna(len(self.categories) + 1).to_numpy(dtype=np.int64)
            inner = np.bincount(found, minlength=len(self.categories) + 2)
        else:
            inner = np.asarray([len(present)])
        return np.concatenate([[missing], inner]).astype(np.float64)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ColumnBaseline:
        """Read what `to_json` wrote."""
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**read)


def describe(values: pd.Series[Any]) -> ColumnBaseline:
    """Describe one column: numbers and times by quantiles, everything else by its categories."""
    present = values[~_missing(values)]
    if _is_number(values):
        return _describe_numbers(values, _numbers(present))
    words = _words(present)
    by_size = words.value_counts()
    names = sorted(by_size.index, key=lambda name: (-int(by_size[name]), name))
    if len(names) > KNOWN or (len(names) > NAMED and len(names) > len(present) / 2):
        return _counted(ColumnBaseline(kind="text", rows=len(values), counts=(0,)), values)
    known = ColumnBaseline(
        kind="category", rows=len(values), counts=(0,), categories=tuple(names[:NAMED]), others=tuple(names[NAMED:])
    )
    return _counted(known, values)


def _describe_numbers(values: pd.Series[Any], numbers: Floats) -> ColumnBaseline:
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return _counted(ColumnBaseline(kind="number", rows=len(values), counts=(0,)), values)
    edges = np.unique(np.quantile(finite, np.arange(1, STEPS) / STEPS, method="inverted_cdf"))
    spread = float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan
    described = ColumnBaseline(
        kind="number",
        rows=len(values),
        counts=(0,),
        edges=tuple(float(edge) for edge in edges),
        mean=float(finite.mean()),
        standard_deviation=spread if math.isfinite(spread) else None,
        minimum=float(finite.min()),
        maximum=float(finite.max()),
    )
    return _counted(described, values)


def _counted(column: ColumnBaseline, values: pd.Series[Any]) -> ColumnBaseline:
    counts = tuple(int(count) for count in column.count(values))
    return ColumnBaseline(**{**column.__dict__, "counts": counts})


def _missing(values: pd.Series[Any]) -> pd.Series[bool]:
    return values.isna()


def _is_number(values: pd.Series[Any]) -> bool:
    kind = values.dtype
    if pd.api.types.is_bool_dtype(kind):
        return False
    return pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind)


def _numbers(values: pd.Series[Any]) -> Floats:
    """Return numbers; times as seconds since 1970."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values.astype("datetime64[ns]").astype("int64").to_numpy(dtype=np.float64) / 1e9
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)


def _words(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.astype(str)
