"""Explanations: SHAP adds up, in the names of raw features; a tree asks in raw units, with and without Graphviz."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.learning import explanation, trees
from stepzero.learning.explanation import Explanation, explain, global_importance
from stepzero.learning.explanation_pictures import explanation_pictures
from stepzero.learning.model import ScoringModel
from stepzero.learning.models import ALGORITHMS
from stepzero.learning.prior import Prior
from stepzero.learning.table import Table
from stepzero.learning.transform import Transformer

CASES: dict[str, dict[str, Any]] = {
    "decision_tree": {"max_depth": 6},
    "random_forest": {"n_estimators": 20, "max_depth": 6},
    "logistic_regression": {"C": 1.0},
    "xgboost": {"n_estimators": 200, "max_depth": 3},
    "nearest_neighbours": {"n_neighbors": 5},
}


def _table(rows: int, seed: int) -> Table:
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{i}": generator.normal(size=rows) * 10**i for i in range(5)})
    frame["kind"] = generator.choice(["chip", "web", "<script>"], rows)
    signal = frame["x0"] + frame["x1"] / 10 * (frame["kind"] == "web") + generator.normal(size=rows) / 3
    return Table(
        row_ids=np.arange(rows).astype(str),
        features=frame,
        target=(signal > 1.2).to_numpy().astype(np.int64),
        weight=np.ones(rows),
    )


TRAIN, TEST = _table(1500, 1), _table(600, 2)


def _model(name: str) -> ScoringModel:
    encoded = {"kind": ("chip", "web", "<script>")}
    transformer = Transformer(scale={"robust": ("x1",), "standard": ("x4",)}, one_hot=encoded).fit(TRAIN.features)
    estimator = ALGORITHMS[name][0](CASES[name], 7).fit(transformer.transform(TRAIN.features), TRAIN.target)
    features = {**{f"x{i}": "double" for i in range(5)}, "kind": "string"}
    prior = Prior(trained_share=0.4, true_share=0.1)
    return ScoringModel(features=features, transformer=transformer, estimator=estimator, threshold=0.3, prior=prior)


@pytest.fixture(scope="module")
def explained() -> dict[str, Explanation]:
    return {name: explain(_model(name), TEST, TRAIN, 7) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_fact_46_base_and_values_add_up_to_the_output_for_every_row(
    name: str, explained: dict[str, Explanation]
) -> None:
    found = explained[name]
    assert found.additivity_error <= 1e-6
    assert found.additive
    assert found.rows == (13 if name == "nearest_neighbours" else found.rows)
    for row in found.local or []:
        told = found.base + sum(one["contribution"] for one in row.contributions) + row.rest
        assert told == pytest.approx(row.output, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_fact_47_global_shap_is_the_mean_absolute_value_of_every_raw_feature_sorted(
    name: str, explained: dict[str, Explanation]
) -> None:
    told = explained[name].features or []
    assert sorted(one["feature"] for one in told) == ["kind", "x0", "x1", "x2", "x3", "x4"]
    means = [one["mean_absolute"] for one in told]
    assert means == sorted(means, reverse=True)
    if name != "nearest_neighbours":  # to which the widest columns are the nearest
        assert told[0]["feature"] == "x0"
    values = np.array([[1.0, -3.0, 0.0], [-1.0, 1.0, 0.5]])
    assert global_importance(values, ["a", "b", "c"]) == [
        {"feature": "b", "mean_absolute": 2.0},
        {"feature": "a", "mean_absolute": 1.0},
        {"feature": "c", "mean_absolute": 0.25},
    ]


def test_the_explained_output_of_xgboost_is_its_own_margin(explained: dict[str, Explanation]) -> None:
    """In double precision; its own sum in single precision is a few millionths away, and its own base likewise."""
    model = _model("xgboost")
    for row in explained["xgboost"].local or []:
        at = int(row.row_id)
        own = model.estimator.predict(model.matrix(TEST.features.iloc[[at]]), output_margin=True)[0]
        assert row.output == pytest.approx(own, abs=1e-4)
    import xgboost

    matrix = xgboost.DMatrix(model.matrix(TEST.features[:5]))
    own_base = model.estimator.get_booster().predict(matrix, pred_contribs=True)[0, -1]
    assert explained["xgboost"].base == pytest.approx(float(own_base), abs=1e-4)


def test_boosters_that_are_no_sum_of_leaves_are_asked_instead() -> None:
    from xgboost import XGBClassifier

    for booster, kind in (("gbtree", "xgboost"), ("gblinear", "any"), ("dart", "any")):
        estimator = XGBClassifier(booster=booster, n_estimators=2).fit(np.eye(4), [0, 1, 0, 1])
        assert explanation.kind_of(estimator) == kind


def test_values_that_do_not_add_up_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: Any) -> Any:
        found = explanation._trees(*arguments)
        return found._replace(values=found.values * 1.01)

    monkeypatch.setitem(explanation._VALUES, "trees", wrong)
    found = explain(_model("decision_tree"), TEST, TRAIN, 7)
    assert not found.additive
    assert "DOES NOT add up" in found.sentence()


def test_the_rows_told_are_the_surest_the_missed_and_the_false_alarm(explained: dict[str, Explanation]) -> None:
    score = _model("random_forest").score(TEST.features)
    rows = {row.kind: row for row in explained["random_forest"].local or []}
    assert rows["positive with the highest score"].score == score[TEST.target == 1].max()
    assert rows["positive with the lowest score"].score == score[TEST.target == 1].min()
    assert rows["negative with the highest score"].score == score[TEST.target == 0].max()
    first = rows["positive with the highest score"]
    assert first.contributions[0]["value"] == TEST.features[first.contributions[0]["feature"]][int(first.row_id)]


def test_twice_the_same_to_the_last_bit(explained: dict[str, Explanation]) -> None:
    again = explain(_model("nearest_neighbours"), TEST, TRAIN, 7)
    assert again.to_json() == explained["nearest_neighbours"].to_json()
    pictures = explanation_pictures(again)
    assert set(pictures) == {"shap_global.png", "shap_local.png"}
    assert pictures == explanation_pictures(explained["nearest_neighbours"])


def test_on_a_mac_with_an_intel_processor_it_says_why_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    found = explain(_model("decision_tree"), TEST, TRAIN, 7)
    assert found.sentence().startswith("no SHAP here: its compiler (numba) is not made for Macs with Intel")
    assert explanation_pictures(found) == {}


def _follow(node: trees.Node, row: Any) -> float:
    """Answer the questions of a drawn tree by a raw row."""
    while node.yes is not None and node.no is not None:
        question = node.words[0].removesuffix("?")
        if question.startswith("not kind="):
            answer = row["kind"] != question.removeprefix("not kind=")
        else:
            name, _, bound = question.partition(" ≤ ")
            answer = row[name] <= float(bound)
        node = node.yes if answer else node.no
    return node.share


def test_the_tree_of_a_decision_tree_is_itself_and_asks_in_raw_units() -> None:
    model = _model("decision_tree")
    model = model.replaced(estimator=ALGORITHMS["decision_tree"][0]({"max_depth": 3}, 7), prior=None)
    model.estimator.fit(model.transformer.transform(TRAIN.features), TRAIN.target)
    found = trees.make_tree(model, TRAIN, TEST, 7)
    assert found.fidelity is None
    score = model.score(TEST.features)
    told = [_follow(found.root, row) for _, row in TEST.features.iterrows()]
    # Questions are rounded to four digits, so that a row at a border may go the other way.
    assert np.mean(np.isclose(told, score)) > 0.99


@pytest.mark.parametrize("name", ["xgboost", "nearest_neighbours"])
def test_a_small_tree_stands_for_another_model_and_says_how_well(name: str) -> None:
    model = _model(name)
    found = trees.make_tree(model, TRAIN, TEST, 7)
    raised = [_follow(found.root, row) > 0.5 for _, row in TEST.features.iterrows()]
    same = float(np.mean(np.array(raised) == model.decide(TEST.features)))
    assert found.fidelity == pytest.approx(same, abs=0.02)
    assert f"{found.fidelity:.2%} of held-out rows" in found.title
    assert trees.tree_text(found).count("yes: ") == trees.tree_text(found).count("no: ") >= 3


def test_a_tree_is_drawn_without_the_system_program(monkeypatch: pytest.MonkeyPatch) -> None:
    found = trees.make_tree(_model("random_forest"), TRAIN, TEST, 7)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    picture = trees.tree_picture(found)
    assert picture.startswith(b"\x89PNG")
    assert picture == trees.tree_picture(found)


@pytest.mark.skipif(shutil.which("dot") is None, reason="NOT RUN: no Graphviz here: apt-get install graphviz")
def test_a_tree_is_drawn_by_graphviz_where_it_is() -> None:
    found = trees.make_tree(_model("random_forest"), TRAIN, TEST, 7)
    assert trees.tree_picture(found).startswith(b"\x89PNG")


def test_words_from_data_are_no_commands_to_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    """A label is what it says: neither an escape nor HTML of Graphviz."""
    import graphviz

    sources: list[str] = []

    def pipe(self: Any) -> bytes:
        sources.append(self.source)
        return b""

    monkeypatch.setattr(graphviz.Digraph, "pipe", pipe)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/dot")
    root = trees.Node(words=('"];evil[label="\\N<b>',), share=0.5)
    trees.tree_picture(trees.Picture(root=root, title="<i>", fidelity=None))
    assert 'label="\\"];evil[label=\\"\\\\N<b>"' in sources[0]
    assert 'label="<i>"' in sources[0]
