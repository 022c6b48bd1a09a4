"""How much each feature moves the scores of some rows: what the watch compares from window to window."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stepzero.learning import explanation
from stepzero.measures.ranks import discounted_gain, rank_correlation

if TYPE_CHECKING:
    from stepzero.learning.model import ScoringModel
    from stepzero.measures.checks import Floats

MEASURES = {"discounted_gain": discounted_gain, "rank_correlation": rank_correlation}


def attributions(model: ScoringModel, rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return absolute SHAP values, rows × features of the model; the rows themselves are the background."""
    logging.getLogger("shap").setLevel(logging.ERROR)
    matrix = model.matrix(rows)
    values, names = explanation.values_by_feature(model, matrix, matrix, seed)
    return pd.DataFrame(np.abs(values), columns=names)


def agreement(before: Floats, now: Floats, by: str) -> float:
    """Return how well features keep their order of mean importance, 1 for the same."""
    return float(MEASURES[by](before, now))
