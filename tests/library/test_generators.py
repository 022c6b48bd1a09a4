"""Generated data must look like the real thing where stages look, and bad batches must be bad."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from stepzero.core.errors import InputError
from stepzero.generators import GENERATORS, generator_for, is_of_tables, tables_of, to_csv, write_csv
from stepzero.generators.credit_card import COLUMNS, FEATURES, generate
from stepzero.spec.load import load_use_case

REAL = Path(__file__).parents[3] / "shared" / "data" / "credit_card" / "creditcard_28k.csv.gz"


@pytest.fixture(scope="module")
def made() -> pd.DataFrame:
    return generate()


@pytest.mark.parametrize("name", GENERATORS)
def test_columns_are_those_that_the_use_case_declares(name: str) -> None:
    use_case = load_use_case(name)
    if is_of_tables(name):
        made = tables_of(name, rows=500)
        assert {table: list(frame.columns) for table, frame in made.items()} == {
            table: list(one.source.columns) for table, one in use_case.tables.items()
        }
        return
    assert use_case.source is not None
    assert list(generator_for(name).generate(rows=500).columns) == list(use_case.source.columns)


def test_same_seed_makes_same_bytes(made: pd.DataFrame) -> None:
    assert to_csv(generate()) == to_csv(made)
    assert to_csv(generate(seed=8)) != to_csv(made)


def test_frauds_are_enriched_and_counted(made: pd.DataFrame) -> None:
    assert len(made) == 12_000
    assert made["Class"].value_counts().to_dict() == {0: 11_750, 1: 250}
    assert generate(rows=3_000, frauds=10)["Class"].sum() == 10


def test_rows_come_in_order_of_time_with_quiet_nights_and_a_few_repeats(made: pd.DataFrame) -> None:
    assert made["Time"].is_monotonic_increasing
    assert made["Time"].between(0, 2 * 86_400 - 1).all()
    hour = made["Time"] % 86_400 // 3600
    assert hour.isin([2, 3, 4]).sum() * 3 < hour.isin([14, 15, 16]).sum()
    assert 10 <= made.duplicated().sum() <= 40


def test_amounts_are_money(made: pd.DataFrame) -> None:
    assert (made["Amount"] >= 0).all()
    assert np.allclose(made["Amount"] * 100, (made["Amount"] * 100).round())
    assert 0.04 < (made["Amount"] == 1).mean() < 0.07
    assert made["Amount"].mean() > 2 * made["Amount"].median()


def test_known_columns_tell_fraud_and_others_do_not(made: pd.DataFrame) -> None:
    strength = {name: abs(roc_auc_score(made["Class"], made[name]) - 0.5) for name in FEATURES}
    assert all(strength[name] > 0.25 for name in ("V17", "V14", "V12", "V10", "V16", "V3", "V7", "V11", "V4"))
    assert all(strength[name] < 0.12 for name in ("V13", "V15", "V22", "V24", "V25", "V26"))


def test_tails_are_heavy(made: pd.DataFrame) -> None:
    ordinary = made[made["Class"] == 0]
    assert ordinary["V8"].kurt() > 20
    assert ordinary["V13"].kurt() < 2


@pytest.mark.skipif(not REAL.is_file(), reason="the real card payments are not on this machine")
def test_like_the_real_frauds() -> None:
    real = pd.read_csv(REAL).query("Class == 1")
    made = generate(rows=14_000, frauds=len(real)).query("Class == 1")
    for name in FEATURES:
        assert abs(real[name].mean() - made[name].mean()) < 0.35 * real[name].std() + 0.1, name
        assert 0.4 < made[name].std() / real[name].std() < 1.6, name


def _read(content: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(content))


@pytest.mark.parametrize("kind", generator_for("credit_card_fraud").BAD)
def test_bad_batches_differ_from_good_ones_and_repeat(kind: str) -> None:
    generator, frame = generator_for("credit_card_fraud"), generate(rows=2_000)
    content = generator.bad(kind, frame, seed=3)
    assert content != to_csv(frame)
    assert content == generator.bad(kind, frame, seed=3)
    assert list(frame.columns) == list(COLUMNS)


def test_bad_batches_are_bad_in_the_way_they_say() -> None:
    bad, frame = generator_for("credit_card_fraud").bad, generate(rows=2_000)
    assert "V14" not in _read(bad("missing_column", frame))
    assert "amount_eur" in _read(bad("renamed_column", frame))
    assert len(_read(bad("extra_column", frame)).columns) == 32
    assert list(_read(bad("reordered_columns", frame)).columns)[1:3] == ["V2", "V1"]
    assert b",n/a," in bad("text_in_number", frame)
    assert _read(bad("nulls", frame))["Amount"].isna().sum() == 10
    assert (_read(bad("negative_amount", frame))["Amount"] < 0).sum() == 10
    assert set(_read(bad("unknown_class", frame))["Class"]) == {0, 1, 2}
    assert set(_read(bad("one_class", frame))["Class"]) == {0}
    assert len(_read(bad("too_few_rows", frame))) == 10
    assert _read(bad("duplicates", frame)).duplicated().sum() >= 1_000
    assert bad("empty_file", frame) == b""
    assert bad("header_only", frame).count(b"\n") == 1
    assert b"\x00" in bad("binary_file", frame)
    assert (_read(bad("all_rows_bad", frame))["Amount"] < 0).all()
    assert _read(bad("unit_change", frame))["Amount"].sum() == pytest.approx(frame["Amount"].sum() * 100)


def test_unknown_names_are_told() -> None:
    with pytest.raises(InputError, match=r"generator of use case credit_card_fruad.*did you mean 'credit_card_fraud'"):
        generator_for("credit_card_fruad")
    with pytest.raises(InputError, match=r"kind of bad batch.*did you mean 'nulls'"):
        generator_for("credit_card_fraud").bad("null", generate(rows=100))


def test_packed_file_is_the_same_every_time(tmp_path: Path) -> None:
    frame = generate(rows=200)
    one, two = write_csv(tmp_path / "one.csv.gz", frame), write_csv(tmp_path / "two" / "one.csv.gz", frame)
    assert one.read_bytes() == two.read_bytes()
    assert gzip.decompress(one.read_bytes()) == write_csv(tmp_path / "one.csv", frame).read_bytes() == to_csv(frame)
