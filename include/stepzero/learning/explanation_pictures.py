"""Pictures of SHAP values: which features move scores, and how three rows came to theirs."""

from __future__ import annotations

from typing import Any

from stepzero.learning.drawing import BLUE, GREY, INK, ORANGE, figure, png
from stepzero.learning.explanation import Explanation, Row

MOST_FEATURES = 15


def explanation_pictures(found: Explanation) -> dict[str, bytes]:
    """Return file name → PNG; nothing where nothing could be explained."""
    if found.unavailable:
        return {}
    return {"shap_global.png": _global_picture(found), "shap_local.png": _local_picture(found)}


def _global_picture(found: Explanation) -> bytes:
    shown = list(reversed((found.features or [])[:MOST_FEATURES]))
    with figure(7, 1.6 + 0.27 * len(shown)) as (made, axis):
        axis.barh(range(len(shown)), [one["mean_absolute"] for one in shown], color=BLUE)
        axis.set_yticks(range(len(shown)), [one["feature"] for one in shown], parse_math=False)
        axis.set_title("Which features move scores")
        axis.set_xlabel(f"Mean |SHAP value| of {found.rows} held-out rows, both classes\n({found.explained})")
        return png(made)


def _local_picture(found: Explanation) -> bytes:
    rows = found.local or []
    with figure(4.6 * len(rows), 4.2, columns=len(rows)) as (made, axes):
        for axis, row in zip(axes if len(rows) > 1 else [axes], rows, strict=True):
            _row_panel(axis, row)
        told = f"From the base {found.base:.3g} to the output: {found.explained}"
        made.supxlabel(told, size=9)
        return png(made)


def _row_panel(axis: Any, row: Row) -> None:
    names = [f"{one['feature']} = {_short(one['value'])}" for one in row.contributions]
    values = [one["contribution"] for one in row.contributions]
    names, values = [*names, "all others"], [*values, row.rest]
    colours = [ORANGE if value > 0 else BLUE for value in values[:-1]] + [GREY]
    axis.barh(range(len(values)), values, color=colours)
    axis.set_yticks(range(len(values)), names, size=8, parse_math=False)
    axis.invert_yaxis()
    axis.locator_params(axis="x", nbins=5)
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.set_title(f"{row.kind.capitalize()}\nscore {row.score:.3g}", size=10)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:20]
