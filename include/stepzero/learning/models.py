"""Models: how an estimator is built from parameters, and what one fit can tell about several of them.

An estimator follows scikit-learn's protocol (``fit``, ``get_params``, and ``predict_proba`` or ``decision_function``
of a classifier, ``predict`` of a regressor). Ours are listed in `ALGORITHMS`, those that predict numbers in
`stepzero.learning.regressors`; somebody else's is a class by dotted name. A class may
offer a shortcut (`stepzero.learning.nested.Shortcut`) as its attribute ``stepzero_shortcut``; none must.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stepzero.core.errors import StageError, bare
from stepzero.learning.names import load_name
from stepzero.learning.nested import FirstRounds, FirstTrees, NearestOfMany, Shortcut
from stepzero.learning.regressors import REGRESSORS, Build
from stepzero.learning.space import ALGORITHM
from stepzero.measures.checks import Floats
from stepzero.spec.training import Model

_NEWTON = {"solver": "newton-cholesky", "max_iter": 200}
"""A few exact steps where the default solver creeps: columns of very different widths."""


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """How one model of a use case is built.

    Args:
        name: Its name in the use case.
        build: From parameters and a seed to an unfitted estimator.
        shortcut: What one fit can tell about several parameters, if anything.
        fixed: Parameters that every candidate has.
        sample_weight: Whether ``fit`` is given the rows' weights.
        several: Algorithms by name, of which each candidate chooses one; instead of `build`.
    """

    name: str
    build: Build
    shortcut: Shortcut | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    sample_weight: bool = False
    several: Mapping[str, Algorithm] = field(default_factory=dict)

    def chosen(self, parameters: Mapping[str, Any]) -> tuple[Algorithm, Mapping[str, Any]]:
        """Return the algorithm that a candidate chooses, and the parameters that are that one's own."""
        if not self.several:
            return self, parameters
        rest = {name: value for name, value in parameters.items() if name != ALGORITHM}
        return self.several[parameters[ALGORITHM]], rest

    def fit(self, parameters: Mapping[str, Any], rows: TrainingRows, seed: int) -> Any:
        """Return a fitted estimator."""
        one, own = self.chosen(parameters)
        estimator = one.build({**one.fixed, **own}, seed)
        weights = {"sample_weight": rows.weight} if one.sample_weight else {}
        return estimator.fit(rows.features, rows.target, **weights)


@dataclass(frozen=True)
class TrainingRows:
    """What an estimator is fitted on."""

    features: Floats
    target: npt.NDArray[Any]
    weight: Floats


def _decision_tree(parameters: Mapping[str, Any], seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(random_state=seed, **parameters)


def _random_forest(parameters: Mapping[str, Any], seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(random_state=seed, **parameters)


def _extra_trees(parameters: Mapping[str, Any], seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(random_state=seed, **parameters)


def _voting(parameters: Mapping[str, Any], seed: int) -> Any:
    """Build the mean of several models' probabilities; ``weights`` may weigh the members."""
    from sklearn.ensemble import VotingClassifier

    rest = {name: value for name, value in parameters.items() if name != "members"}
    members = [(name, ALGORITHMS[name][0](own, seed)) for name, own in parameters["members"].items()]
    return VotingClassifier(members, voting="soft", **rest)


def _logistic_regression(parameters: Mapping[str, Any], seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(**{**_NEWTON, "random_state": seed, **parameters})


def _nearest_neighbours(parameters: Mapping[str, Any], seed: int) -> Any:  # noqa: ARG001 - nothing is drawn
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(**parameters)


def _xgboost(parameters: Mapping[str, Any], seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(**{"random_state": seed, "tree_method": "hist", "n_jobs": 1, **parameters})


ALGORITHMS: dict[str, tuple[Build, Shortcut | None]] = {
    "decision_tree": (_decision_tree, None),
    "random_forest": (_random_forest, FirstTrees()),
    "extra_trees": (_extra_trees, FirstTrees()),
    "logistic_regression": (_logistic_regression, None),
    "nearest_neighbours": (_nearest_neighbours, NearestOfMany()),
    "xgboost": (_xgboost, FirstRounds()),
    "voting": (_voting, None),
}


def make_algorithm(name: str, model: Model, kind: str = "classification") -> Algorithm:
    """Return how a declared model is built.

    Args:
        name: Its name in the use case.
        model: As it is declared.
        kind: ``classification`` or ``regression``; some of our names mean one estimator here and another there.

    Raises:
        SpecError: The class cannot be imported.
    """
    if model.algorithms:
        several = {own: make_algorithm(own, one, kind) for own, one in model.algorithms.items()}
        return Algorithm(name=name, build=_none_alone, several=several)
    options: dict[str, Any] = {"fixed": model.parameters, "sample_weight": model.sample_weight}
    if model.estimator is None:
        build, shortcut = ALGORITHMS[name] if kind == "classification" else REGRESSORS[name]
        return Algorithm(name=name, build=build, shortcut=shortcut, **options)
    made = load_name(model.estimator, "model class")
    shortcut = getattr(made, "stepzero_shortcut", None)
    return Algorithm(name=name, build=_builder(made), shortcut=shortcut, **options)


def score_rows(estimator: Any, features: Floats) -> Floats:
    """Return how likely each row is positive: a probability, or a decision function's value; a regressor's number.

    Raises:
        StageError: The estimator has none of them, or learned of no positive class.
    """
    if is_regressor(estimator):
        return np.asarray(estimator.predict(features), dtype=np.float64)
    if hasattr(estimator, "predict_proba"):
        return positive_column(estimator, np.asarray(estimator.predict_proba(features), dtype=np.float64))
    if hasattr(estimator, "decision_function"):
        return np.asarray(estimator.decision_function(features), dtype=np.float64)
    raise StageError(
        f"model class {type(estimator).__name__}",
        value=bare("neither predict_proba nor decision_function"),
        allowed="an estimator that scores rows, or one that says it is a regressor",
        action="wrap it, for example with sklearn.calibration.CalibratedClassifierCV",
    )


def is_regressor(estimator: Any) -> bool:
    """Tell whether an estimator says, in scikit-learn's way, that it predicts numbers."""
    from sklearn.base import is_regressor as said_to_be

    if hasattr(estimator, "__sklearn_tags__"):
        return bool(said_to_be(estimator))
    return getattr(estimator, "_estimator_type", "") == "regressor"


def positive_column(estimator: Any, probabilities: Floats) -> Floats:
    """Return the column of the positive class, 1."""
    found = np.flatnonzero(np.asarray(estimator.classes_) == 1)
    if not len(found):
        raise StageError(
            f"classes of {type(estimator).__name__}",
            value=bare(list(estimator.classes_)),
            allowed="0 and 1",
            action="give the model rows of both classes",
        )
    return np.ascontiguousarray(probabilities[:, found[0]])


def _none_alone(parameters: Mapping[str, Any], seed: int) -> Any:
    msg = f"several algorithms: one of them is built, never all ({parameters}, {seed})"
    raise AssertionError(msg)


def _builder(made: Any) -> Build:
    def build(parameters: Mapping[str, Any], seed: int) -> Any:
        takes = inspect.signature(made).parameters
        seeded = {"random_state": seed} if "random_state" in takes else {}
        return made(**{**seeded, **parameters})

    return build
