"""Rules that a profile suggests: what the rows show, with room for what other rows of the same kind would show.

A rule is suggested only where the rows can carry it. A range reaches beyond the extremes, for the next batch has
extremes of its own; a list of values is strict only where each was seen several times; a key is never a number
with fractions, which Deequ's suggestions take for one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from stepzero.adapters.profile import ColumnProfile
from stepzero.adapters.spark import literal, quoted
from stepzero.stages.quality_suggestions_batch import Suggestion, about_batch, outward

__all__ = ["Suggestion", "suggest_anomalies", "suggest_rules"]

STEADY = 5
"""Rows that the rarest listed value must have for a strict list: what was seen less often has unseen siblings."""
KNOWN_SHARE = 0.99
"""Share of rows that must hold a known value where the list is not strict."""
SIGMAS = 4
"""Standard errors that a share may fall."""
FEWEST = 100
"""Rows below which nothing is said of a column but its nulls."""


def suggest_rules(
    columns: Sequence[ColumnProfile], target: str | None = None, *, declared: bool = False
) -> list[Suggestion]:
    """Return rules that the profiled rows themselves meet.

    No single file speaks for these kinds: ``foreign_key`` (another dataset), ``freshness`` (how often files come)
    and ``mutual_information``; ``min``, ``max`` and ``sum`` would say what ``between`` and ``size`` say.

    Args:
        columns: The profile of every column.
        target: The label: its classes are checked too.
        declared: Whether the columns stand in a source section.
    """
    rows = columns[0].rows if columns else 0
    found = [Suggestion(rule={"rule": "schema"}, why="the columns of source.columns, in order")] if declared else []
    half = Suggestion(rule={"rule": "size", "at_least": max(rows // 2, 1)}, why=f"seen {rows} rows; half is allowed")
    found.append(half)
    whole = [column.name for column in columns if column.completeness == 1.0]
    if whole:
        found.append(Suggestion(rule={"rule": "complete", "columns": whole}, why="no null was seen"))
    for column in columns:
        found += _of_column(column)
        if column.name == target and len(column.values) >= 2:
            found.append(_balance(column))
        found += about_batch(column)
    return found


def suggest_anomalies(columns: Sequence[ColumnProfile], target: str | None = None) -> list[Suggestion]:
    """Return rules about the history; a first batch has none, so they flag nothing in it."""
    found = [
        Suggestion(
            rule={"metric": "size", "strategy": "relative_change", "at_least": 0.5, "at_most": 2.0},
            why="a batch is half to twice the one before",
        )
    ]
    label = next((column for column in columns if column.name == target), None)
    if label and len(label.values) >= 2:
        rare = min(label.values, key=lambda value: (label.values[value], str(value)))
        predicate = f"{quoted(label.name)} = {literal(rare)}"
        rule = {"metric": "share", "predicate": predicate, "strategy": "rolling_normal", "severity": "warning"}
        found.append(Suggestion(rule=rule, why=f"seen {label.values[rare] / label.rows:.2%}"))
    return found


def _of_column(column: ColumnProfile) -> list[Suggestion]:
    found = _mostly_complete(column) if column.completeness < 1 else []
    if column.rows < FEWEST:
        return found
    if column.unique and column.completeness == 1 and (column.is_whole or column.kind == "string"):
        unique = Suggestion(rule={"rule": "unique", "columns": [column.name]}, why="every value is there once")
        return [*found, unique, *_text(column)]
    if column.values and _is_category(column):
        return [*found, _listed(column)]
    if column.is_number and column.minimum is not None:
        return [*found, *_range(column)]
    return [*found, *_text(column)]


def _mostly_complete(column: ColumnProfile) -> list[Suggestion]:
    """Bound the share of nulls, a little below what was seen; of a column that is mostly null say nothing."""
    share = column.completeness
    error = math.sqrt(share * (1 - share) / column.rows)
    low = math.floor((share - max(0.02, SIGMAS * error)) * 100) / 100
    if low < 0.05:
        return []
    rule = {
        "rule": "compliance",
        "name": f"{column.name} is there",
        "column": column.name,
        "predicate": f"{quoted(column.name)} IS NOT NULL",
        "at_least": low,
    }
    return [Suggestion(rule=rule, why=f"seen in {share:.2%} of the rows")]


def _is_category(column: ColumnProfile) -> bool:
    """Tell whether the values are a list, not a sample of something continuous."""
    if column.kind in {"double", "float"} and any(value != int(value) for value in column.values):
        return False
    return column.kind != "timestamp" and len(column.values) <= max(2, column.rows / 20)


def _listed(column: ColumnProfile) -> Suggestion:
    values = list(column.values)
    rarest = min(column.values.values())
    if rarest >= STEADY:
        told = f"{len(values)} values, the rarest in {rarest} rows"
        return Suggestion(rule={"rule": "one_of", "column": column.name, "values": values}, why=told)
    listed = ", ".join(literal(value) for value in values)
    rule = {
        "rule": "compliance",
        "name": f"{column.name} is known",
        "column": column.name,
        "predicate": f"{quoted(column.name)} IS NULL OR {quoted(column.name)} IN ({listed})",
        "at_least": KNOWN_SHARE,
    }
    told = f"{len(values)} values, one of them in {rarest} rows only: others may come, rarely"
    return Suggestion(rule=rule, why=told)


def _range(column: ColumnProfile) -> list[Suggestion]:
    """Bound a number: each side reaches as far beyond the extreme as that lies from the median."""
    if column.nan or column.minimum is None or column.maximum is None or column.median is None:
        return []
    low, high = column.minimum, column.maximum
    wide_low = 0.0 if low >= 0 else outward(2 * low - column.median, up=False)
    wide_high = 0.0 if high <= 0 else outward(2 * high - column.median, up=True)
    rule: dict[str, Any] = {"rule": "between", "column": column.name, "at_least": wide_low, "at_most": wide_high}
    return [Suggestion(rule=rule, why=f"seen {low:g} to {high:g}, half of them up to {column.median:g}")]


def _text(column: ColumnProfile) -> list[Suggestion]:
    """Say of a text what all of its values have in common, the most telling thing only."""
    if column.kind != "string" or not column.longest:
        return []
    named: dict[str, Any] = {"column": column.name}
    if column.look.kind:
        return [
            Suggestion(rule={"rule": "type", **named, "type": column.look.kind}, why="every text can be read as one")
        ]
    if column.look.pattern:
        rule = {"rule": "pattern", **named, "pattern": column.look.pattern}
        return [Suggestion(rule=rule, why="every text has this shape")]
    if column.shortest == column.longest:
        rule = {"rule": "length", **named, "at_least": column.longest, "at_most": column.longest}
        return [Suggestion(rule=rule, why=f"every text has {column.longest} characters")]
    most = int(outward(2.0 * column.longest, up=True))
    told = f"seen {column.shortest} to {column.longest} characters; twice as many are allowed"
    return [Suggestion(rule={"rule": "length", **named, "at_most": most}, why=told)]


def _balance(column: ColumnProfile) -> Suggestion:
    smallest = min(column.values.values())
    rule = {
        "rule": "class_balance",
        "column": column.name,
        "at_least": max(smallest // 2, 1),
        "classes": max(len([rows for rows in column.values.values() if rows >= STEADY]), 2),
    }
    return Suggestion(rule=rule, why=f"the smallest class has {smallest} rows; half is allowed")
