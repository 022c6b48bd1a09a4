"""Strategies beside the grid: what they propose, when they stop, what they begin from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepzero.adapters.datasets import read_frame
from stepzero.adapters.store import Store
from stepzero.core.errors import SpecError, StageError
from stepzero.core.stages import StageResult
from stepzero.learning.folds import StoredFolds
from stepzero.learning.metrics import make_metric
from stepzero.learning.space import describe, listed
from stepzero.learning.strategies import Halving, draws, make_strategy
from stepzero.learning.trial import Trial
from stepzero.measures.ranking import average_precision
from stepzero.spec.environment import Environment, MachineType
from stepzero.spec.plan import EarlierSearch
from stepzero.spec.search import Search
from stepzero.spec.training import Model
from support.cards import FOLDS, Bench, card_table, made_up_cards

SPACE: dict[str, Any] = {
    "max_depth": {"at_least": 2, "at_most": 9},
    "min_samples_leaf": {"at_least": 1, "at_most": 100, "scale": "log"},
    "criterion": ["gini", "entropy"],
}
GOLDEN_82: dict[str, Any] = {
    "learning_rate": {"at_least": "1e-5", "at_most": "5e-5"},
    "train_batch_size": [128, 256],
    "freeze_bert_layer": [True, False],
}


def _bench(
    folder: Path, models: dict[str, Any] | None = None, *, metric: str = "average_precision", **search: Any
) -> Bench:
    declared = models or {"decision_tree": {"space": SPACE}}
    train = {"folds": FOLDS, "metric": metric, "seed": 7, "models": declared, "search": search}
    return Bench(folder, made_up_cards(rows=700, frauds=70), train=train)


def _tune(bench: Bench, model: str = "decision_tree") -> StageResult:
    return bench.tune("none", model)


def _parameters(done: StageResult) -> list[dict[str, Any]]:
    return [trial["parameters"] for trial in done.values["trials"]]


@pytest.mark.parametrize("strategy", ["random", "bayesian"])
def test_golden_82_bounds_lists_and_objective(tmp_path: Path, strategy: str) -> None:
    """Golden check 82: the rate stays in bounds, categories come from the list, validation rows are the objective."""
    models = {"tuned": {"class": "support.theirs.FineTuned", "space": GOLDEN_82}}
    learning = {"startup_trials": 5} if strategy == "bayesian" else {}
    bench = _bench(tmp_path, models, strategy=strategy, trials=20, parallel=5, **learning)
    done = _tune(bench, "tuned")
    tried = _parameters(done)
    assert len(tried) == 20
    rates = [one["learning_rate"] for one in tried]
    assert all(1e-5 <= rate <= 5e-5 for rate in rates)
    assert len(set(rates)) == 20
    assert {one["train_batch_size"] for one in tried} == {128, 256}
    assert {one["freeze_bert_layer"] for one in tried} == {True, False}
    assert done.values["search"]["objective"] == "validation"
    scored, weight = read_frame(bench.store, done.outputs["out_of_fold"]), _table_weight(bench)
    by_fold = [
        average_precision(rows["target"].to_numpy(), rows["score"].to_numpy(), weight[rows.index])
        for _, rows in scored.groupby("fold")
    ]
    assert done.values["score"] == pytest.approx(np.mean(by_fold), abs=1e-12)
    insisted = _bench(tmp_path / "insisted", models, strategy="random", trials=3, objective="training")
    training = _tune(insisted, "tuned")
    assert training.values["search"]["objective"] == "training"
    assert "judged on the rows that it was fitted on, as asked" in training.summary
    if strategy == "random":  # the same draws, judged on the other rows
        pairs = zip(training.values["trials"], done.values["trials"], strict=False)
        assert all(one["parameters"] == other["parameters"] and one["mean"] > other["mean"] for one, other in pairs)


def _table_weight(bench: Bench) -> Any:
    from stepzero.learning.table import make_table

    assert bench.use_case.problem is not None
    frame = read_frame(bench.store, bench.prepared.outputs["train"])
    return make_table(frame, bench.use_case.problem, bench.use_case.weight).weight


def test_the_same_bayesian_search_twice_and_other_batches_another_one(tmp_path: Path) -> None:
    search = {"strategy": "bayesian", "trials": 14, "startup_trials": 4}
    first, second = (_tune(_bench(tmp_path / name, parallel=4, **search)) for name in ("one", "two"))
    assert first.values == second.values
    assert {key: one.digest for key, one in first.outputs.items()} == {
        key: one.digest for key, one in second.outputs.items()
    }
    single = _tune(_bench(tmp_path / "three", parallel=1, **search))
    assert _parameters(single) != _parameters(first)
    best = [max(trial["mean"] for trial in done.values["trials"]) for done in (first, single)]
    assert [first.values["score"], single.values["score"]] == best


def test_it_learns(tmp_path: Path) -> None:
    """Proposals lean to where scores were good: a score that is the depth itself is driven to its bound."""
    metric = make_metric("roc_auc")
    declared = Search(strategy="bayesian", trials=40, parallel=2, startup_trials=10)
    model = Model.model_validate({"space": {"x": {"at_least": 0.0, "at_most": 1.0}}})
    strategy = make_strategy(model, declared, metric, folds=2, seed=7, earlier=[])
    trials: dict[int, Trial] = {}
    while (asked := strategy.next(trials)) is not None:
        assert len(asked.parameters) == 2
        trials |= {i: Trial(one, [one["x"], one["x"]]) for i, one in asked.parameters.items()}
    tried = [trials[i].parameters["x"] for i in range(40)]
    assert np.mean(tried[20:]) > 0.8 > np.mean(tried[:10])


def test_a_draw_depends_on_its_number_alone(tmp_path: Path) -> None:
    model = Model.model_validate({"space": SPACE})
    assert draws(model, range(8), 7)[5:] == draws(model, range(5, 8), 7)
    leaves = [one["min_samples_leaf"] for one in draws(model, range(200), 7)]
    assert all(isinstance(leaf, int) and 1 <= leaf <= 100 for leaf in leaves)
    assert 60 < sum(leaf <= 10 for leaf in leaves) < 140  # half of them: the scale is logarithmic
    many = _tune(_bench(tmp_path, strategy="random", trials=6))
    assert _parameters(many) == draws(model, range(6), 7)


def test_what_is_drawn_twice_is_fitted_once(tmp_path: Path) -> None:
    models = {"decision_tree": {"space": {"max_depth": [2, 3]}}}
    done = _tune(_bench(tmp_path, models, strategy="random", trials=8))
    trials = done.values["trials"]
    assert len(trials) == 8
    assert sum(trial["shares_fit_of"] is None for trial in trials) == 2
    assert len(done.records) == 2
    copies = [trial for trial in trials if trial["shares_fit_of"] is not None]
    assert all(trial["fold_scores"] == trials[trial["shares_fit_of"]]["fold_scores"] for trial in copies)


def test_conditions_leave_out_what_does_not_count() -> None:
    space = {
        "leaf": {"at_least": 0.1, "at_most": 0.5, "when": {"kind": "small"}},
        "kind": ["small", "large", None],
        "deep": {"values": [1, 2], "when": {"kind": ["large"]}},
    }
    model = Model.model_validate({"space": space})
    for one in draws(model, range(40), 3):
        assert set(one) == {"small": {"kind", "leaf"}, "large": {"kind", "deep"}, None: {"kind"}}[one["kind"]]
        assert describe(model, one) is not None
    assert describe(model, {"kind": "small"}) is None
    assert describe(model, {"kind": "small", "leaf": 0.6}) is None
    assert describe(model, {"kind": None, "deep": 1}) is None
    steps = {"at_least": 1, "at_most": 5, "step": 2, "when": {"kind": "small"}}
    assert listed(Model.model_validate({"space": {**space, "leaf": steps}})) == [
        {"kind": "small", "leaf": 1},
        {"kind": "small", "leaf": 3},
        {"kind": "small", "leaf": 5},
        {"deep": 1, "kind": "large"},
        {"kind": None},
        {"deep": 2, "kind": "large"},
    ]


SEVERAL: dict[str, Any] = {
    "decision_tree": {"max_depth": [2, 4]},
    "random_forest": {"space": {"n_estimators": [3, 6], "max_depth": {"at_least": 2, "at_most": 5}}},
    "mine": {
        "class": "lightgbm.LGBMClassifier",
        "grid": {"num_leaves": [4]},
        "parameters": {"verbose": -1, "n_jobs": 1, "n_estimators": 5},
    },
}


def test_steps_are_round_numbers() -> None:
    model = Model.model_validate({"space": {"x": {"at_least": 0.1, "at_most": 0.35, "step": 0.1}}})
    assert listed(model) == [{"x": 0.1}, {"x": 0.2}, {"x": 0.3}]
    assert all(describe(model, one) for one in listed(model))
    assert {one["x"] for one in draws(model, range(30), 7)} == {0.1, 0.2, 0.3}


def test_several_algorithms_in_one_search(tmp_path: Path) -> None:
    models = {"best_of_three": {"algorithms": SEVERAL}}
    done = _tune(_bench(tmp_path, models), "best_of_three")
    tried = _parameters(done)
    assert [one["algorithm"] for one in tried] == ["decision_tree"] * 2 + ["random_forest"] * 8 + ["mine"]
    shared = [trial["shares_fit_of"] for trial in done.values["trials"]]
    assert shared == [None, None, 3, None, 5, None, 7, None, 9, None, None]
    assert done.values["score"] == max(trial["mean"] for trial in done.values["trials"])
    alone = _tune(_bench(tmp_path / "alone", {"decision_tree": {"max_depth": [2, 4]}}))
    assert [t["fold_scores"] for t in alone.values["trials"]] == [t["fold_scores"] for t in done.values["trials"][:2]]
    drawn = _tune(_bench(tmp_path / "drawn", models, strategy="bayesian", trials=9, parallel=3), "best_of_three")
    own = {
        "decision_tree": {"algorithm", "max_depth"},
        "random_forest": {"algorithm", "n_estimators", "max_depth"},
        "mine": {"algorithm", "num_leaves"},
    }
    assert all(set(one) == own[one["algorithm"]] for one in _parameters(drawn))
    assert len({one["algorithm"] for one in _parameters(drawn)}) > 1


def test_halving_gives_the_last_ones_the_scores_of_a_full_search(tmp_path: Path) -> None:
    grid = {"decision_tree": {"max_depth": [2, 3, 4, 5], "min_samples_leaf": [1, 5, 30]}}
    full = _tune(_bench(tmp_path / "full", grid))
    bench = _bench(tmp_path / "halved", grid, strategy="halving", factor=2)
    done = _tune(bench)
    stopped = [trial["stopped_after"] for trial in done.values["trials"]]
    assert (stopped.count(1), stopped.count(2), stopped.count(None)) == (6, 3, 3)
    for one, whole in zip(done.values["trials"], full.values["trials"], strict=True):
        assert one["fold_scores"] == whole["fold_scores"][: len(one["fold_scores"])]
    complete = [trial["mean"] for trial in done.values["trials"] if trial["stopped_after"] is None]
    assert done.values["score"] == max(complete)
    scored = read_frame(bench.store, done.outputs["out_of_fold"])
    assert scored["score"].between(0, 1).all()
    assert Halving(parameters=[{}] * 9, metric=make_metric("f1"), folds=5, factor=3).rungs == [1, 3, 5]


def test_early_stopping_gives_up_below_the_median(tmp_path: Path) -> None:
    stopping = {"after_folds": 1, "after_trials": 4}
    search = {"strategy": "random", "trials": 16, "parallel": 4}
    whole = _tune(_bench(tmp_path / "whole", **search))
    done = _tune(_bench(tmp_path / "stopped", **search, early_stopping=stopping))
    assert _parameters(done) == _parameters(whole)
    known: list[Any] = []
    for number, (one, full) in enumerate(zip(done.values["trials"], whole.values["trials"], strict=True)):
        if number % 4 == 0:  # a batch knows what was complete before it
            known = [trial for trial in done.values["trials"][:number] if trial["stopped_after"] is None]
        complete = [np.mean(trial["fold_scores"][:1]) for trial in known]
        below = len(complete) >= 4 and full["fold_scores"][0] < np.median(complete)
        assert (one["stopped_after"] == 1) == bool(below), number
    assert any(trial["stopped_after"] for trial in done.values["trials"])
    assert all(
        record.metrics.get("average_precision") is None for record in done.records if "stopped_after" in record.tags
    )


def test_a_budget_of_trials_ends_with_the_best_so_far(tmp_path: Path) -> None:
    done = _tune(_bench(tmp_path, strategy="random", trials=10, budget={"trials": 4}))
    assert len(done.values["trials"]) == 4
    assert done.values["score"] == max(trial["mean"] for trial in done.values["trials"])
    told = "the budget of 4 trials was used up after 4 of 10 candidates"
    assert done.values["search"] | {"identity": None} == {
        "strategy": "random", "objective": "validation", "planned": 10, "tried": 4, "stopped": told,
        "reproducible": True, "warm_start": None, "identity": None,
    }  # fmt: skip
    assert done.summary.endswith(f"(4 candidates from 4 fits a fold); {told}")
    assert (done.records[0].scope, done.records[0].tags) == ("run", {"search.none.decision_tree.stopped": told})


def test_a_budget_of_time_says_that_it_ends_elsewhere_on_another_machine(tmp_path: Path) -> None:
    done = _tune(_bench(tmp_path, budget={"seconds": 1e-9}, strategy="halving", trials=6))
    assert done.values["search"]["stopped"] == "the budget of 1e-09 s was used up after 1 of 6 candidates"
    assert not done.values["search"]["reproducible"]
    assert done.summary.endswith("; on another machine it ends elsewhere")
    assert len(done.values["trials"][0]["fold_scores"]) == FOLDS  # the best so far is judged on every fold
    whole = _tune(_bench(tmp_path / "enough", budget={"seconds": 1e9}, strategy="random", trials=2))
    assert whole.values["search"]["stopped"] is None
    assert whole.values["search"]["reproducible"]


def test_money_needs_a_price_and_each_trial_tells_its_cost(tmp_path: Path) -> None:
    bench = _bench(tmp_path, strategy="random", trials=5, budget={"money": 1e-12})
    bench.plan = SimpleNamespace(price_per_hour=None)
    with pytest.raises(SpecError, match=r"train\.search\.budget\.money: got no price.*stages\.tune\.machine"):
        _tune(bench)
    machines = {"small": MachineType(price_per_hour=3.6, currency="EUR")}
    bench.environment = Environment.model_validate(
        {"name": "priced", "store": "memory://x", "machines": machines, "stages": {"tune": {"machine": "small"}}}
    )
    bench.plan = SimpleNamespace(price_per_hour=3.6)
    done = _tune(bench)
    assert done.values["search"]["stopped"] == "the budget of 1e-12 in money was used up after 1 of 5 candidates"
    record = done.records[1]
    assert record.metrics["cost"] == pytest.approx(record.metrics["seconds"] / 1000, abs=1e-6)
    assert record.tags["currency"] == "EUR"
    assert record.metrics["cpu_seconds"] > 0
    assert record.metrics["peak_memory_mb"] > 50
    assert record.tags["architecture"]


def test_without_a_price_no_cost_is_told(tmp_path: Path) -> None:
    (record,) = _tune(_bench(tmp_path, {"decision_tree": {"max_depth": [3]}})).records
    assert "cost" not in record.metrics
    assert record.tags["cost"].startswith("not stated: ")


def _warm(bench: Bench, done: StageResult, kind: str, **search: Any) -> StageResult:
    result = {"outputs": {name: one.to_json() for name, one in done.outputs.items()}, "values": done.values}
    bench.store.write_json("earlier.json", result)
    train = bench.use_case.train
    assert train is not None
    declared = Search.model_validate(
        {**train.search.model_dump(), **search, "warm_start": {"run": "before", "kind": kind}}
    )
    bench.use_case = bench.use_case.model_copy(update={"train": train.model_copy(update={"search": declared})})
    earlier = EarlierSearch(sampler="none", model="decision_tree", uri="earlier.json", digest="d")
    bench.plan = SimpleNamespace(warm_start=(earlier,))
    return _tune(bench)


def test_a_warm_start_on_identical_data_counts_earlier_trials(tmp_path: Path) -> None:
    bench = _bench(tmp_path, strategy="bayesian", trials=8, startup_trials=4)
    first = _tune(bench)
    done = _warm(bench, first, "identical_data", trials=3)
    assert _parameters(done)[:8] == _parameters(first)
    assert [trial["earlier"] for trial in done.values["trials"]] == [True] * 8 + [False] * 3
    assert len(done.records) <= 3
    assert done.values["search"]["tried"] == 3
    assert done.values["score"] == max(trial["mean"] for trial in done.values["trials"])
    other = bench.use_case.train
    assert other is not None
    bench.use_case = bench.use_case.model_copy(update={"train": other.model_copy(update={"seed": 8})})
    with pytest.raises(
        StageError, match=r"warm start of none × decision_tree from run before: got another seed\..*transfer"
    ):
        _tune(bench)


def test_the_best_of_an_earlier_search_may_win_and_is_not_fitted_again(tmp_path: Path) -> None:
    first = _tune(_bench(tmp_path, strategy="random", trials=5))
    bench = _bench(tmp_path, {"decision_tree": {"space": {"max_depth": [1]}}}, strategy="bayesian", trials=1)
    done = _warm(bench, first, "identical_data")
    assert done.values["trials"][-1]["mean"] < first.values["score"] == done.values["score"]
    assert done.outputs["out_of_fold"].digest == first.outputs["out_of_fold"].digest
    assert done.values["parameters"] == first.values["parameters"]
    assert [record.parameters["max_depth"] for record in done.records] == ["1"]


def test_a_transfer_guides_and_does_not_count(tmp_path: Path) -> None:
    first = _tune(_bench(tmp_path / "first", strategy="random", trials=12))
    bench = _bench(tmp_path / "first", strategy="bayesian", trials=4, startup_trials=4)
    cold = _tune(bench)
    done = _warm(bench, first, "transfer")
    assert [trial["earlier"] for trial in done.values["trials"]] == [False] * 4
    assert _parameters(done) != _parameters(cold)  # it knows enough to propose from the first trial on


def test_a_store_without_locks_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = {"strategy": "bayesian", "trials": 4, "parallel": 2, "startup_trials": 2}
    local = _tune(_bench(tmp_path / "local", **search))
    monkeypatch.setattr("support.cards.Store", lambda root: Store(root.replace("file://", "memory://")))
    bench = _bench(tmp_path / "far", **search)
    assert not bench.store.is_local
    done = _tune(bench)
    assert done.values == local.values
    assert done.outputs["model"].digest == local.outputs["model"].digest


def test_folds_that_do_not_stay_in_memory_are_the_same(tmp_path: Path) -> None:
    bench = _bench(tmp_path, {"decision_tree": {}})
    reference = bench.resample("smote").outputs["folds"]
    table = card_table(made_up_cards(rows=700, frauds=70))
    rows = bench.prepared.outputs["train"]
    kept, read = (StoredFolds(bench.store, reference, rows, table, kept_bytes=size) for size in (2**30, 0))
    assert kept[1] is kept[1]
    assert read[1] is not read[1]
    assert read[1].rows.features.tobytes() == kept[1].rows.features.tobytes()
