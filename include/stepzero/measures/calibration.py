"""How far probabilities can be taken at their word, and what resampling does to them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stepzero.core.errors import InputError, bare
from stepzero.measures.checks import Floats, checked, scalar

BINS = 12
"""Bins of a reliability curve at most."""
_TWO_SIGMA = 1.959963984540054


class Reliability(NamedTuple):
    """For each bin of scores: what was said, what came, and within which bounds (95 %)."""

    said: Floats
    came: Floats
    low: Floats
    high: Floats
    rows: Floats


def shift_prior(score: npt.ArrayLike, trained_share: float, true_share: float) -> Floats:
    """Return probabilities as they are where positives are rarer (or commoner) than in the training rows.

    Odds are multiplied by [π / (1 - π)] / [s / (1 - s)], π the true and s the trained share of positives:
    Saerens, Latinne and Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori Probabilities",
    Neural Computation 14 (2002), equation 2.4; for undersampling the same as Dal Pozzolo et al., "Calibrating
    Probability with Undersampling", IEEE SSCI 2015, equation 4. It is exact where sampling changed the shares
    of the classes and nothing within them; samplers that choose or invent rows change more than that.

    The order of scores is kept: a larger score never becomes a smaller one. 0 and 1 stay.

    Args:
        score: Probabilities, from 0 to 1.
        trained_share: Share of positives among the rows that the model was fitted on.
        true_share: Share of positives where it is used.

    Raises:
        InputError: A score is no probability, or a share is not within 0 and 1.

    Example:
        >>> shift_prior([0.5], 0.5, 0.01).round(6).tolist()
        [0.01]
    """
    for name, share in (("trained share of positives", trained_share), ("true share of positives", true_share)):
        if not 0 < share < 1:
            raise InputError(name, value=share, allowed="between 0 and 1", action="check the target and the weights")
    numbers = _probabilities(score)
    ratio = true_share / (1 - true_share) / (trained_share / (1 - trained_share))
    # Each step rounds in one direction only, so that the order cannot turn.
    with np.errstate(divide="ignore", over="ignore"):
        shifted: Floats = 1 / (1 + (1 - numbers) / (numbers * ratio))
    return shifted


def brier(target: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Any:
    """Return the weighted mean of (score - target)²: 0 is perfect.

    Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather Review 78 (1950).
    Whoever always says the share of positives π gets π (1 - π), which is little where positives are rare.

    Args:
        target: 1 where positive, 0 elsewhere.
        score: Probabilities.
        weight: Weight of each row, or a matrix (draws × rows) for one result a draw.

    Raises:
        InputError: A score is no probability, or the arrays do not fit.

    Example:
        >>> brier([0, 1], [0.0, 0.5])
        0.125
    """
    positive, numbers, weights = checked(target, score, weight)
    errors = (_probabilities(numbers) - positive) ** 2
    return scalar(weights @ errors / weights.sum(axis=-1))


def reliability(
    target: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None, *, bins: int = BINS
) -> Reliability:
    """Return what scores say against what came, in bins of equal width in log-odds; empty bins are left out.

    Rare positives live at small probabilities, where bins of equal width in probability would be one bin.
    Bounds are Wilson's ("Probable Inference", JASA 22, 1927) of the counted rows, weighted as the rows are.

    Raises:
        InputError: A score is no probability, or the arrays do not fit.
    """
    positive, numbers, weights = checked(target, score, weight)
    place = np.clip(_log_odds(_probabilities(numbers)), -14, 14)
    edges = np.linspace(place.min(), place.max() + 1e-9, bins + 1)
    found = [_bin(positive[at], numbers[at], weights[at]) for at in _members(place, edges) if len(at)]
    return Reliability(*(np.array(column, dtype=np.float64) for column in zip(*found, strict=True)))


def _bin(positive: Any, numbers: Floats, weights: Floats) -> tuple[float, float, float, float, float]:
    total = weights.sum()
    if total == 0:
        return float(numbers.mean()), 0.0, 0.0, 1.0, float(len(numbers))
    came = float(weights[positive].sum() / total)
    means = [float(weights[side].mean()) if side.any() else 1.0 for side in (positive, ~positive)]
    if not (positive.any() and (~positive).any()):
        means = [float(weights.mean())] * 2
    low, high = (share * means[0] / (share * means[0] + (1 - share) * means[1]) for share in _wilson(positive))
    return float(weights @ numbers / total), came, min(low, came), max(high, came), float(len(numbers))


def _wilson(positive: Any) -> tuple[float, float]:
    rows, square = len(positive), _TWO_SIGMA**2
    share = float(positive.mean())
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    room = _TWO_SIGMA / (1 + square / rows) * np.sqrt(share * (1 - share) / rows + square / (4 * rows**2))
    return max(0.0, middle - room), min(1.0, middle + room)


def _members(place: Floats, edges: Floats) -> list[npt.NDArray[np.int64]]:
    number = np.clip(np.searchsorted(edges, place, side="right") - 1, 0, len(edges) - 2)
    return [np.flatnonzero(number == one) for one in range(len(edges) - 1)]


def _log_odds(numbers: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log(numbers) - np.log1p(-numbers)


def _probabilities(score: npt.ArrayLike) -> Floats:
    numbers = np.asarray(score, dtype=np.float64)
    outside = ~((numbers >= 0) & (numbers <= 1))
    if outside.any():
        raise InputError(
            "scores as probabilities",
            value=bare(f"{int(outside.sum())} outside 0 to 1, for example {numbers[outside][0]}"),
            allowed="numbers from 0 to 1",
            action="use a model with predict_proba, or wrap it in sklearn.calibration.CalibratedClassifierCV",
        )
    return numbers
