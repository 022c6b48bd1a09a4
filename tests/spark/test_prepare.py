"""Preparation: the order of rows has no effect, equal rows stay together, and held out is held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.ledger import accepted_batches
from stepzero.core.errors import RuleError, StageError
from stepzero.core.stages import StageResult
from stepzero.core.verdict import Outcome
from stepzero.learning.transform import feature_columns
from stepzero.spec.load import load_use_case
from stepzero.spec.use_case import UseCase
from support.cards import REAL
from support.gate import SMALL, Gate

pytestmark = pytest.mark.usefixtures("few_rows")


def toy(**sections: Any) -> UseCase:
    """Return a classification of small rows with some sections of its own."""
    data: dict[str, Any] = {
        "name": "toy",
        "problem": {"kind": "classification", "target": "label", "positive": 1},
        "source": {"format": "csv", "prefix": "landing/toy/", "columns": SMALL},
        "split": {"test": 0.25},
        "train": {"folds": 3, "models": {"decision_tree": {}}},
    }
    return UseCase.model_validate({**data, **sections})


def toy_rows(rows: int = 240, seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(rows, dtype="int32"),
            "amount": random.normal(size=rows).round(6),
            "country": random.choice([f"C{number}" for number in range(40)], rows),
            "label": (random.random(rows) < 0.2).astype("int32"),
        }
    )


def digests(result: StageResult) -> dict[str, str]:
    return {side: reference.digest for side, reference in result.outputs.items()}


def sides(gate: Gate, result: StageResult) -> dict[str, pd.DataFrame]:
    return {side: gate.frame(reference) for side, reference in result.outputs.items()}


def ids(gate: Gate, result: StageResult) -> dict[str, set[int]]:
    return {side: set(frame["id"]) for side, frame in sides(gate, result).items()}


def test_arrival_order_files_and_partitions_change_no_byte(gate: Gate) -> None:
    frame = pd.concat([toy_rows(), toy_rows().head(20)])
    use_case = toy(prepare={"drop_duplicates": True}, split={"test": 0.25, "stratified": True})
    one = gate.prepare_frame(frame, use_case)
    other = gate.prepare_frame(frame.sample(frac=1, random_state=3), use_case, files=5)
    before = gate.spark.conf.get("spark.sql.shuffle.partitions")
    gate.spark.conf.set("spark.sql.shuffle.partitions", "3")
    try:
        third = gate.prepare_frame(frame, use_case)
    finally:
        gate.spark.conf.set("spark.sql.shuffle.partitions", before)
    assert digests(one) == digests(other) == digests(third)
    assert one.values == other.values == third.values
    for rows in sides(gate, one).values():
        assert rows["_row_id"].is_monotonic_increasing
        assert rows["_row_id"].str.fullmatch("[0-9a-f]{64}").all()


def test_landed_in_another_order_gives_the_same_training_rows(gate: Gate) -> None:
    frame, use_case = toy_rows(120), toy()
    first = gate.judge_use_case(use_case, [gate.land(frame, "one.csv")])
    parts = [gate.land(part, f"{name}.csv") for name, part in (("b", frame[::-2]), ("a", frame[-2::-2]))]
    second = gate.judge_use_case(use_case, parts)
    assert digests(gate.prepare(first, use_case)) == digests(gate.prepare(second, use_case))


def test_shares_are_exact_in_every_class_and_folds_are_balanced(gate: Gate) -> None:
    result = gate.prepare_frame(toy_rows(), toy(split={"test": 0.25, "stratified": True}))
    found = sides(gate, result)
    both = pd.concat(found.values())
    for label, rows in both.groupby("label").size().items():
        held = (found["test"]["label"] == label).sum()
        assert abs(held - rows * 0.25) <= 1
        folds = found["train"].query("label == @label").groupby("_fold").size()
        assert len(folds) == 3
        assert folds.max() - folds.min() <= 1
    assert set(found["train"].columns) == {*SMALL, "_row_id", "_fold"}
    assert set(found["test"].columns) == {*SMALL, "_row_id"}
    assert result.values["test"] == found["test"]["label"].astype(str).value_counts().to_dict()
    assert result.values["rows"] == len(both) == 240
    assert str(len(found["test"])) in result.summary or "held out" in result.summary


def test_held_out_once_is_held_out_for_ever(gate: Gate) -> None:
    frame, use_case = toy_rows(), toy()
    before, after = (ids(gate, gate.prepare_frame(frame.head(rows), use_case)) for rows in (80, 240))
    assert before["test"] <= after["test"]
    assert before["train"] <= after["train"]
    assert 0.15 < len(after["test"]) / 240 < 0.35
    salted = ids(gate, gate.prepare_frame(frame, toy(split={"test": 0.25, "salt": "v2"})))
    assert salted["test"] != after["test"]


@pytest.mark.parametrize("split", [{"test": 0.25}, {"test": 0.25, "stratified": True}])
def test_equal_rows_lie_on_one_side_and_in_one_fold(gate: Gate, split: dict[str, Any]) -> None:
    frame = pd.concat([toy_rows(60)] * 3)
    found = sides(gate, gate.prepare_frame(frame, toy(split=split)))
    assert not set(found["train"]["_row_id"]) & set(found["test"]["_row_id"])
    assert found["train"].groupby("_row_id")["_fold"].nunique().max() == 1
    assert sum(map(len, found.values())) == 180, "duplicates stay where nobody asks to drop them"


def test_an_entity_is_never_on_both_sides_nor_in_two_folds(gate: Gate) -> None:
    found = sides(gate, gate.prepare_frame(toy_rows(), toy(split={"by": "country", "test": 0.25})))
    assert not set(found["train"]["country"]) & set(found["test"]["country"])
    assert found["train"].groupby("country")["_fold"].nunique().max() == 1
    assert set(found["train"]["_fold"]) == {0, 1, 2}


def test_null_and_empty_text_are_different_rows(gate: Gate) -> None:
    frame = toy_rows(40)
    twins = pd.DataFrame({"id": [1000] * 4, "amount": [1.0] * 4, "country": [None, "", None, "x"], "label": [1] * 4})
    use_case = toy(prepare={"drop_duplicates": True})
    result = gate.prepare_frame(
        pd.concat([frame, twins.astype(frame.dtypes.to_dict() | {"country": object})]), use_case
    )
    assert (result.values["rows"], result.values["dropped"]) == (44, 1)


def test_columns_are_derived_dropped_and_rows_kept_as_declared(gate: Gate) -> None:
    section = {
        "derive": {"cents": "CAST(round(amount * 100) AS INT)", "amount": "abs(amount)", "big": "amount > 0.5"},
        "keep_where": "amount < 2",
        "drop": ["country"],
    }
    frame = toy_rows()
    result = gate.prepare_frame(frame, toy(prepare=section))
    both = pd.concat(sides(gate, result).values()).sort_values("id")
    expected = frame[frame["amount"].abs() < 2]
    assert list(both["id"]) == list(expected["id"])
    assert np.allclose(both["amount"], expected["amount"].abs())
    assert (both["big"] == (both["amount"] > 0.5)).all(), "a later column sees an earlier one"
    assert "country" not in both
    assert result.values["dropped"] == 240 - len(expected)
    plain = pd.concat(sides(gate, gate.prepare_frame(frame, toy())).values())
    assert set(both["_row_id"]) <= set(plain["_row_id"]), "a row keeps its id whatever is derived from it"


def test_what_is_set_aside_is_kept_and_is_no_feature(gate: Gate) -> None:
    use_case = toy(prepare={"set_aside": ["country", "id"]}, split={"by": "country", "test": 0.25})
    found = sides(gate, gate.prepare_frame(toy_rows(), use_case))
    for frame in found.values():
        assert {"_country", "_id"} <= set(frame.columns)
        assert feature_columns(list(frame.columns), "label", None) == ["amount"]
    assert set(found["train"]["_country"]) | set(found["test"]["_country"]) == set(toy_rows()["country"])


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        (
            {"prepare": {"derive": {"x": "amuont + 1"}}},
            "prepare.derive.x: got 'amuont + 1'. Allowed: Spark SQL over id,",
        ),
        ({"prepare": {"derive": {"x": "avg(amount)"}}}, "MISSING_GROUP_BY"),
        ({"prepare": {"keep_where": "amount >"}}, "prepare.keep_where: got 'amount >'"),
        ({"prepare": {"keep_where": "amount + 1"}}, "Allowed: a predicate, not double. Do: compare it with something"),
        ({"prepare": {"drop": ["contry"]}}, "prepare.drop: got 'contry'. Allowed: did you mean 'country'?"),
        ({"split": {"by": "contry"}}, "split.by: got 'contry'. Allowed: did you mean 'country'?"),
    ],
)
def test_expressions_that_spark_cannot_read_are_told(gate: Gate, sections: dict[str, Any], told: str) -> None:
    with pytest.raises(RuleError) as raised:
        gate.prepare_frame(toy_rows(10), toy(**sections))
    assert told in str(raised.value)


def test_a_split_that_cannot_be_is_told(gate: Gate) -> None:
    with pytest.raises(StageError, match=r"Allowed: stratified: true with by: row only\. Do: leave one of them out"):
        gate.prepare_frame(toy_rows(10), toy(split={"by": "country", "stratified": True}))
    with pytest.raises(
        StageError, match=r"rows: got none\. Allowed: at least one row on each side\. Do: land more rows"
    ):
        gate.prepare_frame(toy_rows(1), toy())


def test_a_window_unites_accepted_batches(gate: Gate) -> None:
    frame, use_case = toy_rows(), toy(prepare={"drop_duplicates": True})
    first = gate.judge_use_case(use_case, [gate.land(frame.head(100), "one.csv")])
    (entry,) = accepted_batches(gate.store, "toy")
    second = gate.judge_use_case(use_case, [gate.land(frame.tail(150), "two.csv")])
    assert (first.outcome, second.outcome) == (Outcome.PASS, Outcome.PASS)
    alone, whole = gate.prepare(second, use_case), gate.prepare(second, use_case, [entry.member()])
    assert (whole.values["rows"], whole.values["dropped"]) == (250, 10)
    assert digests(whole) == digests(gate.prepare_frame(frame, use_case))
    one, all_rows = ids(gate, alone), ids(gate, whole)
    assert one["test"] <= all_rows["test"]
    aged = gate.run("prepare", use_case, {"checked": second.as_input()}, window=(entry.member(),), half_life=2.0)
    train = sides(gate, aged)["train"]
    assert "_fit_weight" not in sides(gate, aged)["test"]
    assert dict(train.groupby(train["id"] >= 90)["_fit_weight"].unique().map(list)) == {False: [0.5**0.5], True: [1.0]}
    assert set(train["id"]) == all_rows["train"], "what is in both batches counts as the newer one"
    assert feature_columns(list(train), "label", None) == ["id", "amount", "country"]
    other = gate.prepare_frame(frame.drop(columns="country"), toy(source=None))
    assert other.values["rows"] == 240
    narrow = entry.member().model_copy(update={"accepted": other.outputs["test"].to_json()})
    with pytest.raises(StageError) as raised:
        gate.prepare(second, use_case, [narrow])
    assert "of the window: got other columns: _row_id, country. Allowed: the columns of this run's batch" in str(
        raised.value
    )


def test_held_out_rows_leave_no_trace_in_training_rows(gate: Gate) -> None:
    frame, use_case = toy_rows(), toy()
    before = gate.prepare_frame(frame, use_case)
    held = ids(gate, before)["test"]
    fewer = gate.prepare_frame(frame[~frame["id"].isin(sorted(held)[:5])], use_case)
    assert fewer.outputs["test"].digest != before.outputs["test"].digest
    assert fewer.outputs["train"].digest == before.outputs["train"].digest


def test_a_regression_has_no_classes(gate: Gate) -> None:
    problem = {"kind": "regression", "target": "amount"}
    result = gate.prepare_frame(toy_rows(), toy(problem=problem, split={"test": 0.25, "stratified": False}))
    assert set(result.values["train"]) == set(result.values["test"]) == {"all"}
    assert set(sides(gate, result)["train"]["_fold"]) == {0, 1, 2}


@pytest.mark.usefixtures("many_rows")
@pytest.mark.skipif(not REAL.is_file(), reason=f"the real card payments are not at {REAL}")
def test_real_payments_lose_their_58_duplicates_and_nothing_else(gate: Gate) -> None:
    shipped = load_use_case("credit_card_fraud")
    use_case = UseCase.model_validate({**shipped.model_dump(mode="json", by_alias=True), "name": "toy"})
    judged = gate.judge_use_case(use_case, [gate.land(REAL.read_bytes(), "real.csv.gz")])
    assert judged.outcome is Outcome.PASS
    result = gate.prepare(judged, use_case)
    assert (result.values["rows"], result.values["dropped"]) == (28_014, 58)
    assert result.verdict is not None, "the use case judges prepared rows, too"
    assert result.verdict.sentence() == "PASS: prepared rows, 27956 rows, 0 bad."
    frame = pd.read_csv(REAL).drop_duplicates()
    kept = {str(label): int(rows) for label, rows in frame["Class"].value_counts().items()}
    for label, rows in kept.items():
        held = result.values["test"][label]
        assert abs(held - rows * 0.2) <= 1
        assert held + result.values["train"][label] == rows
