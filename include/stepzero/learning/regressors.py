"""Regressors: models that predict a number, by the names of `stepzero.spec.kinds`.

``least_absolute_deviations`` is the linear model with the least sum of absolute errors, found exactly (Koenker and
Bassett, "Regression Quantiles", Econometrica 46, 1978: the quantile 0.5). ``stochastic_gradient_descent`` walks
towards the same by small steps, and can go on with rows that come later (`can_go_on`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stepzero.learning.nested import FirstRounds, FirstTrees, Shortcut

Build = Callable[[Mapping[str, Any], int], Any]

_ABSOLUTE = {"loss": "epsilon_insensitive", "epsilon": 0.0, "penalty": None}
"""An error within epsilon is none: with 0, the loss is the absolute error."""


def _decision_tree(parameters: Mapping[str, Any], seed: int) -> Any:
    from sklearn.tree import DecisionTreeRegressor

    return DecisionTreeRegressor(random_state=seed, **parameters)


def _random_forest(parameters: Mapping[str, Any], seed: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(random_state=seed, **parameters)


def _nearest_neighbours(parameters: Mapping[str, Any], seed: int) -> Any:  # noqa: ARG001 - nothing is drawn
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(**parameters)


def _xgboost(parameters: Mapping[str, Any], seed: int) -> Any:
    from xgboost import XGBRegressor

    return XGBRegressor(**{"random_state": seed, "tree_method": "hist", "n_jobs": 1, **parameters})


def _least_absolute_deviations(parameters: Mapping[str, Any], seed: int) -> Any:  # noqa: ARG001 - nothing is drawn
    from sklearn.linear_model import QuantileRegressor

    return QuantileRegressor(**{"quantile": 0.5, "alpha": 0.0, "solver": "highs", **parameters})


def _stochastic_gradient_descent(parameters: Mapping[str, Any], seed: int) -> Any:
    from sklearn.linear_model import SGDRegressor

    return SGDRegressor(**{**_ABSOLUTE, "random_state": seed, **parameters})


REGRESSORS: dict[str, tuple[Build, Shortcut | None]] = {
    "decision_tree": (_decision_tree, None),
    "random_forest": (_random_forest, FirstTrees()),
    # No shortcut: which of equally near rows count is left open, and their numbers differ.
    "nearest_neighbours": (_nearest_neighbours, None),
    "xgboost": (_xgboost, FirstRounds()),
    "least_absolute_deviations": (_least_absolute_deviations, None),
    "stochastic_gradient_descent": (_stochastic_gradient_descent, None),
}


def can_go_on(estimator: Any) -> bool:
    """Tell whether a fitted estimator can learn from further rows without those that it learned from before."""
    return hasattr(estimator, "partial_fit")
