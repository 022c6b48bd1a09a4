"""What a source may send by mistake: no table, another table, or rows that are not what they should be."""

from __future__ import annotations

import gzip
from typing import Any

import pandas as pd
import pytest

from stepzero.adapters.ledger import make_batch
from stepzero.core.errors import InputError
from stepzero.core.verdict import Outcome
from stepzero.generators import to_csv
from stepzero.generators.credit_card import BAD, bad, generate
from stepzero.spec.load import load_use_case
from stepzero.spec.use_case import UseCase
from support.gate import SMALL, Gate, Judged, small

pytestmark = pytest.mark.usefixtures("few_rows")

SHIPPED = load_use_case("credit_card_fraud")


@pytest.fixture(scope="module")
def payments() -> pd.DataFrame:
    """A good batch of payments, not more than the rules ask for."""
    return generate(rows=1300, seed=4, frauds=60).drop_duplicates(["Time", "V1", "V2", "V3", "Amount"]).head(1200)


def judge_payments(gate: Gate, data: Any, name: str = "batch.csv") -> Judged:
    use_case = UseCase.model_validate({**SHIPPED.model_dump(mode="json", by_alias=True), "name": "toy"})
    return gate.judge_use_case(use_case, [gate.land(data, name)])


def refused(gate: Gate, data: Any, columns: dict[str, str] | None = SMALL, **given: Any) -> str:
    with pytest.raises(InputError) as raised:
        gate.judge(data, [], columns, **given)
    assert gate.entered() == []
    uris = given.get("uris") or [f"landing/toy/{given.get('name', 'batch.csv')}"]
    there = all(gate.store.size(uri) for uri in uris)
    assert raised.value.batch == (make_batch(gate.store, uris).digest if there else ""), (
        "the ledger is told whose it is"
    )
    assert all(part in str(raised.value) for part in (": got ", ". Allowed: ", ". Do: "))
    return str(raised.value)


@pytest.mark.parametrize(
    ("data", "name", "told"),
    [
        (
            b"",
            "x.csv",
            "landed file landing/toy/x.csv: got 0 bytes. Allowed: a file with a header and rows. Do: land the",
        ),
        (b"  \n \n", "x.csv", "got no text. Allowed: CSV with a header. Do: land the right file"),
        (b"id,amount,country,label\n", "x.csv", "got a header and no row. Allowed: rows. Do: land the file again"),
        (b"id,amount,country,label\n\n \n", "x.csv", "got a header and no row"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "x.csv", "got a binary file. Allowed: CSV with a header"),
        (b"<html><body>403</body></html>", "x.csv", "got text that begins with b'<html><body>403"),
        (b'{"id": 1}\n', "x.csv", 'got text that begins with b\'{"id": 1}'),
        (b"this is no archive", "x.csv.gz", "got a binary file. Allowed: CSV with a header"),
        (gzip.compress(b"\x00\x01\x02" * 500), "x.csv.gz", "got a binary file"),
        (
            gzip.compress(to_csv(small(5000)))[:-3000],
            "x.csv.gz",
            "got java.io.EOFException: Unexpected end of input stream",
        ),
        (to_csv(small()), "2026-01-01T10:00.csv", "Do: land them again, under names without colons"),
    ],
    ids=lambda value: None,
)
def test_what_is_no_table_is_refused(gate: Gate, data: bytes, name: str, told: str) -> None:
    assert told in refused(gate, data, name=name)


def test_a_missing_file_is_refused(gate: Gate) -> None:
    told = refused(gate, None, uris=["landing/toy/nowhere.csv"])
    assert told.startswith("landed file landing/toy/nowhere.csv: got missing. Allowed: a file with a header and rows.")


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (small().drop(columns="amount"), "got missing amount. Allowed: exactly id, amount, country, label"),
        (
            small().rename(columns={"amount": "amounts"}),
            "got missing amount; not declared: amounts; did you mean 'amounts'?. Allowed: exactly id,",
        ),
        (small().rename(columns={"label": "Label"}), "missing label; not declared: Label; did you mean 'Label'?"),
        (small().assign(extra=1), "got not declared: extra. Allowed"),
        (small()[["id", "country", "amount", "label"]], "another order: column 2 is country, declared is amount"),
    ],
    ids=["missing", "renamed", "other case", "extra", "reordered"],
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_other_columns_are_refused(gate: Gate, frame: pd.DataFrame, told: str, form: str) -> None:
    uri = gate.land(frame) if form == "csv" else gate.land_parquet(frame)
    said = refused(gate, None, uris=[uri], source={"format": form})
    assert said.startswith(f"columns of {uri}: got ")
    assert told in said
    assert said.endswith("Do: mend the file, or declare its columns in source.columns")


