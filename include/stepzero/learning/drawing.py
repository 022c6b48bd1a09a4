"""What all pictures share: one look, and the same bytes for the same content."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BLUE, ORANGE, GREEN, GREY, INK = "#1f6f9f", "#d9722e", "#5b9a6f", "#c4c8cc", "#30343a"
RED = "#b3261e"
_THEMED = {INK: "currentColor", BLUE: f"var(--accent,{BLUE})", RED: f"var(--bad,{RED})", GREY: f"var(--soft,{GREY})"}
"""Colours that are others on dark paper, by the style sheet of the page."""
_STYLE: Any = {
    "figure.dpi": 110,
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


@contextmanager
def figure(width: float, height: float, *, rows: int = 1, columns: int = 1) -> Iterator[tuple[Any, Any]]:
    """Yield a figure and its axes, drawn without a screen; nothing global is changed or kept."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        made = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(made)
        yield made, made.subplots(rows, columns)


def png(made: Any) -> bytes:
    """Return a figure as PNG; without the version of what drew it, so that bytes depend on content only.

    The canvas writes it, not the figure, which would draw all of it once more for its layout.
    """
    stream = io.BytesIO()
    made.canvas.print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def svg(made: Any) -> bytes:
    """Return a figure as SVG for `stepzero.adapters.pages.drawing`: on any paper, its ink in the page's colour.

    Text stays text, in the page's own letters. The bytes depend on content only, as those of `png` do.
    """
    import matplotlib as mpl

    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "stepzero", "svg.fonttype": "none", "font.family": "sans-serif"}):
        made.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = stream.getvalue().decode()
    for colour, word in _THEMED.items():
        drawn = drawn.replace(colour, word)
    return drawn.encode()


def logarithmic(axis: Any, *, up: bool = False) -> None:
    """Make the axis across logarithmic, and the one up if asked; small ticks and set powers take most of the time."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_xscale("log")
    if up:
        axis.set_yscale("log")
    for one in (axis.xaxis, axis.yaxis) if up else (axis.xaxis,):
        one.set_major_locator(LogLocator(numticks=9))
        one.set_minor_locator(NullLocator())
        one.set_major_formatter("{x:g}")
