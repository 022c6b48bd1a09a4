"""Explanations of single rows: they add up to the score that is served, and are those of the dossier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor

from stepzero.core.errors import InputError, StageError
from stepzero.learning.explanation import LeafSum
from stepzero.learning.model import ScoringModel
from stepzero.learning.models import ALGORITHMS
from stepzero.learning.prior import Prior
from stepzero.learning.row_explanation import SERVED, RowExplainer, reference_row
from stepzero.learning.skew import make_baseline
from stepzero.learning.transform import Transformer

CASES: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 300, "max_depth": 4},
    "decision_tree": {"max_depth": 6},
    "random_forest": {"n_estimators": 20, "max_depth": 6},
    "logistic_regression": {"C": 1.0},
}
ENCODED = {"kind": ("chip", "web")}


def frame(rows: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    found = pd.DataFrame({f"x{i}": generator.normal(size=rows) * 10**i for i in range(4)})
    return found.assign(kind=generator.choice(["chip", "web"], rows))


TRAIN, ASKED = frame(800, 1), frame(40, 2)
TARGET = (TRAIN["x0"] + TRAIN["x1"] / 10 * (TRAIN["kind"] == "web") > 0.8).astype(int)


def make(name: str, prior: Prior | None = Prior(trained_share=0.4, true_share=0.1)) -> ScoringModel:  # noqa: B008
    transformer = Transformer(scale={"robust": ("x1",)}, one_hot=ENCODED).fit(TRAIN)
    estimator = ALGORITHMS[name][0](CASES.get(name, {}), 7).fit(transformer.transform(TRAIN), TARGET)
    features = {**{f"x{i}": "double" for i in range(4)}, "kind": "string"}
    return ScoringModel(features=features, transformer=transformer, estimator=estimator, prior=prior)


def explainer(model: ScoringModel) -> RowExplainer:
    return RowExplainer(model, TRAIN.iloc[:2], reference_row(model, make_baseline(TRAIN)))


@pytest.mark.parametrize("name", CASES)
def test_fact_46_base_and_values_of_every_row_add_up_to_the_score_that_is_served(name: str) -> None:
    model = make(name, None if name in {"decision_tree", "random_forest"} else Prior(trained_share=0.4, true_share=0.1))
    found = explainer(model).explain(model.matrix(ASKED))
    for told, score in zip(found, model.score(ASKED), strict=True):
        assert list(told["contributions"]) == ["x0", "x1", "x2", "x3", "kind"]
        total = told["base"] + sum(told["contributions"].values())
        assert total == pytest.approx(told["output"], abs=1e-6)
        served = 1 / (1 + np.exp(-total)) if told["explains"] == SERVED else total
        assert served == pytest.approx(score, abs=1e-6)


def test_a_predicted_number_is_explained_by_its_trees() -> None:
    transformer = Transformer(one_hot=ENCODED).fit(TRAIN)
    estimator = RandomForestRegressor(n_estimators=10, max_depth=5, random_state=1)
    estimator.fit(transformer.transform(TRAIN), TRAIN["x1"] * 3 + TARGET)
    features = {**{f"x{i}": "double" for i in range(4)}, "kind": "string"}
    model = ScoringModel(features=features, transformer=transformer, estimator=estimator)
    for told, score in zip(explainer(model).explain(model.matrix(ASKED)), model.score(ASKED), strict=True):
        assert told["explains"] == "predicted number"
        assert told["base"] + sum(told["contributions"].values()) == pytest.approx(score, abs=1e-6)


def test_one_row_is_explained_as_many_are() -> None:
    model = make("xgboost")
    made = explainer(model)
    matrix = model.matrix(ASKED)
    many = made.explain(matrix)
    for number in range(len(ASKED)):
        (one,) = made.explain(matrix[number : number + 1])
        assert one == many[number]


def test_the_middle_of_the_training_rows_is_told_by_the_baseline() -> None:
    model = make("logistic_regression")
    found = reference_row(model, make_baseline(TRAIN))
    assert found is not None
    np.testing.assert_allclose(found[0], model.matrix(TRAIN).mean(axis=0), atol=1e-9)
    assert reference_row(model, make_baseline(TRAIN.drop(columns="x0"))) is None


def test_what_does_not_add_up_or_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("xgboost")
    made = explainer(model)
    whole = LeafSum.__call__
    monkeypatch.setattr(LeafSum, "__call__", lambda self, matrix: whole(self, matrix) + 1e-4)
    with pytest.raises(StageError, match=r"explanation of a XGBClassifier: got base and values miss .* by 1\.0e-04"):
        made.explain(model.matrix(ASKED))
    with pytest.raises(InputError, match=r"explanation of a KNeighborsClassifier: got no quick way to explain it"):
        explainer(make("nearest_neighbours"))
