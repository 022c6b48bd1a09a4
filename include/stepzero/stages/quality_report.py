"""The verdict on a batch, to be read: a table for the log and a picture; the page is in `quality_page`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepzero.learning.drawing import png
from stepzero.stages.quality_page import state_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepzero.core.verdict import Verdict
    from stepzero.measures.quality import Finding

_COLOURS = {"good": "#2e7d32", "warning": "#f9a825", "bad": "#c62828"}


def table(findings: Sequence[Finding], verdict: Verdict) -> str:
    """Return the verdict and what each rule saw, as text with aligned columns."""
    rows = [("rule", "column", "observed", "allowed", "")]
    rows += [(f.rule, f.column or "", f.observed, f.bound[:60], state_of(f)) for f in findings]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([verdict.sentence(), *lines])


def picture(findings: Sequence[Finding], verdict: Verdict) -> bytes:
    """Return a PNG: for every rule, its state and the number of rows at fault."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.9 + 0.38 * len(findings)), dpi=110, layout="constrained")
    axes = figure.subplots()
    names = [f"{f.rule}{f' of {f.column[:40]}' if f.column else ''}" for f in findings]
    rows = [f.rows or 0 for f in findings]
    colours = [_COLOURS[state_of(f)] for f in findings]
    places = list(range(len(findings)))
    axes.barh(places, rows, color=colours)
    # A dollar sign in a column's name is no mathematics.
    axes.set_yticks(places, names, parse_math=False)
    for place, (finding, count) in enumerate(zip(findings, rows, strict=True)):
        told = f" {count} rows" if finding.rows is not None else f" {finding.observed[:60]}"
        axes.text(
            count,
            place,
            f"{told} – {state_of(finding)}",
            va="center",
            color=colours[place],
            fontsize=9,
            parse_math=False,
        )
    axes.set_xlim(0, max(*rows, 1) * 1.6)
    axes.invert_yaxis()
    axes.set_xlabel("rows that break the rule")
    axes.set_title(f"{verdict.outcome}: {verdict.subject}", loc="left", fontsize=11, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    FigureCanvasAgg(figure)
    return png(figure)
