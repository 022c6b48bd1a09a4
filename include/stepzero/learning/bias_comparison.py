"""Two bias reports side by side: every metric of both, and whether it came nearer to "no difference"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepzero.learning.bias import BiasReport, told_value
from stepzero.learning.drawing import BLUE, GREY, INK, ORANGE, figure, png
from stepzero.measures.bias import NEUTRAL, BiasMetric

_SAME = 1e-12
EDGE = 1.0


@dataclass(frozen=True, kw_only=True)
class Change:
    """One metric of one facet value in both reports."""

    facet: str
    before: BiasMetric
    after: BiasMetric

    @property
    def direction(self) -> str:
        """Return ``nearer``, ``further``, ``same`` or ``no value``, of the distance to "no difference"."""
        one, other = self.before.distance, self.after.distance
        if one is None or other is None:
            return "no value"
        if one == other or abs(one - other) <= _SAME:
            return "same"
        return "nearer" if other < one else "further"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "facet": self.facet,
            "metric": self.before.name,
            "before": self.before.to_json()["value"],
            "after": self.after.to_json()["value"],
            "direction": self.direction,
        }


def compare_reports(before: BiasReport, after: BiasReport) -> list[Change]:
    """Return every metric of the facet values that both reports have, in their order."""
    known = {one.name: one for one in after.facets}
    return [
        Change(facet=one.name, before=metric, after=other)
        for one in before.facets
        if one.name in known
        for metric, other in zip(one.metrics, known[one.name].metrics, strict=True)
    ]


def comparison_text(changes: Sequence[Change], title: str) -> str:
    """Return all metrics side by side, as aligned text, with the count of each direction."""
    lines = [title]
    for facet in dict.fromkeys(change.facet for change in changes):
        lines += ["", facet, f"  {'before':>12}  {'after':>12}  {'':8}  metric"]
        lines += [
            f"  {told_value(one.before):>12}  {told_value(one.after):>12}  {one.direction:8}  {one.before.description}"
            for one in changes
            if one.facet == facet
        ]
    return "\n".join([*lines, "", counts_sentence(changes)])


def counts_sentence(changes: Sequence[Change]) -> str:
    """Return how many metrics came nearer to "no difference", and how many did not."""
    counts = {word: sum(change.direction == word for change in changes) for word in ("nearer", "further", "same")}
    worse = [change.before.name for change in changes if change.direction == "further"]
    told = (
        f"{counts['nearer']} of {len(changes)} metrics came nearer to no difference, {counts['further']} went further"
    )
    return f"{told} ({', '.join(dict.fromkeys(worse))})" if worse else told


def comparison_picture(changes: Sequence[Change], title: str) -> bytes:
    """Draw each metric as a line from before to after; orange where it went further away."""
    facets = list(dict.fromkeys(change.facet for change in changes))
    rows = len(changes) + 2 * len(facets)
    with figure(9, 1.6 + 0.24 * rows, rows=len(facets)) as (made, axes):
        for axis, facet in zip([axes] if len(facets) == 1 else axes, facets, strict=True):
            _draw_changes(axis, facet, [change for change in changes if change.facet == facet])
        made.suptitle(title, x=0.01, ha="left", weight="bold", size=13)
        made.supxlabel("Ring: before. Dot: after; blue nearer to no difference, orange further away.", size=9)
        return png(made)


def _draw_changes(axis: Any, facet: str, changes: Sequence[Change]) -> None:
    for place, change in enumerate(reversed(changes)):
        told = f"{told_value(change.before)} → {told_value(change.after)}"
        axis.text(EDGE + 0.06, place, told, va="center", size=8, color=INK)
        if change.before.value is None or change.after.value is None:
            continue
        start, end = (_drawn(metric) for metric in (change.before, change.after))
        colour = {"further": ORANGE, "nearer": BLUE}.get(change.direction, GREY)
        axis.plot([start, end], [place, place], color=colour, linewidth=2, zorder=2)
        axis.plot([start], [place], "o", color="white", markeredgecolor=INK, markersize=6, zorder=3)
        axis.plot([end], [place], "o", color=colour, markersize=6, zorder=4)
    axis.axvline(0, color=INK, linewidth=1)
    axis.set_yticks(range(len(changes)), [change.before.description for change in reversed(changes)], size=8)
    axis.set(xlim=(-EDGE - 0.05, EDGE + 0.75), ylim=(-0.7, len(changes) - 0.3))
    axis.set_xticks([-1, -0.5, 0, 0.5, 1])
    axis.set_title(facet, size=10)


def _drawn(metric: BiasMetric) -> float:
    value = 0.0 if metric.value is None else metric.value - NEUTRAL.get(metric.name, 0.0)
    return min(max(value, -EDGE), EDGE)
