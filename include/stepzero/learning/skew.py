"""Training-serving skew: rows against the baseline of the rows that a model learned from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.core.errors import InputError, bare, did_you_mean
from stepzero.core.verdict import Outcome, Verdict
from stepzero.measures.baselines import ColumnBaseline, describe
from stepzero.measures.checks import Floats
from stepzero.measures.distances import (
    chance_bound,
    chi_square,
    even_groups,
    jensen_shannon,
    kolmogorov_smirnov,
    merged,
    population_stability_index,
)
from stepzero.measures.quality import Finding
from stepzero.spec.skew import Skew

GROUPS = 10
"""Bins in which index and divergence of a number are taken, missing values apart: deciles, as their authors do."""

Baseline = dict[str, ColumnBaseline]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One column: its distances, what each may be, and what is behind them."""

    column: str
    rows: int
    distances: dict[str, float]
    bounds: dict[str, float]
    missing_before: float
    missing_now: float
    new: float = 0.0
    """Share of rows with a category that the training rows did not have."""
    p_value: float | None = None
    p_bound: float | None = None
    means: tuple[float, float] | None = field(default=None)

    @property
    def broken(self) -> list[str]:
        """Return the distances that are too large."""
        found = [name for name, value in self.distances.items() if value > self.bounds.get(name, np.inf)]
        too_small = self.p_value is not None and self.p_bound is not None and self.p_value < self.p_bound
        return [*found, *(["chi_square"] if too_small else [])]

    def findings(self, severity: str) -> list[Finding]:
        """Return one finding per bounded distance."""
        told = self._behind()
        made = [
            Finding(
                rule=name,
                column=self.column,
                observed=f"{self.distances[name]:.4g}{told}",
                bound=f"at most {bound:.4g}",
                passed=name not in self.broken,
                severity=severity,
            )
            for name, bound in self.bounds.items()
        ]
        if self.p_value is not None and self.p_bound is not None:
            made.append(
                Finding(
                    rule="chi_square",
                    column=self.column,
                    observed=f"p-value {self.p_value:.3g}{told}",
                    bound=f"p-value at least {self.p_bound:g}",
                    passed="chi_square" not in self.broken,
                    severity=severity,
                )
            )
        return made

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return {**self.__dict__, "means": list(self.means) if self.means else None, "broken": self.broken}

    def _behind(self) -> str:
        told = [f"mean {self.means[0]:.4g} → {self.means[1]:.4g}"] if self.means else []
        if self.missing_before != self.missing_now:
            told.append(f"missing {self.missing_before:.2%} → {self.missing_now:.2%}")
        if self.new:
            told.append(f"new categories {self.new:.2%}")
        return f" ({', '.join(told)})" if told else ""


def make_baseline(rows: pd.DataFrame) -> Baseline:
    """Describe every column of training rows but our own (``_…``)."""
    return {str(name): describe(rows[name]) for name in rows.columns if not str(name).startswith("_")}


def compare(baseline: Baseline, rows: pd.DataFrame, limits: Skew) -> list[Comparison]:
    """Compare rows with a baseline, column by column; rows may be a batch, or captured requests.

    Columns of free text or keys are compared by their missing values alone.

    Raises:
        InputError: There is no row, or no column to compare; or `limits.columns` names one that is not there.
    """
    names = _compared(baseline, rows, limits)
    if rows.empty or not names:
        raise InputError(
            "rows for the comparison with the training rows",
            value=bare(f"{len(rows)} rows with {', '.join(map(str, rows.columns[:20]))}"),
            allowed=f"rows with columns among {', '.join(baseline)}",
            action="give rows as the model takes them",
        )
    confidence = 1 - (1 - limits.confidence) / (len(names) * 3)
    return [_compare(name, baseline[name], rows[name], limits, confidence) for name in names]


def judge(comparisons: list[Comparison], limits: Skew, subject: str) -> tuple[Verdict, list[Finding]]:
    """Return the verdict, FAIL where a distance of severity error is too large, with all findings."""
    findings = [finding for one in comparisons for finding in one.findings(limits.severity)]
    broken = [finding.reason() for finding in findings if not finding.passed]
    outcome = Outcome.FAIL if broken and limits.severity == "error" else Outcome.PASS
    return Verdict(outcome=outcome, subject=subject, reasons=tuple(broken)), findings


def _compared(baseline: Baseline, rows: pd.DataFrame, limits: Skew) -> list[str]:
    for name in limits.columns or ():
        for place, known in (("the baseline", list(baseline)), ("the rows", [str(one) for one in rows.columns])):
            if name not in known:
                raise InputError(
                    "skew.columns",
                    value=name,
                    allowed=f"a column of {place}; {did_you_mean(name, known)}",
                    action="correct the name",
                )
    wanted = limits.columns or tuple(baseline)
    return [name for name in wanted if name in rows.columns and name not in limits.ignore]


def _compare(name: str, column: ColumnBaseline, values: pd.Series[Any], limits: Skew, confidence: float) -> Comparison:
    before, now = np.asarray(column.counts, dtype=np.float64), column.count(values)
    groups = _groups(column, before)
    grouped = merged(before, groups), merged(now, groups)
    distances = {
        "population_stability_index": population_stability_index(*grouped),
        "jensen_shannon": jensen_shannon(*grouped),
    }
    bounds = {
        "population_stability_index": _bound("population_stability_index", limits, grouped, confidence),
        "jensen_shannon": _bound("jensen_shannon", limits, grouped, confidence),
    }
    if column.kind == "number":
        distances["kolmogorov_smirnov"] = kolmogorov_smirnov(before, now)
        bounds["kolmogorov_smirnov"] = _bound("kolmogorov_smirnov", limits, (before, now), confidence)
    tested = column.kind == "category"
    return Comparison(
        column=name,
        rows=len(values),
        distances=distances,
        bounds={distance: bound for distance, bound in bounds.items() if bound is not None},
        missing_before=column.missing,
        missing_now=float(now[0] / now.sum()),
        new=float(now[-1] / now.sum()) if tested else 0.0,
        p_value=chi_square(before, now).p_value if tested else None,
        p_bound=limits.chi_square if tested else None,
        means=_means(column, values),
    )


def _groups(column: ColumnBaseline, before: Floats) -> npt.NDArray[np.int64]:
    """Return which bins are taken together: ranges of a number to deciles, missing values never with others."""
    if column.kind != "number":
        return np.arange(len(before))
    return np.concatenate([[0], even_groups(before[1:], GROUPS) + 1])


def _bound(distance: Any, limits: Skew, counts: tuple[Floats, Floats], confidence: float) -> float | None:
    declared = getattr(limits, distance)
    return None if declared is None else max(declared, chance_bound(distance, *counts, confidence=confidence))


def _means(column: ColumnBaseline, values: pd.Series[Any]) -> tuple[float, float] | None:
    if column.mean is None or not pd.api.types.is_numeric_dtype(values.dtype):
        return None
    now = float(values.mean())
    return (column.mean, now) if np.isfinite(now) else None
