"""Daily partitions without Spark: landing, plans with explicit windows, SQL files, the generator."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stepzero.adapters.landing import land_days
from stepzero.adapters.ledger import Refused, refuse
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, SpecError
from stepzero.execution.planning import PlanRequest, make_plan
from stepzero.generators import to_csv
from stepzero.generators.transactions import BAD, bad, generate
from stepzero.spec.data import Source
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_use_case, validate
from stepzero.spec.plan import Plan

NAME = "simulated_transactions"
PREFIX = f"landing/{NAME}/"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


def source() -> Source:
    found = load_use_case(NAME).source
    assert found is not None
    return found


def plan(store: Store, **more: Any) -> Plan:
    request = PlanRequest(use_case=NAME, run="r", as_of="2026-11-26T00:00:00+00:00", **more)
    return make_plan(request, store, Environment(name="local", store="file:///x", approval="rule"), None)


def test_a_file_lands_day_by_day_whole_and_once(store: Store, tmp_path: Path) -> None:
    frame = generate(rows=300, seed=1, days=3)
    csv, parquet = tmp_path / "all.csv", tmp_path / "all.parquet"
    frame.to_csv(csv, index=False)
    frame.assign(more=1).to_parquet(parquet)
    landed = land_days(store, source(), csv)
    assert list(landed) == ["2018-04-01", "2018-04-02", "2018-04-03"]
    assert land_days(store, source(), csv) == landed
    assert store.list("landing") == sorted(landed.values())
    back = []
    for day, uri in landed.items():
        with store.open(uri) as stream, gzip.open(stream) as text:
            rows = pd.read_csv(text, parse_dates=["TX_DATETIME"])
        assert set(rows["TX_DATETIME"].dt.strftime("%Y-%m-%d")) == {day}
        back.append(rows)
    pd.testing.assert_frame_equal(pd.concat(back, ignore_index=True), frame, check_dtype=False)
    assert land_days(store, source(), parquet) == landed, "the same rows are the same file, whatever they came in"


def test_files_that_cannot_be_cut_into_days_are_told(store: Store, tmp_path: Path) -> None:
    frame = generate(rows=50, seed=1, days=2)
    frame.drop(columns="CUSTOMER_ID").to_parquet(tmp_path / "few.parquet")
    with pytest.raises(InputError, match="without CUSTOMER_ID"):
        land_days(store, source(), tmp_path / "few.parquet")
    frame["TX_DATETIME"] = frame["TX_DATETIME"].astype(str).where(frame.index > 2, "soon")
    frame.to_csv(tmp_path / "soon.csv", index=False)
    with pytest.raises(InputError, match=r"got 3 rows without TX_DATETIME\. Allowed: a day in every row"):
        land_days(store, source(), tmp_path / "soon.csv")
    assert store.list("") == []


def test_a_window_of_days_is_explicit(store: Store) -> None:
    for day in ("2018-05-01", "2018-06-01", "2018-06-03", "2018-06-04", "2018-06-05", "sundry"):
        store.write_text(f"{PREFIX}{day}/a.csv", f"rows of {day}")
    made = plan(store, partition="2018-06-04")
    assert made.batch.partition == "2018-06-04"
    assert [day.partition for day in made.days] == ["2018-05-01", "2018-06-01", "2018-06-03"]
    assert made.window == ()
    assert plan(store, partition="2018-06-05").days[0].partition == "2018-06-01", "35 days, the run's own the last"
    assert plan(store).batch.partition == "2018-06-05", "by hand: the newest"
    named = plan(store, form={"batch": "2018-06-03"})
    assert (named.batch.partition, len(named.days)) == ("2018-06-03", 2)
    assert plan(store, form={"batch": "2018-06-03", "window": "batch"}).days == ()
    day = made.of_day("2018-06-03")
    assert (day.batch.partition, day.as_of, day.days) == ("2018-06-03", "2018-06-04T00:00:00+00:00", ())
    with pytest.raises(InputError, match=r"simulated_transactions/2018-06-02: got no file\. .* data land simulated_tr"):
        plan(store, partition="2018-06-02")
    with pytest.raises(InputError, match=r"form\.batch: got '2018-06-02'"):
        plan(store, form={"batch": "2018-06-02"})


def test_a_run_by_hand_takes_the_newest_day_that_was_not_refused(store: Store) -> None:
    for day in ("2018-06-03", "2018-06-04"):
        store.write_text(f"{PREFIX}{day}/a.csv", f"rows of {day}")
    newest = plan(store).batch
    as_of = "2018-06-05T00:00:00+00:00"
    refuse(
        store, NAME, Refused(partition=newest.partition, digest=newest.digest, files=newest.files, as_of=as_of, run="r")
    )
    assert plan(store).batch.partition == "2018-06-03"
    assert plan(store, form={"batch": "2018-06-04"}).batch == newest, "it is judged again where it is named"
    store.write_text(f"{PREFIX}2018-06-04/a.csv", "rows, mended")
    assert plan(store).batch.partition == "2018-06-04"


def test_days_have_no_earlier_batches_to_name(store: Store) -> None:
    store.write_text(f"{PREFIX}2018-06-04/a.csv", "rows")
    with pytest.raises(SpecError) as told:
        plan(store, form={"earlier": ["2018-06-03"]})
    assert str(told.value) == (
        "form.earlier: got ['2018-06-03']. Allowed: nothing where a source has daily partitions: the window is in "
        "days, as they have landed. Do: choose the window: declared, batch, all, or recent with recent_batches"
    )


def test_all_files_of_a_day_are_its_batch(store: Store) -> None:
    for name in ("b", "a"):
        store.write_text(f"{PREFIX}2018-06-04/{name}.csv", f"rows of {name}")
    made = plan(store, form={"batch": "a.csv"})
    assert [file.uri.rpartition("/")[2] for file in made.batch.files] == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"partition": "TX_AMOUNT"}, "partition names a column of type date or timestamp, not 'TX_AMOUNT'"),
        ({"window": {"batches": 3}}, "with a partition the window is in days"),
    ],
)
def test_contradictions_of_a_partitioned_source_are_told(section: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError) as raised:
        validate(source().model_dump(mode="json") | section, Source)
    assert told in str(raised.value)


def test_sql_stands_in_a_file_beside_and_its_text_in_the_plan(store: Store, tmp_path: Path) -> None:
    store.write_text(f"{PREFIX}2018-06-04/a.csv", "rows")
    assert "RANGE BETWEEN" in str(plan(store).use_case.prepare.sql)
    path = tmp_path / "toy.yaml"
    (tmp_path / "columns.sql").write_text("-- a comment\nSELECT * FROM accepted")
    path.write_text("name: toy\nprepare: {sql: columns.sql}\n")
    assert load_use_case(str(path)).prepare.sql == "-- a comment\nSELECT * FROM accepted"
    for name, told in (("colums.sql", "did you mean 'columns.sql'"), ("../columns.sql", "a file beside it")):
        path.write_text(f"name: toy\nprepare: {{sql: {name}}}\n")
        with pytest.raises(SpecError, match=r"toy.yaml: prepare.sql: got ") as raised:
            load_use_case(str(path))
        assert told in str(raised.value)
    for statement in ("DROP TABLE accepted", "WITH a AS (SELECT 1) INSERT INTO b SELECT 1", "-- nothing"):
        path.write_text(f"name: toy\nprepare: {{sql: '{statement}'}}\n")
        with pytest.raises(SpecError, match="one statement that begins with SELECT or WITH"):
            load_use_case(str(path))


def test_generated_fraud_has_three_kinds_that_behave_as_described() -> None:
    frame = generate(rows=30_000, seed=3)
    kinds = {number: frame[frame["TX_FRAUD_SCENARIO"] == number] for number in range(4)}
    assert min(map(len, kinds.values())) >= 10
    assert ((frame["TX_FRAUD"] == 1) == (frame["TX_FRAUD_SCENARIO"] > 0)).all()
    assert kinds[1]["TX_AMOUNT"].min() > 220 >= kinds[0]["TX_AMOUNT"].max()
    for _, rows in kinds[2].groupby("TERMINAL_ID"):
        first = rows["TX_TIME_DAYS"].min()
        there = frame[
            frame["TERMINAL_ID"].eq(rows["TERMINAL_ID"].iloc[0]) & frame["TX_TIME_DAYS"].between(first, first + 13)
        ]
        assert there["TX_FRAUD"].all(), "every payment at a compromised terminal"
    usual = frame[frame["TX_FRAUD"] == 0].groupby("CUSTOMER_ID")["TX_AMOUNT"].mean()
    assert (kinds[3]["TX_AMOUNT"] / kinds[3]["CUSTOMER_ID"].map(usual)).mean() > 3
    assert frame["TX_TIME_SECONDS"].is_monotonic_increasing
    assert frame["TRANSACTION_ID"].is_unique
    assert (
        frame["TX_DATETIME"] == pd.Timestamp("2018-04-01") + pd.to_timedelta(frame["TX_TIME_SECONDS"], unit="s")
    ).all()
    assert generate(rows=30_000, seed=3).equals(frame)


@pytest.mark.parametrize("kind", BAD)
def test_bad_days_are_bad_in_one_column(kind: str) -> None:
    frame = generate(rows=1000, seed=1, days=2)
    before, after = (data.decode().splitlines() for data in (to_csv(frame), bad(kind, frame)))
    assert len(before) == len(after)
    assert 0 < sum(one != other for one, other in zip(before, after, strict=True)) <= 3
