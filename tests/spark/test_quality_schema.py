"""Rules that judge a batch by more than its rows: its schema, its age, and numbers that are none."""

from __future__ import annotations

import pandas as pd
import pytest

from stepzero.core.errors import InputError
from stepzero.core.verdict import Outcome
from stepzero.spec.use_case import UseCase
from support.gate import Gate

pytestmark = pytest.mark.usefixtures("few_rows")

DECLARED = {"id": "int", "amount": "double", "country": "string"}
ROWS = pd.DataFrame({"id": [1, 2], "amount": [1.5, 2.5], "country": ["DE", None]})


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (ROWS.drop(columns="amount"), "missing amount"),
        (ROWS.assign(extra=1), "not declared: extra"),
        (ROWS.rename(columns={"amount": "amounts"}), "missing amount; not declared: amounts; did you mean 'amounts'?"),
        (ROWS[["amount", "id", "country"]], "another order: column 1 is amount, declared is id"),
        (ROWS.assign(amount=["1.5", "x"]), "another type: amount is string, declared is double"),
        (ROWS.assign(id=[1.5, 2.0]), "another type: id is double, declared is int"),
    ],
    ids=["missing", "extra", "renamed", "order", "type", "fractions"],
)
def test_a_batch_of_another_schema_fails_by_it_alone(gate: Gate, frame: pd.DataFrame, problem: str) -> None:
    rules = [{"rule": "schema", "columns": DECLARED}, {"rule": "between", "column": "amount", "at_most": 2}]
    judged = gate.judge(None, rules, None, uris=[gate.land_parquet(frame)])
    assert judged.outcome is Outcome.FAIL
    assert judged.result.verdict is not None
    assert [reason.sentence() for reason in judged.result.verdict.reasons] == [
        f"schema: observed batch.parquet: {problem}, allowed id int, amount double, country string"
    ]
    assert judged.result.values == {"rows": None, "accepted": 0, "quarantined": 0, "broken": {}}
    assert set(judged.result.outputs) == {"report", "picture"}
    assert gate.entered() == []


def test_a_batch_of_the_declared_schema_passes_with_nulls_and_without_rows(gate: Gate) -> None:
    rule = {"rule": "schema", "columns": DECLARED}
    whole = gate.judge(None, [rule], None, uris=[gate.land_parquet(ROWS)])
    assert (whole.outcome, whole.reasons) == (Outcome.PASS, {})
    assert "as declared" in whole.text("report")
    empty = gate.judge(
        None, [rule], None, uris=[gate.land_parquet(ROWS.head(0).astype({"country": "string"}), "e.parquet")]
    )
    assert set(empty.reasons) == {"quarantine_limit"}


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_a_schema_is_that_of_the_source_where_there_is_one(gate: Gate, form: str) -> None:
    frame = ROWS.rename(columns={"country": "land"})
    uri = gate.land_parquet(frame) if form == "parquet" else gate.land(frame, "batch.csv")
    if form == "json":
        uri = gate.land(frame.to_json(orient="records", lines=True).encode(), "batch.json")
    judged = gate.judge(None, [{"rule": "schema"}], DECLARED, uris=[uri], source={"format": form})
    told = judged.reasons["schema"].observed
    assert told.endswith(": missing country; not declared: land; expected one of land") or "missing country" in told
    assert judged.outcome is Outcome.FAIL


def test_a_schema_of_a_warning_is_told_and_the_rows_are_judged(gate: Gate) -> None:
    rules = [
        {"rule": "schema", "columns": DECLARED, "severity": "warning"},
        {"rule": "between", "column": "amount", "at_most": 2},
    ]
    judged = gate.judge(None, rules, None, uris=[gate.land_parquet(ROWS.assign(extra=1))], quarantine_limit=0.5)
    assert judged.reasons["schema"].severity == "warning"
    assert (judged.outcome, judged.result.values["quarantined"]) == (Outcome.QUARANTINE, 1)


def test_a_schema_that_cannot_be_read_is_an_error_and_no_bad_data(gate: Gate) -> None:
    uri = gate.land(b"no table at all", "batch.parquet")
    with pytest.raises(InputError, match=r"batch\.parquet.*Allowed: ") as raised:
        gate.judge(None, [{"rule": "schema", "columns": DECLARED}], None, uris=[uri])
    assert "Parquet" in str(raised.value)
    assert gate.entered() == []


def test_times_after_the_run_do_not_hide_a_stale_file(gate: Gate) -> None:
    times = pd.to_datetime(["2026-01-01T10:00:00", "2027-06-01T00:00:00", None])
    rows = pd.DataFrame({"at": times}).astype("datetime64[us]")
    use_case = {"name": "toy", "quality": {"rules": [{"rule": "freshness", "column": "at", "at_most": "6 hours"}]}}
    uri = gate.land_parquet(rows)
    outcomes = {
        as_of: gate.judge_use_case(UseCase.model_validate(use_case), [uri], as_of).outcome
        for as_of in ("2026-01-01T16:00:00", "2026-01-01T16:00:01+00:00", "2026-01-01T17:00:00+01:00")
    }
    assert list(outcomes.values()) == [Outcome.PASS, Outcome.FAIL, Outcome.PASS]


def test_a_number_that_is_none_is_within_no_bounds(gate: Gate) -> None:
    rows = pd.DataFrame({"amount": [1.0, float("nan")], "same": [1, 1]})
    frame = gate.spark.createDataFrame(rows)
    rules = [
        {"rule": "max", "column": "amount", "at_most": 9},
        {"rule": "correlation", "columns": ["amount", "same"], "at_most": 1},
    ]
    judged = gate.judge(None, rules, None, uris=[gate.land_parquet(frame, "with-nan")])
    assert {name: reason.observed for name, reason in judged.reasons.items()} == {
        "max": "not a number",
        "correlation": "not a number",
    }
