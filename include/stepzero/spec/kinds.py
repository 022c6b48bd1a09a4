"""What goes with a classification, and what with a regression: models, metrics, thresholds, resampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.core.errors import did_you_mean
from stepzero.spec.base import ElsewhereError, is_dotted

if TYPE_CHECKING:
    from stepzero.spec.training import Model
    from stepzero.spec.use_case import UseCase

CLASSIFICATION_METRICS = ("average_precision", "roc_auc", "f1", "precision", "recall")
REGRESSION_METRICS = ("rmse", "mae", "r2", "accuracy")
SMALL_IS_GOOD = ("rmse", "mae")
METRICS = {"classification": CLASSIFICATION_METRICS, "regression": REGRESSION_METRICS}
SEARCHED = {"classification": ("average_precision", "roc_auc", "f1"), "regression": ("rmse", "mae", "r2")}
"""What the trigger form offers; a use case may declare others."""
FALLBACK_METRIC = {"classification": "average_precision", "regression": "rmse"}
"""A metric of the user's own decides the search; where it would be slow or cannot be drawn, this one stands in."""
_BOTH = ("decision_tree", "random_forest", "nearest_neighbours", "xgboost")
MODELS = {
    "classification": (*_BOTH, "extra_trees", "logistic_regression", "voting"),
    "regression": (*_BOTH, "least_absolute_deviations", "stochastic_gradient_descent"),
}
ALL_MODELS = tuple(dict.fromkeys(name for names in MODELS.values() for name in names))


def with_default_metrics(data: dict[str, Any]) -> dict[str, Any]:
    """Return a use case's data in which search and watch of a regression go by its own metric, where none is named."""
    problem = data.get("problem")
    metric = FALLBACK_METRIC.get(str(problem.get("kind"))) if isinstance(problem, dict) else None
    if metric is None:
        return data
    made = dict(data)
    train, monitors = data.get("train"), data.get("monitors")
    if isinstance(train, dict) and "metric" not in train:
        made["train"] = {**train, "metric": metric}
    watched = monitors.get("model_quality", {}) if isinstance(monitors, dict) else None
    if isinstance(watched, dict) and "metric" not in watched:
        made["monitors"] = {**monitors, "model_quality": {**watched, "metric": metric}}  # type: ignore[dict-item]
    return made


def check_kind(use_case: UseCase) -> None:
    """Reject what does not go with the kind of problem.

    Raises:
        ElsewhereError: A model, metric or setting is for the other kind.
    """
    if use_case.problem is None:
        return
    kind = use_case.problem.kind
    if use_case.train:
        _must_be_metric(use_case.train.metric, kind, ("train", "metric"))
        for name, model in use_case.train.models.items():
            _check_model(name, model, kind, ("train", "models", name))
        _check_tie(use_case)
    watched = use_case.monitors.model_quality if use_case.monitors else None
    if watched:
        _must_be_metric(watched.metric, kind, ("monitors", "model_quality", "metric"))
    for name in use_case.promote.require:
        _must_be_metric(name, kind, ("promote", "require", name))
    if kind == "regression":
        _check_regression(use_case)


def _check_tie(use_case: UseCase) -> None:
    models = use_case.train.models if use_case.train else {}
    for name in use_case.compare.tie:
        if name not in models:
            msg = f"a declared model: {did_you_mean(name, models)}"
            raise ElsewhereError(msg, location=("compare", "tie"), value=name)


def _check_model(name: str, model: Model, kind: str, place: tuple[str, ...]) -> None:
    for own, one in model.algorithms.items():
        _check_model(own, one, kind, (*place, "algorithms", own))
    if not model.algorithms and model.estimator is None and name not in MODELS[kind]:
        msg = f"a model for {kind}: {did_you_mean(name, MODELS[kind])}; or a class of yours"
        raise ElsewhereError(msg, location=place, value=name)


def _must_be_metric(name: str, kind: str, place: tuple[str, ...]) -> None:
    if not is_dotted(name) and name not in METRICS[kind]:
        msg = f"a metric for {kind}: {did_you_mean(name, METRICS[kind])}"
        raise ElsewhereError(msg, location=place, value=name)


def _check_regression(use_case: UseCase) -> None:
    """Reject what speaks of classes."""
    evaluate, resample = use_case.evaluate, use_case.resample
    for wrong, place, value, allowed in (
        (resample != ("none",), ("resample",), ", ".join(resample), "[none]: resampling balances classes"),
        (bool(use_case.weight and use_case.weight.base_rate), ("weight", "base_rate"), "one", "a column of weights"),
        (any(evaluate.threshold.model_dump().values()), ("evaluate", "threshold"), "one",
         "none: a regression predicts numbers and decides nothing"),
        (bool(evaluate.explain), ("evaluate", "explain"), ", ".join(evaluate.explain),
         "nothing: trees and SHAP are told for classes"),
        (use_case.split.stratified, ("split", "stratified"), True, "false: there are no classes"),
        (use_case.bias is not None, ("bias",), "a section", "none: bias is measured on decisions"),
        (bool(use_case.pipeline.outliers), ("pipeline", "outliers"), "columns",
         "none: they are removed from the positive class"),
    ):  # fmt: skip
        if wrong:
            raise ElsewhereError(f"for regression, {allowed}", location=place, value=value)
