"""The short ways of the endpoint give the numbers of the long one, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from stepzero.learning.model import ScoringModel
from stepzero.learning.prior import Prior
from stepzero.learning.transform import Transformer
from stepzero.serving.scoring import Scorer

FEATURES = {"x0": "double", "x1": "double", "x2": "bigint", "flag": "boolean"}


def frame(rows: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    found = pd.DataFrame({f"x{i}": generator.normal(size=rows) for i in range(2)})
    found.loc[::7, "x1"] = np.nan
    return found.assign(x2=generator.integers(0, 9, rows).astype(float), flag=generator.random(rows) < 0.3).astype(
        "float64"
    )


TRAIN, ASKED = frame(600, 1), frame(50, 2)
TARGET = ((TRAIN["x0"] + TRAIN["flag"] > 0.6) ^ (np.random.default_rng(3).random(600) < 0.1)).astype(int)
TREES: dict[str, Any] = {"n_estimators": 30, "max_depth": 3, "n_jobs": 2}
ESTIMATORS: dict[str, Any] = {
    "xgboost": xgboost.XGBClassifier(**TREES),
    "dart": xgboost.XGBClassifier(**TREES, booster="dart", rate_drop=0.3),
    "stopped early": xgboost.XGBClassifier(**TREES | {"n_estimators": 200}, early_stopping_rounds=3),
    "other objective": xgboost.XGBClassifier(**TREES, objective="binary:hinge"),
    "linear booster": xgboost.XGBClassifier(n_estimators=30, booster="gblinear", n_jobs=1),
    "forest": RandomForestClassifier(n_estimators=10, n_jobs=2, random_state=1),
    "logistic": LogisticRegression(),
}


def model(name: str, *, encoded: bool = False) -> ScoringModel:
    impute = {"median": ("x1",)} if name in {"forest", "logistic", "linear booster"} else None
    features, rows = dict(FEATURES), TRAIN
    one_hot = None
    if encoded:
        features["kind"], one_hot = "string", {"kind": ("a", "b")}
        rows = TRAIN.assign(kind=np.where(TRAIN["x2"] > 4, "a", "b"))
    transformer = Transformer(impute=impute, scale={"robust": ("x0",)}, one_hot=one_hot).fit(rows)
    more = (
        {"eval_set": [(transformer.transform(rows)[:100], TARGET[:100])], "verbose": False}
        if name == "stopped early"
        else {}
    )
    estimator = ESTIMATORS[name].fit(transformer.transform(rows), TARGET, **more)
    prior = Prior(trained_share=0.5, true_share=0.05)
    return ScoringModel(features=features, transformer=transformer, estimator=estimator, threshold=0.3, prior=prior)


@pytest.mark.filterwarnings("ignore:.*gblinear.*:UserWarning")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_matrix_is_scored_as_a_frame_is(name: str) -> None:
    made = model(name)
    expected = made.score(ASKED)
    scorer = Scorer(made)
    assert scorer.score(ASKED.to_numpy()).tolist() == expected.tolist()
    assert scorer.score(ASKED).tolist() == expected.tolist()
    for at in range(len(ASKED)):
        assert scorer.score(ASKED.to_numpy()[at : at + 1]) == made.score(ASKED.iloc[at : at + 1])


def test_words_go_the_long_way() -> None:
    made = model("xgboost", encoded=True)
    asked = ASKED.assign(kind=["a", "b", None, "c", "a"] * 10)
    assert Scorer(made).score(asked).tolist() == made.score(asked).tolist()


def test_how_long_a_row_takes_is_measured() -> None:
    scorer = Scorer(model("logistic"))
    assert not scorer.is_quick, "nothing is known yet"
    scorer.measure(ASKED)
    assert 0 < scorer.seconds < 1
    scorer.seconds = 0.2
    assert not scorer.is_quick
