"""Pictures of bias: who gets the favourable outcome how often, and every metric beside its limits."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepzero.learning.bias import BiasReport, FacetBias, limit_bounds, told_value
from stepzero.learning.drawing import BLUE, GREEN, GREY, INK, ORANGE, figure, png
from stepzero.measures.bias import NEUTRAL, BiasMetric
from stepzero.spec.bias import Bias, BiasLimit

EDGE = 1.0
"""Metrics are drawn up to this distance from "no difference"; the figure beside them is exact."""


def bias_picture(report: BiasReport, bias: Bias) -> bytes:
    """Draw a row for each facet value: shares of the favourable outcome, and the metrics."""
    count = len(report.facets)
    metrics = max(len(one.metrics) for one in report.facets)
    with figure(12, 1.2 + count * (0.9 + 0.24 * metrics), rows=count, columns=2) as (made, axes):
        for (left, right), one in zip(np.reshape(axes, (count, 2)), report.facets, strict=True):
            _draw_shares(left, one, report)
            _draw_metrics(right, one, dict(getattr(bias.limits, report.time)))
        made.suptitle(f"Bias {report.time} training", x=0.01, ha="left", weight="bold", size=14)
        made.supxlabel(
            "0 (for DI: 1) means no difference. Green bands: declared limits. Orange: outside them. "
            "Bars end at ±1, figures are exact.",
            size=9,
        )
        return png(made)


def _draw_shares(axis: Any, one: FacetBias, report: BiasReport) -> None:
    a, d = one.shares
    names = [f"{one.name}\n{one.disfavoured:,.6g} rows", f"all others\n{one.favoured:,.6g} rows"]
    axis.barh([1, 0], [d, a], color=[BLUE, GREY], height=0.5)
    for place, share in ((1, d), (0, a)):
        axis.text(share + 0.01, place, f"{share:.2%}", va="center", size=10)
    axis.set_yticks([1, 0], names)
    axis.set(xlim=(0, 1.16), ylim=(-0.6, 1.6))
    axis.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    what = "labels" if report.time == "before" else "predictions"
    axis.set_title(f"Favourable {what}: {report.label} = {report.favourable}", size=10)


def _draw_metrics(axis: Any, one: FacetBias, limits: dict[str, BiasLimit]) -> None:
    places = np.arange(len(one.metrics))[::-1]
    for place, metric in zip(places, one.metrics, strict=True):
        limit = limits.get(metric.name)
        if limit is not None:
            _draw_limit(axis, place, metric.name, limit)
        _draw_metric(axis, place, metric, broken=limit is not None and _is_outside(metric, limit))
    axis.axvline(0, color=INK, linewidth=1)
    axis.set_yticks(places, [metric.description for metric in one.metrics], size=8)
    axis.set(xlim=(-EDGE - 0.05, EDGE + 0.55), ylim=(-0.7, len(places) - 0.3))
    axis.set_xticks([-1, -0.5, 0, 0.5, 1])
    axis.set_title(f"{one.name} against all others", size=10, loc="right")


def _draw_metric(axis: Any, place: int, metric: BiasMetric, *, broken: bool) -> None:
    if metric.value is None:
        axis.text(EDGE + 0.08, place, told_value(metric), va="center", size=8, style="italic")
        return
    away = float(np.clip(metric.value - NEUTRAL.get(metric.name, 0.0), -EDGE, EDGE))
    axis.barh(place, away, height=0.55, color=ORANGE if broken else BLUE, zorder=3)
    axis.text(EDGE + 0.08, place, told_value(metric), va="center", size=8)


def _draw_limit(axis: Any, place: int, name: str, limit: BiasLimit) -> None:
    low, high = np.clip(_distances(name, limit), -EDGE, EDGE)
    axis.barh(place, high - low, left=low, height=0.85, color=GREEN, alpha=0.3, zorder=1)


def _is_outside(metric: BiasMetric, limit: BiasLimit) -> bool:
    if metric.value is None:
        return False
    low, high = _distances(metric.name, limit)
    return not low <= metric.value - NEUTRAL.get(metric.name, 0.0) <= high


def _distances(name: str, limit: BiasLimit) -> tuple[float, float]:

    low, high = limit_bounds(name, limit)
    neutral = NEUTRAL.get(name, 0.0)
    return low - neutral, high - neutral
