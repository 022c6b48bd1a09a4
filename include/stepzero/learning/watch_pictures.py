"""Pictures of the watch: how near each column is to its threshold, window by window; how soon a shift is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stepzero.learning.drawing import BLUE, GREY, INK, RED, figure, png
from stepzero.learning.drift import ColumnDrift

MOST = 15
"""Columns that are drawn, those nearest to their thresholds."""


def columns_picture(columns: Sequence[ColumnDrift]) -> bytes:
    """Draw for each column the largest distance over its threshold, a dot a window, the newest filled."""
    ratios = {one.column: _ratios(one) for one in columns if one.thresholds}
    return ratios_picture(ratios, "Columns nearest to their thresholds", "distance")


def ratios_picture(ratios: Mapping[str, Sequence[float]], title: str, what: str) -> bytes:
    """Draw for each name its values in units of what is allowed, a dot a window, the newest filled."""
    order = sorted(ratios, key=lambda name: (-np.nan_to_num(ratios[name][-1], nan=-1.0), name))[:MOST][::-1]
    with figure(7.5, 1.6 + 0.3 * len(order)) as (made, axis):
        for place, name in enumerate(order):
            values = ratios[name]
            axis.plot([0, np.nanmax([*values, 0])], [place, place], color=GREY, linewidth=1, zorder=1)
            axis.scatter(values[:-1], [place] * (len(values) - 1), s=28, facecolors="white", edgecolors=BLUE, zorder=2)
            axis.scatter(values[-1:], [place], s=36, color=RED if values[-1] > 1 else BLUE, zorder=3)
        axis.axvline(1, color=INK, linewidth=1, linestyle="--")
        axis.set_yticks(range(len(order)), order)
        axis.set_xlim(left=0)
        axis.set_xlabel(f"{what} in units of its threshold; filled: the newest window")
        axis.set_title(title)
        return png(made)


def values_picture(title: str, values: Sequence[float], low: float, reference: float, label: str) -> bytes:
    """Draw one value a window with its reference and the threshold below which it fires."""
    with figure(7, 3.4) as (made, axis):
        places = np.arange(len(values))
        axis.plot(places, values, color=BLUE, marker="o", markersize=6)
        axis.axhline(reference, color=GREY, linewidth=2)
        axis.axhline(low, color=INK, linewidth=1, linestyle="--")
        axis.annotate("reference", (0, reference), xytext=(0, 3), textcoords="offset points", color=INK, fontsize=8)
        axis.annotate("threshold", (0, low), xytext=(0, 3), textcoords="offset points", color=INK, fontsize=8)
        names = [f"{len(values) - 1 - at} before" if at < len(values) - 1 else "newest" for at in range(len(values))]
        axis.set_xticks(places, names)
        axis.set_ylabel(label)
        axis.set_title(title)
        return png(made)


def volume_picture(counts: Sequence[int], low: float, high: float) -> bytes:
    """Draw the requests of each window, the newest last, and between which lines they may be."""
    with figure(7, 3.4) as (made, axis):
        places = np.arange(len(counts))
        is_out = not low <= counts[-1] <= high
        axis.bar(places[:-1], counts[:-1], color=GREY)
        axis.bar(places[-1:], counts[-1:], color=RED if is_out else BLUE)
        for line, name in ((low, "fewest"), (high, "most")):
            if line <= 2 * max(*counts, low):  # a line far above all bars would flatten them
                axis.axhline(line, color=INK, linewidth=1, linestyle="--")
                axis.annotate(name, (0, line), xytext=(0, 3), textcoords="offset points", color=INK, fontsize=8)
        axis.set_xticks([places[0], places[-1]], [f"{len(counts) - 1} before", "newest"])
        axis.set_ylabel("requests")
        axis.set_title("Requests, window by window")
        return png(made)


def power_picture(delays: Mapping[float, Sequence[float]], most: int, what: str) -> bytes:
    """Draw how many windows it takes until a shift of each size is seen: the median, and from the tenth to the ninth.

    Args:
        delays: Size of the shift, in standard deviations → windows until the alarm in each simulated run.
        most: Windows after which a simulated run ended without an alarm.
        what: Which column moves, and how many rows a window has.
    """
    sizes = sorted(delays)
    with figure(7, 4) as (made, axis):
        middle = [float(np.median(delays[size])) for size in sizes]
        low, high = ([float(np.quantile(delays[size], tail)) for size in sizes] for tail in (0.1, 0.9))
        axis.fill_between(sizes, low, high, color=GREY, alpha=0.6, label="8 of 10 runs")
        axis.plot(sizes, middle, color=BLUE, marker="o", label="median")
        axis.axhline(most, color=INK, linewidth=1, linestyle="--")
        axis.annotate("not seen", (sizes[0], most), xytext=(0, 3), textcoords="offset points", color=INK, fontsize=8)
        axis.set_ylim(bottom=0)
        axis.set_xscale("log")
        axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axis.minorticks_off()
        axis.set_xlabel(f"size of the shift in standard deviations ({what})")
        axis.set_ylabel("windows until the alarm")
        axis.set_title("How soon a shift is seen")
        axis.legend()
        return png(made)


def _ratios(column: ColumnDrift) -> list[float]:
    """Return for each window the largest distance over its threshold."""
    rows = [
        [value / max(limit, 1e-12) for value in column.distances[name]] for name, limit in column.thresholds.items()
    ]
    return [float(value) for value in np.max(np.asarray(rows), axis=0)]
