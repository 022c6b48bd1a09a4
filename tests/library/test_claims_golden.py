"""What is known of the reference example's own files: its leak, its model that flags nobody, its explanation."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupShuffleSplit

from stepzero.core.verdict import Outcome
from stepzero.learning.evaluation import Cell, judge_promotion
from stepzero.learning.explanation import explain
from stepzero.learning.model import ScoringModel
from stepzero.learning.sentinels import check_entities
from stepzero.learning.table import Table, make_table
from stepzero.learning.transform import Transformer
from stepzero.measures.decisions import f1, recall
from stepzero.measures.ranking import roc_auc
from stepzero.measures.uncertainty import Interval
from stepzero.spec.data import Pipeline, Problem
from stepzero.spec.training import Promote
from support.claims import claims_file
from support.modules import load_module
from support.stack import ROOT

FRAUD = Problem(kind="classification", target="fraud", positive=1)
bench = load_module(ROOT / "benchmarks" / "claims.py")


@cache
def rows_of(name: str) -> pd.DataFrame:
    return pd.read_csv(claims_file(name))


@cache
def joined() -> pd.DataFrame:
    return rows_of("dataset.csv").drop(columns="Unnamed: 0", errors="ignore")


@cache
def reference_model() -> tuple[Any, float]:
    train = rows_of("train.csv")
    return bench.reference_recipe(train.drop(columns="fraud"), train["fraud"])


def test_golden_39_the_references_split_is_found_again() -> None:
    drawn = joined().sample(frac=0.80, random_state=0)
    rest = joined().drop(drawn.index)
    assert (len(drawn), len(rest)) == (16_000, 4_000)
    assert (drawn["fraud"].sum(), rest["fraud"].sum()) == (476, 124)
    for part, name in ((drawn, "train.csv"), (rest, "test.csv")):
        file = rows_of(name)
        assert np.array_equal(part[list(file.columns)].to_numpy(dtype=float), file.to_numpy(dtype=float)), name


def as_table(frame: pd.DataFrame, folds: int | None = None) -> Table:
    named = frame.rename(columns={"policy_id": "_split_entity"}).assign(
        _row_id=[f"{number:064x}" for number in frame.index], _split_entity=frame["policy_id"].astype(str)
    )
    if folds:
        named["_fold"] = np.arange(len(frame)) % folds
    return make_table(named.reset_index(drop=True), FRAUD, None)


def held_out_auc(train: pd.DataFrame, test: pd.DataFrame) -> float:
    import xgboost

    features = [name for name in train.columns if name not in {"fraud", "policy_id"}]
    matrix = xgboost.DMatrix(train[features].astype(float), label=train["fraud"])
    booster = xgboost.train(bench.PARAMETERS, matrix, num_boost_round=bench.ROUNDS)
    return float(roc_auc(test["fraud"], bench.reference_score(booster, test[features])))


def test_the_leak_of_the_reference_is_seen_by_the_sentinel_and_is_worth_nine_points() -> None:
    """Its join has four rows of a policy, and its split of rows leaves 2,969 of 2,975 held-out policies in training."""
    frame = joined()
    leaky, honest = [], []
    for seed in range(3):
        drawn = frame.sample(frac=0.8, random_state=seed)
        leaky.append(held_out_auc(drawn, frame.drop(drawn.index)))
        at, out = next(GroupShuffleSplit(1, test_size=0.2, random_state=seed).split(frame, groups=frame["policy_id"]))
        honest.append(held_out_auc(frame.iloc[at], frame.iloc[out]))
    leak = float(np.mean(leaky) - np.mean(honest))
    assert 0.05 < leak < 0.13, (leaky, honest)
    drawn = frame.sample(frac=0.8, random_state=0)
    found = check_entities(as_table(drawn, folds=5), as_table(frame.drop(drawn.index)))
    assert not found.passed
    assert found.observed.startswith("2969 entities held out and trained on, ")
    at, out = next(GroupShuffleSplit(1, test_size=0.2, random_state=0).split(frame, groups=frame["policy_id"]))
    kept_apart = check_entities(as_table(frame.iloc[at]), as_table(frame.iloc[out]))
    assert kept_apart.passed, kept_apart


def test_golden_41_the_references_recipe_gives_the_references_figures() -> None:
    booster, auc = reference_model()
    assert auc == pytest.approx(0.744, abs=0.01)
    assert 15 <= booster.num_boosted_rounds() <= 30


def test_golden_43_a_model_that_predicts_one_class_is_flagged_and_not_promoted() -> None:
    booster, _ = reference_model()
    test = rows_of("test.csv")
    score = bench.reference_score(booster, test.drop(columns="fraud"))
    decided = score >= 0.5
    assert (f1(test["fraud"], decided), recall(test["fraud"], decided)) == (0, 0)
    assert float((decided == (test["fraud"] == 1)).mean()) == pytest.approx(0.969)
    table = make_table(test.assign(_row_id=test.index.astype(str)), FRAUD, None)
    interval = Interval(value=0.1, low=0.1, high=0.1)
    cell = Cell(
        sampler="none",
        model="xgboost",
        parameters={},
        score=0.1,
        threshold=0.5,
        metrics={"average_precision": interval},
        test_score=score,
        out_of_fold=pd.DataFrame(),
        reference=None,  # type: ignore[arg-type]
    )
    verdict = judge_promotion(cell, table, Promote(), [])
    assert verdict.outcome is Outcome.FAIL
    (reason,) = verdict.reasons
    assert (reason.rule, reason.observed) == ("both classes", "0 of 4000 held-out rows accepted")


def test_golden_46_and_47_shap_values_add_up_and_every_feature_is_ranked() -> None:
    from xgboost import XGBClassifier

    train, test = (
        make_table(rows_of(name).assign(_row_id=lambda frame: frame.index.astype(str)), FRAUD, None)
        for name in ("train.csv", "test.csv")
    )
    estimator = XGBClassifier(n_estimators=21, max_depth=3, learning_rate=0.2, n_jobs=1, random_state=0)
    transformer = Transformer.from_spec(Pipeline()).fit(train.features)
    estimator.fit(transformer.transform(train.features), train.target)
    model = ScoringModel(features=train.feature_types(), transformer=transformer, estimator=estimator, threshold=0.1)
    found = explain(model, test, train, 0)
    assert found.additive
    assert found.additivity_error is not None
    assert found.additivity_error <= 1e-6
    assert found.features is not None
    assert len(found.features) == 45
    values = [one["mean_absolute"] for one in found.features]
    assert values == sorted(values, reverse=True)
    assert {one["feature"] for one in found.features} == set(train.features.columns)
    assert {"num_insurers_past_5_years", "customer_gender_male"} <= {one["feature"] for one in found.features[:8]}
