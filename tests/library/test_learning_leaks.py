"""Each leak is planted where a run could have it, and the evaluate stage's verdict names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.datasets import read_frame, write_frame
from stepzero.core.references import Reference
from stepzero.core.stages import StageInput, StageResult
from stepzero.core.verdict import Outcome
from stepzero.learning import folds
from stepzero.learning.folds import ALL, Fold, make_fold
from stepzero.learning.samplers import Resampled
from stepzero.learning.table import Table, make_table
from support.cards import FOLDS, Bench, made_up_cards

TREE = {"folds": FOLDS, "models": {"decision_tree": {"max_depth": [3]}}}
Leak = Callable[[Fold, Table, Table], Fold]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    frame = made_up_cards(rows=900, frauds=90)
    return Bench(tmp_path_factory.mktemp("leaks"), frame, train=TREE, evaluate={"bootstrap": 50, "explain": []})


@pytest.fixture(scope="module")
def tuned(bench: Bench) -> StageResult:
    return bench.tune("smote", "decision_tree")


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the stage's time and says nothing of leaks."""
    monkeypatch.setattr("stepzero.stages.evaluate._drawn", lambda *_: {"none.png": b"\x89PNG"})


def alarms(bench: Bench, tuned: StageResult, prepared: StageInput | None = None) -> dict[str, str]:
    """Return the sentinels that the verdict names, with what they saw; an alarm without a FAIL is an error."""
    honest, bench.prepared = bench.prepared, prepared or bench.prepared
    try:
        result = bench.evaluate(tuned)
    finally:
        bench.prepared = honest
    assert result.verdict is not None
    found = {one.rule: one.observed for one in result.verdict.reasons if one.rule.startswith("sentinel ")}
    assert set(found) == {f"sentinel {one['name']}" for one in result.values["sentinels"] if not one["passed"]}
    assert (result.verdict.outcome is Outcome.FAIL) == bool(found)
    assert result.records[0].metrics["sentinel_alarms"] == len(found)
    return {rule.removeprefix("sentinel "): observed for rule, observed in found.items()}


def validation_row_in_training(fold: Fold, train: Table, test: Table) -> Fold:
    source = fold.resampled.source.copy()
    source[0] = fold.validation(train)[0] if fold.name != ALL else len(train.target)
    return replace(fold, resampled=replace(fold.resampled, source=source))


def scaler_of_all_rows(fold: Fold, train: Table, test: Table) -> Fold:
    everything = pd.concat([train.features, test.features], ignore_index=True)
    learned = folds.Transformer.from_state(fold.transformer.to_state()).fit(everything)
    return replace(fold, transformer=learned)


def held_out_row_made_synthetic(fold: Fold, train: Table, test: Table) -> Fold:
    made = fold.resampled.synthetic.copy()
    made[0] = fold.transformer.transform(test.features.iloc[:1])[0]
    return replace(fold, resampled=replace(fold.resampled, synthetic=made))


def label_turned(fold: Fold, train: Table, test: Table) -> Fold:
    turned = fold.resampled.synthetic_target.copy()
    turned[0] = 1 - turned[0]
    return replace(fold, resampled=replace(fold.resampled, synthetic_target=turned))


SAME = {
    "foreign": "0 foreign rows in training",
    "transformer": "transformer the same",
    "rows": "resampled rows the same",
}


