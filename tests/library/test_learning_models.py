"""Shortcuts are exact to the last bit, and somebody else's class works like ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepzero.core.errors import SpecError, StageError
from stepzero.learning.fitting import make_groups
from stepzero.learning.folds import make_fold
from stepzero.learning.models import TrainingRows, make_algorithm, score_rows
from stepzero.learning.nested import NearestOfMany
from stepzero.learning.space import candidates
from stepzero.spec.data import Pipeline
from stepzero.spec.training import Model
from support.cards import card_table, made_up_cards, real_cards

GRIDS: list[tuple[str, str, list[int], dict[str, Any]]] = [
    ("random_forest", "n_estimators", [1, 3, 10, 25], {"max_depth": 8}),
    ("random_forest", "n_estimators", [2, 11], {"max_samples": 0.5, "criterion": "entropy", "max_features": None}),
    ("extra_trees", "n_estimators", [1, 3, 10], {"max_features": 0.5}),
    ("xgboost", "n_estimators", [1, 5, 20, 40], {"max_depth": 3}),
    ("xgboost", "n_estimators", [4, 16], {"subsample": 0.7, "colsample_bytree": 0.6, "learning_rate": 0.1}),
    ("nearest_neighbours", "n_neighbors", [1, 2, 3, 8, 15], {}),
    ("nearest_neighbours", "n_neighbors", [1, 4, 9], {"p": 1}),
]


@pytest.mark.parametrize("source", ["real", "made up"])
@pytest.mark.parametrize("sampler", ["none", "smote"])
@pytest.mark.parametrize(("name", "parameter", "values", "others"), GRIDS)
def test_one_fit_scores_all_values_exactly(
    name: str, parameter: str, values: list[int], others: dict[str, Any], sampler: str, source: str
) -> None:
    table = card_table(real_cards() if source == "real" else made_up_cards())
    fold = make_fold("0", table, Pipeline(scale={"robust": ("Amount", "Time")}), sampler, 7)
    rows, features = fold.training_rows(table), fold.validation_features(table)
    algorithm = make_algorithm(name, Model(grid={}))
    assert algorithm.shortcut is not None
    largest = algorithm.fit({**others, parameter: max(values)}, rows, 7)
    nested = algorithm.shortcut.scores(largest, features, values)
    for value in values:
        alone = score_rows(algorithm.fit({**others, parameter: value}, rows, 7), features)
        assert np.abs(nested[value] - alone).max() == 0.0, (name, value)


def test_a_tie_at_the_last_neighbour_is_asked_again() -> None:
    """Four points at the same distance, two of each class: who is nearest is the estimator's own choice."""
    features = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1], [5, 5], [6, 6]])
    rows = TrainingRows(features, np.array([1, 0, 1, 0, 1, 0]), np.ones(6))
    algorithm = make_algorithm("nearest_neighbours", Model(grid={}))
    points = np.zeros((3, 2))
    fitted = algorithm.fit({"n_neighbors": 5}, rows, 1)
    nested = NearestOfMany().scores(fitted, points, [1, 2, 3, 4, 5])
    for value in (1, 2, 3, 4, 5):
        alone = score_rows(algorithm.fit({"n_neighbors": value}, rows, 1), points)
        assert (nested[value] == alone).all(), value
    assert fitted.n_neighbors == 5


def test_groups_share_a_fit_only_where_it_is_exact() -> None:
    forest = make_algorithm("random_forest", Model(grid={}))
    grid = candidates({"n_estimators": [10, 30, 20], "max_depth": [2, 3]})
    groups = make_groups(forest, grid)
    assert [(group.parameters["max_depth"], group.values, group.owner) for group in groups] == [
        (2, (10, 30, 20), 1),
        (3, (10, 30, 20), 4),
    ]
    weighted = candidates({"n_neighbors": [1, 5], "weights": ["uniform", "distance"]})
    neighbours = make_groups(make_algorithm("nearest_neighbours", Model(grid={})), weighted)
    assert sorted(len(group.members) for group in neighbours) == [1, 1, 2]
    boosted = make_algorithm("xgboost", Model(grid={}, parameters={"early_stopping_rounds": 5}))
    assert len(make_groups(boosted, candidates({"n_estimators": [5, 10]}))) == 2
    tree = make_algorithm("decision_tree", Model(grid={}))
    assert len(make_groups(tree, candidates({"max_depth": [2, 3]}))) == 2


def test_a_class_of_somebody_else_gets_seed_parameters_and_weights() -> None:
    declared = Model.model_validate(
        {"class": "lightgbm.LGBMClassifier", "parameters": {"n_estimators": 7, "verbose": -1}, "sample_weight": True}
    )
    algorithm = make_algorithm("boosted", declared)
    generator = np.random.default_rng(0)
    features, target = generator.normal(size=(300, 3)), generator.integers(0, 2, 300)
    weight = np.where(target == 1, 50.0, 1.0)
    heavy = algorithm.fit({"num_leaves": 4}, TrainingRows(features, target, weight), 5)
    light = algorithm.fit({"num_leaves": 4}, TrainingRows(features, target, np.ones(300)), 5)
    assert heavy.get_params()["random_state"] == 5
    assert heavy.get_params()["num_leaves"] == 4
    assert score_rows(heavy, features).mean() > score_rows(light, features).mean() + 0.2


def test_a_vote_is_the_mean_of_its_members_probabilities() -> None:
    members = {"extra_trees": {"n_estimators": 5}, "xgboost": {"n_estimators": 4, "max_depth": 2}}
    declared = Model.model_validate({"parameters": {"members": members}})
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 3))
    rows = TrainingRows(features, (features[:, 0] > 0.5).astype(np.int64), np.ones(200))
    found = score_rows(make_algorithm("voting", declared).fit({}, rows, 5), features)
    alone = [score_rows(make_algorithm(name, Model()).fit(own, rows, 5), features) for name, own in members.items()]
    assert found == pytest.approx(np.mean(alone, axis=0), abs=1e-12)
    weighed = score_rows(make_algorithm("voting", declared).fit({"weights": [3, 1]}, rows, 5), features)
    assert weighed == pytest.approx(np.average(alone, axis=0, weights=[3, 1]), abs=1e-12)


def test_a_name_that_cannot_be_imported_is_told() -> None:
    with pytest.raises(SpecError, match=r"model class no_such\.Thing: got No module named 'no_such'"):
        make_algorithm("mine", Model.model_validate({"class": "no_such.Thing"}))
    with pytest.raises(SpecError, match="has no attribute 'Missing'"):
        make_algorithm("mine", Model.model_validate({"class": "sklearn.tree.Missing"}))


def test_a_model_that_cannot_score_is_told() -> None:
    with pytest.raises(
        StageError, match=r"model class object: got neither predict_proba nor decision_function.*CalibratedClassifierCV"
    ):
        score_rows(object(), np.zeros((1, 1)))