def test_every_file_of_a_batch_is_checked(gate: Gate) -> None:
    good = gate.land_parquet(small(), "a.parquet")
    other = gate.land_parquet(small().drop(columns="amount"), "b.parquet")
    told = refused(gate, None, uris=[good, other], source={"format": "parquet"})
    assert told.startswith(f"columns of {other}: got missing amount.")
    rubbish = gate.land(b"rubbish" * 20, "c.parquet")
    told = refused(gate, None, uris=[good, rubbish], source={"format": "parquet"})
    assert told.startswith(f"landed file {rubbish}: got Parquet magic bytes not found in footer.")
    assert refused(gate, None, None, uris=[good, other]).startswith(f"columns of {other}: got missing amount.")
    assert refused(gate, None, None, uris=[gate.land(b"\x00" * 9)]).endswith("Do: land the right file")


def test_files_of_one_batch_may_differ_in_what_they_write_numbers_as(gate: Gate) -> None:
    first = gate.land_parquet(small(2), "a.parquet")
    other = gate.land_parquet(
        small(4).tail(2).astype({"id": "int64", "amount": "string", "label": "float"}), "b.parquet"
    )
    broken = gate.land_parquet(small(5).tail(1).assign(id=2**40, amount="much", label=0.5), "c.parquet")
    judged = gate.judge(None, [], uris=[first, other, broken], source={"format": "parquet"}, quarantine_limit=0.5)
    assert sorted(judged.accepted["id"]) == [1, 2, 3, 4]
    assert [list(found) for found in judged.quarantined["_reasons"]] == [["type of id, amount, label"]]


def test_cells_and_lines_that_cannot_be_read_are_set_aside(gate: Gate) -> None:
    good = to_csv(small()).decode()
    lines = "11,n/a,DE,1\n12,1.0,DE\n13,1.0,DE,1,more\n1.5,x,FR,0\n,,,\n"
    judged = gate.judge(good + lines, [], quarantine_limit=0.5)
    assert judged.outcome is Outcome.QUARANTINE
    assert judged.result.values["quarantined"] == 4
    assert judged.reasons_of(id=11) == ["type of amount"]
    assert judged.reasons_of(id=12) == ["type of the whole line"]
    assert judged.reasons_of(id=13) == ["type of the whole line"]
    (both,) = judged.quarantined.loc[judged.quarantined["id"].isna(), "_reasons"]
    assert list(both) == ["type of id, amount"]
    assert len(judged.accepted) == 11, "a line of nulls is a row"


def test_too_many_unreadable_cells_fail_the_batch(gate: Gate) -> None:
    judged = gate.judge(to_csv(small()).decode() + "11,n/a,DE,1\n")
    assert judged.outcome is Outcome.FAIL
    assert judged.reasons["type"].sentence() == (
        "type: observed 1 of 11 rows break it, allowed cells that can be read as the declared type (1 rows)"
    )
    assert judged.reasons["quarantine_limit"].observed == "9.09% bad rows"


def test_quotes_packed_files_and_odd_names_are_read_as_they_are(gate: Gate) -> None:
    data = 'id,text\r\n1,"a ""b"", c"\r\n2,"back\\slash\\"\r\n3,\r\n4,ü\r\n'
    names = ["plain.csv", "packed.csv.gz", "odd [1]*{2}.csv"]
    raw = ["\ufeff".encode() + data.encode(), gzip.compress(data.encode()), data.encode()]
    uris = [gate.land(content, name) for name, content in zip(names, raw, strict=True)]
    judged = gate.judge(None, [], {"id": "int", "text": "string"}, uris=uris)
    assert judged.outcome is Outcome.PASS
    texts = judged.accepted.sort_values("id")["text"].tolist()
    assert texts == ['a "b", c'] * 3 + ["back\\slash\\"] * 3 + [None] * 3 + ["ü"] * 3


def test_declared_words_for_no_value_are_nulls(gate: Gate) -> None:
    data = 'id,amount,text\n1,NA,NA\n2,-999,"a ""q"", NA"\n3,,\n4,x,-999\n5,1.5\n'
    columns = {"id": "int", "amount": "double", "text": "string"}
    judged = gate.judge(data, [], columns, source={"null_values": ["NA", "-999"]}, quarantine_limit=0.5)
    assert judged.accepted["amount"].isna().all()
    assert judged.accepted["text"].tolist() == [None, 'a "q", NA', None]
    assert judged.reasons_of(id=4) == ["type of amount"]
    assert judged.reasons_of(id=5) == ["type of the whole line"]


