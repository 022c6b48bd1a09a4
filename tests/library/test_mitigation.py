"""Mitigation: what each method promises, what it leaves alone, and that nothing it makes worse is hidden."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepzero.adapters.datasets import read_frame
from stepzero.core.errors import InputError, SpecError, StageError
from stepzero.core.stages import StageResult
from stepzero.learning.bias import BiasReport, report_after, report_before
from stepzero.learning.bias_comparison import compare_reports, comparison_picture, comparison_text
from stepzero.learning.folds import ALL, fold_data, make_fold
from stepzero.learning.group_thresholds import GroupThresholds
from stepzero.learning.model import ScoringModel, load_model
from stepzero.learning.prior import Prior
from stepzero.learning.table import make_table
from stepzero.learning.transform import Transformer
from stepzero.measures.bias import FacetRows, measure_before
from stepzero.measures.decisions import f1
from stepzero.measures.mitigation import matching_threshold, oversampling, reweighing
from stepzero.spec.bias import Bias
from stepzero.spec.data import Pipeline, Problem
from stepzero.spec.load import validate
from stepzero.spec.training import Promote
from stepzero.spec.use_case import UseCase
from support.cards import Bench, as_input, cards, made_up_cards, prepared
from support.claims import oversampled_rows, reference_rows

FRAUDS = Problem(kind="classification", target="Class", positive=1)
FRAUD = Problem(kind="classification", target="fraud", positive=1)
BY_WOMAN = Bias.model_validate({"favourable": 0, "facets": {"woman": 1}})
CELLS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=0, max_size=60).map(
    lambda rows: np.array([*rows, (0, 0), (0, 1), (1, 0), (1, 1)], dtype=bool).T
)


def test_golden_28_smote_on_gender_betters_the_imbalance_and_worsens_the_rest_and_both_are_said() -> None:
    before, after = (report_before(rows, FRAUD, BY_WOMAN) for rows in (reference_rows(), oversampled_rows()))
    changes = {change.before.name: change for change in compare_reports(before, after)}
    assert changes["CI"].before.value == pytest.approx(0.398, abs=1e-12)
    assert changes["CI"].after.value == 0
    assert {name: change.direction for name, change in changes.items()} == {
        "CDDL": "no value",
        "CI": "nearer",
        "DPL": "further",
        "JS": "further",
        "KL": "further",
        "KS": "further",
        "LP": "further",
        "TVD": "further",
    }
    text = comparison_text(list(changes.values()), "SMOTE on gender")
    for change in changes.values():
        assert change.before.description in text
    assert text.endswith("1 of 8 metrics came nearer to no difference, 6 went further (DPL, JS, KL, KS, LP, TVD)")
    assert not re.search(r"(?i)fixed|solved|removed|unbiased|fair\b|success", text)


def test_every_metric_of_predictions_is_side_by_side_too() -> None:
    rows = oversampled_rows()
    nobody, everybody = np.zeros(len(rows), dtype=bool), np.ones(len(rows), dtype=bool)
    before, after = (report_after(rows, positive, FRAUD, BY_WOMAN) for positive in (nobody, everybody))
    changes = compare_reports(before, after)
    assert len(changes) == 13
    assert comparison_picture(changes, "x")[:4] == b"\x89PNG"
    assert BiasReport.from_values(after.to_values()).to_values() == after.to_values()


@settings(max_examples=40)
@given(CELLS)
def test_reweighing_makes_label_and_group_independent(cells: Any) -> None:
    favourable, disfavoured = cells
    weight = reweighing(favourable, disfavoured)
    rows = FacetRows(disfavoured=disfavoured, favourable=favourable, weight=weight)
    found = {metric.name: metric.value for metric in measure_before(rows)}
    for name in ("DPL", "KL", "JS", "LP", "TVD", "KS"):
        assert found[name] == pytest.approx(0, abs=1e-7), name
    assert weight.mean() == pytest.approx(1)
    assert weight[disfavoured].sum() == pytest.approx(disfavoured.sum()), "groups are as large as before"
    assert weight[favourable].sum() == pytest.approx(favourable.sum()), "and labels as frequent"


def test_reweighing_says_whom_it_cannot_weigh() -> None:
    with pytest.raises(InputError, match="rows of the disfavoured group with the unfavourable label: got none"):
        reweighing(np.array([True, True, False]), np.array([True, False, False]))


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 5))
def test_oversampling_repeats_the_smaller_group_until_both_are_equal(one: int, other: int, seed: int) -> None:
    disfavoured = np.r_[np.ones(one), np.zeros(other)].astype(bool)
    copies = oversampling(disfavoured, seed)
    assert copies[disfavoured].sum() == copies[~disfavoured].sum() == max(one, other)
    assert copies.min() >= 1, "no row is lost"
    small = copies[disfavoured == (one <= other)]
    assert small.max() - small.min() <= 1
    assert (oversampling(disfavoured, seed) == copies).all()
    with pytest.raises(InputError, match="rows of the favoured group: got none"):
        oversampling(np.ones(3, dtype=bool), seed)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.floats(0, 1))
def test_the_matching_threshold_is_the_nearest_of_all(scores: list[int], share: float) -> None:
    found = matching_threshold(scores, share)
    score = np.array(scores)
    best = min(abs((score >= line).mean() - share) for line in np.arange(-0.5, 22, 0.5))
    assert abs((score >= found).mean() - share) == pytest.approx(best, abs=1e-12)
    with pytest.raises(InputError, match="scores of a group: got none"):
        matching_threshold([], 0.5)


MODELS = {"logistic_regression": {"grid": {"C": [1.0]}, "sample_weight": True}}


def bias_section(**mitigation: Any) -> dict[str, Any]:
    return {"favourable": 0, "facets": {"Amount": {"above": 100}}, "mitigate": {"facet": "Amount", **mitigation}}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    train = {"models": MODELS, "folds": 3}
    section = bias_section(method="reweighing")
    folder = tmp_path_factory.mktemp("mitigation")
    return Bench(folder, made_up_cards(700, 60), bias=section, train=train, evaluate={"bootstrap": 50}, weight=None)


@pytest.fixture(scope="module")
def trained(bench: Bench) -> tuple[StageResult, StageResult]:
    """Tuned on undersampled rows and evaluated: the winner's probabilities are corrected."""
    tuned = bench.tune("random_under", "logistic_regression")
    return tuned, bench.evaluate(tuned)


