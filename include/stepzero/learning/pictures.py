"""Pictures of an evaluation: the table, the winner's curves, its confusion matrix, its threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stepzero.learning.drawing import BLUE, GREEN, GREY, INK, ORANGE, figure, logarithmic, png
from stepzero.learning.evaluation import BRIER, Cell
from stepzero.learning.probability_pictures import LEAST, calibration_picture, cost_picture
from stepzero.learning.table import Table
from stepzero.measures.checks import Floats
from stepzero.measures.decisions import confusion
from stepzero.measures.ranking import Curve, accepted_by_threshold
from stepzero.spec.training import Threshold

FINEST = 1_000
"""Points nearer than one part in so many of an axis are one point on the screen."""

SMALL = 0.05
"""Thresholds below are drawn on a logarithmic axis: rare positives have small probabilities."""


def evaluation_pictures(
    cells: Sequence[Cell], winner: Cell, train: Table, test: Table, threshold: Threshold
) -> dict[str, bytes]:
    """Return file name → PNG."""
    drawn = {
        "table.png": table_picture(cells, winner),
        "precision_recall.png": precision_recall_picture(cells, winner, test),
        "roc.png": roc_picture(cells, winner, test),
        "confusion.png": confusion_picture(winner, test),
        "threshold.png": threshold_picture(winner, train),
    }
    if any(BRIER in cell.also for cell in cells):
        drawn["calibration.png"] = calibration_picture(cells, winner, test)
    if threshold.priced:
        drawn["cost.png"] = cost_picture(winner, train, threshold)
    return drawn


def table_picture(cells: Sequence[Cell], winner: Cell) -> bytes:
    """Draw samplers × models for F1 and average precision; the winner is framed."""
    samplers = list(dict.fromkeys(cell.sampler for cell in cells))
    models = list(dict.fromkeys(cell.model for cell in cells))
    with figure(*table_size(len(samplers), len(models)), columns=2) as (made, axes):
        for axis, metric in zip(axes, ("average_precision", "f1"), strict=True):
            _heat_map(axis, cells, samplers, models, metric)
            _frame(axis, samplers.index(winner.sampler), models.index(winner.model))
        axes[1].set_yticklabels([])
        made.supxlabel("On untouched rows, with confidence interval. Framed: the winner, chosen by out-of-fold scores.")
        return png(made)


def table_size(samplers: int, models: int) -> tuple[float, float]:
    """Return width and height of the table's picture in inches: a cell keeps its room, however many there are."""
    return 3.2 + 2.1 * models, 2.2 + 1.1 * samplers


def precision_recall_picture(cells: Sequence[Cell], winner: Cell, test: Table) -> bytes:
    """Draw the precision-recall curve of the winner, the others in grey, and its operating point."""
    with figure(7, 5.5) as (made, axis):
        for cell in [*(cell for cell in cells if cell is not winner), winner]:
            recall, precision = _precision_recall(accepted_by_threshold(test.target, cell.test_score, test.weight))
            axis.step(recall, precision, where="pre", **_look(cell, winner))
        point = winner.metrics["recall"].value, winner.metrics["precision"].value
        axis.plot(*point, "o", color=ORANGE, zorder=5, label=f"threshold {winner.threshold:.3g}")
        _finish(axis, "Precision and recall", "Recall: share of positives found", "Precision: share of alarms right")
        value = winner.metrics["average_precision"]
        axis.set_title(f"average precision {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]", loc="right", size=9)
        return png(made)


def roc_picture(cells: Sequence[Cell], winner: Cell, test: Table) -> bytes:
    """Draw the ROC curve of the winner, the others in grey."""
    with figure(7, 5.5) as (made, axis):
        axis.plot([0, 1], [0, 1], linestyle=":", color=INK, linewidth=1, label="chance")
        for cell in [*(cell for cell in cells if cell is not winner), winner]:
            curve = accepted_by_threshold(test.target, cell.test_score, test.weight)
            found = np.r_[0, curve.true_positives / curve.true_positives[-1]]
            alarms = np.r_[0, curve.false_positives / curve.false_positives[-1]]
            axis.plot(*_thinned(alarms, found), **_look(cell, winner))
        _finish(axis, "ROC", "Share of negatives accepted", "Share of positives found")
        value = winner.metrics["roc_auc"]
        axis.set_title(f"area {value.value:.4f} [{value.low:.4f}, {value.high:.4f}]", loc="right", size=9)
        return png(made)


