"""Declared transforms: the reference's columns and values from its raw files, and nothing unseen goes unsaid."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from stepzero.core.errors import InputError, RuleError
from stepzero.core.stages import StageResult
from stepzero.spec.load import validate
from stepzero.spec.use_case import UseCase
from stepzero.stages.prepare_transforms import transform
from support.claims import claims_file, joined_claims
from support.gate import SMALL, Gate

pytestmark = pytest.mark.usefixtures("few_rows")

ONE_HOT = {
    "driver_relationship": ["self", "na", "spouse", "child", "other"],
    "incident_type": ["collision", "breakin", "theft"],
    "collision_type": ["front", "rear", "side", "na"],
    "authorities_contacted": ["police", "none", "fire", "ambulance"],
}


class Claims:
    """The raw tables, judged and prepared, and the reference's own."""

    def __init__(self, gate: Gate) -> None:
        self.use_case = validate(joined_claims(), UseCase)
        self.gate = gate
        self.results: dict[str, StageResult] = {}
        self.frames: dict[str, pd.DataFrame] = {}
        for name, table in self.use_case.tables.items():
            landed = gate.land(claims_file(f"{name}.csv").read_bytes(), f"{name}.csv")
            alone = UseCase.model_validate({"name": "toy", "source": table.source.model_dump()})
            judged = gate.judge_use_case(alone, [landed])
            self.frames[f"{name} accepted"] = judged.accepted
            done = gate.run_stage("prepare_table", self.use_case, {"checked": judged.result}, table=name)
            self.results[name], self.frames[name] = done, gate.frame(done.outputs["accepted"])


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Claims:
    return Claims(Gate(tmp_path_factory.mktemp("claims") / "store", spark))


def test_golden_29_claims_have_the_references_columns(claims: Claims) -> None:
    found, reference = claims.frames["claims"], pd.read_csv(claims_file("claims_preprocessed.csv"))
    assert found.shape == (5000, 30)
    assert list(found.columns) == list(reference.columns)
    assert found.isna().sum().sum() == 0
    for column, words in ONE_HOT.items():
        flags = found[[f"{column}_{word}" for word in words]]
        assert flags.isin([0, 1]).all(axis=None)
        assert (flags.sum(axis=1) == 1).all(), column
    assert found["incident_severity"].value_counts().to_dict() == {0: 2100, 1: 1698, 2: 1202}
    assert found["police_report_available"].value_counts().to_dict() == {0: 2892, 1: 2108}
    assert found["fraud"].sum() == 164


def test_golden_30_customers_have_the_references_columns(claims: Claims) -> None:
    found, reference = claims.frames["customers"], pd.read_csv(claims_file("customers_preprocessed.csv"))
    assert found.shape == (5000, 18)
    assert list(found.columns) == list(reference.columns)
    assert found.isna().sum().sum() == 0
    assert found["policy_liability"].value_counts().to_dict() == {1: 1697, 0: 1631, 2: 1137, 3: 535}
    assert found["customer_education"].value_counts().to_dict() == {3: 2211, 1: 1264, 4: 952, 2: 475, 0: 98}


def test_golden_31_words_that_look_like_nothing_are_words(claims: Claims) -> None:
    accepted, found = claims.frames["claims accepted"], claims.frames["claims"]
    assert (accepted["driver_relationship"] == "N/A").sum() == 728
    assert (accepted["authorities_contacted"] == "None").sum() == 1210
    assert found["driver_relationship_na"].sum() == found["collision_type_na"].sum() == 728
    assert found["authorities_contacted_none"].sum() == 1210


def test_golden_34_unknown_and_other_gender_have_no_flag_and_are_reported(claims: Claims) -> None:
    found = claims.frames["customers"]
    assert ((found["customer_gender_male"] == 0) & (found["customer_gender_female"] == 0)).sum() == 511
    result = claims.results["customers"]
    (gender,) = [one for one in result.values["unseen"] if one["rows"]]
    assert gender == {
        "column": "customer_gender",
        "rule": "count",
        "rows": 511,
        "values": {"unkown": 420, "other": 91},
    }
    assert "customer_gender: 511 rows with unseen values: unkown (420), other (91)" in result.summary
    assert result.records[0].metrics["table.customers.unseen.customer_gender"] == 511
    assert "no unseen value" in claims.results["claims"].summary