def with_method(bench: Bench, **mitigation: Any) -> None:
    bench.use_case = bench.use_case.model_copy(update={"bias": Bias.model_validate(bias_section(**mitigation))})


class Reweighed(NamedTuple):
    """What was learned from plain rows, and from the same rows reweighed."""

    plain: StageResult
    mitigated: StageResult
    tuned: StageResult
    evaluated: StageResult


@pytest.fixture(scope="module")
def reweighed(bench: Bench) -> Reweighed:
    with_method(bench, method="reweighing")
    plain, mitigated = bench.tune("none", "logistic_regression"), bench.run("mitigate", {})
    bench.prepared, kept = as_input("mitigate", mitigated), bench.prepared
    try:
        tuned = bench.tune("none", "logistic_regression")
        return Reweighed(plain, mitigated, tuned, bench.evaluate(tuned))
    finally:
        bench.prepared = kept


def test_reweighed_rows_take_the_place_of_prepared_ones_and_change_the_fit_alone(
    bench: Bench, reweighed: Reweighed
) -> None:
    with_method(bench, method="reweighing")
    plain, mitigated, tuned, done = reweighed
    before, after = (read_frame(bench.store, one.outputs["train"]) for one in (bench.prepared, mitigated))
    pd.testing.assert_frame_equal(after.drop(columns="_fit_weight"), before)
    assert mitigated.outputs["test"] == bench.prepared.outputs["test"]
    changes = {change["metric"]: change for change in mitigated.values["mitigation"]["changes"]}
    assert changes["DPL"]["after"] == pytest.approx(0, abs=1e-12)
    assert changes["DPL"]["direction"] == "nearer"
    assert changes["CI"]["direction"] == "same"
    bench.prepared, kept = as_input("mitigate", mitigated), bench.prepared
    try:
        one, other = (read_frame(bench.store, done.outputs["out_of_fold"]) for done in (plain, tuned))
        assert (one["_row_id"] == other["_row_id"]).all()
        assert not np.allclose(one["score"], other["score"]), "fits are weighed"
        assert all(finding["passed"] for finding in done.values["sentinels"]), done.values["sentinels"]
        measured = bench.run("bias", {})
        assert measured.values["facets"][0]["metrics"]["DPL"] == pytest.approx(0, abs=1e-12)
        evaluated = as_input("evaluate", done)
        first = bench.run("bias", {"evaluated": evaluated})
        second = bench.run("bias", {"evaluated": evaluated, "compared": as_input("bias", first)})
        text = bench.store.read_text(second.outputs["comparison.txt"].uri)
        assert "0 of 13 metrics came nearer to no difference, 0 went further" in text
        with pytest.raises(StageError, match="got one before training, one after training"):
            bench.run("bias", {"evaluated": evaluated, "compared": as_input("bias", measured)})
    finally:
        bench.prepared = kept


