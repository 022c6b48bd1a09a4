"""The search: the same winner and scores as GridSearchCV, the same bytes twice, failures that sink nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline as Steps
from sklearn.model_selection import GridSearchCV

from stepzero.adapters.datasets import read_frame
from stepzero.core.stages import StageResult
from stepzero.learning.metrics import make_metric
from stepzero.learning.model import load_model
from stepzero.learning.models import make_algorithm
from stepzero.learning.prior import Prior
from stepzero.learning.search import choose_best
from stepzero.learning.transform import Transformer
from stepzero.learning.trial import Trial
from stepzero.measures.decisions import f1
from stepzero.spec.training import Model
from support.cards import FOLDS, Bench, card_table, tuned_digests

SMALL: dict[str, Any] = {
    "decision_tree": {"max_depth": [2, 4], "criterion": ["gini", "entropy"]},
    "random_forest": {"n_estimators": [3, 9, 6], "max_depth": [4]},
    "extra_trees": {"n_estimators": [3, 9], "max_depth": [4, 6]},
    "logistic_regression": {"C": [0.1, 1.0]},
    "nearest_neighbours": {"n_neighbors": [5, 1, 3]},
    "xgboost": {"n_estimators": [5, 15], "max_depth": [2, 3]},
}


def _bench(folder: Path, models: dict[str, Any] | None = None, **train: Any) -> Bench:
    section = {"folds": FOLDS, "metric": "average_precision", "seed": 7, "models": models or SMALL, **train}
    return Bench(folder, train=section)


@pytest.mark.parametrize("sampler", ["none", "smote"])
@pytest.mark.parametrize("name", list(SMALL))
def test_same_winner_and_scores_as_grid_search_over_an_imblearn_pipeline(
    tmp_path: Path, sampler: str, name: str
) -> None:
    bench = _bench(tmp_path / "store")
    bench.use_case = bench.use_case.model_copy(update={"weight": None})
    done = bench.tune(sampler, name)
    table = card_table(weight=None)
    assert table.fold is not None
    folds = [(np.flatnonzero(table.fold != number), np.flatnonzero(table.fold == number)) for number in table.folds]
    steps = Steps(
        [
            ("transform", Transformer.from_spec(bench.use_case.pipeline)),
            ("sampler", SMOTE(random_state=7) if sampler == "smote" else "passthrough"),
            ("model", make_algorithm(name, Model(grid={})).build({}, 7)),
        ]
    )
    grid = {f"model__{parameter}": values for parameter, values in SMALL[name].items()}
    theirs = GridSearchCV(steps, grid, scoring="average_precision", cv=folds, error_score="raise")
    theirs.fit(table.features, table.target)
    assert {f"model__{key}": value for key, value in done.values["parameters"].items()} == theirs.best_params_
    assert done.values["score"] == pytest.approx(theirs.best_score_, abs=1e-12)
    ours = [trial["fold_scores"] for trial in done.values["trials"]]
    expected = [[theirs.cv_results_[f"split{fold}_test_score"][i] for fold in table.folds] for i in range(len(ours))]
    assert np.allclose(ours, expected, atol=1e-12, rtol=0)
    test = read_frame(bench.store, bench.prepared.outputs["test"])
    model = load_model(bench.store, done.outputs["model"])
    difference = np.abs(model.score(test) - theirs.predict_proba(test[list(table.features)])[:, 1]).max()
    assert difference <= (1e-12 if name == "logistic_regression" else 0)  # sums in the order of a matrix library


@pytest.mark.parametrize("name", list(SMALL))
def test_twice_the_same_bytes(tmp_path: Path, name: str) -> None:
    bench = _bench(tmp_path)
    resampled = bench.resample("smote")
    first, second = bench.tune("smote", name, resampled), bench.tune("smote", name, resampled)
    assert {key: output.digest for key, output in first.outputs.items()} == {
        key: output.digest for key, output in second.outputs.items()
    }
    assert first.values == second.values
    assert [record.key for record in first.records] == [record.key for record in second.records]


def test_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """This process and one whose dictionaries and sets are hashed otherwise."""
    here, there = tuned_digests(tmp_path / "here"), _digests_in_a_process(tmp_path / "there")
    assert here == there
    assert len(here) == 8


def _digests_in_a_process(folder: Path) -> Any:
    tests, seed = str(Path(__file__).resolve().parents[1]), "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    code = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.cards import tuned_digests
print(json.dumps(tuned_digests(Path({str(folder)!r}))))
"""
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_out_of_fold_scores_are_of_unresampled_rows_each_once(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    done = bench.tune("smote", "logistic_regression")
    scored = read_frame(bench.store, done.outputs["out_of_fold"])
    train = read_frame(bench.store, bench.prepared.outputs["train"])
    assert scored["_row_id"].tolist() == train["_row_id"].tolist()
    assert scored["fold"].tolist() == train["_fold"].tolist()
    assert scored["target"].tolist() == train["Class"].tolist()
    assert scored["score"].between(0, 1).all()


def test_trials_share_fits_and_say_whose(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="stepzero")
    done = _bench(tmp_path).tune("none", "xgboost")
    owners = {record.name: record for record in done.records if "shares_fit_of" not in record.tags}
    assert sorted(owners) == [
        "none xgboost max_depth=2 n_estimators=15",
        "none xgboost max_depth=3 n_estimators=15",
    ]
    shared = [record for record in done.records if "shares_fit_of" in record.tags]
    assert {record.tags["shares_fit_of"] for record in shared} == {record.key for record in owners.values()}
    assert all(record.metrics["seconds"] == 0 for record in shared)
    assert all(record.metrics["seconds"] > 0 for record in owners.values())
    assert {record.scope for record in done.records} == {"trial"}
    assert len({record.key for record in done.records}) == 4
    lines = [record.message for record in caplog.records if "none × xgboost" in record.message]
    assert len(lines) == 2 * FOLDS
    assert lines[-1].startswith("progress 6/6 none × xgboost, fold 2, fit 2 of 2: max_depth=3, n_estimators=15: 0.")
    assert "2 candidates from this fit" in lines[-1]


def test_first_in_grid_order_wins_among_equals() -> None:
    metric, loss = make_metric("roc_auc"), make_metric("support.theirs:expected_loss")
    trials = [Trial({}, [score]) for score in (0.5, 0.9, 0.9, 0.5)]
    assert choose_best(trials, metric) == 1
    assert choose_best(trials, loss) == 0
    trials[1].failed = "broken"
    assert choose_best(trials, metric) == 2
    assert choose_best([Trial({}, [], failed="broken")], metric) is None


def test_a_metric_of_somebody_else_decides_and_may_be_small(tmp_path: Path) -> None:
    done = _bench(tmp_path, metric="support.theirs:expected_loss").tune("none", "decision_tree")
    means = [trial["mean"] for trial in done.values["trials"]]
    assert done.values["score"] == min(means)
    assert len(set(means)) > 1
    assert "support.theirs.expected_loss" in done.records[0].metrics


def test_a_metric_that_cuts_sees_probabilities_at_the_true_share(tmp_path: Path) -> None:
    """SMOTE taught even shares: cut as they come, thrice as many rows are frauds as at the share of the population."""
    models = {"logistic_regression": {"C": [1.0]}}
    bench = _bench(tmp_path / "corrected", models, metric="f1")
    done = bench.tune("smote", "logistic_regression")
    scored = read_frame(bench.store, done.outputs["out_of_fold"])
    table = card_table(weight={"base_rate": bench.use_case.weight.base_rate})  # type: ignore[union-attr]
    raw = scored["score"].to_numpy()
    true_share = float(table.weight[table.target == 1].sum() / table.weight.sum())
    corrected = Prior(trained_share=0.5, true_share=true_share).correct(raw)
    for fold, found in enumerate(done.values["trials"][0]["fold_scores"]):
        at = table.validation(fold)
        as_taught = f1(table.target[at], raw[at] >= 0.5, table.weight[at])
        at_the_true_share = f1(table.target[at], corrected[at] >= 0.5, table.weight[at])
        assert found == pytest.approx(at_the_true_share, abs=1e-9)
        assert found > as_taught + 0.05
    plain = _bench(tmp_path / "plain", models, metric="f1")
    plain.use_case = plain.use_case.model_copy(
        update={"evaluate": plain.use_case.evaluate.model_copy(update={"prior_correction": False})}
    )
    assert plain.tune("smote", "logistic_regression").values["score"] < done.values["score"]


def test_a_broken_metric_is_told(tmp_path: Path) -> None:
    done = _bench(tmp_path, metric="support.theirs:broken_metric").tune("none", "decision_tree")
    assert done.values["failed"] == "fold 0: metric support.theirs:broken_metric: KeyError: 'no such column'"


def test_a_candidate_that_fails_leaves_the_others(tmp_path: Path) -> None:
    broken = {"mine": {"class": "support.theirs.BrokenModel", "grid": {"max_depth": [1, 2, 5]}}}
    done = _bench(tmp_path, broken).tune("none", "mine")
    assert [trial["failed"] for trial in done.values["trials"]] == [
        None,
        None,
        "fold 0: ArithmeticError: too deep for me",
    ]
    assert done.values["parameters"]["max_depth"] in {1, 2}
    assert done.records[2].tags["failed"] == "fold 0: ArithmeticError: too deep for me"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"class": "support.theirs.BrokenModel", "grid": {"max_depth": [5]}}, "ArithmeticError: too deep for me"),
        ({"class": "support.theirs.NoScores", "grid": {}}, "neither predict_proba nor decision_function"),
        ({"class": "no_such.Model", "grid": {}}, "SpecError: model class no_such.Model"),
    ],
)
def test_a_model_that_fails_is_a_result_with_its_reason(tmp_path: Path, model: dict[str, Any], reason: str) -> None:
    done = _bench(tmp_path, {"mine": model}).tune("none", "mine")
    assert reason in done.values["failed"]
    assert done.outputs == {}
    assert done.summary.startswith("none × mine failed: ")


