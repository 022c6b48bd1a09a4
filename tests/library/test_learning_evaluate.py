"""Evaluation: untouched rows judge, out-of-fold rows choose."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from stepzero.adapters.datasets import read_frame
from stepzero.core.errors import InputError, StageError
from stepzero.core.stages import StageResult
from stepzero.core.verdict import Outcome
from stepzero.learning.model import load_model
from stepzero.measures.weights import base_rate_weights
from stepzero.spec.use_case import UseCase
from support.cards import FOLDS, Bench, as_input, card_table, made_up_cards

MODELS = {"decision_tree": {"max_depth": [3]}, "logistic_regression": {"C": [1.0]}, "xgboost": {"n_estimators": [20]}}

PICTURES = ("table", "precision_recall", "roc", "confusion", "threshold", "calibration", "cost")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    train = {"folds": FOLDS, "metric": "average_precision", "seed": 7, "models": MODELS}
    return Bench(tmp_path_factory.mktemp("evaluate"), train=train, evaluate={"bootstrap": 100, "explain": []})


@pytest.fixture(scope="module")
def tuned(bench: Bench) -> list[StageResult]:
    cells = []
    for sampler in ("none", "random_under"):
        resampled = bench.resample(sampler)
        cells += [bench.tune(sampler, model, resampled) for model in MODELS]
    return [*cells, bench.tune("support.theirs.BrokenSampler", "xgboost")]


@pytest.fixture(scope="module")
def done(bench: Bench, tuned: list[StageResult]) -> StageResult:
    return bench.evaluate(*tuned)


def test_every_cell_has_every_metric_within_its_interval(done: StageResult) -> None:
    rows = [row for row in done.values["table"] if not row["failed"]]
    assert len(rows) == 6
    for row in rows:
        for name in ("f1", "precision", "recall", "roc_auc", "average_precision"):
            assert 0 <= row[name]["low"] <= row[name]["value"] <= row[name]["high"] <= 1
    broken = done.values["table"][-1]
    assert (broken["sampler"], broken["model"]) == ("support.theirs.BrokenSampler", "xgboost")
    assert "out of luck" in broken["failed"]


def test_metrics_are_those_of_scikit_learn_at_the_base_rate(bench: Bench, done: StageResult) -> None:
    winner = done.values["winner"]
    model = load_model(bench.store, done.outputs["model"])
    test = read_frame(bench.store, bench.prepared.outputs["test"])
    score, weight = model.score(test), base_rate_weights(test["Class"], 0.001727)
    assert model.threshold == winner["threshold"]
    expected = {
        "average_precision": reference.average_precision_score(test["Class"], score, sample_weight=weight),
        "roc_auc": reference.roc_auc_score(test["Class"], score, sample_weight=weight),
        "f1": reference.f1_score(test["Class"], score >= model.threshold, sample_weight=weight),
        "precision": reference.precision_score(test["Class"], score >= model.threshold, sample_weight=weight),
        "recall": reference.recall_score(test["Class"], score >= model.threshold, sample_weight=weight),
    }
    assert {name: value["value"] for name, value in winner["metrics"].items()} == pytest.approx(expected)
    scored = read_frame(bench.store, done.outputs["test_scores"])
    assert scored["_row_id"].tolist() == test["_row_id"].tolist()
    assert (scored["score"].to_numpy() == score).all()


def test_the_winner_has_the_best_out_of_fold_score(done: StageResult, tuned: list[StageResult]) -> None:
    best = max((one for one in tuned if not one.values.get("failed")), key=lambda one: one.values["score"])
    winner = done.values["winner"]
    assert (winner["sampler"], winner["model"]) == (best.values["sampler"], best.values["model"])
    assert winner["out_of_fold_score"] == best.values["score"]


def test_held_out_rows_choose_neither_winner_nor_threshold(
    bench: Bench, tuned: list[StageResult], done: StageResult
) -> None:
    """With the labels of the held-out rows turned around, winner and threshold stay as they are."""
    other = Bench(Path(bench.store.path("other")), train={"folds": FOLDS, "models": MODELS})
    other.store, other.use_case = bench.store, bench.use_case
    test = read_frame(bench.store, bench.prepared.outputs["test"])
    test["Class"] = np.roll(test["Class"], 1)
    from stepzero.adapters.datasets import write_frame

    outputs = {**bench.prepared.outputs, "test": write_frame(bench.store, "rolled", test, producer="prepare")}
    other.prepared = as_input("prepare", StageResult(outputs=outputs, values=bench.prepared.values))
    before, after = done.values["winner"], other.evaluate(*tuned).values["winner"]
    for name in ("sampler", "model", "threshold", "parameters"):
        assert before[name] == after[name]
    assert after["metrics"]["average_precision"]["value"] < before["metrics"]["average_precision"]["value"] / 2


def test_sentinels_watch_every_sampler_and_pass(done: StageResult) -> None:
    names = [finding["name"] for finding in done.values["sentinels"]]
    assert names == [
        "held-out counts",
        "row ids",
        "prevalence",
        "folds, none",
        "shuffled labels, none",
        "folds, random_under",
        "shuffled labels, random_under",
    ]
    assert all(finding["passed"] for finding in done.values["sentinels"])
    told = {finding["name"]: finding["observed"] for finding in done.values["sentinels"]}
    assert told["folds, none"] == "4 of 4 folds made again, each the same to the last bit"
    assert done.verdict is not None
    assert done.verdict.outcome is Outcome.PASS


def test_held_out_rows_that_no_class_counts_are_compared_with_what_was_written(
    bench: Bench, tuned: list[StageResult]
) -> None:
    written = bench.prepared.outputs["test"]
    assert written.rows is not None
    outputs = {**bench.prepared.outputs, "test": replace(written, rows=written.rows + 1)}
    prepared = as_input("prepare", StageResult(outputs=outputs))
    done = bench.run("evaluate", {"prepared": prepared, "tuned": [as_input("tune", tuned[0])]})
    told = {"observed": str({"rows": written.rows}), "bound": str({"rows": written.rows + 1})}
    assert done.values["sentinels"][0] == {"name": "held-out counts", "passed": False, **told}
    assert done.verdict is not None
    assert done.verdict.outcome is Outcome.FAIL


def test_twice_the_same(bench: Bench, tuned: list[StageResult], done: StageResult) -> None:
    again = bench.evaluate(*tuned)
    assert again.values == done.values
    assert {name: one.digest for name, one in again.outputs.items()} == {
        name: one.digest for name, one in done.outputs.items()
    }


def test_pictures_and_table_are_shown_in_the_run(bench: Bench, done: StageResult) -> None:
    (record,) = done.records
    assert record.scope == "run"
    folder = done.outputs["table"].uri.rpartition("/")[0]
    assert set(record.files) == {
        *(f"evaluation/{name}.png" for name in PICTURES),
        *(f"evaluation/{name}.json" for name in ("table", "comparison", "calibration")),
        "evaluation/table.txt",
    }
    for path in record.files.values():
        with bench.store.open(f"{folder}/{path}") as stream:
            data = stream.read()
        assert data.startswith(b"\x89PNG") == path.endswith(".png")
    text = bench.store.read_text(f"{folder}/table.txt")
    winner = done.values["winner"]
    assert done.values["choice"]["sentence"] in text
    assert done.values["comparison"] in text
    marked = [line for line in text.splitlines() if line.startswith(">")]
    assert len(marked) == 1
    assert marked[0].split()[1:3] == [winner["sampler"], winner["model"]]


def _asked(bench: Bench, **evaluate: Any) -> Bench:
    """Return a bench on the same store that asks evaluate for something else."""
    other = copy.copy(bench)
    data = bench.use_case.model_dump(mode="json", by_alias=True)
    other.use_case = UseCase.model_validate({**data, "evaluate": {"bootstrap": 50, **evaluate}})
    return other


def test_probabilities_are_brought_back_to_the_true_share_in_the_stored_model(
    bench: Bench, tuned: list[StageResult], done: StageResult
) -> None:
    """What resampled rows taught is corrected in the model that is served, and its threshold is one of those."""
    cell = next(one for one in tuned if one.values["sampler"] == "random_under" and one.values["model"] == "xgboost")
    found = bench.evaluate(cell)
    model, learned = load_model(bench.store, found.outputs["model"]), load_model(bench.store, cell.outputs["model"])
    test = read_frame(bench.store, bench.prepared.outputs["test"])
    assert model.prior is not None
    assert model.prior.trained_share == pytest.approx(0.5)
    assert model.prior.true_share == pytest.approx(0.001727)
    assert model.score(test) == pytest.approx(model.prior.correct(learned.score(test)))
    weight = base_rate_weights(test["Class"], 0.001727)
    before, after = (
        reference.brier_score_loss(test["Class"], one.score(test), sample_weight=weight) for one in (learned, model)
    )
    told = found.values["winner"]["also"]
    assert told["brier_before_correction"]["value"] == pytest.approx(before)
    assert told["brier"]["value"] == pytest.approx(after)
    assert after < before / 3
    row = next(row for row in done.values["table"] if (row["sampler"], row["model"]) == ("random_under", "xgboost"))
    assert row["threshold"] == found.values["winner"]["threshold"] == model.threshold
    out_of_fold = read_frame(bench.store, cell.outputs["out_of_fold"])
    raised = out_of_fold["score"].to_numpy()[model.prior.correct(out_of_fold["score"].to_numpy()) >= model.threshold]
    left_as_is = _asked(bench, prior_correction=False).evaluate(cell)
    assert raised.min() >= left_as_is.values["winner"]["threshold"] > raised.min() - 0.1
    assert load_model(bench.store, left_as_is.outputs["model"]).prior is None
    for name in ("average_precision", "roc_auc", "f1", "recall"):
        kept = left_as_is.values["winner"]["metrics"][name]["value"]
        assert found.values["winner"]["metrics"][name]["value"] == pytest.approx(kept)


def test_a_threshold_by_cost_is_the_cheapest_out_of_fold_and_told_in_money(
    bench: Bench, tuned: list[StageResult]
) -> None:
    """A missed fraud costs its amount, an alarm costs five."""
    priced = {"minimise": "cost", "false_negative": "Amount", "false_positive": 5}
    found = _asked(bench, threshold=priced).evaluate(tuned[2])
    model = load_model(bench.store, found.outputs["model"])
    train, test = (read_frame(bench.store, bench.prepared.outputs[side]) for side in ("train", "test"))
    assert model.prior is not None
    out_of_fold = model.prior.correct(read_frame(bench.store, tuned[2].outputs["out_of_fold"])["score"].to_numpy())

    def cost(frame: Any, raised: Any) -> float:
        weight = base_rate_weights(frame["Class"], 0.001727)
        price = np.where(raised, (frame["Class"] == 0) * 5.0, (frame["Class"] == 1) * frame["Amount"])
        return float((weight * price).sum() / weight.sum())

    assert model.threshold is not None
    chosen = cost(train, out_of_fold >= model.threshold)
    assert chosen == pytest.approx(min(cost(train, out_of_fold >= line) for line in [*out_of_fold, np.inf]))
    told = found.values["winner"]["also"]["cost"]
    assert told["value"] == pytest.approx(cost(test, model.decide(test)))
    (record,) = found.records
    assert record.metrics["cost"] == told["value"]
    assert "evaluation/cost.png" in record.files
    wrong = _asked(bench, threshold={**priced, "false_negative": "Amuont"})
    with pytest.raises(
        InputError, match=r"evaluate\.threshold\.false_negative: got 'Amuont'\. Allowed: a number, or one"
    ):
        wrong.evaluate(tuned[2])


def test_explanations_are_written_where_they_are_asked_for(
    bench: Bench, tuned: list[StageResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _asked(bench, explain=["tree", "shap"]).evaluate(tuned[2])
    (record,) = found.records
    assert {f"evaluation/{name}.png" for name in ("tree", "shap_global", "shap_local")} < set(record.files)
    told = bench.store.read_json(found.outputs["explanation"].uri)
    assert told["shap"]["additive"]
    assert len(told["shap"]["features"]) == 30
    assert "% of held-out rows" in told["tree"]["title"]

    def broken(*_: Any) -> Any:
        raise TypeError("this model is too strange")

    monkeypatch.setattr("stepzero.learning.explanation.explain", broken)
    without = _asked(bench, explain=["shap"]).evaluate(tuned[2])
    told = bench.store.read_json(without.outputs["explanation"].uri)
    assert told["shap"]["unavailable"] == "SHAP failed on xgboost: TypeError: this model is too strange"


def test_weights_of_classes_and_rows_shift_the_shares_as_resampling_does(bench: Bench) -> None:
    from sklearn.linear_model import LogisticRegression
    from xgboost import XGBClassifier

    from stepzero.learning.evaluation import make_prior
    from stepzero.learning.folds import ALL, make_fold

    train = card_table()
    share = float(train.target.mean())
    everything = make_fold(ALL, train, bench.use_case.pipeline, "none", 7)

    def trained(estimator: Any, *, sample_weight: bool = False) -> float:
        return make_prior(everything, train, estimator, sample_weight=sample_weight).trained_share

    assert trained(LogisticRegression()) == pytest.approx(share)
    assert trained(LogisticRegression(class_weight="balanced")) == pytest.approx(0.5)
    assert trained(LogisticRegression(class_weight={0: 1, 1: 3})) == pytest.approx(3 * share / (1 + 2 * share))
    assert trained(XGBClassifier(scale_pos_weight=3)) == pytest.approx(3 * share / (1 + 2 * share))
    assert trained(LogisticRegression(), sample_weight=True) == pytest.approx(0.001727)
    made = make_fold(ALL, train, bench.use_case.pipeline, "smote", 7)
    assert make_prior(made, train, LogisticRegression(), sample_weight=False).trained_share == pytest.approx(0.5)


def test_training_rows_are_told(bench: Bench, done: StageResult) -> None:
    rows = read_frame(bench.store, done.outputs["training_rows"])
    assert rows["_row_id"].tolist() == read_frame(bench.store, bench.prepared.outputs["train"])["_row_id"].tolist()


def test_a_required_metric_that_is_missed_fails_the_gate(bench: Bench, tuned: list[StageResult]) -> None:
    strict = bench.use_case.model_copy(
        update={"promote": bench.use_case.promote.model_copy(update={"require": {"f1": 0.999, "recall": 0.0}})}
    )
    loose, bench.use_case = bench.use_case, strict
    try:
        verdict = bench.evaluate(tuned[2]).verdict
    finally:
        bench.use_case = loose
    assert verdict is not None
    assert verdict.outcome is Outcome.FAIL
    assert [reason.rule for reason in verdict.reasons] == ["require f1"]
    assert verdict.reasons[0].bound == "at least 0.999"


def test_a_model_that_knows_one_class_only_fails_the_gate(bench: Bench, tuned: list[StageResult]) -> None:
    from stepzero.learning.evaluation import Cell, judge_promotion
    from stepzero.learning.table import make_table
    from stepzero.measures.uncertainty import Interval

    frame = read_frame(bench.store, bench.prepared.outputs["test"])
    assert bench.use_case.problem is not None
    test = make_table(frame, bench.use_case.problem, None)
    known: dict[str, Any] = {name: Interval(value=0.9, low=0.8, high=1) for name in ("average_precision", "f1")}
    cell = Cell(
        sampler="none",
        model="m",
        parameters={},
        score=0.9,
        threshold=0.5,
        metrics=known,
        test_score=np.zeros(len(frame)),
        out_of_fold=frame,
        reference=tuned[0].outputs["model"],
    )
    verdict = judge_promotion(cell, test, bench.use_case.promote, [])
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reasons[0].observed == f"0 of {len(frame)} held-out rows accepted"


def test_no_living_cell_is_an_error_with_all_reasons(bench: Bench, tuned: list[StageResult]) -> None:
    with pytest.raises(StageError, match=r"got none of 1 lived: sampler .* failed: .*out of luck.*Do: see the logs"):
        bench.evaluate(tuned[-1])


def test_explore_looks_at_training_rows_only(tmp_path: Path) -> None:
    bench = Bench(tmp_path, made_up_cards()[["Time", "V1", "V4", "V14", "Amount", "Class"]])
    found = bench.run("explore", {})
    train = read_frame(bench.store, bench.prepared.outputs["train"])
    assert found.values["positives"] == train["Class"].sum()
    assert found.values["negatives"] == (train["Class"] == 0).sum()
    (record,) = found.records
    folder = found.outputs["figures"].uri.rpartition("/")[0]
    figures = bench.store.read_json(f"{folder}/features.json")["features"]
    assert figures["V14"]["correlation"] == pytest.approx(train["V14"].corr(train["Class"]))
    area = reference.roc_auc_score(train["Class"], train["V14"])
    assert figures["V14"]["separation"] == pytest.approx(max(area, 1 - area))
    assert next(iter(found.values["best_separation"])) in {"V14", "V4"}
    pictures = [path for path in record.files.values() if path.endswith(".png")]
    assert len(pictures) == 6
    for path in pictures:
        with bench.store.open(f"{folder}/{path}") as stream:
            assert stream.read(4) == b"\x89PNG"
    assert found.outputs["pictures"].digest == bench.run("explore", {}).outputs["pictures"].digest
