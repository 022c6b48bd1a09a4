"""Drift of captured rows: windows against the reference of the model that served them, with calibrated thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.core.errors import InputError, bare, did_you_mean
from stepzero.measures.checks import Floats
from stepzero.measures.drift import DriftColumn, applicable, distances, make_column
from stepzero.measures.false_alarms import calibrate
from stepzero.measures.quality import Finding

FEWEST_ROWS = 20
"""A window with fewer rows says nothing of its distribution."""
ENOUGH = 0.9
"""Of a block's rows: a window with fewer is more noisy than the block, and drawn anew from it."""
Reference = dict[str, DriftColumn]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How windows are judged: N of M, how often chance may fire, what is too small to matter."""

    at_least: int
    level: float
    draws: int
    seed: int
    names: tuple[str, ...]
    """Distances that are judged; all are measured."""
    smallest: Mapping[str, float]
    """Thresholds are never below: with many rows every difference is certain, and few matter."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """A block bootstrap of the reference, the same for all columns."""

    windows: npt.NDArray[np.int64] | None
    """Draws × windows: which block each window is; following ones follow each other. None without time."""
    reference: Floats | None
    """Draws × blocks: how often each block is in the reference."""
    draws: int
    length: int


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """One column in all judged windows, the newest last."""

    column: str
    kind: str
    distances: dict[str, list[float]]
    """Not a number where a window has too few rows."""
    thresholds: dict[str, float]
    at_least: int
    missing: tuple[float, float]
    """Share of missing values: in the reference, in the newest window."""
    unseen: float
    """Share of the newest window beyond what the reference knows: new categories, numbers beyond its ends."""
    medians: tuple[float, float] | None = None

    @property
    def over(self) -> dict[str, int]:
        """Return in how many windows each judged distance was over its threshold."""
        return {
            name: int(sum(value > limit for value in self.distances[name])) for name, limit in self.thresholds.items()
        }

    @property
    def fires(self) -> bool:
        """Tell whether one distance was over in enough windows, the newest among them."""
        return any(
            times >= self.at_least and self.distances[name][-1] > self.thresholds[name]
            for name, times in self.over.items()
        )

    def findings(self, severity: str) -> list[Finding]:
        """Return one finding per judged distance."""
        return [
            Finding(
                rule=name,
                column=self.column,
                observed=f"{self.distances[name][-1]:.4g} in the newest window, over in {self.over[name]} of "
                f"{len(self.distances[name])}{self._behind()}",
                bound=f"at most {limit:.4g} in {self.at_least} of {len(self.distances[name])} windows",
                passed=not (self.over[name] >= self.at_least and self.distances[name][-1] > limit),
                severity=severity,
            )
            for name, limit in self.thresholds.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        told = {name: [_finite(value) for value in values] for name, values in self.distances.items()}
        return {**self.__dict__, "distances": told, "over": self.over, "fires": self.fires}

    def _behind(self) -> str:
        told = []
        if self.medians:
            told.append(f"median {self.medians[0]:.4g} → {self.medians[1]:.4g}")
        if self.missing[0] != self.missing[1]:
            told.append(f"missing {self.missing[0]:.2%} → {self.missing[1]:.2%}")
        if self.unseen:
            told.append(f"unseen {self.unseen:.2%}")
        return f" ({', '.join(told)})" if told else ""


def make_reference(rows: pd.DataFrame, weight: Floats, block: npt.NDArray[np.int64]) -> Reference:
    """Describe all columns of reference rows but our own (``_…``)."""
    names = [str(name) for name in rows.columns if not str(name).startswith("_")]
    return {name: make_column(rows[name], weight, block) for name in names}


def judge_columns(reference: Reference, windows: Sequence[pd.DataFrame], rule: Rule) -> list[ColumnDrift]:
    """Measure every column of the reference in every window, and judge N of M.

    Raises:
        InputError: The windows have none of the reference's columns.
    """
    names = [name for name in reference if all(name in window.columns for window in windows)]
    if not names:
        raise InputError(
            "captured rows to compare with the reference",
            value=bare(f"columns {', '.join(map(str, windows[-1].columns[:20]))}"),
            allowed=f"columns among {', '.join(reference)}",
            action="watch the use case whose champion's reference it is",
        )
    sizes = [len(window) for window in windows if len(window) >= FEWEST_ROWS]
    limits = (
        column_thresholds({name: reference[name] for name in names}, len(windows), min(sizes), rule) if sizes else {}
    )
    return [_drift(name, reference[name], windows, limits.get(name, {}), rule) for name in names]


def draw_blocks(blocks: int, length: int, draws: int, seed: int) -> Draws:
    """Draw windows and references from so many blocks; a window's own blocks are not in its reference."""
    if blocks < length + 2:
        return Draws(windows=None, reference=None, draws=draws, length=length)
    generator = np.random.default_rng(seed)
    starts = generator.integers(blocks, size=draws)
    windows = (starts[:, None] + np.arange(length)) % blocks
    counts = generator.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws).astype(np.float64)
    counts[np.arange(draws)[:, None], windows] = 0.0
    counts[counts.sum(axis=1) == 0] = 1.0
    return Draws(windows=windows, reference=counts, draws=draws, length=length)


