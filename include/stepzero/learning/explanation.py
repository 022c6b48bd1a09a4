"""What each feature adds to a score: SHAP values, in the names of raw features, checked to add up.

Lundberg and Lee, "A Unified Approach to Interpreting Model Predictions", NIPS 2017; trees by Lundberg et al.,
"From Local Explanations to Global Understanding", Nature Machine Intelligence 2 (2020). What is explained is the
estimator's own output before the prior correction, which moves the log-odds of all rows by the same amount.
"""

from __future__ import annotations

import json
import logging
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stepzero.learning.model import ScoringModel
from stepzero.learning.models import score_rows
from stepzero.learning.table import Table
from stepzero.learning.transform import Transformer
from stepzero.measures.checks import Floats

ROWS_OF_A_CLASS = 100
"""Held-out rows of each class that are explained."""
SLOW_ROWS_OF_A_CLASS = 5
"""The same where a model must be asked thousands of times for a row."""
BACKGROUND = 10
ALLOWED = 1e-6
"""By how much base and values may miss the output of trees and linear models."""
MOST_FEATURES = 8
"""Told of one row."""
LOG_ODDS, PROBABILITY = "log-odds of the positive class", "probability of the positive class, as learned"
OWN_SCORE = "model's own score"


class Values(NamedTuple):
    """SHAP values in the transformed space: rows × columns, what they start from and add up to."""

    values: Floats
    base: float
    output: Floats
    method: str
    explained: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One held-out row, explained."""

    kind: str
    row_id: str
    positive: bool
    score: float
    output: float
    contributions: list[dict[str, Any]]
    """Largest first: feature, its raw value, and what it adds to the output."""
    rest: float
    """What all other features add."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What moves the winner's scores; ``unavailable`` says why there is nothing."""

    unavailable: str | None = None
    method: str = ""
    explained: str = ""
    base: float = 0.0
    rows: int = 0
    additivity_error: float = 0.0
    """Largest |base + Σ values - output| of the explained rows."""
    additive: bool = True
    features: list[dict[str, Any]] | None = None
    """Every raw feature with its mean absolute value, largest first."""
    local: list[Row] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON for the dossier."""
        return asdict(self)

    def sentence(self) -> str:
        """Say what was done and whether it adds up."""
        if self.unavailable:
            return self.unavailable
        adds = "adds up" if self.additive else "DOES NOT add up"
        first = ", ".join(one["feature"] for one in (self.features or [])[:3])
        return f"SHAP of {self.rows} held-out rows {adds} to {self.additivity_error:.1e}; most moved by {first}"


def explain(model: ScoringModel, test: Table, train: Table, seed: int) -> Explanation:
    """Explain held-out rows of both classes, equally many, and three single ones."""
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        return Explanation(unavailable="no SHAP here: its compiler (numba) is not made for Macs with Intel processors")
    logging.getLogger("shap").setLevel(logging.ERROR)
    kind = kind_of(model.estimator)
    most = SLOW_ROWS_OF_A_CLASS if kind == "any" else ROWS_OF_A_CLASS
    score = model.score(test.features)
    chosen = _choose_rows(test, score, most, seed)
    frame = test.features.iloc[chosen]
    found = _VALUES[kind](model.estimator, model.matrix(frame), _background(model, train, seed), seed)
    error = float(np.abs(found.base + found.values.sum(axis=1) - found.output).max())
    names = raw_sources(model.transformer)
    features, values = list(dict.fromkeys(names)), by_feature(found.values, names)
    return Explanation(
        method=found.method,
        explained=found.explained,
        base=found.base,
        rows=len(chosen),
        additivity_error=error,
        additive=error <= ALLOWED,
        features=global_importance(values, features),
        local=_local(test, score, chosen, values, found.output, features),
    )


def global_importance(values: Floats, features: Sequence[str]) -> list[dict[str, Any]]:
    """Return every feature with the mean of its absolute values, largest first, names in order among equals."""
    means = np.abs(values).mean(axis=0)
    order = np.argsort(-means, kind="stable")
    return [{"feature": features[at], "mean_absolute": float(means[at])} for at in order]


def explains_quickly(estimator: Any) -> bool:
    """Tell whether hundreds of rows can be explained at once: a model that must be asked takes minutes for them."""
    return kind_of(estimator) != "any"


def values_by_feature(model: ScoringModel, matrix: Floats, background: Floats, seed: int) -> tuple[Floats, list[str]]:
    """Return SHAP values of transformed rows, rows × raw features, and the features' names."""
    found = _VALUES[kind_of(model.estimator)](model.estimator, matrix, background, seed)
    names = raw_sources(model.transformer)
    return by_feature(found.values, names), list(dict.fromkeys(names))


