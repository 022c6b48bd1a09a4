"""Why one row has its score: SHAP values of a served model, made as quickly as a request needs them.

What `explanation` finds out for many held-out rows at once is prepared here once, and then asked row by row. For a
model whose output is log-odds, what is explained is the log-odds of the score that was served: the prior correction
moves all of them by the same amount, which is part of the base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stepzero.core.errors import InputError, StageError, bare
from stepzero.learning.explanation import (
    ALLOWED,
    LOG_ODDS,
    OWN_SCORE,
    PROBABILITY,
    LeafSum,
    by_feature,
    import_shap,
    kind_of,
    raw_sources,
)
from stepzero.learning.model import ScoringModel
from stepzero.learning.models import is_regressor, score_rows
from stepzero.measures.baselines import ColumnBaseline
from stepzero.measures.checks import Floats

SERVED, NUMBER = "log-odds of the score", "predicted number"


class _Method(NamedTuple):
    """How a kind of model is explained: SHAP values of a matrix, the output that they add up to, and what it is."""

    values: Callable[[Floats], Floats]
    output: Callable[[Floats], Floats]
    explained: str
    base: float | None = None


class RowExplainer:
    """Explains rows of one model.

    Args:
        model: The model.
        rows: A few rows of it, from which the base of a tree model is told.
        reference: The middle of the training rows, as the estimator sees them; needed for linear models only.

    Raises:
        InputError: The model can be explained by asking it thousands of times only.
    """

    def __init__(self, model: ScoringModel, rows: pd.DataFrame, reference: Floats | None = None) -> None:
        self._model = model
        self._names = raw_sources(model.transformer)
        self.features = list(dict.fromkeys(self._names))
        self._method = _make(model.estimator, reference)
        matrix = model.matrix(rows)
        found = self._method.base
        self._base = float(np.mean(self._method.output(matrix) - self._sums(matrix))) if found is None else found
        self._shift = _shift(model) if self._method.explained == LOG_ODDS else 0.0

    def explain(self, matrix: Floats) -> list[dict[str, Any]]:
        """Return for each row what every raw feature adds to what is explained, and the base that they add it to.

        Args:
            matrix: Rows as the estimator sees them.

        Raises:
            StageError: Base and values do not add up to the model's output.
        """
        values = by_feature(self._method.values(matrix), self._names)
        output = self._method.output(matrix)
        error = float(np.abs(self._base + values.sum(axis=1) - output).max())
        if error > ALLOWED:
            raise StageError(
                f"explanation of a {type(self._model.estimator).__name__}",
                value=bare(f"base and values miss the model's output by {error:.1e}"),
                allowed=f"at most {ALLOWED:g}",
                action="do not use it; report it together with the version",
            )
        told = SERVED if self._method.explained == LOG_ODDS else self._method.explained
        return [
            {
                "explains": told,
                "base": self._base + self._shift,
                "output": float(output[number] + self._shift),
                "contributions": dict(zip(self.features, map(float, row), strict=True)),
            }
            for number, row in enumerate(values)
        ]

    def _sums(self, matrix: Floats) -> Floats:
        sums: Floats = self._method.values(matrix).sum(axis=1)
        return sums


def reference_row(model: ScoringModel, baseline: Mapping[str, ColumnBaseline]) -> Floats | None:
    """Return the mean of the training rows as the estimator sees them; None where the baseline does not know it."""
    encoded = model.transformer.one_hot or {}
    numbers = [name for name in model.features if name not in encoded]
    if any(name not in baseline for name in model.features) or any(baseline[name].mean is None for name in numbers):
        return None
    means = {name: [baseline[name].mean] if name in numbers else [None] for name in model.features}
    row = model.matrix(pd.DataFrame(means))
    place = 0
    for name in model.transformer.columns_:
        for word in encoded.get(name) or (None,):
            if word is not None:
                row[0, place] = _share(baseline[name], str(word))
            place += 1
    return row


def _share(column: ColumnBaseline, word: str) -> float:
    at = column.categories.index(word) if word in column.categories else None
    return 0.0 if at is None else column.counts[1 + at] / column.rows


def _make(estimator: Any, reference: Floats | None) -> _Method:
    kind = kind_of(estimator)
    if kind == "xgboost":
        return _xgboost(estimator)
    if kind == "trees":
        return _trees(estimator)
    if kind == "linear" and reference is not None:
        return _linear(estimator, reference)
    raise InputError(
        f"explanation of a {type(estimator).__name__}",
        value=bare("no quick way to explain it"),
        allowed="XGBoost, trees, forests, LightGBM, and linear models with a baseline",
        action="leave explain out; the version's dossier explains held-out rows",
    )


def _xgboost(estimator: Any) -> _Method:
    explainer = import_shap().TreeExplainer(estimator)
    # XGBoost adds its own values in single precision, which misses 1e-6 after some hundred trees.
    explainer.model.model_type = "internal"

    def values(matrix: Floats) -> Floats:
        return np.asarray(explainer.shap_values(matrix, check_additivity=False), dtype=np.float64)

    return _Method(values, LeafSum(estimator), LOG_ODDS)


def _trees(estimator: Any) -> _Method:
    explainer = import_shap().TreeExplainer(estimator)
    is_boosted = type(estimator).__name__ == "LGBMClassifier"
    is_number = is_regressor(estimator)
    positive = 0 if is_number else int(np.flatnonzero(estimator.classes_ == 1)[0])

    def values(matrix: Floats) -> Floats:
        found = np.asarray(explainer.shap_values(matrix, check_additivity=False), dtype=np.float64)
        return found[:, :, positive] if found.ndim == 3 else found

    def output(matrix: Floats) -> Floats:
        found = estimator.predict(matrix, raw_score=True) if is_boosted else score_rows(estimator, matrix)
        return np.asarray(found, dtype=np.float64)

    return _Method(values, output, LOG_ODDS if is_boosted else NUMBER if is_number else PROBABILITY)


def _linear(estimator: Any, reference: Floats) -> _Method:
    """Explain against the middle of the training rows: a feature adds its distance from it, times its weight."""
    weights = np.ravel(np.asarray(estimator.coef_, dtype=np.float64))

    def output(matrix: Floats) -> Floats:
        return np.asarray(estimator.decision_function(matrix), dtype=np.float64)

    told = LOG_ODDS if hasattr(estimator, "predict_proba") else OWN_SCORE
    return _Method(lambda matrix: (matrix - reference) * weights, output, told, float(output(reference)[0]))


def _shift(model: ScoringModel) -> float:
    """Return by how much the prior correction moves log-odds."""
    if model.prior is None:
        return 0.0
    even = float(model.prior.correct(np.array([0.5]))[0])
    return float(np.log(even) - np.log1p(-even))