def test_too_many_neighbours_fail_alone(tmp_path: Path) -> None:
    done = _bench(tmp_path, {"nearest_neighbours": {"n_neighbors": [3, 100_000]}}).tune("none", "nearest_neighbours")
    assert done.values["parameters"] == {"n_neighbors": 3}
    assert "Expected n_neighbors <= n_samples_fit" in done.values["trials"][1]["failed"]


def test_a_failed_sampler_fails_its_cells_with_its_reason(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    done = bench.tune("support.theirs.BrokenSampler", "xgboost")
    expected = "sampler support.theirs.BrokenSampler failed: fold 0: RuntimeError: out of luck"
    assert done.values == {"sampler": "support.theirs.BrokenSampler", "model": "xgboost", "failed": expected}


def test_lightgbm_by_its_dotted_name(tmp_path: Path) -> None:
    declared = {"class": "lightgbm.LGBMClassifier", "grid": {"num_leaves": [4, 8]}}
    declared["parameters"] = {"n_estimators": 20, "verbose": -1, "n_jobs": 1}  # type: ignore[assignment]
    bench = _bench(tmp_path, {"light": declared})
    done: StageResult = bench.tune("none", "light")
    assert done.values["score"] > 0.4
    test = read_frame(bench.store, bench.prepared.outputs["test"])
    assert load_model(bench.store, done.outputs["model"]).score(test).std() > 0
