"""What is wrong with the rows themselves: missing values, another unit, another schema, too few or too many rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from stepzero.learning.triage import Signal
from stepzero.measures.drift import DriftColumn, distances
from stepzero.measures.quality import Finding
from stepzero.spec.monitors import DataQuality, Volume

FEWEST_WINDOWS = 3
"""With fewer windows before it, nothing is known of the usual volume."""
_MOVED, _SAME_SHAPE = 0.3, 0.15
"""A Kolmogorov-Smirnov distance that is large as it stands, and small once the sizes are made equal."""
_NOTHING = re.compile(r"field (?P<name>.+?): got nothing")
Found = tuple[Finding, Signal | None]


def volume(before: Sequence[int], now: int, asked: Volume) -> list[Found]:
    """Judge the rows of a window by the median of those before it; nothing where too few had any."""
    usual = usual_volume(before)
    if usual is None:
        return []
    low, high = asked.drop * usual, asked.surge * usual
    observed = f"{now} rows, {usual:g} is usual"
    kind = "volume_drop" if now < low else "volume_surge"
    return [_found(kind, None, observed, f"{low:.0f} to {high:.0f} rows", low <= now <= high)]


def usual_volume(before: Sequence[int]) -> float | None:
    """Return the median of the windows that had rows; None where too few had any."""
    filled = [count for count in before if count]
    return float(median(filled)) if len(filled) >= FEWEST_WINDOWS else None


def refusals(refused: Sequence[str], answered: int, asked: DataQuality) -> list[Found]:
    """Judge the share of requests that were refused for their content: empty fields, or another schema."""
    total = answered + len(refused)
    if not total:
        return []
    empty = [match["name"] for text in refused if (match := _NOTHING.search(text))]
    others = [text for text in refused if not _NOTHING.search(text)]
    bound = f"at most {asked.refused:.2%} of the requests"
    made = []
    for kind, names in (("missing_values", empty), ("upstream_schema", others)):
        share = len(names) / total
        told = f", most often {Counter(names).most_common(1)[0][0]}" if names else ""
        made.append(_found(kind, None, f"{share:.2%} refused{told}", bound, share <= asked.refused))
    return made


def missing_values(columns: Mapping[str, DriftColumn], rows: pd.DataFrame, asked: DataQuality) -> Iterator[Found]:
    """Judge by how much the share of missing values rose, column by column."""
    for name, column in columns.items():
        if name in rows.columns and len(rows):
            now = float(rows[name].isna().mean())
            bound = f"at most {column.missing + asked.missing:.2%} missing"
            yield _found("missing_values", name, f"{now:.2%} missing", bound, now <= column.missing + asked.missing)


def unit_changes(columns: Mapping[str, DriftColumn], rows: pd.DataFrame, asked: DataQuality) -> Iterator[Found]:
    """Find columns whose values are all larger or smaller by one factor: metres for kilometres, cents for euros."""
    for name, column in columns.items():
        if column.kind != "number" or name not in rows.columns or not column.edges:
            continue
        factor = size_factor(column, rows[name])
        if factor is None or 1 / asked.unit_factor < factor < asked.unit_factor:
            continue
        apart, scaled = (_smirnov(column, values) for values in (rows[name], rows[name] / factor))
        passed = not (apart >= _MOVED and scaled <= _SAME_SHAPE)
        observed = f"{factor:.3g} times as large, of the same shape" if not passed else f"a size {factor:.3g} times"
        bound = f"a factor below {asked.unit_factor:g}, or another shape, too"
        yield _found("unit_change", name, observed, bound, passed)


def size_factor(column: DriftColumn, values: pd.Series[Any]) -> float | None:
    """Return by how much the middle of the absolute values is larger than the reference's; None where one is 0."""
    sizes = np.abs(np.asarray(column.places)[2:-1])
    order = np.argsort(sizes, kind="stable")
    weight = np.cumsum(column.total[2:-1][order])
    before = float(sizes[order][int(np.searchsorted(weight, weight[-1] / 2))])
    now = float(pd.to_numeric(values, errors="coerce").abs().median())
    return now / before if before > 0 and np.isfinite(now) and now > 0 else None


def _smirnov(column: DriftColumn, values: pd.Series[Any]) -> float:
    return float(distances(column, column.total, column.count(values))["kolmogorov_smirnov"])


def _found(kind: str, column: str | None, observed: str, bound: str, passed: bool) -> Found:
    finding = Finding(rule=kind, column=column, observed=observed, bound=bound, passed=passed)
    signal = Signal(kind=kind, column=column, sentence=finding.reason().sentence())
    return finding, None if passed else signal
