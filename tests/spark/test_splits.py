"""Splits against an independent computation: by hash, by entity, by time with a gap; disjoint and exhaustive."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepzero.core.errors import RuleError, SpecError, StageError
from stepzero.spec.load import validate
from stepzero.spec.use_case import UseCase
from stepzero.stages.prepare_split import split_rows
from support.gate import Gate

pytestmark = pytest.mark.usefixtures("few_rows")

CLAIMS = Path(__file__).resolve().parents[3] / "shared" / "data" / "auto_claims"
DAY = 86_400


def declared(split: dict[str, Any], folds: int = 3, kind: str = "classification", **more: Any) -> UseCase:
    problem = {"kind": kind, "target": "label", "positive": 1}
    train = {"folds": folds, "models": {"decision_tree": {}}}
    return validate({"name": "toy", "problem": problem, "split": split, "train": train, **more}, UseCase)


def made_up(rows: int = 400, days: int = 60, classes: int = 2, seed: int = 5) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    seconds = np.sort(random.integers(0, days * DAY, rows))
    return pd.DataFrame(
        {
            "_row_id": [hashlib.sha256(str(number).encode()).hexdigest() for number in range(rows)],
            "when": pd.Timestamp("2018-04-01") + pd.to_timedelta(seconds, unit="s"),
            "seconds": seconds,
            "customer": random.integers(0, 40, rows),
            "label": random.integers(0, classes, rows),
        }
    )


@pytest.fixture(scope="module")
def frame(spark: Any) -> Any:
    return spark.createDataFrame(made_up()).cache()


def split(frame: Any, use_case: UseCase) -> pd.DataFrame:
    done: pd.DataFrame = split_rows(frame, use_case).toPandas()
    return done


def unit(salt: str, key: object) -> float:
    return int(hashlib.sha256(f"{salt}\x01{key}".encode()).hexdigest()[:13], 16) / 16**13


SHARES = st.sampled_from([(0.2, None), (0.15, 0.15), (0.05, 0.05), (0.5, 0.3)])


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(
    shares=SHARES,
    by=st.sampled_from(["row", "customer"]),
    salt=st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=8),
)
def test_every_row_lies_where_its_hash_says(frame: Any, shares: Any, by: str, salt: str) -> None:
    test, validation = shares
    found = split(frame, declared({"by": by, "test": test, "validation": validation, "salt": salt}))
    assert len(found) == 400
    for row in found.itertuples():
        drawn = unit(f"{salt} side", row._1 if by == "row" else row.customer)
        expected = "test" if drawn < test else "validation" if drawn < test + (validation or 0) else "train"
        assert row._asdict().get("_side", found.at[row.Index, "_side"]) == expected
    if by == "customer":
        assert found.groupby("customer")["_side"].nunique().max() == 1


def test_golden_58_shares_of_70_15_15_are_kept_within_four_sigma(spark: Any) -> None:
    rows = made_up(4177)
    found = split(spark.createDataFrame(rows), declared({"test": "15%", "validation": "15%"}))
    assert sorted(found["_row_id"]) == sorted(rows["_row_id"]), "disjoint and exhaustive"
    for side, share in {"train": 0.7, "validation": 0.15, "test": 0.15}.items():
        sigma = np.sqrt(4177 * share * (1 - share))
        assert abs((found["_side"] == side).sum() - 4177 * share) <= 4 * sigma, side


def test_golden_81_stratified_90_5_5_is_exact_in_each_class_within_one_row(spark: Any) -> None:
    rows = made_up(2003, classes=3)
    use_case = declared({"test": "5%", "validation": "5%", "stratified": True})
    found = split(spark.createDataFrame(rows), use_case)
    assert len(found) == 2003
    for label, total in rows["label"].value_counts().items():
        for side, share in {"train": 0.9, "validation": 0.05, "test": 0.05}.items():
            count = ((found["label"] == label) & (found["_side"] == side)).sum()
            assert abs(count - total * share) <= 1, (label, side)


@pytest.mark.skipif(not CLAIMS.is_dir(), reason=f"the claims are not at {CLAIMS}")
def test_golden_40_no_policy_is_on_both_sides(gate: Gate) -> None:
    frame = pd.read_csv(CLAIMS / "dataset.csv", usecols=["policy_id", "fraud", "total_claim_amount"])
    theirs = frame.sample(frac=0.8, random_state=0)
    held = frame.drop(theirs.index)
    leaked = set(held["policy_id"]) & set(theirs["policy_id"])
    assert (len(leaked), held["policy_id"].nunique()) == (2969, 2975), "what a split of rows leaks"
    frame["line"] = np.arange(len(frame))
    use_case = declared(
        {"by": "policy_id"},
        prepare={"drop": ["policy_id"]},
        problem={"kind": "classification", "target": "fraud", "positive": 1},
    )
    result = gate.prepare_frame(frame, use_case)
    train, test = (gate.frame(result.outputs[side]) for side in ("train", "test"))
    assert len(train) + len(test) == len(frame) == 20_000
    assert not set(train["_split_entity"]) & set(test["_split_entity"])
    assert train.groupby("_split_entity")["_fold"].nunique().max() == 1
    assert "policy_id" not in train, "an id is no feature"
    assert 0.17 < len(test) / 20_000 < 0.23


IN_TIME: list[dict[str, Any]] = [
    {"time": "when", "gap_days": 3},
    {"time": "seconds", "test": 0.3},
    {"time": "when", "test": 0.15, "validation": 0.15, "gap_days": 2},
    {"time": "when", "test_days": 7, "gap_days": 5},
    {"time": "when", "test_days": 10, "validation_days": 10, "gap_days": 2},
    {"time": "when", "gap_days": 3, "entity": "customer", "test": 0.3},
]


@pytest.mark.parametrize("section", IN_TIME, ids=str)
def test_time_never_looks_ahead(frame: Any, section: dict[str, Any]) -> None:
    use_case = declared({"by": "time", **section})
    found, gap = split(frame, use_case), section.get("gap_days", 0) * DAY
    assert len(found) == 400
    parts = {side: found[found["_side"] == side] for side in use_case.split.parts}
    order = [parts[side] for side in use_case.split.parts]
    for earlier, later in pairwise(order):
        assert earlier["seconds"].max() + gap <= later["seconds"].min()
    if "entity" not in section:
        between = found[found["_side"] == "between"]
        inside = [
            (earlier["seconds"].max() < between["seconds"]) & (between["seconds"] < later["seconds"].min())
            for earlier, later in pairwise(order)
        ]
        assert np.logical_or.reduce(inside).all(), "only gaps are left out"
    train = parts["train"]
    for fold in range(3):
        judged = train[train["_fold"] == fold]
        taught = train[(train["_first_fold"] <= fold) & (train["_group_fold"] != fold)]
        assert len(judged) > 0
        assert taught["seconds"].max() + gap < judged["seconds"].min()
        if "entity" in section:
            assert not set(judged["customer"]) & set(taught["customer"])
    if "entity" in section:
        assert not set(parts["train"]["customer"]) & set(parts["test"]["customer"])


def test_shares_and_days_are_what_they_say(frame: Any) -> None:
    by_share = split(frame, declared({"by": "time", "time": "when", "test": 0.25}))
    assert (by_share["_side"] == "test").sum() == 100
    assert not (by_share["_side"] == "between").any()
    by_days = split(frame, declared({"by": "time", "time": "when", "test_days": 7}))
    test = by_days[by_days["_side"] == "test"]
    assert set(test["seconds"] // DAY) <= set(range(53, 60))
    assert (by_days["seconds"] // DAY >= 53).sum() == len(test)


def test_equal_times_lie_on_one_side(spark: Any) -> None:
    rows = made_up(200).assign(seconds=lambda one: one["seconds"] // (10 * DAY))
    found = split(spark.createDataFrame(rows), declared({"by": "time", "time": "seconds", "test": 0.3}, folds=2))
    assert found.groupby("seconds")["_side"].nunique().max() == 1
    assert found.groupby("seconds")["_fold"].nunique().max() == 1


def test_parts_and_what_lies_between_are_counted(gate: Gate) -> None:
    frame = made_up().drop(columns="_row_id").astype({"when": "datetime64[us]"})
    section = {"by": "time", "time": "seconds", "test": 0.2, "validation": 0.2, "gap_days": 2, "entity": "customer"}
    result = gate.prepare_frame(frame, declared(section, folds=2, prepare={"drop": ["customer", "when"]}))
    counted = [sum(result.values[part].values()) for part in ("train", "validation", "test")]
    assert sum(counted) + result.values["between"] + result.values["dropped"] == 400
    assert [reference.rows for reference in result.outputs.values()] == counted
    assert list(result.outputs) == ["train", "validation", "test"]
    held = gate.frame(result.outputs["test"])
    assert set(held.columns) == {"seconds", "label", "_row_id", "_split_entity", "_split_time"}
    assert f"{result.values['between']} in between" in result.summary


def test_what_cannot_be_split_by_time_is_told(frame: Any, spark: Any) -> None:
    with pytest.raises(RuleError, match=r"split.time: got 'wenn'. Allowed: did you mean 'when'\?"):
        split(frame, declared({"by": "time", "time": "wenn"}))
    with pytest.raises(RuleError, match=r"split.time: got '_row_id: string'. Allowed: a date, a timestamp or a number"):
        split(frame, declared({"by": "time", "time": "_row_id"}))
    with pytest.raises(StageError, match=r"fold 0 of 3, forward in time: got 0 rows to train on .* shorten split.gap"):
        split(frame, declared({"by": "time", "time": "when", "gap_days": 20}))
    rows = made_up(40)
    rows.loc[3, "when"] = pd.NaT
    with pytest.raises(StageError, match=r"split.time when: got 1 rows have none.*Do: add the rule `complete`"):
        split(spark.createDataFrame(rows), declared({"by": "time", "time": "when"}))


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"by": "time"}, "by: time names the column that orders rows"),
        ({"by": "time", "time": "when", "stratified": True}, "stratified goes with by: row"),
        ({"by": "row", "gap_days": 3}, "gap_days goes with by: time, not with by: row"),
        ({"test": 0.6, "validation": 0.4}, "test and validation leave rows to train on; together they take 100%"),
        ({"by": "time", "time": "when", "test_days": 7, "validation": 0.1}, "give test_days and validation_days both"),
        (
            {"by": "time", "time": "when", "entity": "x", "test_days": 7, "validation_days": 7},
            "validation_days needs validation",
        ),
    ],
)
def test_contradictions_are_told(section: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError) as raised:
        declared(section)
    assert told in str(raised.value)