def test_repeated_rows_are_in_fits_only_and_never_in_validation(bench: Bench) -> None:
    with_method(bench, method="oversampling")
    mitigated = bench.run("mitigate", {})
    frame = read_frame(bench.store, mitigated.outputs["train"])
    high = (frame["Amount"] > 100).to_numpy()
    assert frame.loc[high, "_copies"].sum() == frame.loc[~high, "_copies"].sum()
    changes = {change["metric"]: change for change in mitigated.values["mitigation"]["changes"]}
    assert changes["CI"]["after"] == 0
    table = make_table(frame, bench.use_case.problem, None)  # type: ignore[arg-type]
    for name in ("0", ALL):
        fold = make_fold(name, table, Pipeline(), "none", 7)
        rows, counts = np.unique(fold.resampled.source, return_counts=True)
        assert (counts == table.copies[rows]).all()  # type: ignore[index]
        data = fold_data(fold, table)
        assert len(data.positions) == len(np.unique(data.positions)), "each validation row once"
        assert not set(rows) & set(data.positions)
        assert len(data.rows.target) == counts.sum()


@pytest.mark.parametrize("equalise", ["acceptance", "recall"])
def test_thresholds_of_groups_are_chosen_out_of_fold_and_measured_on_untouched_rows(
    bench: Bench, trained: tuple[StageResult, StageResult], equalise: str
) -> None:
    with_method(bench, method="thresholds", equalise=equalise)
    tuned, evaluated = trained
    inputs = {"evaluated": as_input("evaluate", evaluated), "tuned": [as_input("tune", tuned)]}
    found = bench.run("mitigate_decisions", inputs)
    told, chosen = found.values["mitigation"], found.values["winner"]["groups"]
    line = evaluated.values["winner"]["threshold"]
    train = read_frame(bench.store, bench.prepared.outputs["train"])
    prior = Prior(**evaluated.values["winner"]["prior"])
    assert prior.trained_share > 2 * prior.true_share
    score = prior.correct(read_frame(bench.store, tuned.outputs["out_of_fold"])["score"].to_numpy())
    counted = (train["Class"] == 0).to_numpy() if equalise == "recall" else np.ones(len(train), dtype=bool)
    high = (train["Amount"] > 100).to_numpy()
    wanted = (score[counted] >= line).mean()
    for name, group in (("disfavoured", high), ("favoured", ~high)):
        rows = group & counted
        assert abs((score[rows] >= chosen[name]).mean() - wanted) <= 0.5 / rows.sum() + 1e-12
        assert {"who": f"Amount {name}", "before": line, "after": chosen[name]} in told["thresholds"]
    assert len(told["changes"]) == 13
    assert {one["metric"] for one in told["figures"]} >= {"f1", "precision", "recall", "roc_auc", "average_precision"}
    with pytest.raises(StageError, match=r"tuned cells to choose thresholds from: got none\. Allowed: the winner's"):
        bench.run("mitigate_decisions", {**inputs, "tuned": []})


