"""Pictures of predicted numbers: the table, predictions against the truth, and errors along it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stepzero.learning.drawing import BLUE, GREY, INK, ORANGE, figure, logarithmic, png
from stepzero.learning.evaluation import Cell
from stepzero.learning.rivals import TOGETHER, TRIALS, Contest
from stepzero.learning.table import Table
from stepzero.measures.checks import Floats
from stepzero.measures.uncertainty import Interval

MOST_PANELS = 6
GROUPS = 12
"""Ranges of the truth that errors are told of, with about as many rows each."""
FEWEST_ROWS = 5
"""In a range with fewer rows an error says nothing."""
METRICS = (("rmse", "RMSE"), ("mae", "MAE"))


def regression_pictures(cells: Sequence[Cell], winner: Cell, test: Table, target: str) -> dict[str, bytes]:
    """Return file name → PNG."""
    ordered = [winner, *(cell for cell in cells if cell is not winner)]
    predicted = {cell.model: cell.test_score for cell in ordered}
    metrics = {cell.model: cell.metrics for cell in ordered}
    return {
        "table.png": table_picture(metrics, winner.model),
        "predictions.png": predictions_picture(predicted, test.target, target),
        "errors.png": errors_picture(predicted, test.target, target),
    }


def table_picture(metrics: Mapping[str, Mapping[str, Interval]], winner: str) -> bytes:
    """Draw RMSE and MAE of every model with their confidence intervals; the winner in blue."""
    names = list(metrics)[::-1]
    with figure(9, 1.6 + 0.5 * len(names), columns=len(METRICS)) as (made, axes):
        for axis, (metric, word) in zip(axes, METRICS, strict=True):
            for place, name in enumerate(names):
                found, colour = metrics[name][metric], BLUE if name == winner else INK
                axis.plot([found.low, found.high], [place, place], color=colour, linewidth=2.5)
                axis.plot(found.value, place, "o", color=colour, markersize=7)
                axis.annotate(f"{found.value:.3f}", (found.value, place), (0, 7), textcoords="offset points",
                              ha="center", size=9, color=colour)  # fmt: skip
            axis.set_yticks(range(len(names)), [_words(name) for name in names])
            axis.set(title=word, ylim=(-0.6, len(names) - 0.2))
        axes[1].set_yticklabels([])
        made.supxlabel("On untouched rows, with confidence interval; small is good. Blue: the winner.", size=9)
        return png(made)


def predictions_picture(predicted: Mapping[str, Floats], target: Floats, name: str) -> bytes:
    """Draw predictions against the truth, one panel a model: on the line they are right."""
    shown = dict(list(predicted.items())[:MOST_PANELS])
    columns = 2 if len(shown) == 4 else min(3, len(shown))
    rows = -(-len(shown) // columns)
    low, high = _reach([*shown.values(), target])
    with figure(4.2 * columns, 0.6 + 3.9 * rows, rows=rows, columns=columns) as (made, axes):
        panels = np.atleast_1d(np.asarray(axes)).ravel()
        for axis, (model, guess) in zip(panels, shown.items(), strict=False):
            axis.plot([low, high], [low, high], color=ORANGE, linewidth=1.5)
            # Whole numbers lie on each other: the darker, the more rows.
            axis.scatter(target, guess, s=14, color=BLUE, alpha=0.25, linewidths=0)
            axis.set(xlim=(low, high), ylim=(low, high), aspect="equal")
            axis.set_title(_words(model), size=10)
        for axis in panels[len(shown) :]:
            axis.set_axis_off()
        made.suptitle("Predictions against the truth, on untouched rows", x=0.01, ha="left")
        made.supxlabel(f"{name}, true", size=9)
        made.supylabel(f"{name}, predicted", size=9)
        return png(made)


def errors_picture(predicted: Mapping[str, Floats], target: Floats, name: str) -> bytes:
    """Draw mean error (too high or too low) and mean absolute error along the truth."""
    groups = truth_groups(target)
    centres = [float(target[rows].mean()) for rows in groups]
    with figure(9, 4.4, columns=2) as (made, (left, right)):
        left.axhline(0, color=INK, linewidth=0.8)
        for number, (model, guess) in enumerate(predicted.items()):
            error = guess - target
            look: dict[str, Any] = {"color": _colour(number), "linewidth": 2.2 if number < 2 else 1.2,
                                    "label": _words(model), "marker": "o", "markersize": 4}  # fmt: skip
            left.plot(centres, [error[rows].mean() for rows in groups], **look)
            right.plot(centres, [np.abs(error[rows]).mean() for rows in groups], **look)
        left.set(title="Mean error: above 0 is too high", xlabel=f"{name}, true")
        right.set(title="Mean absolute error", xlabel=f"{name}, true", ylim=(0, None))
        right.legend(fontsize=9)
        return png(made)


def toss_picture(contest: Contest, pair: tuple[str, str], by_rows: Mapping[int, float]) -> bytes:
    """Draw how often random rows would have chosen one of two models, beside what all test rows say of every model.

    Args:
        contest: What all test rows say.
        pair: The models that are tossed for.
        by_rows: Number of random rows → how often the first wins by mean accuracy, as the reference example has it.
    """
    with figure(10, 2.6 + 0.4 * len(contest.rivals), columns=2) as (made, (left, right)):
        left.axhline(0.5, color=INK, linewidth=0.8)
        left.plot(list(by_rows), list(by_rows.values()), "o-", color=BLUE)
        left.plot(TRIALS, by_rows[TRIALS], "o", color=ORANGE, markersize=10)
        left.annotate(f"{by_rows[TRIALS]:.2f} with {TRIALS} rows", (TRIALS, by_rows[TRIALS]), (0, 12),
                      textcoords="offset points", ha="center", size=9, color=ORANGE)  # fmt: skip
        logarithmic(left)
        left.set_xticks(list(by_rows), [str(rows) for rows in by_rows])
        left.set(title=f"{_words(pair[0])} is chosen", xlabel="random rows of each model, by mean accuracy",
                 ylabel=f"probability, over {_words(pair[1])}", ylim=(0, 1))  # fmt: skip
        _draw_differences(right, contest)
        return png(made)


def _draw_differences(axis: Any, contest: Contest) -> None:
    """Draw by how much each model is worse than the best, with its interval; dark where they cannot be told apart."""
    axis.axvline(0, color=INK, linewidth=0.8)
    for place, rival in enumerate(reversed(contest.rivals)):
        colour = INK if rival.finding == TOGETHER else BLUE
        axis.plot([rival.low, rival.high], [place, place], color=colour, linewidth=2.5)
        axis.plot(rival.difference, place, "o", color=colour, markersize=7)
        axis.annotate(rival.finding, (rival.low, place), (0, 8), textcoords="offset points", size=9, color=colour)
    names = [_words(rival.name) for rival in reversed(contest.rivals)]
    axis.set_yticks(range(len(names)), names)
    axis.set(title=f"All {contest.rows} test rows, with interval", ylim=(-0.6, len(names) - 0.2),
             xlabel=f"how much worse than {_words(contest.best)}, by {contest.word}")  # fmt: skip


def _words(name: str) -> str:
    return name.replace("_", " ")


def truth_groups(target: Floats) -> list[Any]:
    """Return the rows of each range of the truth, equal values together, ranges about equally full."""
    borders = np.unique(np.quantile(target, np.linspace(0, 1, GROUPS + 1)))
    place = np.clip(np.searchsorted(borders, target, side="right") - 1, 0, max(0, len(borders) - 2))
    found = [np.flatnonzero(place == number) for number in range(max(1, len(borders) - 1))]
    return [rows for rows in found if len(rows) >= FEWEST_ROWS] or [np.arange(len(target))]


def _colour(number: int) -> str:
    return (BLUE, ORANGE)[number] if number < 2 else ("#5b9a6f", "#7a5a9e", INK, GREY)[(number - 2) % 4]


def _reach(values: Sequence[Floats]) -> tuple[float, float]:
    low, high = min(float(one.min()) for one in values), max(float(one.max()) for one in values)
    room = (high - low) * 0.04 or 1.0
    return low - room, high + room
