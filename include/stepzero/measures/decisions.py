"""How good yes-or-no decisions are, and where to draw the line."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from stepzero.measures.checks import checked, require_both_classes, scalar
from stepzero.measures.ranking import accepted_by_threshold

_LINES, _FAR = 256, 4.0
"""Lines that are tried, and widths beyond which a row has no part in them."""
_SMALLEST = 1e-7


class Confusion(NamedTuple):
    """Weight of the rows by truth and decision; numbers, or arrays with one element a draw."""

    true_negatives: Any
    false_positives: Any
    false_negatives: Any
    true_positives: Any


class Threshold(NamedTuple):
    """An operating point and what it achieves on the rows it was chosen on."""

    value: float
    f1: float


def confusion(target: npt.ArrayLike, decision: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Confusion:
    """Return the four cells of the confusion matrix, in the order of ``sklearn.metrics.confusion_matrix``.

    Raises:
        InputError: The arrays do not fit.
    """
    positive, decided, weights = checked(target, decision, weight)
    yes = decided > 0
    cells = [~positive & ~yes, ~positive & yes, positive & ~yes, positive & yes]
    return Confusion(*(scalar((weights * cell).sum(axis=-1)) for cell in cells))


def precision(target: npt.ArrayLike, decision: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Any:
    """Return TP / (TP + FP): the share of alarms that are right; 0 where nothing is accepted.

    van Rijsbergen, "Information Retrieval", 1979, chapter 7.
    """
    cells = confusion(target, decision, weight)
    return _ratio(cells.true_positives, cells.true_positives + cells.false_positives)


def recall(target: npt.ArrayLike, decision: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Any:
    """Return TP / (TP + FN): the share of positives that are found; 0 where there is no positive.

    van Rijsbergen, "Information Retrieval", 1979, chapter 7.
    """
    cells = confusion(target, decision, weight)
    return _ratio(cells.true_positives, cells.true_positives + cells.false_negatives)


def f1(target: npt.ArrayLike, decision: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Any:
    """Return 2 TP / (2 TP + FP + FN): the harmonic mean of precision and recall; 0 where undefined.

    van Rijsbergen, "Information Retrieval", 1979, chapter 7, with both counted alike.
    """
    cells = confusion(target, decision, weight)
    doubled = 2 * cells.true_positives
    return _ratio(doubled, doubled + cells.false_positives + cells.false_negatives)


def best_f1_threshold(target: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Threshold:
    """Return the threshold with the largest F1; of several, the highest: the fewest alarms.

    The line is drawn half-way between the lowest accepted score and the next lower one, so that a score
    that moves in its last bits stays on its side. A row is accepted when its score is at least the line.

    Raises:
        InputError: Only one class is there, or the arrays do not fit.

    Example:
        >>> best_f1_threshold([0, 0, 1, 1], [0.125, 0.375, 0.5, 0.75])
        Threshold(value=0.4375, f1=1.0)
    """
    positive, _, _ = checked(target, score, weight)
    require_both_classes(positive, "best_f1_threshold")
    curve = accepted_by_threshold(target, score, weight)
    total = curve.true_positives[-1]
    values = 2 * curve.true_positives / (curve.true_positives + curve.false_positives + total)
    best = int(np.argmax(values))
    return Threshold(line_below(curve.thresholds, best), float(values[best]))


def smooth_f1_threshold(target: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Threshold:
    """Return the threshold with the largest F1 of smoothed counts; its ``f1`` is the plain one on these rows.

    Where few negatives reach the positives' scores, the best line of a sample lies just above the highest of them,
    and each sample has another one. So every row counts as accepted with the probability that a normal error of its
    log-odds (of its score, where scores are no probabilities) would lift it to the line. The error's width is
    Silverman's for the positives: "Density Estimation", 1986, equation 3.31.

    Raises:
        InputError: Only one class is there, or the arrays do not fit.
    """
    positive, values, weights = checked(target, score, weight)
    require_both_classes(positive, "smooth_f1_threshold")
    is_probability = bool(values.min() >= 0 and values.max() <= 1)
    places = _log_odds(values) if is_probability else values
    width = _silverman(places[positive])
    lines = np.linspace(float(np.min(places[positive])), float(np.max(places)), _LINES)
    near = places > lines[0] - _FAR * width
    accepted = norm.cdf((places[near] - lines[:, None]) / width)
    true, total = accepted @ (weights * positive)[near], float((weights * positive).sum())
    best = float(lines[int(np.argmax(2 * true / (accepted @ weights[near] + total)))])
    line = 1 / (1 + float(np.exp(-best))) if is_probability else best
    return Threshold(line, float(f1(positive, values >= line, weights)))


def _log_odds(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    inside = np.clip(values, _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(inside) - np.log1p(-inside), dtype=np.float64)


def _silverman(places: npt.NDArray[np.float64]) -> float:
    low, high = np.percentile(places, [25, 75])
    spread = min(float(places.std()), float(high - low) / 1.349) or float(places.std())
    return max(0.9 * spread * float(np.power(len(places), -0.2)), _SMALLEST)


def line_below(thresholds: npt.NDArray[np.float64], index: int) -> float:
    """Return the line half-way between a score that is accepted and the next lower one; thresholds go down."""
    accepted = float(thresholds[index])
    if index + 1 == len(thresholds):
        return accepted
    rejected = float(thresholds[index + 1])
    middle = rejected + (accepted - rejected) / 2
    return middle if rejected < middle <= accepted else accepted


def _ratio(part: Any, whole: Any) -> Any:
    parts, wholes = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return scalar(np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes > 0))