def test_thresholds_of_groups_are_part_of_the_model_and_of_all_that_is_said_of_its_decisions(
    bench: Bench, trained: tuple[StageResult, StageResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_method(bench, method="thresholds")
    tuned, evaluated = trained
    planted = GroupThresholds(column="Amount", kind="double", above=100, disfavoured=0.0, favoured=2.0)
    monkeypatch.setattr("stepzero.stages.mitigate_decisions.choose_group_thresholds", lambda *_: planted)
    found = bench.run(
        "mitigate_decisions", {"evaluated": as_input("evaluate", evaluated), "tuned": [as_input("tune", tuned)]}
    )
    test = read_frame(bench.store, bench.prepared.outputs["test"])
    plain, model = (load_model(bench.store, one.outputs["model"]) for one in (evaluated, found))
    assert plain.groups is None
    assert model.groups == planted
    assert (model.score(test) == plain.score(test)).all(), "scores are those of the model that was evaluated"
    decided = (test["Amount"] > 100).to_numpy()
    assert (model.decide(test) == decided).all()
    assert (plain.decide(test) != decided).any()
    target = (test["Class"] == 1).to_numpy().astype(int)
    assert found.values["winner"]["metrics"]["f1"]["value"] == pytest.approx(f1(target, decided))
    measured = bench.run("bias", {"evaluated": as_input("mitigate_decisions", found)})
    assert measured.values == report_after(test, decided, FRAUDS, bench.use_case.bias).to_values()  # type: ignore[arg-type]
    bench.use_case, kept = bench.use_case.model_copy(update={"promote": Promote(require={"f1": 0.5})}), bench.use_case
    judged = bench.run(
        "mitigate_decisions", {"evaluated": as_input("evaluate", evaluated), "tuned": [as_input("tune", tuned)]}
    )
    bench.use_case = kept
    assert judged.verdict is not None
    assert "require f1" in judged.verdict.sentence(), "the gates judge the decisions that are made"


def test_a_facet_that_models_do_without_is_asked_for_where_groups_have_thresholds() -> None:
    groups = GroupThresholds(column="woman", kind="int", values=(1,), disfavoured=0.2, favoured=0.4)
    model = ScoringModel(features={"x": "double"}, transformer=Transformer(), estimator=None, groups=groups)
    assert model.asked == {"x": "double", "woman": "int"}
    aside = pd.DataFrame({"x": [0.0, 1.0], "_woman": [1, 0]})
    assert list(model.asked_of(aside).columns) == ["x", "woman"]
    assert list(groups.lines(aside)) == list(groups.lines(model.asked_of(aside))) == [0.2, 0.4]
    assert list(groups.lines_of(np.array([1.0, 0.0, np.nan]))) == [0.2, 0.4, 0.4], "no value: one of the others"
    assert GroupThresholds.from_json(groups.to_json()) == groups
    with pytest.raises(InputError, match=r"got no woman\. Allowed: the column woman, which says to which group"):
        groups.lines(aside[["x"]])


def test_what_mitigated_rows_did_to_decisions_is_told_beside_the_same_model_without(
    bench: Bench, reweighed: Reweighed
) -> None:
    """The model that is compared with is the one that plain rows give: nothing of the weights is left in it."""
    with_method(bench, method="reweighing")
    _, mitigated, tuned, evaluated = reweighed
    plain = bench.evaluate(reweighed.plain)
    bench.prepared, kept = as_input("mitigate", mitigated), bench.prepared
    try:
        found = bench.run(
            "mitigate_decisions", {"evaluated": as_input("evaluate", evaluated), "tuned": [as_input("tune", tuned)]}
        )
    finally:
        bench.prepared = kept
    told = found.values["mitigation"]
    (line,) = told["thresholds"]
    assert line["before"] == pytest.approx(plain.values["winner"]["threshold"], rel=1e-9)
    assert line["after"] == evaluated.values["winner"]["threshold"]
    figures = {one["metric"]: one for one in told["figures"]}
    for name, before in plain.values["winner"]["metrics"].items():
        assert figures[name]["before"] == pytest.approx(before), name
        assert figures[name]["after"] == evaluated.values["winner"]["metrics"][name]
    assert found.outputs["model"] == evaluated.outputs["model"]
    assert found.verdict == evaluated.verdict
    text = bench.store.read_text(found.outputs["mitigation_text"].uri)
    assert all(change["metric"] in text for change in told["changes"])


def test_reweighing_needs_models_that_take_weights(tmp_path: Path) -> None:
    data = cards().model_dump(mode="json", by_alias=True) | {"bias": bias_section(method="reweighing")}
    with pytest.raises(SpecError, match=r"train\.models\.decision_tree.*sample_weight: true for every model where"):
        validate(data, UseCase)
    plain = Bench(tmp_path)
    with pytest.raises(SpecError, match=r"credit_card_fraud: bias\.mitigate: got none\. Allowed: a method and a facet"):
        plain.run("mitigate", {})


def test_prepared_rows_without_mitigation_are_as_before() -> None:
    train, _ = prepared(made_up_cards(200, 20))
    problem = Problem(kind="classification", target="Class", positive=1)
    table = make_table(train, problem, None)
    assert table.fit_weight is None
    assert table.copies is None
    assert table.weight_in_fits is table.weight
