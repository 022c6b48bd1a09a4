"""Scores of a few rows at once, without the detours that pay off for many: the same numbers, to the last bit.

A data frame for one row costs more than the model. Where all features are numbers, rows go to the model as a matrix,
and XGBoost is asked without its scikit-learn clothes. What is not known to be equal is left to `ScoringModel.score`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.learning.model import ScoringModel
from stepzero.measures.checks import Floats

QUICK_SECONDS = 0.005
"""What takes no longer is done at once; what does is handed to a thread, so that others need not wait for it."""

Rows = pd.DataFrame | npt.NDArray[np.float64]


class Scorer:
    """Scores rows of one model, and tells from which score on they count as positive.

    Args:
        model: The model; its estimator is set to one thread, since starting more costs more than one row.
    """

    def __init__(self, model: ScoringModel) -> None:
        self.model = model
        self._columns = list(model.features)
        self._asked = list(model.asked)
        transformer = model.transformer
        self._takes_matrix = not transformer.one_hot and list(transformer.columns_) == self._columns
        _use_one_thread(model.estimator)
        self._ask = _quick_way(model.estimator)
        self.seconds = float("inf")
        """What one row took when it was last measured."""

    def score(self, rows: Rows) -> Floats:
        """Return how likely each row is positive; the columns of a matrix are what the model asks for, in that order.

        Raises:
            InputError: As `ScoringModel.score`.
        """
        matrix = self.matrix(rows)
        if self._ask is None:
            return self.model.score_matrix(matrix)
        score = self._ask(matrix)
        return self.model.prior.correct(score) if self.model.prior else score

    def matrix(self, rows: Rows) -> Floats:
        """Return rows as the estimator sees them."""
        if isinstance(rows, pd.DataFrame):
            return self.model.matrix(rows)
        rows = rows[:, : len(self._columns)]
        if self._takes_matrix:
            return self.model.transformer.transform_numbers(rows)
        return self.model.matrix(pd.DataFrame(rows, columns=self._columns))

    def group_lines(self, rows: Rows) -> Floats | None:
        """Return the threshold of each row where groups have their own; None where all have the same.

        Raises:
            InputError: It is not known to which group a row belongs.
        """
        groups = self.model.groups
        if groups is None:
            return None
        if isinstance(rows, pd.DataFrame):
            return groups.lines(rows)
        return groups.lines_of(rows[:, self._asked.index(groups.column)])

    def measure(self, rows: pd.DataFrame) -> None:
        """Score one row a few times, and remember the shortest: what is used for the first time takes longer."""
        numbers = rows.dtypes.map(pd.api.types.is_numeric_dtype).all()
        one: Rows = rows.iloc[:1].to_numpy(dtype=np.float64) if numbers else rows.iloc[:1]
        for _ in range(3):
            begun = time.perf_counter()
            self.score(one)
            self.seconds = min(self.seconds, time.perf_counter() - begun)

    @property
    def is_quick(self) -> bool:
        """Whether one row takes so little that it need not be handed to a thread."""
        return self.seconds <= QUICK_SECONDS


def _use_one_thread(estimator: Any) -> None:
    if type(estimator).__module__.partition(".")[0] == "xgboost":
        estimator.get_booster().set_param({"nthread": 1})
    if getattr(estimator, "n_jobs", None) not in (None, 1):
        estimator.n_jobs = 1


def _quick_way(estimator: Any) -> Callable[[Floats], Floats] | None:
    """Return what scores a matrix more quickly than the estimator itself, where there is such a way."""
    if type(estimator).__name__ != "XGBClassifier" or not _is_plain(estimator):
        return None
    booster, rounds, missing = estimator.get_booster(), _rounds(estimator), estimator.missing

    def asked_directly(matrix: Floats) -> Floats:
        told = booster.inplace_predict(matrix, iteration_range=rounds, missing=missing, validate_features=False)
        return np.asarray(told, dtype=np.float64)

    return asked_directly


def _is_plain(estimator: Any) -> bool:
    """Tell whether a classifier of XGBoost answers with one probability a row, of the class 1."""
    told = estimator.get_params()
    usual = told.get("booster") in {None, "gbtree", "dart"} and estimator.objective == "binary:logistic"
    return usual and list(estimator.classes_) == [0, 1] and not told.get("enable_categorical")


def _rounds(estimator: Any) -> tuple[int, int]:
    """Return which rounds count: all, or those up to the best where training stopped early."""
    best = getattr(estimator, "best_iteration", None)
    return (0, 0) if best is None else (0, int(best) + 1)