@pytest.mark.parametrize("table", ["claims", "customers"])
def test_every_row_is_the_references_second_version_to_the_last_value(claims: Claims, table: str) -> None:
    """The joined file has two versions of each record: the preprocessed file's, and the raw file's transformed."""
    found, joined = claims.frames[table], pd.read_csv(claims_file("dataset.csv"))
    versions = joined[list(found.columns)].drop_duplicates()
    assert len(versions) == 10_000
    matched = found.astype(float).merge(versions.astype(float), how="inner", on=list(found.columns))
    assert len(matched) == 5000
    first = pd.read_csv(claims_file(f"{table}_preprocessed.csv"))
    assert len(first.astype(float).merge(versions.astype(float), on=list(found.columns))) == 5000
    if table == "claims":
        raw = claims.frames["claims accepted"]
        whole = raw.set_index("policy_id")["vehicle_claim"].astype("int64").sort_index()
        amounts = found.set_index("policy_id")["vehicle_claim"].sort_index()
        assert (amounts == whole.astype(float)).all(), "truncated, not rounded"
        assert (raw["vehicle_claim"] % 1 > 0).any()


def test_golden_40_both_tables_joined_have_one_row_for_each_policy_and_it_lies_on_one_side(claims: Claims) -> None:
    reference = pd.read_csv(claims_file("dataset.csv"), usecols=["policy_id"])
    drawn = reference.sample(frac=0.8, random_state=0)
    policies = [set(part["policy_id"]) for part in (drawn, reference.drop(drawn.index))]
    assert (len(policies[1]), len(policies[0] & policies[1])) == (2975, 2969), "the reference's leak"
    joined = claims.gate.run_stage("join_tables", claims.use_case, claims.results)
    frame = claims.gate.frame(joined.outputs["accepted"])
    assert frame.shape == (5000, 47)
    assert frame["policy_id"].is_unique
    assert joined.values == {"rows": 5000, "unmatched": {"customers": 0}}
    prepared = claims.gate.run_prepare(claims.use_case, joined)
    train, test = (claims.gate.frame(prepared.outputs[side]) for side in ("train", "test"))
    assert not set(train["_policy_id"]) & set(test["_policy_id"])
    assert len(train) + len(test) == 5000
    assert train.groupby("_policy_id")["_fold"].nunique().max() == 1
    assert {"_customer_gender_female", "_customer_gender_male"} <= set(train.columns)


TOY = "word string, number double, label int"
SMALL_ROWS = [("a", 1.9, 0), ("B", -1.9, 1), ("b!", 3e10, 0), (None, None, 1), ("z", 7.0, 1)]


def done(spark: Any, *steps: dict[str, Any], rows: list[Any] = SMALL_ROWS) -> tuple[pd.DataFrame, list[Any]]:
    source = {"format": "csv", "prefix": "x/", "columns": {"word": "string", "number": "double", "label": "int"}}
    use_case = UseCase.model_validate({"name": "toy", "source": source, "transforms": list(steps)})
    made, met = transform(spark.createDataFrame(rows, TOY), use_case.transforms, "transforms")
    return pd.DataFrame([row.asDict() for row in made.collect()], columns=made.columns), met


def test_unseen_words_are_counted_or_other_or_an_error(spark: Any) -> None:
    words = {"step": "one_hot", "column": "word", "vocabulary": ["a", "b"]}
    lower = {"step": "case"}
    found, met = done(spark, lower, {**words, "unseen": "count"})
    assert found[["word_a", "word_b"]].to_numpy().tolist() == [[1, 0], [0, 1], [0, 0], [0, 0], [0, 0]]
    assert [(one.rows, one.values) for one in met] == [(3, {"b!": 1, "null": 1, "z": 1})]
    found, _ = done(spark, lower, {**words, "unseen": "other"})
    assert found["word_other"].tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(InputError) as raised:
        done(spark, lower, words)
    assert str(raised.value).startswith(
        "transforms.1 word: got word: 3 rows with unseen values: b! (1), null (1), z (1). Allowed: a, b. "
    )
    numbers = {"step": "ordinal", "column": "word", "values": {"a": 5, "b": 2}}
    found, met = done(spark, lower, {"step": "remove_symbols", "columns": "word"}, {**numbers, "unseen": "count"})
    assert found["word"].fillna(-1).tolist() == [5, 2, 2, -1, -1]
    assert met[0].values == {"null": 1, "z": 1}
    found, _ = done(spark, lower, {**numbers, "unseen": "other", "other": 9})
    assert found["word"].tolist() == [5, 2, 9, 9, 9]


