"""The pipeline section: equal to scikit-learn's scalers, honest about words, and the same after storing."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from stepzero.core.errors import InputError
from stepzero.learning.transform import Transformer, feature_columns
from stepzero.spec.data import Pipeline


def _frame(rows: int = 200) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    frame = pd.DataFrame({"a": generator.normal(3, 5, rows), "b": generator.exponential(9, rows), "c": np.ones(rows)})
    frame["kind"] = generator.choice(["chip", "swipe", "web"], rows)
    frame["n"] = generator.integers(0, 3, rows)
    return frame


@pytest.mark.parametrize(
    ("kind", "scaler"), [("robust", RobustScaler()), ("standard", StandardScaler()), ("min_max", MinMaxScaler())]
)
def test_scaling_equals_scikit_learn(kind: str, scaler: object) -> None:
    frame = _frame()[["a", "b", "c"]]
    made = Transformer(scale={kind: ("a", "c")}).fit(frame).transform(frame)
    expected = scaler.fit_transform(frame[["a", "c"]])  # type: ignore[attr-defined]
    assert np.allclose(made[:, [0, 2]], expected, atol=1e-12)
    assert (made[:, 1] == frame["b"]).all()


@pytest.mark.parametrize("kind", ["median", "mean", "most_frequent"])
def test_filling_in_equals_scikit_learn_and_comes_before_scaling(kind: str) -> None:
    frame = _frame()[["a", "n"]].astype(float)
    frame.loc[::7, "n"] = np.nan
    made = Transformer(impute={kind: ("n",)}, scale={"standard": ("n",)}).fit(frame).transform(frame)
    filled = SimpleImputer(strategy=kind).fit_transform(frame[["n"]])
    assert np.allclose(made[:, [1]], StandardScaler().fit_transform(filled), atol=1e-12)


def test_words_become_columns_in_place_and_unseen_ones_zeros_that_are_counted() -> None:
    frame = _frame()[["a", "kind", "b"]]
    learned = Transformer(one_hot={"kind": ("chip", "web")}).fit(frame)
    assert list(learned.get_feature_names_out()) == ["a", "kind=chip", "kind=web", "b"]
    rows = pd.DataFrame({"b": [1.0, 2.0, 3.0], "kind": ["web", "swipe", None], "a": [4.0, 5.0, 6.0]})
    assert learned.transform(rows).tolist() == [[4, 0, 1, 1], [5, 0, 0, 2], [6, 0, 0, 3]]
    assert learned.count_unseen(rows) == {"kind": 2}


def test_missing_words_are_filled_with_the_most_frequent() -> None:
    frame = pd.DataFrame({"kind": ["web", "web", "chip", None]})
    learned = Transformer(one_hot={"kind": ("chip", "web")}, impute={"most_frequent": ("kind",)}).fit(frame)
    assert learned.transform(frame).tolist() == [[0, 1], [0, 1], [1, 0], [0, 1]]


def test_state_is_json_and_brings_back_the_same_bytes() -> None:
    frame = _frame()
    frame.loc[::9, "a"] = np.nan
    section = Pipeline(
        scale={"robust": ("a", "b")}, impute={"median": ("a",)}, one_hot={"kind": ("chip", "swipe", "web")}
    )
    learned = Transformer.from_spec(section).fit(frame)
    restored = Transformer.from_state(json.loads(json.dumps(learned.to_state(), allow_nan=False)))
    assert restored.transform(frame).tobytes() == learned.transform(frame).tobytes()


def test_outliers_of_the_positive_class_go_and_negatives_stay() -> None:
    values = [*range(20), 1000, 1000]
    target = [1] * 21 + [0]
    frame = pd.DataFrame({"a": [float(value) for value in values]})
    keep = Transformer(outliers={"iqr": ("a",)}).keep_rows(frame, target)
    assert keep.tolist() == [True] * 20 + [False, True]


def test_what_is_removed_is_told_with_its_bounds() -> None:
    """Quartiles are 5 and 15, of the doubles 10 and 30; the last positive row is far out in both columns."""
    values = [float(value) for value in [*range(20), 1000, 1000]]
    frame = pd.DataFrame({"a": values, "b": [2 * value for value in values]})
    frame.loc[0, "b"] = -1000.0
    told = Transformer(outliers={"iqr": ("a", "b")}).removed_outliers(frame, [1] * 21 + [0])
    assert told == {
        "rows": 2,
        "positives": 21,
        "columns": {"a": {"low": -10.0, "high": 30.0, "rows": 1}, "b": {"low": -20.0, "high": 60.0, "rows": 2}},
    }
    assert Transformer().removed_outliers(frame, [1] * 21 + [0]) == {"rows": 0, "positives": 21, "columns": {}}


def test_words_without_a_vocabulary_are_told() -> None:
    with pytest.raises(
        InputError, match=r"feature kind: got type object\. Allowed: numbers .*declare pipeline\.one_hot\.kind"
    ):
        Transformer().fit(_frame())


def test_a_column_that_is_not_there_is_told() -> None:
    frame = _frame()[["a", "b"]]
    with pytest.raises(InputError, match=r"pipeline column z: got not among the features\. Allowed: a, b"):
        Transformer(scale={"robust": ("z",)}).fit(frame)
    learned = Transformer().fit(frame)
    with pytest.raises(InputError, match=r"got no b\. Allowed: the columns that the model was fitted on: a, b"):
        learned.transform(frame[["a"]])


def test_features_are_all_but_target_weight_and_hidden_columns() -> None:
    assert feature_columns(["x", "_row_id", "y", "w", "z", "_fold"], "y", "w") == ["x", "z"]
