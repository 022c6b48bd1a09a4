"""Weights that make rows speak for a population other than their own mixture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stepzero.core.errors import InputError
from stepzero.measures.checks import Floats, require_both_classes


def base_rate_weights(target: npt.ArrayLike, base_rate: float) -> Floats:
    """Return weights under which the share of positives is ``base_rate``.

    Positives count 1, negatives n_pos (1 - b) / (b n_neg): the prior correction of case-control samples,
    King and Zeng, "Logistic Regression in Rare Events Data", Political Analysis 9 (2001), section 4.2.

    Args:
        target: 1 where positive, 0 elsewhere.
        base_rate: Share of positives in the population, between 0 and 1.

    Raises:
        InputError: Only one class is there, or the rate is not within 0 and 1.

    Example:
        >>> base_rate_weights([1, 0, 0], 0.2).tolist()
        [1.0, 2.0, 2.0]
    """
    if not 0 < base_rate < 1:
        raise InputError("base rate", value=base_rate, allowed="between 0 and 1", action="correct weight.base_rate")
    positive = np.asarray(target).astype(bool)
    require_both_classes(positive, "base_rate_weights")
    positives = int(positive.sum())
    negative = positives * (1 - base_rate) / (base_rate * (len(positive) - positives))
    return np.where(positive, 1.0, negative)