def test_casts_truncate_and_never_wrap(spark: Any) -> None:
    cast = {"step": "cast", "columns": {"number": "int"}}
    found, met = done(spark, {**cast, "unreadable": "count"})
    assert found["number"].fillna(0).tolist() == [1, -1, 0, 0, 7]
    assert met[0].values == {"3.0E10": 1}, "null is no value that cannot be read"
    with pytest.raises(InputError, match=r"transforms\.0 number: got number: 1 rows with unseen values: 3\.0E10 \(1\)"):
        done(spark, cast)
    text = [("12", 1.0, 0), ("x", 2.0, 1)]
    _, met = done(spark, {"step": "cast", "columns": {"word": "int"}, "unreadable": "count"}, rows=text)
    assert met[0].values == {"x": 1}


def test_columns_are_renamed_selected_derived_and_changed_by_somebody_else(spark: Any) -> None:
    found, met = done(
        spark,
        {"step": "one_hot", "column": "word", "vocabulary": ["a"], "unseen": "count"},
        {"step": "rename", "columns": {"number": "amount"}},
        {"step": "derive", "columns": {"twice": "amount * 2", "more": "twice + 1"}},
        {"step": "drop", "columns": "amount"},
        {"step": "select", "columns": ["more", "word_a"]},
        {"step": "support.theirs:shifted", "options": {"column": "more", "by": 10.0}},
    )
    assert list(found.columns) == ["more", "word_a"]
    assert found["more"].tolist()[:2] == pytest.approx([14.8, 7.2])
    assert met[0].rows == 4, "what was unseen is counted though its column is gone"
    with pytest.raises(RuleError, match=r"transforms\.0\.columns\.x: got 'amount \*'.*Spark SQL over word, number"):
        done(spark, {"step": "derive", "columns": {"x": "amount *"}})
    with pytest.raises(RuleError, match=r"support\.theirs:only: got dropped _unseen_0\. Allowed: a frame that keeps"):
        done(
            spark,
            {"step": "one_hot", "column": "word", "vocabulary": ["a"], "unseen": "count"},
            {"step": "support.theirs:only", "options": {"column": "label"}},
        )


def test_other_rows_never_swap_columns(spark: Any) -> None:
    step = {"step": "one_hot", "column": "word", "vocabulary": ["a", "b"]}
    one, other = (done(spark, step, rows=[(word, 1.0, 0) for word in words])[0] for words in ("aaab", "bbba"))
    assert list(one.columns) == list(other.columns)
    assert one["word_a"].sum() == 3
    assert other["word_a"].sum() == 1


def test_transforms_of_a_single_source_keep_the_row_ids(gate: Gate) -> None:
    steps = [{"step": "one_hot", "column": "country", "vocabulary": ["DE"], "unseen": "count"}]
    sections = {
        "name": "toy",
        "problem": {"kind": "classification", "target": "label", "positive": 1},
        "source": {"format": "csv", "prefix": "landing/toy/", "columns": SMALL},
        "split": {"test": 0.25},
    }
    rows = pd.DataFrame(
        {"id": range(80), "amount": 1.0, "country": ["DE", "FR"] * 40, "label": [0, 0, 1, 1] * 20}
    ).astype({"id": "int32", "label": "int32"})
    plain = gate.prepare_frame(rows, UseCase.model_validate(sections))
    changed = gate.prepare_frame(rows, UseCase.model_validate({**sections, "transforms": steps}))
    one, other = (gate.frame(result.outputs["train"]) for result in (plain, changed))
    assert one["_row_id"].tolist() == other["_row_id"].tolist(), "a row is what arrived, and its side stays"
    assert (other["country_DE"] == (one["country"] == "DE")).all()
    assert changed.values["unseen"] == [{"column": "country", "rule": "count", "rows": 40, "values": {"FR": 40}}]


def test_a_join_that_would_multiply_rows_or_lose_some_is_told(spark: Any) -> None:
    from stepzero.spec.tables import Join
    from stepzero.stages.tables import join_frames

    left = spark.createDataFrame([(1, 1), (2, 2), (2, 3), (3, 4)], "key int, x int")
    twice = spark.createDataFrame([(1, 1), (2, 2), (2, 3), (3, 4)], "key int, y int")
    with pytest.raises(
        InputError, match=r"join with t: got 1 keys with several rows, for example key=2 with 2\. Allowed: one row"
    ):
        join_frames(left, twice, Join(table="t", by=("key",)))
    some = twice.filter("y < 2")
    with pytest.raises(InputError, match=r"join with t: got 3 rows whose key is not there\. Allowed: a partner"):
        join_frames(left, some, Join(table="t", by=("key",)))
    kept, unmatched = join_frames(left, some, Join(table="t", by=("key",), unmatched="count"))
    dropped, _ = join_frames(left, some, Join(table="t", by=("key",), how="inner", unmatched="count"))
    assert (kept.count(), unmatched, dropped.count()) == (4, 3, 1)
