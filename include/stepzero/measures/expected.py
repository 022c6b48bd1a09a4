"""What a model's own probabilities say of its quality, while nobody knows the labels yet."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stepzero.measures.checks import Floats


class ExpectedQuality(NamedTuple):
    """Expected precision, recall and F1 of decisions at a threshold."""

    precision: float
    recall: float
    f1: float


def expected_quality(score: npt.ArrayLike, threshold: float) -> ExpectedQuality:
    """Return the quality that calibrated probabilities promise: each row is positive with its own score.

    Confidence-based estimation as in Białek and others, "Estimating Model Performance Under Covariate Shift Without
    Labels", 2024: right under a shift of features, blind to a change of what they mean.
    """
    scores: Floats = np.clip(np.asarray(score, dtype=np.float64), 0.0, 1.0)
    decided = scores >= threshold
    right, wrong, missed = (
        float(scores[decided].sum()),
        float((1 - scores[decided]).sum()),
        float(scores[~decided].sum()),
    )
    return ExpectedQuality(
        precision=_ratio(right, right + wrong),
        recall=_ratio(right, right + missed),
        f1=_ratio(2 * right, 2 * right + wrong + missed),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
