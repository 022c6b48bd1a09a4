"""Landing a file: what cannot be used is refused early with four parts, what can lands once and whole."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepzero.adapters.landing import inspect, land, land_tables
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError
from stepzero.spec.data import Source

SOURCE = Source.model_validate(
    {"format": "csv", "prefix": "landing/toy/", "columns": {"Time": "double", "Amount": "double", "Class": "int"}}
)
GOOD = b"Time,Amount,Class\n0,1.5,0\n1,2.5,1\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


def file(tmp_path: Path, data: bytes, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_same_content_lands_once(store: Store, tmp_path: Path) -> None:
    first = land(store, SOURCE, file(tmp_path, GOOD))
    again = land(store, SOURCE, file(tmp_path, GOOD, "other name.CSV"))
    assert first == again
    assert store.list("landing") == [first]
    assert store.read_text(first).encode() == GOOD


def test_packed_file_keeps_its_suffix_whatever_it_is_called(store: Store, tmp_path: Path) -> None:
    landed = land(store, SOURCE, file(tmp_path, gzip.compress(GOOD), "data.csv"))
    assert landed.endswith(".csv.gz"), "Spark unpacks by suffix"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.tuples(st.integers(), st.integers(), st.integers(0, 1)), max_size=5))
def test_different_content_never_shares_a_name(tmp_path: Path, rows: list[tuple[int, int, int]]) -> None:
    store = Store(f"memory://landing-{tmp_path.name}")
    text = "Time,Amount,Class\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows)
    landed = land(store, SOURCE, file(tmp_path, text.encode()))
    assert store.read_text(landed) == text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", r"got nothing in it \(0 bytes\)\. Allowed: a file with a header and rows"),
        (b"\n\n", r"got nothing in it \(2 bytes\)"),
        (gzip.compress(b"", mtime=0), r"got nothing in it"),
        (gzip.compress(GOOD * 99, mtime=0)[:40], r"a gzip file that cannot be unpacked .*Do: copy it again"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", r"got binary data that begins with b'\\x89PNG"),
        (b"<html><body>Not found</body></html>", r"got a first line '<html>.*Allowed: CSV with the header Time"),
        (b"Time,Class\n1,0\n", r"got a header without Amount\. Allowed: the 3 columns Time, Am"),
        (b"Time,Amuont,Class\n1,1,0\n", r"without Amount; with unknown Amuont; renamed\? .*'Amount'\?"),
        (b"Time,Amount,Class,New\n1,1,0,3\n", r"got a header with unknown New"),
        (b"Amount,Time,Class\n1,1,0\n", r"got a header columns in another order \(Amount, Time, Class\)"),
    ],
)  # fmt: skip
def test_unusable_file_is_refused_and_nothing_lands(store: Store, tmp_path: Path, data: bytes, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as raised:
        land(store, SOURCE, file(tmp_path, data))
    assert "Do: " in str(raised.value)
    assert store.list("landing") == []


def test_missing_file_suggests_a_neighbour(tmp_path: Path) -> None:
    file(tmp_path, GOOD, "payments.csv")
    with pytest.raises(
        InputError, match=r"paymets\.csv: got no such file\. Allowed: an existing file; did you mean 'payments\.csv'"
    ):
        inspect(SOURCE, tmp_path / "paymets.csv")
    with pytest.raises(InputError, match=r"got a folder\. Allowed: one readable file"):
        inspect(SOURCE, tmp_path)


def test_byte_order_mark_and_quotes_are_no_fault(tmp_path: Path) -> None:
    assert inspect(SOURCE, file(tmp_path, b'\xef\xbb\xbf"Time","Amount","Class"\r\n1,2,0\r\n')) == ".csv"


def test_other_formats(tmp_path: Path) -> None:
    parquet = SOURCE.model_copy(update={"format": "parquet"})
    assert inspect(parquet, file(tmp_path, b"PAR1....PAR1")) == ".parquet"
    with pytest.raises(InputError, match="a Parquet file, as the source declares"):
        inspect(parquet, file(tmp_path, GOOD))
    assert inspect(SOURCE.model_copy(update={"format": "json"}), file(tmp_path, b'{"a": 1}\n')) == ".json"


def test_tables_land_together_or_none_does(store: Store, tmp_path: Path) -> None:
    other = SOURCE.model_copy(update={"prefix": "landing/other/"})
    tables = {"payments": SOURCE, "refunds": other}
    folder = tmp_path / "both"
    folder.mkdir()
    file(folder, GOOD, "payments.csv")
    with pytest.raises(
        InputError, match=r"table refunds in .*both: got no file\. Allowed: one file whose name is refunds"
    ):
        land_tables(store, tables, folder)
    file(folder, b"Time,Class\n1,2\n", "refunds.csv")
    with pytest.raises(InputError, match=r"refunds\.csv: got a header without Amount"):
        land_tables(store, tables, folder)
    assert store.list("landing") == [], "a good table does not land beside a wrong one"
    file(folder, gzip.compress(GOOD), "refunds.csv")
    landed = land_tables(store, tables, folder)
    assert {name: uri.rpartition("/")[0] for name, uri in landed.items()} == {
        "payments": "landing/toy",
        "refunds": "landing/other",
    }
    file(folder, GOOD, "refunds.csv.gz")
    with pytest.raises(InputError, match=r"table refunds in .*: got refunds\.csv, refunds\.csv\.gz"):
        land_tables(store, tables, folder)
    with pytest.raises(InputError, match=r"payments\.csv: got a file\. Allowed: a folder with a file of each"):
        land_tables(store, tables, folder / "payments.csv")
