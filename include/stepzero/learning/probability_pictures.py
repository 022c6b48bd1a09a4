"""Pictures of probabilities: whether they can be taken at their word, and what a line through them costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stepzero.learning.drawing import BLUE, GREEN, GREY, INK, ORANGE, figure, logarithmic, png
from stepzero.learning.evaluation import BRIER, BRIER_BEFORE, COST, Cell, prices
from stepzero.learning.table import Table
from stepzero.measures.calibration import Reliability, reliability
from stepzero.measures.cost import cost_curve
from stepzero.spec.training import Threshold

LEAST = 1e-7
"""What is smaller is drawn here: a share of 0 has no place on a logarithmic axis."""


def calibration(cell: Cell, test: Table) -> dict[str, Reliability]:
    """Return the reliability curve of a cell's held-out scores, before and after the prior correction."""
    if cell.uncorrected is None:
        return {}
    found = {"as learned": reliability(test.target, cell.uncorrected, test.weight)}
    if cell.prior is not None:
        found["corrected"] = reliability(test.target, cell.test_score, test.weight)
    return found


def calibration_picture(cells: Sequence[Cell], winner: Cell, test: Table) -> bytes:
    """Draw what the winner says against what comes, and the Brier score of every cell, before and after."""
    shown = [cell for cell in cells if BRIER in cell.also]
    with figure(12.5, max(4.6, 1.6 + 0.24 * len(shown)), columns=2) as (made, axes):
        _reliability_panel(axes[0], winner, test)
        _brier_panel(axes[1], shown, winner, test)
        return png(made)


def cost_picture(winner: Cell, train: Table, threshold: Threshold) -> bytes:
    """Draw the mean cost of a row over the threshold, on out-of-fold scores, with the chosen line.

    Where it was chosen by F1, the cheapest is marked beside it.
    """
    score = winner.out_of_fold["score"].to_numpy()
    known = np.isfinite(score)
    priced = {name: np.broadcast_to(price, known.shape)[known] for name, price in prices(threshold, train).items()}
    curve = cost_curve(train.target[known], score[known], train.weight[known], **priced)
    with figure(7.5, 4.8) as (made, axis):
        logarithmic(axis)
        axis.plot(np.clip(curve.thresholds, LEAST, None), curve.costs, color=BLUE, linewidth=2, label="mean cost")
        axis.axhline(curve.costs[0], color=GREY, linestyle=":", label=f"raise no alarm: {curve.costs[0]:.4g}")
        axis.axvline(winner.threshold, color=ORANGE, linestyle="--", label=f"chosen: {winner.threshold:.3g}")
        missed, alarm = threshold.false_negative, threshold.false_positive
        if isinstance(missed, float) and isinstance(alarm, float) and missed + alarm > 0:
            told = f"best if probabilities were perfect: {alarm / (missed + alarm):.3g}"
            axis.axvline(alarm / (missed + alarm), color=GREEN, linestyle=":", label=told)
        if not threshold.minimise:
            best = int(np.argmin(curve.costs))
            at = f"cheapest: {curve.costs[best]:.4g} at {curve.thresholds[best]:.3g}"
            axis.plot(max(curve.thresholds[best], LEAST), curve.costs[best], "o", color=GREEN, label=at)
        axis.set(xlabel="Threshold (logarithmic)", ylabel="Mean cost of a row, out-of-fold")
        axis.set_ylim(0, 2 * curve.costs[0] if curve.costs[0] > 0 else None)
        # Further to the left the curve is above what is shown.
        seen = curve.thresholds[curve.costs <= 2 * curve.costs[0]]
        axis.set_xlim(left=max(min(seen.min(), winner.line) / 3, LEAST / 2))
        axis.set_title("What the line costs")
        told = f"a missed positive costs {missed}, a wrong alarm {alarm}"
        axis.set_title(told, loc="right", size=9, parse_math=False)
        axis.legend(loc="best", fontsize=9)
        return png(made)


def _reliability_panel(axis: Any, winner: Cell, test: Table) -> None:
    """Draw bins with positives as points with bounds, bins without one as what they may hold at most."""
    logarithmic(axis, up=True)
    lowest = 1.0
    for (name, curve), colour in zip(calibration(winner, test).items(), (GREY, BLUE), strict=False):
        some = curve.came > 0
        bars = np.vstack([curve.came - curve.low, curve.high - curve.came])[:, some]
        axis.errorbar(curve.said[some], curve.came[some], bars, fmt="o", color=colour, capsize=2, label=name)
        axis.plot(curve.said[~some], curve.high[~some], "v", color=colour, markersize=6, fillstyle="none")
        lowest = min([lowest, *curve.said[curve.said > 0], *curve.low[some][curve.low[some] > 0]])
    lowest = max(lowest / 2, LEAST)
    axis.plot([lowest, 1], [lowest, 1], linestyle=":", color=INK, linewidth=1, label="taken at its word")
    axis.set(xlim=(lowest, 1.6), ylim=(lowest, 1.6), ylabel="Share of positives that came (▽: no more than)")
    told = "Probability that the model says"
    if winner.prior is not None:
        shares = (f"{100 * share:.3g}%" for share in (winner.prior.trained_share, winner.prior.true_share))
        told += "; learned at {} positives, used at {}".format(*shares)
    axis.set_xlabel(told)
    axis.set_title(f"Calibration: {winner.name}")
    axis.legend(loc="upper left", fontsize=9)


def _brier_panel(axis: Any, cells: Sequence[Cell], winner: Cell, test: Table) -> None:
    share = float(test.weight[test.target == 1].sum() / test.weight.sum())
    logarithmic(axis)
    places = np.arange(len(cells))
    before, after = (np.maximum([cell.also[name].value for cell in cells], LEAST) for name in (BRIER_BEFORE, BRIER))
    known = (*before, *after, max(share * (1 - share), LEAST))
    axis.set_xlim(min(known) / 1.5, max(known) * 1.5)  # what is all at one place has no span to derive limits from
    axis.hlines(places, np.minimum(before, after), np.maximum(before, after), color=GREY, linewidth=1, zorder=1)
    axis.plot(before, places, "o", color=GREY, zorder=2, label="as learned")
    axis.plot(after, places, "o", color=BLUE, zorder=3, label="corrected")
    axis.axvline(known[-1], color=ORANGE, linestyle=":", label="always say the share of positives")
    axis.set_yticks(range(len(cells)), [cell.name for cell in cells], size=8)
    for label, cell in zip(axis.get_yticklabels(), cells, strict=True):
        label.set_fontweight("bold" if cell is winner else "normal")
    axis.invert_yaxis()
    axis.set(xlabel="Brier score on held-out rows at the true share (smaller is better)")
    axis.set_title("Before and after the prior correction")
    axis.legend(loc="best", fontsize=8)


def brier_lines(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return Brier scores before and after, and cost, cell by cell."""
    names = (BRIER_BEFORE, BRIER, COST)
    return [
        {"sampler": cell.sampler, "model": cell.model, "prior": cell.prior.to_json() if cell.prior else None}
        | {name: cell.also[name].to_json() for name in names if name in cell.also}
        for cell in cells
    ]
