"""Bias before training: how two groups of rows differ in number and in labels.

One group is *disfavoured* (d: rows with the facet's value), the other *favoured* (a: all other rows); the label is
*favourable* (1) or not (0). Formulas are those of Amazon SageMaker Clarify's documentation ("Measure Pretraining
Bias"); Hardt et al., "Amazon SageMaker Clarify", KDD 2021. Logarithms are natural. Counts may be weighted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stepzero.measures.checks import Booleans, Floats


def ratio(part: float, whole: float) -> float:
    """Return part / whole, where 0 / 0 is 0 and anything else / 0 is infinite."""
    if whole == 0:
        return 0.0 if part == 0 else float(np.copysign(np.inf, part))
    return float(part) / float(whole)


def difference(one: float, other: float) -> float:
    """Return one - other, where equal infinities differ by 0."""
    return 0.0 if one == other else float(one) - float(other)


def class_imbalance(favoured: float, disfavoured: float) -> float:
    """Return CI = (n_a - n_d) / (n_a + n_d), in [-1, 1]; positive where the disfavoured are fewer."""
    return ratio(favoured - disfavoured, favoured + disfavoured)


def difference_in_proportions(favoured: float, disfavoured: float) -> float:
    """Return DPL = q_a - q_d, in [-1, 1], of two shares of favourable labels; positive where a is favoured."""
    return difference(favoured, disfavoured)


def kullback_leibler(favoured: npt.ArrayLike, disfavoured: npt.ArrayLike) -> float:
    """Return KL = Σ P_a ln(P_a / P_d), in [0, ∞]: infinite where only the favoured have a label.

    Kullback and Leibler, "On Information and Sufficiency", 1951. No label is left out of the sum: it would be
    negative then.

    Example:
        >>> round(kullback_leibler([0.8, 0.2], [0.3, 0.7]), 6)
        0.534111
    """
    p, q = _distributions(favoured, disfavoured)
    there = p > 0
    if (q[there] == 0).any():
        return float("inf")
    return float(np.sum(p[there] * np.log(p[there] / q[there])))


def jensen_shannon(favoured: npt.ArrayLike, disfavoured: npt.ArrayLike) -> float:
    """Return JS = ½ [KL(P_a‖P) + KL(P_d‖P)] with P = ½ (P_a + P_d), in [0, ln 2].

    Lin, "Divergence measures based on the Shannon entropy", 1991. The mixture is the plain mean of the two
    groups, whatever their sizes; reports made before 2021 took the labels of all rows together.
    """
    p, q = _distributions(favoured, disfavoured)
    middle = (p + q) / 2
    return (kullback_leibler(p, middle) + kullback_leibler(q, middle)) / 2


def lp_norm(favoured: npt.ArrayLike, disfavoured: npt.ArrayLike, order: float = 2) -> float:
    """Return LP = (Σ |P_a - P_d|^p)^(1/p), p = 2, in [0, √2]; √2 |DPL| for two labels."""
    p, q = _distributions(favoured, disfavoured)
    return float(np.sum(np.abs(p - q) ** order) ** (1 / order))


def total_variation_distance(favoured: npt.ArrayLike, disfavoured: npt.ArrayLike) -> float:
    """Return TVD = ½ Σ |P_a - P_d|, in [0, 1]; |DPL| for two labels."""
    p, q = _distributions(favoured, disfavoured)
    return float(np.sum(np.abs(p - q)) / 2)


def kolmogorov_smirnov(favoured: npt.ArrayLike, disfavoured: npt.ArrayLike) -> float:
    """Return KS = max |P_a - P_d| over the labels, in [0, 1]; of shares, not of cumulated shares, as documented.

    Example:
        >>> round(kolmogorov_smirnov([0.4, 0.4, 0.2], [0.2, 0.1, 0.7]), 12)
        0.5
    """
    p, q = _distributions(favoured, disfavoured)
    return float(np.max(np.abs(p - q)))


def demographic_disparity(favourable: Booleans, disfavoured: Booleans, weight: Floats) -> float:
    """Return DD = d's share of the rejected - d's share of the accepted, in [-1, 1]; a share of none is 0."""
    rejected, accepted = (
        ratio(float(weight[rows & disfavoured].sum()), float(weight[rows].sum())) for rows in (~favourable, favourable)
    )
    return rejected - accepted


def conditional_demographic_disparity(
    favourable: Booleans, disfavoured: Booleans, group: npt.NDArray[Any], weight: Floats
) -> float:
    """Return CDD = Σ n_i DD_i / n over the groups i of a variable, in [-1, 1].

    Wachter, Mittelstadt and Russell, "Why Fairness Cannot Be Automated", 2021. Positive where the disfavoured are
    a larger share of the rejected than of the accepted, group by group. Shares are those within a group.
    """
    total = 0.0
    for value in np.unique(group):
        inside = group == value
        disparity = demographic_disparity(favourable[inside], disfavoured[inside], weight[inside])
        total += float(weight[inside].sum()) * disparity
    return ratio(total, float(weight.sum()))


def _distributions(favoured: npt.ArrayLike, disfavoured: npt.ArrayLike) -> tuple[Floats, Floats]:
    return np.asarray(favoured, dtype=np.float64), np.asarray(disfavoured, dtype=np.float64)