_OBJECTIVES = {"binary:logistic": "xgboost", "reg:squarederror": "boosted"}
_FORESTS = {
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    "RandomForestRegressor",
    "ExtraTreesRegressor",
    "LGBMClassifier",
}


def kind_of(estimator: Any) -> str:
    """Return how an estimator is explained: ``xgboost``, ``boosted`` (numbers), ``trees``, ``linear``, or ``any``."""
    module, name = type(estimator).__module__.partition(".")[0], type(estimator).__name__
    if module == "xgboost":
        told = estimator.get_params()
        if told.get("booster") not in {None, "gbtree"}:
            return "any"
        return _OBJECTIVES.get(str(estimator.objective), "any")
    if hasattr(estimator, "tree_") or name in _FORESTS:
        return "trees"
    return "linear" if hasattr(estimator, "coef_") and hasattr(estimator, "decision_function") else "any"


def _xgboost(estimator: Any, matrix: Floats, background: Floats, seed: int) -> Values:
    """Explain the sum of the leaves in double precision.

    XGBoost adds its leaves, and its own SHAP values, in single precision, which misses 1e-6 after some
    hundred trees; so the leaves are added here, and shap's own code walks the trees.
    """
    del background, seed
    shap = import_shap()
    explainer = shap.TreeExplainer(estimator)
    explainer.model.model_type = "internal"
    values = np.asarray(explainer.shap_values(matrix, check_additivity=False), dtype=np.float64)
    output = LeafSum(estimator)(matrix)
    # One base for all rows: the values of each row must meet it.
    base = float(np.mean(output - values.sum(axis=1)))
    return Values(values, base, output, "TreeExplainer, path-dependent", LOG_ODDS)


class LeafSum:
    """What an XGBoost model adds up for a row, in double precision; its trees are read once."""

    def __init__(self, estimator: Any) -> None:
        self._booster = estimator.get_booster()
        learner = json.loads(bytes(self._booster.save_raw("json")))["learner"]
        rate = float(str(learner["learner_model_param"]["base_score"]).strip("[]"))
        self._start = float(np.log(rate) - np.log1p(-rate))
        trees = learner["gradient_booster"]["model"]["trees"]
        self._leaves = [np.array(tree["split_conditions"], dtype=np.float32).astype(np.float64) for tree in trees]

    def __call__(self, matrix: Floats) -> Floats:
        """Return the log-odds of each row."""
        import xgboost

        reached = self._booster.predict(xgboost.DMatrix(matrix), pred_leaf=True).astype(np.int64)
        reached = reached.reshape(len(matrix), -1)
        total = np.full(len(matrix), self._start)
        for number, leaves in enumerate(self._leaves[: reached.shape[1]]):
            total += leaves[reached[:, number]]
        return total


def _trees(estimator: Any, matrix: Floats, background: Floats, seed: int) -> Values:
    del background, seed
    shap = import_shap()
    values = np.asarray(shap.TreeExplainer(estimator).shap_values(matrix, check_additivity=False), dtype=np.float64)
    if values.ndim == 3:
        values = values[:, :, int(np.flatnonzero(estimator.classes_ == 1)[0])]
    is_boosted = type(estimator).__name__ == "LGBMClassifier"
    output = estimator.predict(matrix, raw_score=True) if is_boosted else score_rows(estimator, matrix)
    base = float(np.mean(output - values.sum(axis=1)))
    told = LOG_ODDS if is_boosted else PROBABILITY if hasattr(estimator, "predict_proba") else OWN_SCORE
    return Values(values, base, np.asarray(output, dtype=np.float64), "TreeExplainer, path-dependent", told)