def test_json_lines_are_judged_like_rows(gate: Gate) -> None:
    data = '{"id": 1, "text": "a"}\n{"id": "x", "text": "b"}\n{"id": 3}\nrubbish\n'
    columns = {"id": "int", "text": "string"}
    judged = gate.judge(data, [], columns, name="x.json", source={"format": "json"}, quarantine_limit=0.5)
    assert judged.accepted["id"].tolist() == [1, 3]
    assert sorted(next(iter(found)) for found in judged.quarantined["_reasons"]) == [
        "type of id",
        "type of the whole line",
    ]


REFUSED = {
    "missing_column": "missing V14",
    "renamed_column": "missing Amount; not declared: amount_eur",
    "extra_column": "not declared: Merchant",
    "reordered_columns": "another order: column 2 is V2, declared is V1",
    "empty_file": "got 0 bytes",
    "header_only": "a header and no row",
    "binary_file": "a binary file",
}
QUARANTINED = {"text_in_number": "type", "nulls": "complete", "negative_amount": "between", "unknown_class": "one_of"}
BALANCE = "at least 2 classes with at least 20 rows each"
LIMIT = "at most 1.00%, and at least one good row"
FAILED = {
    "one_class": {"class_balance": f"class_balance of Class: observed 0: {{ordinary}}, allowed {BALANCE}"},
    "too_few_rows": {
        "size": "size: observed 10 rows, allowed at least 1000 rows",
        "class_balance": f"class_balance of Class: observed {{ten}}, allowed {BALANCE}",
    },
    "all_rows_bad": {
        "quarantine_limit": f"quarantine_limit: observed 100.00% bad rows, allowed {LIMIT} (1200 rows)",
        "between": "between of Amount: observed 1200 of 1200 rows break it, allowed {between} (1200 rows)",
    },
    "unit_change": {
        "quarantine_limit": f"quarantine_limit: observed {{share:.2%}} bad rows, allowed {LIMIT} ({{dear}} rows)",
        "between": "between of Amount: observed {dear} of 1200 rows break it, allowed {between} ({dear} rows)",
    },
}
"""By kind: the sentences of the rules that refuse the batch."""
WARNED = {"duplicates": "unique"}


def test_every_kind_of_bad_batch_has_its_test() -> None:
    assert {*REFUSED, *QUARANTINED, *FAILED, *WARNED} == set(BAD)


@pytest.mark.parametrize("kind", REFUSED)
def test_shipped_use_case_refuses(gate: Gate, payments: pd.DataFrame, kind: str) -> None:
    with pytest.raises(InputError) as raised:
        judge_payments(gate, bad(kind, payments))
    assert REFUSED[kind] in str(raised.value)


@pytest.mark.parametrize("kind", QUARANTINED)
def test_shipped_use_case_sets_rows_aside(gate: Gate, payments: pd.DataFrame, kind: str) -> None:
    judged = judge_payments(gate, bad(kind, payments))
    assert judged.outcome is Outcome.QUARANTINE
    assert judged.reasons[QUARANTINED[kind]].rows == judged.result.values["quarantined"] == 6


@pytest.mark.parametrize("kind", FAILED)
def test_shipped_use_case_fails(gate: Gate, payments: pd.DataFrame, kind: str) -> None:
    judged = judge_payments(gate, bad(kind, payments))
    assert judged.outcome is Outcome.FAIL
    dear = payments["Amount"] * 100 > 30_000
    seen = {
        "ten": ", ".join(f"{label}: {rows}" for label, rows in payments.head(10)["Class"].value_counts().items()),
        "ordinary": int((payments["Class"] == 0).sum()),
        "between": "at least 0 and at most 30000",
        "share": dear.mean(),
        "dear": int(dear.sum()),
    }
    verdict = judged.result.verdict
    assert verdict is not None
    for rule, sentence in FAILED[kind].items():
        assert judged.reasons[rule].sentence() == sentence.format(**seen)
    assert next(iter(FAILED[kind].values())).format(**seen) in verdict.sentence(), (
        "what a person reads names the reason"
    )
    assert gate.entered() == []


def test_shipped_use_case_warns_of_duplicates_and_passes_good_rows(gate: Gate, payments: pd.DataFrame) -> None:
    judged = judge_payments(gate, bad("duplicates", payments))
    assert judged.outcome is Outcome.PASS
    assert judged.reasons["unique"].severity == "warning"
    assert judged.reasons["unique"].rows == 1200
    again = judge_payments(gate, gzip.compress(to_csv(payments)), "batch.csv.gz")
    assert (again.outcome, dict(again.reasons)) == (Outcome.PASS, {})
