"""Exploration: outliers and the scores of a selection of the k best are those of the libraries that people know."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_selection import f_classif, mutual_info_classif
from sklearn.metrics import mutual_info_score

from stepzero.learning.exploration import explore_table
from stepzero.learning.exploration_pictures import exploration_pictures
from stepzero.measures.outliers import WHISKER, iqr_bounds, is_outside
from stepzero.measures.selection import anova_f, mutual_information
from support.cards import card_table, real_cards

TARGET = np.array([0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("real", [False, True])
def test_scores_are_those_of_scikit_learn(real: bool) -> None:
    table = card_table(real_cards() if real else None)
    found = explore_table(table)
    statistic, _ = f_classif(table.features, table.target)
    assert found.features["anova_f"].to_numpy() == pytest.approx(statistic, rel=1e-9)
    by_neighbours = pd.Series(mutual_info_classif(table.features, table.target, random_state=0), table.features.columns)
    ours = found.features["mutual_information"]
    assert ours.corr(by_neighbours, method="spearman") > 0.9
    assert (ours - by_neighbours).abs().max() < 0.04, "nats, of at most 0.23 that the class has"
    assert set(ours.nlargest(5).index) & set(by_neighbours.nlargest(5).index) >= {"V14"}


def test_outliers_are_those_of_quartiles_with_counts_and_bounds() -> None:
    table = card_table()
    found = explore_table(table).outliers
    amount = table.features["Amount"]
    low, high = amount.quantile([0.25, 0.75])
    room = WHISKER * (high - low)
    row = found.loc["Amount"]
    assert (row["low"], row["high"]) == pytest.approx((low - room, high + room))
    assert (row["below"], row["above"]) == ((amount < low - room).sum(), (amount > high + room).sum())
    assert row["above"] > 0
    positives = amount[table.target == 1]
    assert row["positives"] == pytest.approx(((positives < low - room) | (positives > high + room)).mean())


def test_a_value_at_the_bound_and_a_missing_one_are_no_outliers() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan])
    bounds = iqr_bounds(values)
    assert bounds == (-1.0, 7.0)
    assert is_outside(np.array([-1.0, 7.0, np.nan, -1.001, 7.001]), bounds).tolist() == [False] * 3 + [True] * 2
    assert np.isnan(iqr_bounds(np.array([np.nan]))).all()


def test_scores_leave_out_what_is_missing_and_say_nothing_of_a_constant() -> None:
    values = np.array([1.0, 2.0, np.nan, 3.0, 4.0, np.nan])
    known = ~np.isnan(values)
    assert anova_f(TARGET, values) == pytest.approx(f_classif(values[known, None], TARGET[known])[0][0])
    assert np.isnan(anova_f(TARGET, np.ones(6)))
    assert np.isnan(anova_f(TARGET, np.where(TARGET, np.nan, 1.0 + TARGET)))
    assert anova_f(TARGET, TARGET * 1.0) == float("inf")
    words = np.where(known, values, -1)
    assert mutual_information(TARGET, values) == pytest.approx(mutual_info_score(TARGET, words))
    assert mutual_information(TARGET, np.ones(6)) == 0.0


def test_odd_columns_are_told_in_json_and_drawn() -> None:
    table = card_table()
    odd = table.features.assign(constant=1.0, missing=np.nan, word="x", perfect=table.target * 1.0)
    table = table.replaced(features=odd[["V14", "Amount", "constant", "missing", "word", "perfect"]])
    found = explore_table(table)
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["features"]["constant"]["anova_f"] is None
    assert told["features"]["perfect"]["anova_f"] is None, "infinite"
    assert told["outliers"]["missing"] == {
        "low": None, "high": None, "below": 0.0, "above": 0.0, "negatives": 0.0, "positives": 0.0,
    }  # fmt: skip
    assert "word" not in told["outliers"]
    pictures = exploration_pictures(found, table)
    assert {"scores.png", "outliers.png"} <= set(pictures)
    assert pictures == exploration_pictures(explore_table(table), table), "the same bytes each time"