def _linear(estimator: Any, matrix: Floats, background: Floats, seed: int) -> Values:
    del seed
    shap = import_shap()
    explainer = shap.LinearExplainer(estimator, background)
    values = np.asarray(explainer.shap_values(matrix), dtype=np.float64)
    output = np.asarray(estimator.decision_function(matrix), dtype=np.float64)
    told = LOG_ODDS if hasattr(estimator, "predict_proba") else OWN_SCORE
    return Values(values, float(np.ravel(explainer.expected_value)[0]), output, "LinearExplainer", told)


def _any(estimator: Any, matrix: Floats, background: Floats, seed: int) -> Values:
    """Ask the model itself, a few thousand times a row; an estimate, though one that adds up."""
    shap = import_shap()
    rows = background[:: max(1, len(background) // BACKGROUND)][:BACKGROUND]
    state = np.random.get_state()
    try:
        np.random.seed(seed)
        explainer = shap.KernelExplainer(lambda asked: score_rows(estimator, asked), rows)
        samples = 4 * matrix.shape[1]
        values = np.asarray(explainer.shap_values(matrix, nsamples=samples, silent=True, l1_reg=0), dtype=np.float64)
    finally:
        np.random.set_state(state)
    told = PROBABILITY if hasattr(estimator, "predict_proba") else OWN_SCORE
    return Values(values, float(explainer.expected_value), score_rows(estimator, matrix), "KernelExplainer", told)


_VALUES = {"xgboost": _xgboost, "boosted": _trees, "trees": _trees, "linear": _linear, "any": _any}


def import_shap() -> Any:
    """Import shap: seconds, and warnings about its own colours that nobody can act on."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap
    return shap


def _background(model: ScoringModel, train: Table, seed: int) -> Floats:
    """Return some training rows, as they come: what a linear model's values are measured from."""
    rows = np.random.default_rng(seed).permutation(len(train.target))[:500]
    return model.matrix(train.features.iloc[np.sort(rows)])


def _choose_rows(test: Table, score: Floats, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Return rows of both classes, equally many where there are enough, and the three that are told of."""
    generator = np.random.default_rng(seed)
    drawn = [generator.permutation(np.flatnonzero(test.target == label))[:most] for label in (0, 1)]
    told = [at for at in _told_rows(test, score).values() if at is not None]
    return np.unique(np.concatenate([*drawn, np.array(told, dtype=np.int64)]))


def _told_rows(test: Table, score: Floats) -> dict[str, int | None]:
    positive, negative = np.flatnonzero(test.target == 1), np.flatnonzero(test.target == 0)
    return {
        "positive with the highest score": int(positive[np.argmax(score[positive])]) if len(positive) else None,
        "positive with the lowest score": int(positive[np.argmin(score[positive])]) if len(positive) else None,
        "negative with the highest score": int(negative[np.argmax(score[negative])]) if len(negative) else None,
    }


def _local(
    test: Table,
    score: Floats,
    chosen: npt.NDArray[np.int64],
    values: Floats,
    output: Floats,
    features: list[str],
) -> list[Row]:
    found = []
    for kind, at in _told_rows(test, score).items():
        if at is not None:
            place = int(np.searchsorted(chosen, at))
            order = np.argsort(-np.abs(values[place]), kind="stable")
            shown = [
                {
                    "feature": features[column],
                    "value": _plain(test.features[features[column]].iloc[at]),
                    "contribution": float(values[place, column]),
                }
                for column in order[:MOST_FEATURES]
            ]
            found.append(
                Row(
                    kind=kind,
                    row_id=str(test.row_ids[at]),
                    positive=bool(test.target[at]),
                    score=float(score[at]),
                    output=float(output[place]),
                    contributions=shown,
                    rest=float(values[place, order[MOST_FEATURES:]].sum()),
                )
            )
    return found


def raw_sources(transformer: Transformer) -> list[str]:
    """Return, for each column of the matrix, the raw feature that it comes from."""
    encoded = transformer.one_hot or {}
    return [name for name in transformer.columns_ for _ in (encoded.get(name) or (name,))]


def by_feature(values: Floats, names: list[str]) -> Floats:
    """Add up the columns of one raw feature: values of a sum of players are the sum of theirs."""
    features = list(dict.fromkeys(names))
    return np.column_stack([values[:, [one == name for one in names]].sum(axis=1) for name in features])


def _plain(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float) and not np.isfinite(plain):
        return None
    return plain if isinstance(plain, bool | int | float | str) else str(plain)
