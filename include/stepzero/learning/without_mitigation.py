"""The winner without mitigation: the same model and parameters, fitted on the rows as they were prepared."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stepzero.learning.columns import COPIES, FIT_WEIGHT
from stepzero.learning.evaluation import choose_threshold, make_prior
from stepzero.learning.folds import ALL, Fold, make_fold
from stepzero.learning.model import ScoringModel
from stepzero.learning.models import make_algorithm, score_rows
from stepzero.learning.prior import gives_probabilities
from stepzero.learning.table import make_table
from stepzero.measures.checks import Floats


class Decider(NamedTuple):
    """Scores of held-out rows and the threshold that was chosen for such scores."""

    score: Floats
    threshold: float


def fit_without(use_case: Any, winner: dict[str, Any], train: pd.DataFrame, test: pd.DataFrame) -> Decider:
    """Fit the winner on rows that are neither weighed nor repeated, and choose its threshold in the same way.

    Args:
        use_case: Its sections ``problem``, ``weight``, ``pipeline``, ``train`` and ``evaluate``.
        winner: What `evaluate` says of it: sampler, model, parameters.
        train: Mitigated training rows.
        test: Held-out rows.
    """
    table = make_table(train.drop(columns=[FIT_WEIGHT, COPIES], errors="ignore"), use_case.problem, use_case.weight)
    seed, sampler = use_case.train.seed, winner["sampler"]
    algorithm = make_algorithm(winner["model"], use_case.train.models[winner["model"]])

    def fold(name: str) -> Fold:
        return make_fold(name, table, use_case.pipeline, sampler, seed)

    def fitted(one: Fold) -> Any:
        return algorithm.fit(winner["parameters"], one.training_rows(table), seed)

    out_of_fold = np.full(len(table.target), np.nan)
    for number in table.folds:
        one = fold(str(number))
        out_of_fold[one.validation(table)] = score_rows(fitted(one), one.validation_features(table))
    everything = fold(ALL)
    estimator, prior = fitted(everything), None
    if use_case.evaluate.prior_correction and gives_probabilities(estimator):
        prior = make_prior(everything, table, estimator, sample_weight=algorithm.sample_weight)
        out_of_fold = prior.correct(out_of_fold)
    model = ScoringModel(
        features=table.feature_types(), transformer=everything.transformer, estimator=estimator, prior=prior
    )
    threshold = choose_threshold(pd.DataFrame({"score": out_of_fold}), table, use_case.evaluate.threshold)
    return Decider(model.score(test), float(threshold if threshold is not None else np.nan))