def confusion_picture(winner: Cell, test: Table) -> bytes:
    """Draw the confusion matrix of the winner: held-out rows as they are, not weighted."""
    cells = confusion(test.target, winner.decisions)
    counts = np.array([[cells.true_negatives, cells.false_positives], [cells.false_negatives, cells.true_positives]])
    shares = counts / counts.sum(axis=1, keepdims=True)
    with figure(5.6, 4.8) as (made, axis):
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1.3)
        for (row, column), count in np.ndenumerate(counts):
            text = f"{int(count):,}\n{shares[row, column]:.2%} of the row"
            colour = "white" if shares[row, column] > 0.6 else INK
            axis.text(column, row, text, ha="center", va="center", size=12, color=colour)
        axis.set_xticks([0, 1], ["accepted as negative", "raised as positive"])
        axis.set_yticks([0, 1], ["negative", "positive"], rotation=90, va="center")
        axis.set(xlabel=f"Decision at threshold {winner.threshold:.3g}", ylabel="Truth (rows, not weighted)")
        axis.set_title(f"Confusion: {winner.name}")
        axis.spines[:].set_visible(False)
        return png(made)


def threshold_picture(winner: Cell, train: Table) -> bytes:
    """Draw precision, recall and F1 over the threshold, on out-of-fold scores, with the chosen line."""
    score, judged = winner.out_of_fold["score"].to_numpy(), train.judged
    curve = accepted_by_threshold(train.target[judged], score[judged], train.weight[judged])
    recall, precision = _precision_recall(curve)
    both = precision[1:] + recall[1:]
    f1 = np.divide(2 * precision[1:] * recall[1:], both, out=np.zeros_like(both), where=both > 0)
    small = 0 < winner.line < SMALL
    with figure(7, 5) as (made, axis):
        if small:
            logarithmic(axis)
        for values, colour, name in (
            (precision[1:], BLUE, "precision"),
            (recall[1:], GREEN, "recall"),
            (f1, INK, "F1"),
        ):
            across, up = _thinned(curve.thresholds, values)
            axis.plot(np.maximum(across, LEAST) if small else across, up, color=colour, label=name, linewidth=2)
        axis.axvline(winner.threshold, color=ORANGE, linestyle="--", label=f"chosen: {winner.threshold:.3g}")
        _finish(
            axis,
            "Where the line is drawn",
            "Threshold (logarithmic)" if small else "Threshold",
            "On out-of-fold rows, never on held-out ones",
        )
        return png(made)


def _heat_map(axis: Any, cells: Sequence[Cell], samplers: list[str], models: list[str], metric: str) -> None:
    values = np.full((len(samplers), len(models)), np.nan)
    for cell in cells:
        found = cell.metrics[metric]
        at = samplers.index(cell.sampler), models.index(cell.model)
        values[at] = found.value
        colour = "white" if found.value > 0.62 else INK
        axis.text(at[1], at[0] - 0.1, f"{found.value:.3f}", ha="center", va="center", size=11, color=colour)
        interval = f"{found.low:.2f} to {found.high:.2f}"
        axis.text(at[1], at[0] + 0.22, interval, ha="center", va="center", size=7.5, color=colour)
    axis.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(len(models)), [model.replace("_", "\n", 1) for model in models], size=8)
    axis.set_yticks(range(len(samplers)), samplers)
    axis.set_title(metric.replace("_", " ").capitalize())
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def _frame(axis: Any, row: int, column: int) -> None:
    from matplotlib.patches import Rectangle

    axis.add_patch(Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, fill=False, edgecolor=ORANGE, linewidth=3))


def _precision_recall(curve: Curve) -> tuple[Floats, Floats]:
    accepted = curve.true_positives + curve.false_positives
    precision = np.divide(curve.true_positives, accepted, out=np.ones_like(accepted), where=accepted > 0)
    recall = curve.true_positives / curve.true_positives[-1]
    return np.r_[0.0, recall], np.r_[precision[0], precision]


def _look(cell: Cell, winner: Cell) -> dict[str, Any]:
    if cell is winner:
        return {"color": BLUE, "linewidth": 2.5, "zorder": 4, "label": cell.name}
    return {"color": GREY, "linewidth": 0.9, "zorder": 2}


def _thinned(across: Floats, up: Floats) -> tuple[Floats, Floats]:
    """Drop points that would be drawn on the one before them."""
    drawn = np.round(np.column_stack([across, up]) * FINEST)
    kept = np.r_[True, (drawn[1:] != drawn[:-1]).any(axis=1)]
    kept[-1] = True
    return across[kept], up[kept]


def _finish(axis: Any, title: str, across: str, up: str) -> None:
    axis.set(xlabel=across, ylabel=up, ylim=(-0.01, 1.02))
    axis.set_title(title)
    axis.legend(loc="best", fontsize=9)
