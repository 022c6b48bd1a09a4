"""How much a feature tells about the class by itself: the scores that a selection of the k best goes by."""

from __future__ import annotations

import numpy as np

from stepzero.measures.checks import Floats, Integers

BINS = 20
"""Into so many quantile bins a feature of more values is cut for its mutual information."""


def anova_f(target: Integers, values: Floats) -> float:
    """Return the F statistic of a one-way analysis of variance between the two classes.

    The same as scikit-learn's `f_classif`; missing values are left out. NaN where the feature is constant or a class
    has no value; infinite where only the class makes a difference.

    Example:
        >>> anova_f(np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 3.0, 4.0]))
        8.0
    """
    known = ~np.isnan(values)
    groups = [values[known & (target == label)] for label in (0, 1)]
    rows = sum(len(group) for group in groups)
    if min(len(group) for group in groups) == 0 or rows < 3 or np.ptp(values[known]) == 0:
        return float("nan")
    mean = values[known].mean()
    between = sum(len(group) * (group.mean() - mean) ** 2 for group in groups)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups)
    return float("inf") if within == 0 else float(between / (within / (rows - 2)))


def mutual_information(target: Integers, values: Floats) -> float:
    """Return the mutual information of a feature and the class in nats; a missing value is a value of its own.

    A feature of more than 20 values is cut at its quantiles. So all rows count and the same rows give the same number,
    unlike estimates by nearest neighbours, which draw noise; finely wound relations are underestimated.

    Example:
        >>> round(mutual_information(np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 5.0, 5.0])), 6)
        0.693147
    """
    bins = _binned(values)
    counts = np.zeros((int(bins.max(initial=0)) + 1, 2))
    np.add.at(counts, (bins, target), 1)
    joint = counts / max(1, len(bins))
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return max(0.0, float((joint[there] * np.log(joint[there] / independent[there])).sum()))


def _binned(values: Floats) -> Integers:
    known = ~np.isnan(values)
    edges = np.unique(values[known])
    if len(edges) > BINS:
        edges = np.unique(np.percentile(values[known], np.linspace(0, 100, BINS + 1)[1:-1], method="lower"))
    return np.where(known, np.searchsorted(edges, np.where(known, values, 0.0), side="left") + 1, 0).astype(np.int64)