def chance_distances(column: DriftColumn, rows: int, drawn: Draws, seed: int) -> dict[str, Floats]:
    """Return the distances that chance alone makes: draws × windows, for windows of so many rows."""
    generator = np.random.default_rng(seed)
    if drawn.windows is None or drawn.reference is None:
        shares = column.total / column.total.sum()
        now = generator.multinomial(rows, shares, size=(drawn.draws, drawn.length)).astype(np.float64)
        before = generator.multinomial(max(int(column.total.sum()), 1), shares, size=(drawn.draws, 1))
        parts = np.asarray(column.beyond or (0.0,))
        excess = parts[generator.integers(len(parts), size=(drawn.draws, drawn.length))]
        return distances(column, before.astype(np.float64), now, excess=excess)
    blocks = column.blocks + 0.0
    sizes = blocks.sum(axis=1)
    now = blocks[drawn.windows]
    small = sizes[drawn.windows] * ENOUGH > rows
    if small.any():
        chances = now[small] / now[small].sum(axis=-1, keepdims=True)
        now[small] = generator.multinomial(rows, _to_one(chances))
    # A window's own values made the ends of the reference: what lies beyond those of the others is told beforehand.
    beyond = np.asarray(column.beyond or (0.0,) * len(blocks))[drawn.windows]
    return distances(column, (drawn.reference @ blocks)[:, None, :], now, excess=beyond)


def select_columns(reference: Reference, columns: Sequence[str] | None, ignore: Sequence[str], place: str) -> Reference:
    """Return the columns that are watched.

    Raises:
        InputError: A named column is not in the reference.
    """
    for name in [*(columns or ()), *ignore]:
        if name not in reference:
            raise InputError(
                place,
                value=name,
                allowed=f"a feature of the model; {did_you_mean(name, reference)}",
                action="correct the name",
            )
    return {name: one for name, one in reference.items() if name in (columns or reference) and name not in ignore}


def column_thresholds(columns: Reference, length: int, rows: int, rule: Rule) -> dict[str, dict[str, float]]:
    """Return column → distance → threshold, for windows of about so many rows."""
    blocks = len(next(iter(columns.values())).counts)
    drawn = draw_blocks(blocks, length, rule.draws, rule.seed)
    size = _rounded(rows)
    keys, values = [], []
    for number, (name, column) in enumerate(columns.items()):
        found = chance_distances(column, size, drawn, rule.seed + 1 + number)
        for distance in applicable(column, rule.names):
            keys.append((name, distance))
            values.append(found[distance])
    is_drawn = drawn.windows is None
    limits = calibrate(
        np.stack(values, axis=-1),
        at_least=rule.at_least,
        level=rule.level,
        family="gamma",
        blocks=None if is_drawn else blocks,
    )
    told: dict[str, dict[str, float]] = {}
    for (name, distance), limit in zip(keys, limits, strict=True):
        told.setdefault(name, {})[distance] = max(limit, rule.smallest.get(distance, 0.0))
    return told


def _drift(
    name: str, column: DriftColumn, windows: Sequence[pd.DataFrame], limits: dict[str, float], rule: Rule
) -> ColumnDrift:
    measured = [_measured(column, window[name]) for window in windows]
    names = next((list(one) for one in reversed(measured) if one), list(limits))
    now = column.count(windows[-1][name])
    size = max(float(now.sum()), 1.0)
    unseen = {"number": now[1] + now[-1], "category": now[-1], "text": 0.0}[column.kind]
    return ColumnDrift(
        column=name,
        kind=column.kind,
        distances={distance: [one.get(distance, float("nan")) for one in measured] for distance in names},
        thresholds=limits,
        at_least=rule.at_least,
        missing=(column.missing, float(now[0] / size)),
        unseen=float(unseen / size),
        medians=_medians(column, windows[-1][name]),
    )


def _measured(column: DriftColumn, values: pd.Series[Any]) -> dict[str, float]:
    if len(values) < FEWEST_ROWS:
        return {}
    found = distances(column, column.total, column.count(values), excess=column.excess(values))
    return {name: float(value) for name, value in found.items()}


def _medians(column: DriftColumn, values: pd.Series[Any]) -> tuple[float, float] | None:
    if column.kind != "number" or not column.edges or not values.notna().any():
        return None
    inner = column.total[2:-1]
    before = float(np.asarray(column.places)[2:-1][int(np.searchsorted(np.cumsum(inner), inner.sum() / 2))])
    return before, float(pd.to_numeric(values, errors="coerce").median())


def _rounded(rows: int) -> int:
    """Return two significant digits: thresholds do not change with every row."""
    unit = int(10 ** max(len(str(rows)) - 2, 0))
    return max(rows // unit * unit, 1)


def _to_one(chances: Floats) -> Floats:
    """Return probabilities whose sum is not above 1 by rounding."""
    bounded: Floats = chances / np.maximum(chances.sum(axis=-1, keepdims=True), 1.0)
    return bounded * (1 - 1e-12)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
