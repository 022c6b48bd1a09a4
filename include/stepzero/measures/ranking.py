"""How well scores order the rows: no threshold is needed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stepzero.measures.checks import Booleans, Floats, Integers, checked, require_both_classes, scalar


class Curve(NamedTuple):
    """Weight accepted at or above each distinct score, highest score first."""

    thresholds: Floats
    true_positives: Floats
    false_positives: Floats


def accepted_by_threshold(target: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Curve:
    """Return how much of each class is accepted at every threshold that makes a difference.

    A row is accepted when its score is at least the threshold; rows of equal score are accepted together.
    """
    positive, numbers, weights = checked(target, score, weight)
    return _curve(positive, numbers, weights, all_thresholds=True)


def average_precision(target: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Any:
    """Return the average precision: Σ (R_n - R_(n-1)) P_n over the thresholds, highest first.

    Zhu, "Recall, Precision and Average Precision", University of Waterloo 2004; not interpolated, so
    never more hopeful than the data, as in ``sklearn.metrics.average_precision_score``.

    Args:
        target: 1 where positive, 0 elsewhere.
        score: Larger means more likely positive.
        weight: Weight of each row, or a matrix (draws × rows) for one result a draw.

    Raises:
        InputError: Only one class is there, or the arrays do not fit.

    Example:
        >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
        0.8333
    """
    positive, numbers, weights = checked(target, score, weight)
    require_both_classes(positive, "average_precision")
    curve = _curve(positive, numbers, weights, all_thresholds=False)
    accepted = curve.true_positives + curve.false_positives
    precision = np.divide(curve.true_positives, accepted, out=np.zeros_like(accepted), where=accepted > 0)
    gained = np.diff(curve.true_positives, axis=-1, prepend=0.0)
    return scalar((gained * precision).sum(axis=-1) / curve.true_positives[..., -1])


def roc_auc(target: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Any:
    """Return the area under the ROC curve by trapezoids.

    It is the chance that a random positive scores above a random negative, ties counted half: Hanley and
    McNeil, Radiology 143 (1982); as ``sklearn.metrics.roc_auc_score``.

    Args:
        target: 1 where positive, 0 elsewhere.
        score: Larger means more likely positive.
        weight: Weight of each row, or a matrix (draws × rows) for one result a draw.

    Raises:
        InputError: Only one class is there, or the arrays do not fit.

    Example:
        >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
    """
    positive, numbers, weights = checked(target, score, weight)
    require_both_classes(positive, "roc_auc")
    curve = _curve(positive, numbers, weights, all_thresholds=False)
    steps = np.diff(curve.false_positives, axis=-1, prepend=0.0)
    heights = curve.true_positives - np.diff(curve.true_positives, axis=-1, prepend=0.0) / 2
    total = curve.true_positives[..., -1] * curve.false_positives[..., -1]
    return scalar((steps * heights).sum(axis=-1) / total)


def _curve(positive: Booleans, score: Floats, weight: Floats, *, all_thresholds: bool) -> Curve:
    """Add up the weights above each threshold; between positives, thresholds may be taken together.

    Neither measure changes while no positive is passed, and with few positives among many rows (and hundreds
    of draws) most of the work goes with them.
    """
    order = np.argsort(-score, kind="stable")
    ordered, is_positive = score[order], positive[order]
    starts = np.r_[0, np.flatnonzero(np.diff(ordered)) + 1]
    if not all_thresholds:
        passes = np.add.reduceat(is_positive.astype(np.int64), starts) > 0
        starts = starts[passes | np.r_[True, passes[:-1]]]
    step = np.zeros(len(ordered), dtype=np.int64)
    step[starts[1:]] = 1
    part = np.cumsum(step)
    sums = [_sums(weight[..., order[side]], part[side], len(starts)) for side in (is_positive, ~is_positive)]
    ends = np.r_[starts[1:], len(ordered)] - 1
    return Curve(ordered[ends], np.cumsum(sums[0], axis=-1), np.cumsum(sums[1], axis=-1))


def _sums(weight: Floats, part: Integers, parts: int) -> Floats:
    """Add up the columns of each part; parts come in order, some may have no column."""
    found = np.zeros((*weight.shape[:-1], parts))
    if len(part):
        starts = np.r_[0, np.flatnonzero(np.diff(part)) + 1]
        found[..., part[starts]] = np.add.reduceat(weight, starts, axis=-1)
    return found