@pytest.mark.parametrize(
    ("leak", "name", "seen"),
    [
        (validation_row_in_training, "2", {"foreign": "1 foreign rows in training", "rows": "resampled rows another"}),
        (validation_row_in_training, ALL, {"foreign": "1 foreign rows in training", "rows": "resampled rows another"}),
        (scaler_of_all_rows, "1", {"transformer": "transformer another"}),
        (scaler_of_all_rows, ALL, {"transformer": "transformer another"}),
        (held_out_row_made_synthetic, "2", {"rows": "resampled rows another"}),
        (held_out_row_made_synthetic, ALL, {"rows": "resampled rows another"}),
        (label_turned, "1", {"rows": "resampled rows another"}),
    ],
)
def test_a_leak_in_any_stored_fold_fails_the_run_and_is_named(
    bench: Bench, tuned: StageResult, leak: Leak, name: str, seen: dict[str, str]
) -> None:
    """Only the one fold is changed, in the store, after the search read it; ``all`` is what the served model learns."""
    assert bench.use_case.problem is not None
    train, test = (
        make_table(read_frame(bench.store, bench.prepared.outputs[side]), bench.use_case.problem, None)
        for side in ("train", "test")
    )
    stored = tuned.outputs["folds"]
    honest = folds.read_fold(bench.store, stored, name)
    folds.write_fold(bench.store, stored.uri, leak(honest, train, test))
    try:
        found = alarms(bench, tuned)
    finally:
        folds.write_fold(bench.store, stored.uri, honest)
    assert found == {"folds, smote": f"fold {name}: {', '.join((SAME | seen).values())}"}


def test_without_a_leak_there_is_no_alarm(bench: Bench, tuned: StageResult) -> None:
    assert alarms(bench, tuned) == {}


def _other(bench: Bench, name: str, reference: Reference, change: Callable[[Any], Any]) -> Reference:
    frame = change(read_frame(bench.store, reference))
    return write_frame(bench.store, f"planted/{name}", frame, producer="planted")


def test_a_synthetic_row_in_a_validation_part_is_named(bench: Bench, tuned: StageResult) -> None:
    def made_up(frame: Any) -> Any:
        frame.loc[5, "_row_id"] = "made up"
        return frame

    planted = _other(bench, "out_of_fold", tuned.outputs["out_of_fold"], made_up)
    leaky = replace(tuned, outputs={**tuned.outputs, "out_of_fold": planted})
    assert alarms(bench, leaky) == {"row ids": "0 rows on both sides, 1 out of place among out-of-fold rows"}


def test_a_row_on_both_sides_is_named(bench: Bench, tuned: StageResult) -> None:
    known = read_frame(bench.store, bench.prepared.outputs["train"])["_row_id"][10]

    def shared(frame: Any) -> Any:
        frame.loc[3, "_row_id"] = known
        return frame

    planted = {**bench.prepared.outputs, "test": _other(bench, "test", bench.prepared.outputs["test"], shared)}
    found = alarms(bench, tuned, replace(bench.prepared, outputs=planted))
    assert found == {"row ids": "1 rows on both sides, 0 out of place among out-of-fold rows"}


def test_held_out_rows_that_were_balanced_are_named(bench: Bench, tuned: StageResult) -> None:
    def balanced(frame: Any) -> Any:
        return frame.groupby("Class").head(int(frame["Class"].sum())).reset_index(drop=True)

    planted = {**bench.prepared.outputs, "test": _other(bench, "balanced", bench.prepared.outputs["test"], balanced)}
    found = alarms(bench, tuned, replace(bench.prepared, outputs=planted))
    assert set(found) == {"held-out counts", "prevalence"}
    assert found["prevalence"] == "23 positives among 46 held-out rows"


def test_labels_that_reach_the_validation_part_are_seen_by_shuffled_labels(
    bench: Bench, tuned: StageResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A procedure that is wrong in itself gives the same again; what it finds in shuffled labels gives it away."""

    def resampled_before_the_split(name: str, table: Table, *arguments: Any) -> Fold:
        fold = make_fold(name, table, *arguments)
        drawn = np.random.default_rng(0).integers(0, len(table.target), 2 * len(table.target))
        kept = fold.resampled
        return replace(fold, resampled=Resampled(drawn, kept.synthetic[:0], kept.synthetic_target[:0]))

    monkeypatch.setattr("stepzero.stages.evaluate.make_fold", resampled_before_the_split)
    found = alarms(bench, tuned)
    assert set(found) == {"shuffled labels, smote"}
    assert float(found["shuffled labels, smote"].removeprefix("ROC AUC ")) > 0.9
