"""The store: exactly one creator, no path out of it, whole files or none, and a clear word when it is full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepzero.adapters.datasets import commit_dataset, is_whole, manifest_of, read_frame, write_file, write_frame
from stepzero.adapters.store import Store
from stepzero.core.errors import StoreError, StoreFullError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


@pytest.mark.parametrize("root", ["file", "memory"])
def test_of_many_creators_exactly_one_wins(root: str, tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store" if root == "file" else f"memory://{tmp_path.name}")
    if root == "memory":
        assert store.create("a/b.json", {"by": 1})
        assert not store.create("a/b.json", {"by": 2})
        assert store.read_json("a/b.json") == {"by": 1}
        return
    start, won = threading.Barrier(16), []

    def race(number: int) -> None:
        start.wait()
        if store.create("a/b.json", {"by": number}):
            won.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read_json("a/b.json") == {"by": won[0]}
    assert [path.name for path in Path(store.path("a")).iterdir()] == ["b.json"], "temporary files are left"


def test_of_many_creating_processes_exactly_one_wins(tmp_path: Path) -> None:
    code = (
        "import sys; from stepzero.adapters.store import Store;"
        f"sys.exit(0 if Store('file://{tmp_path}').create('x.json', 1) else 3)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "include")}
    racing = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(4)]
    assert sorted(one.wait() for one in racing) == [0, 3, 3, 3]


@given(st.lists(st.integers(), min_size=1, max_size=5))
def test_the_first_created_value_stays(values: list[int]) -> None:
    store = Store(f"memory://first-{os.urandom(6).hex()}")
    assert [store.create("x.json", value) for value in values] == [True] + [False] * (len(values) - 1)
    assert store.read_json("x.json") == values[0]


@pytest.mark.parametrize("uri", ["../x", "a/../../x", "/etc/passwd", "file:///etc/passwd", "s3://other/x"])
def test_no_path_leads_out(store: Store, uri: str) -> None:
    with pytest.raises(StoreError, match=r"store path: got '.*'\. Allowed: a path within the store"):
        store.read_text(uri)


def test_missing_file_is_told(store: Store) -> None:
    with pytest.raises(StoreError, match=r"store file runs/x\.json: got missing\. Allowed: an existing file"):
        store.read_json("runs/x.json")


def test_a_failed_put_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source.csv"
    source.write_text("a,b\n1,2\n")
    store.put(source, "landing/x.csv")
    assert store.read_text("landing/x.csv") == "a,b\n1,2\n"

    def broken(self: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(StoreError, match="Input/output error"):
        store.put(source, "landing/y.csv")
    assert [path.name for path in Path(store.path("landing")).iterdir()] == ["x.csv"]


def test_what_is_being_written_is_not_listed(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, link, replace, seen = tmp_path / "source.csv", os.link, Path.replace, []
    source.write_text("a\n1\n")

    def looked() -> None:
        there = {path.name for path in Path(store.path("claims")).iterdir() if path.name.startswith(".")}
        seen.append((len(there), store.list("claims")))

    def slow_link(old: Path, new: Path) -> None:
        looked()
        link(old, new)

    def slow_replace(old: Path, new: Path) -> Path:
        looked()
        return replace(old, new)

    monkeypatch.setattr(os, "link", slow_link)
    monkeypatch.setattr(Path, "replace", slow_replace)
    store.create("claims/claim-1.json", 1)
    store.write_json("claims/newest.json", 2)
    store.put(source, "claims/source.csv")
    first, second = "claims/claim-1.json", "claims/newest.json"
    assert seen == [(1, []), (1, [first]), (1, [first, second])]
    assert store.list("claims") == [first, second, "claims/source.csv"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where we may make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if (
        not mounted
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=False).returncode
    ):
        pytest.skip("NOT RUN: mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_store_says_so_and_keeps_what_was_there(small_disk: Path) -> None:
    store = Store(f"file://{small_disk}")
    store.write_json("kept.json", {"kept": True})
    with pytest.raises(
        StoreFullError,
        match=r"got no space left\. Allowed: free space under the store\. Do: make room, then clear the task",
    ):
        write_file(store, "big.bin", b"0" * 4 * 1024**2)
    with pytest.raises(StoreFullError):
        store.write_text("kept.json", "x" * 2 * 1024**2)
    assert store.read_json("kept.json") == {"kept": True}


def test_dataset_digest_speaks_of_content_not_of_names(store: Store) -> None:
    for folder, name in (("one", "part-a.parquet"), ("two", "part-b.parquet")):
        write_file(store, f"{folder}/{name}", b"same bytes")
    first, second = (
        commit_dataset(store, folder, rows=1, schema=[["a", "int"]], producer="test") for folder in ("one", "two")
    )
    assert first.digest == second.digest
    other = commit_dataset(store, "one", rows=2, schema=[["a", "int"]], producer="test")
    assert other.digest != first.digest


def test_dataset_digest_ignores_the_order_within_a_parquet_footer(store: Store) -> None:
    import pandas as pd

    reference = write_frame(store, "one", pd.DataFrame({"a": [1, 2, 3]}), producer="test")
    file = manifest_of(store, reference)["files"][0]["uri"]
    path = Path(store.path(file))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    schema = [["a", "int64"]]
    again = commit_dataset(store, "one", rows=3, schema=schema, producer="test")
    assert again.digest == reference.digest
    assert manifest_of(store, again)["files"][0]["digest"] != manifest_of(store, reference)["files"][0]["content"]
    data[6] ^= 1
    path.write_bytes(data)
    assert commit_dataset(store, "one", rows=3, schema=schema, producer="test").digest != reference.digest


def test_dataset_without_manifest_or_with_a_short_file_is_not_whole(store: Store) -> None:
    import pandas as pd

    reference = write_frame(store, "data", pd.DataFrame({"a": [1, 2]}), producer="test")
    assert is_whole(store, reference)
    assert read_frame(store, reference)["a"].tolist() == [1, 2]
    file = Path(store.path(manifest_of(store, reference)["files"][0]["uri"]))
    file.write_bytes(file.read_bytes()[:-1])
    assert not is_whole(store, reference)
    store.remove("data/_manifest.json")
    assert not is_whole(store, reference)
