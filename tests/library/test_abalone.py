"""Regression through the learning stages, on abalones. Golden checks 55, 56, 59 and 64 are named by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from stepzero.adapters.datasets import manifest_of, read_frame
from stepzero.adapters.landing import land_parts
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, SpecError, StageError
from stepzero.core.stages import StageResult
from stepzero.core.verdict import Outcome
from stepzero.generators import to_libsvm
from stepzero.generators.abalone import BAD, bad, generate
from stepzero.learning.model import ScoringModel, load_model
from stepzero.learning.models import TrainingRows, make_algorithm, score_rows
from stepzero.learning.table import Table, make_table
from stepzero.learning.transform import Transformer
from stepzero.measures.regression import accuracy, mae, r2, rmse, row_accuracy
from stepzero.spec.training import Model
from support.abalone import FOLDER, REAL, AbaloneBench, abalones, prepared, real_abalones
from support.cards import as_input


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> AbaloneBench:
    models = {
        "xgboost": {"n_estimators": [5, 20]},
        "least_absolute_deviations": {},
        "stochastic_gradient_descent": {},
        "random_forest": {"n_estimators": [5, 10]},
        "nearest_neighbours": {"n_neighbors": [5, 15]},
        "decision_tree": {"max_depth": [4]},
    }
    return AbaloneBench(tmp_path_factory.mktemp("abalone"), train={"models": models}, evaluate={"bootstrap": 100})


@pytest.fixture(scope="module")
def tuned(bench: AbaloneBench) -> list[StageResult]:
    return bench.tune_all()


@pytest.fixture(scope="module")
def done(bench: AbaloneBench, tuned: list[StageResult]) -> StageResult:
    return bench.evaluate(*tuned)


def test_golden_55_real_rows_are_what_is_known_of_them() -> None:
    frame = real_abalones()
    assert len(frame) == 4177
    assert frame["Sex"].value_counts().to_dict() == {1: 1528, 2: 1307, 3: 1342}
    assert (frame["Rings"].min(), frame["Rings"].max(), frame["Rings"].mean()) == (1, 29, 9.933684462532918)
    assert list(np.flatnonzero(frame["Height"] == 0) + 1) == [1258, 3997]


def test_golden_55_sex_codes_are_those_of_the_original_letters() -> None:
    frame = real_abalones()
    original = pd.read_csv(FOLDER / "abalone.data", header=None)
    assert (frame["Sex"].map({1: "M", 2: "F", 3: "I"}) == original[0]).all(), "1 M, 2 F, 3 I"
    assert (frame.iloc[:, 2:].to_numpy() == original.iloc[:, 1:8].to_numpy()).all()


def test_golden_56_halves_land_one_by_one_and_are_the_file_again(tmp_path: Path) -> None:
    if not REAL.is_file():
        pytest.skip(f"the real abalones are not at {REAL}")
    source, store = abalones().source, Store(f"file://{tmp_path}")
    assert source is not None
    landed = land_parts(store, source, REAL)
    parts = [store.read_text(uri) for uri in landed]
    assert [len(part.splitlines()) for part in parts] == [2088, 2089]
    assert "".join(parts) == REAL.read_text()
    assert land_parts(store, source, REAL) == landed, "again: nothing new"
    assert len(store.list("landing")) == 2


def test_golden_59_accuracy_is_the_reference_examples() -> None:
    assert accuracy([10], [9]) == 90.0
    assert accuracy([1], [4]) == -200.0
    assert accuracy([10, 1], [9, 4]) == -55.0
    assert row_accuracy([3], [2]).tolist() == [66.67], "rounded for each row"


def test_golden_64_reference_parameters_reach_what_was_recomputed(tmp_path: Path) -> None:
    parts = prepared(real_abalones())
    declared = abalones().train
    assert declared is not None
    algorithm = make_algorithm("xgboost", declared.models["xgboost"], "regression")
    columns = [name for name in parts["train"].columns if not name.startswith("_") and name != "Rings"]
    train, test = (
        parts[side].assign(Sex=parts[side]["Sex"].map({"M": 1, "F": 2, "I": 3})) for side in ("train", "test")
    )
    fitted = algorithm.build(algorithm.fixed, 7).fit(train[columns].to_numpy(), train["Rings"])
    predicted = score_rows(fitted, test[columns].to_numpy())
    assert 2.0 < rmse(test["Rings"], predicted) < 2.3
    assert 84 < accuracy(test["Rings"], predicted) < 86


def test_measures_are_scikit_learns_and_take_many_draws_at_once() -> None:
    random = np.random.default_rng(3)
    truth, guess, weight = random.normal(9, 3, 200), random.normal(9, 3, 200), random.random(200)
    known = {
        rmse: reference.root_mean_squared_error,
        mae: reference.mean_absolute_error,
        r2: reference.r2_score,
    }
    for ours, theirs in known.items():
        assert ours(truth, guess, weight) == pytest.approx(theirs(truth, guess, sample_weight=weight), abs=1e-12)
        drawn = ours(truth, guess, np.stack([weight, np.ones(200)]))
        assert drawn == pytest.approx([ours(truth, guess, weight), ours(truth, guess)], abs=1e-12)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: accuracy([0, 1], [1, 1]), r"target of accuracy: got 1 rows at 0 or below\. Allowed: numbers above 0"),
        (lambda: rmse([1, 2], [1]), r"shapes of a measure's arrays"),
        (lambda: mae([1, 2], [1, float("nan")]), r"predictions of a measure: got not all finite"),
        (lambda: r2([2, 2], [1, 3]), r"target of r2: got one value only"),
    ],
)
def test_measures_refuse_what_they_cannot_say(call: object, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        call()  # type: ignore[operator]


def test_every_model_has_every_metric_within_its_interval(bench: AbaloneBench, done: StageResult) -> None:
    table = done.values["table"]
    assert [row["model"] for row in table] == list(bench.use_case.train.models)  # type: ignore[union-attr]
    for row in table:
        assert row["failed"] is None
        assert row["threshold"] is None
        for name in ("rmse", "mae", "r2", "accuracy"):
            assert row[name]["low"] <= row[name]["value"] <= row[name]["high"]


def test_figures_are_those_of_the_winner_on_rows_that_it_never_saw(bench: AbaloneBench, done: StageResult) -> None:
    winner, model = done.values["winner"], load_model(bench.store, done.outputs["model"])
    test = read_frame(bench.store, bench.prepared.output("test"))
    predicted = model.score(test)
    assert winner["metrics"]["rmse"]["value"] == reference.root_mean_squared_error(test["Rings"], predicted)
    assert winner["metrics"]["mae"]["value"] == pytest.approx(reference.mean_absolute_error(test["Rings"], predicted))
    learned = read_frame(bench.store, done.outputs["training_rows"])["_row_id"]
    assert not set(learned) & set(test["_row_id"])
    assert model.features["Sex"] == "string", "the endpoint takes letters, not codes"


def test_the_winner_has_the_smallest_out_of_fold_error(done: StageResult, tuned: list[StageResult]) -> None:
    best = min(tuned, key=lambda one: one.values["score"])
    assert done.values["winner"]["model"] == best.values["model"]
    for one in tuned:
        means = [trial["mean"] for trial in one.values["trials"]]
        assert one.values["score"] == min(means), "small is good within a search, too"


def test_promotion_reads_errors_as_at_most(bench: AbaloneBench, tuned: list[StageResult], done: StageResult) -> None:
    assert done.verdict is not None
    assert done.verdict.outcome is Outcome.PASS
    strict = AbaloneBench(
        Path(bench.store.root.removeprefix("file://")), promote={"require": {"rmse": 0.1, "r2": 0.99}}
    )
    strict.prepared = bench.prepared
    refused = strict.evaluate(*tuned).verdict
    assert refused is not None
    assert refused.outcome is Outcome.FAIL
    bounds = {reason.rule: reason.bound for reason in refused.reasons}
    assert bounds == {"require rmse": "at most 0.1", "require r2": "at least 0.99"}


def test_sentinels_watch_a_number_as_they_watch_classes(done: StageResult) -> None:
    found = {one["name"].partition(",")[0]: one for one in done.values["sentinels"]}
    assert set(found) == {"held-out counts", "row ids", "target mean", "folds", "shuffled target"}
    assert all(one["passed"] for one in found.values())


def test_sentinels_see_held_out_rows_that_were_chosen(bench: AbaloneBench, tuned: list[StageResult]) -> None:
    test = read_frame(bench.store, bench.prepared.output("test"))
    other = AbaloneBench(Path(bench.store.root.removeprefix("file://")) / "chosen", evaluate={"bootstrap": 50})
    from stepzero.adapters.datasets import write_frame

    easy = test[test["Rings"] > 9]
    outputs = {**bench.prepared.outputs, "test": write_frame(bench.store, "prepared/easy", easy, producer="prepare")}
    other.store = bench.store
    other.prepared = as_input("prepare", StageResult(outputs=outputs, values=bench.prepared.values))
    verdict = other.evaluate(*tuned[:2]).verdict
    assert verdict is not None
    assert {"sentinel held-out counts", "sentinel target mean"} <= {reason.rule for reason in verdict.reasons}


def test_pictures_and_comparison_are_of_numbers(bench: AbaloneBench, done: StageResult) -> None:
    files = manifest_of(bench.store, done.outputs["pictures"])["files"]
    assert {file["uri"].rpartition("/")[2] for file in files} == {"table.png", "predictions.png", "errors.png"}
    assert "calibration" not in done.outputs
    compared = bench.store.read_json(done.outputs["comparison"].uri)
    assert compared["positives"] is None
    assert compared["metric"] == "rmse"
    assert all(cell["low"] <= cell["difference"] <= cell["high"] for cell in compared["cells"])


def test_exploration_says_what_goes_with_rings(bench: AbaloneBench) -> None:
    found = bench.run("explore", {})
    ranks = found.values["rank_correlation"]
    assert max(ranks, key=lambda name: abs(ranks[name])) == "ShellWeight", "as in the real rows"
    told = bench.store.read_json(found.outputs["figures"].uri)
    assert told["words"]["Sex"]["I"] < told["words"]["Sex"]["F"], "infants are younger"


@pytest.mark.parametrize("name", ["random_forest", "xgboost"])
def test_a_shared_fit_predicts_as_fits_of_their_own(name: str) -> None:
    frame = generate(rows=300)
    features, target = frame.drop(columns="Rings").to_numpy(dtype=float), frame["Rings"].to_numpy()
    algorithm = make_algorithm(name, Model(), "regression")
    assert algorithm.shortcut is not None
    fitted = algorithm.build({"n_estimators": 12}, 7).fit(features, target)
    shared = algorithm.shortcut.scores(fitted, features, [3, 12])
    for rounds in (3, 12):
        own = score_rows(algorithm.build({"n_estimators": rounds}, 7).fit(features, target), features)
        assert (shared[rounds] == own).all()


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"train": {"metric": "f1"}}, r"train\.metric: got 'f1'\. Allowed: a metric for regression"),
        (
            {"train": {"models": {"logistic_regression": {}}}},
            r"train\.models\.logistic_regression.*a model for regression",
        ),
        ({"resample": ["none", "smote"]}, r"resample: got 'none, smote'.*resampling balances classes"),
        ({"promote": {"require": {"recall": 0.5}}}, r"promote\.require\.recall.*a metric for regression"),
        ({"weight": {"base_rate": 0.1}}, r"weight\.base_rate.*a column of weights"),
        ({"evaluate": {"threshold": {"maximise": "f1"}}}, r"evaluate\.threshold.*decides nothing"),
        ({"split": {"stratified": True}}, r"split\.stratified.*there are no classes"),
        ({"problem": {"kind": "classification", "positive": 9}}, r"a metric for classification"),
        ({"compare": {"tie": ["xgbost"]}}, r"compare\.tie: got 'xgbost'.*did you mean 'xgboost'"),
    ],
)
def test_what_speaks_of_classes_is_refused(sections: dict[str, object], expected: str) -> None:
    from stepzero.spec.load import validate
    from stepzero.spec.use_case import UseCase

    data = abalones().model_dump(mode="json", by_alias=True)
    for name, section in sections.items():
        data[name] = {**(data[name] or {}), **section} if isinstance(section, dict) else section
    with pytest.raises(SpecError, match=expected):
        validate(data, UseCase)


def test_a_run_may_try_fewer_models_than_the_tie_rule_names() -> None:
    from stepzero.spec.plan import Form, apply_form

    asked = apply_form(abalones(), Form(models=("random_forest", "nearest_neighbours")))
    assert asked.compare.tie == ("random_forest", "nearest_neighbours")


def test_a_target_that_is_no_number_is_refused(tmp_path: Path) -> None:
    rows = prepared(generate(rows=50))["train"].astype({"Rings": float})
    rows.loc[3, "Rings"] = float("nan")
    with pytest.raises(InputError, match=r"target Rings: got \d+ rows, 1 without a number"):
        make_table(rows, abalones().problem, None)  # type: ignore[arg-type]


def test_later_rows_are_learned_on_as_well_as_by_a_refit() -> None:
    from stepzero.learning.increments import go_on

    frame = real_abalones()
    halves = [prepared(frame.iloc[:2088]), prepared(frame.iloc[2088:])]
    test = pd.concat([half["test"] for half in halves])
    first, later = (half["train"] for half in halves)
    one = fitted("stochastic_gradient_descent", first)
    before = one.score(test)
    learned = go_on(one, as_table(later))
    refit = fitted("stochastic_gradient_descent", pd.concat([first, later]))
    errors = [rmse(test["Rings"], model.score(test)) for model in (one, learned, refit)]
    assert errors[1] != errors[0], "it did learn"
    assert abs(errors[1] - errors[2]) < 0.05 * errors[2], "and as much as a refit"
    assert (one.score(test) == before).all(), "the model that it began from stays as it was"
    assert (go_on(one, as_table(later)).score(test) == learned.score(test)).all(), "the same rows, the same model"
    with pytest.raises(StageError, match=r"learning on with QuantileRegressor: got it has no partial_fit\."):
        go_on(fitted("least_absolute_deviations", later.head(200)), as_table(first))


def as_table(rows: pd.DataFrame) -> Table:
    return make_table(rows, abalones().problem, None)  # type: ignore[arg-type]


def fitted(name: str, rows: pd.DataFrame) -> ScoringModel:
    table = as_table(rows)
    transformer = Transformer.from_spec(abalones().pipeline).fit(table.features)
    learned = TrainingRows(transformer.transform(table.features), table.target, table.weight)
    estimator = make_algorithm(name, Model(), "regression").fit({}, learned, 7)
    return ScoringModel(features=table.feature_types(), transformer=transformer, estimator=estimator)


def test_generated_abalones_are_like_the_real_ones() -> None:
    made = generate()
    assert (len(made), int((made["Height"] == 0).sum())) == (4177, 2)
    assert made["Rings"].between(1, 29).all()
    assert abs(made["Rings"].mean() - 9.93) < 0.2
    assert abs(made["Rings"].std() - 3.22) < 0.3
    real = real_abalones()
    for name in real.columns[2:]:
        assert abs(made[name].mean() / real[name].mean() - 1) < 0.12, name
        assert abs(made[name].std() / real[name].std() - 1) < 0.25, name
        assert abs(made[name].corr(made["Rings"], "spearman") - real[name].corr(real["Rings"], "spearman")) < 0.1, name
    assert abs((made["Sex"] == 3).mean() - (real["Sex"] == 3).mean()) < 0.04


@pytest.mark.parametrize("kind", BAD)
def test_bad_batches_repeat_and_differ(kind: str) -> None:
    frame = generate(rows=200)
    assert bad(kind, frame) == bad(kind, frame) != to_libsvm(frame)
