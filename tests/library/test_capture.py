"""Captured traffic: nothing is lost, doubled or delayed; labels join by id, whenever and however often they come."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepzero.adapters.captured import (
    AT,
    DECISION,
    ID,
    REFUSED,
    SCORE,
    STATUS,
    VERSION,
    Part,
    captured_uris,
    hour_folder,
    merge_parts,
    read_captured,
    widest,
    write_part,
)
from stepzero.adapters.labels import join_labels, land_labels, read_labels
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, StoreError
from stepzero.serving.capture import Capture, Exchange, Recorder
from stepzero.serving.invocation import Prediction
from stepzero.serving.rows import RequestError
from stepzero.spec.data import Problem
from stepzero.spec.environment import Capture as Settings

START = datetime(2026, 11, 21, 13, 59, tzinfo=UTC)
DAY = timedelta(days=1)
PROBLEM = Problem(kind="classification", target="Class", positive=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def capture_of(store: Store, clock: Clock | None = None, **settings: Any) -> Capture:
    return Capture(store, "cards", Settings(**settings), clock=clock or Clock())


def answered(name: str, rows: int = 1, at: datetime = START, **changes: Any) -> Exchange:
    frame = pd.DataFrame({"V1": np.arange(rows, dtype=float), "Amount": 2.0})
    made = {"version": "3", "model": "m" * 32, "threshold": 0.5, "scores": np.linspace(0.2, 0.8, rows), "rows": frame}
    return Exchange(request=name, at=at, **{**made, **changes})


def captured(store: Store) -> pd.DataFrame:
    return read_captured(store, "cards", START - DAY, START + DAY)


def test_what_was_asked_and_answered_is_read_again(store: Store) -> None:
    capture = capture_of(store)
    assert capture.offer(answered("a", rows=2))
    assert capture.offer(Exchange(request="b", at=START, status=422, refused="row 0 field V1: got nothing"))
    assert capture.flush()
    rows = captured(store).set_index(ID)
    assert rows.index.tolist() == ["a.0", "a.1", "b.0"]
    assert rows.loc["a.1", ["V1", "Amount", SCORE, DECISION, VERSION, STATUS]].tolist() == [
        1.0,
        2.0,
        0.8,
        1.0,
        "3",
        200,
    ]
    assert rows.loc["b.0", STATUS] == 422
    assert rows.loc["b.0", REFUSED] == "row 0 field V1: got nothing"
    assert rows.loc["b.0", ["V1", SCORE, DECISION]].isna().all()
    assert capture.counts() == {"requests": 2, "rows": 3, "written": 3, "dropped": 0, "waiting": 0}


def test_a_decision_is_kept_as_it_was_made_where_groups_have_thresholds_of_their_own(store: Store) -> None:
    capture = capture_of(store)
    scores, lines = np.array([0.4, 0.4, 0.6]), np.array([0.3, 0.5, 0.7])
    assert capture.offer(answered("a", rows=3, scores=scores, lines=lines))
    assert capture.flush()
    assert captured(store).set_index(ID)[DECISION].to_dict() == {"a.0": 1, "a.1": 0, "a.2": 0}


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b'{"instances": [{}, {}], "ids": ["tx-1", 7]}', ["tx-1", "7"]),
        (b'{"instances": [{}, {}], "ids": ["only one"]}', ["a.0", "a.1"]),
        (b'["ids"]', ["a.0", "a.1"]),
        (b'V1,"ids"\n', ["a.0", "a.1"]),
        (None, ["a.0", "a.1"]),
    ],
)
def test_rows_are_named_by_their_caller_or_by_their_request(body: bytes | None, ids: list[str]) -> None:
    assert answered("a", rows=2, body=body).ids() == ids


def test_versions_with_other_features_lie_side_by_side(store: Store) -> None:
    capture = capture_of(store)
    other = pd.DataFrame({"V1": [5.0], "Kind": ["x"]})
    capture.offer(answered("a"))
    capture.offer(answered("b", version="4"))
    capture.offer(Exchange(request="c", at=START, version="4", rows=other, scores=np.array([0.1])))
    capture.flush()
    rows = captured(store).set_index(ID)
    assert rows["Kind"].tolist() == [None, None, "x"]
    assert rows["Amount"].tolist()[:2] == [2.0, 2.0]
    assert np.isnan(rows["Amount"]["c.0"])
    assert np.isnan(rows[DECISION]["c.0"]), "no threshold, no decision"


def scored(name: str, rows: pd.DataFrame, version: str, at: datetime) -> Exchange:
    return Exchange(request=name, at=at, version=version, rows=rows, scores=np.full(len(rows), 0.1))


def swapped(store: Store, clock: Clock, kinds: tuple[list[Any], list[Any]]) -> Capture:
    """Capture, in one flush, what two versions were asked around a swap that changes a feature's type."""
    capture = capture_of(store, clock)
    for number, (version, values) in enumerate(zip("34", kinds, strict=True)):
        frame = pd.DataFrame({"V1": [1.0 + number] * len(values), "Kind": values})
        at = START + timedelta(seconds=number)
        capture.offer(scored(f"v{version}", frame, version, at))
    capture.offer(Exchange(request="no", at=START, status=422, refused="row 0 field V1: got nothing"))
    assert capture.flush()
    return capture


@pytest.mark.parametrize(
    ("kinds", "read"),
    [
        (([1.5, 2.0], ["x"]), ["1.5", "2.0", "x"]),
        ((["x", "2.5"], [7.0]), [np.nan, 2.5, 7.0]),
        (([True, False], [7.0]), [1.0, 0.0, 7.0]),
        (([1.0, 0.0], [True]), [True, False, True]),
        ((["x", None], [True]), [None, None, True]),
    ],
)
def test_a_swap_that_changes_a_features_type_loses_no_row_and_the_newest_type_counts(
    store: Store, kinds: tuple[list[Any], list[Any]], read: list[Any]
) -> None:
    clock = Clock()
    capture = swapped(store, clock, kinds)
    assert capture.counts() == {"requests": 3, "rows": 4, "written": 4, "dropped": 0, "waiting": 0}
    for _ in range(2):
        rows = captured(store).set_index(ID)
        found = rows.loc[["v3.0", "v3.1", "v4.0"], "Kind"].tolist()
        assert [None if pd.isna(one) else one for one in found] == [None if pd.isna(one) else one for one in read]
        assert rows.loc["no.0", REFUSED].startswith("row 0")
        assert rows.loc[["v3.0", "v4.0"], "V1"].tolist() == [1.0, 2.0]
        # Files of both types stay apart, and are read the same.
        clock.now = START + timedelta(hours=2)
        capture.merge()
    assert len(store.list(hour_folder("cards", START))) == 2


def test_what_no_table_can_hold_is_dropped_alone_and_counted(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    capture = capture_of(store)
    odd = pd.DataFrame({"V1": [1.0, "x"], "Amount": 2.0})
    capture.offer(answered("a"))
    capture.offer(scored("odd", odd, "4", START))
    assert capture.flush()
    assert captured(store)[ID].tolist() == ["a.0"]
    assert capture.counts() == {"requests": 2, "rows": 3, "written": 1, "dropped": 2, "waiting": 0}
    assert "capture: 2 rows of version 4 cannot be kept" in caplog.text


def test_a_full_queue_drops_whole_requests_at_once_and_counts_them(store: Store) -> None:
    capture = capture_of(store, queue_rows=5)
    assert [capture.offer(answered(name, rows=2)) for name in "abcd"] == [True, True, False, False]
    assert capture.offer(answered("e", rows=1))
    assert capture.counts() == {"requests": 5, "rows": 9, "written": 0, "dropped": 4, "waiting": 5}
    capture.flush()
    assert captured(store)[ID].tolist() == ["a.0", "a.1", "b.0", "b.1", "e.0"]


def test_while_the_store_is_gone_rows_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = capture_of(store)
    capture.offer(answered("a"))

    def gone(*_: Any) -> None:
        raise StoreError("store", value="gone", allowed="a store", action="mend it")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "put", gone)
        assert not capture.flush()
    capture.offer(answered("b"))
    assert capture.counts()["waiting"] == 2
    assert capture.flush()
    assert captured(store)[ID].tolist() == ["a.0", "b.0"]


def test_rows_lie_in_the_hour_in_which_they_were_asked(store: Store) -> None:
    clock = Clock()
    capture = capture_of(store, clock, flush_seconds=10)
    capture.offer(answered("a"))
    capture.flush()
    capture.offer(answered("late"))
    capture.offer(answered("b", at=START + timedelta(minutes=1)))
    capture.flush()
    hours = [hour_folder("cards", START + timedelta(hours=number)) for number in (0, 1)]
    assert hours == ["captured/cards/2026-11-21T13", "captured/cards/2026-11-21T14"]
    assert [len(store.list(hour)) for hour in hours] == [2, 1]
    clock.now = START + timedelta(minutes=1)
    capture.merge()
    assert len(store.list(hours[0])) == 2, "the hour is not over for good"
    clock.now += timedelta(seconds=20)
    capture.merge()
    assert [len(store.list(hour)) for hour in hours] == [1, 1]
    assert captured(store)[ID].tolist() == ["a.0", "late.0", "b.0"]
    assert read_captured(store, "cards", START, START + timedelta(minutes=1))[ID].tolist() == ["a.0", "late.0"]


def test_a_share_of_the_requests_is_chosen_by_their_names(store: Store) -> None:
    capture = capture_of(store, share="25%")
    for number in range(400):
        assert capture.offer(answered(f"n{number}"))
    again = capture_of(store, share="25%")
    again.offer(answered("n0"))
    assert 60 < capture.counts()["requests"] < 140
    assert again.counts()["requests"] in {0, 1}


def test_the_thread_writes_by_itself_and_the_rest_at_the_end(store: Store) -> None:
    capture = capture_of(store, flush_seconds=3600, queue_rows=10)
    capture.start()
    for name in "abcdef":  # more than half of the queue wakes the thread
        capture.offer(answered(name))
    reached = threading.Event()
    for _ in range(1000):
        if capture.counts()["written"]:
            reached.set()
            break
        reached.wait(0.02)
    assert reached.is_set()
    capture.offer(answered("g"))
    capture.stop()
    assert sorted(captured(store)[ID]) == [f"{name}.0" for name in "abcdefg"]


class Served:
    version, model_digest, threshold = "3", "m" * 32, 0.5


def test_the_recorder_keeps_answers_and_refusals_but_no_fault_of_ours(store: Store) -> None:
    capture = capture_of(store)
    recorder = Recorder(capture)
    with recorder.exchange({"x-request-id": "tx-1"}) as exchange:
        rows = pd.DataFrame({"V1": [1.0]})
        exchange.answered(Prediction(served=Served(), rows=rows, scores=np.array([0.9])), b"")  # type: ignore[arg-type]
    for status in (422, 503):
        with pytest.raises(RequestError), recorder.exchange({"x-request-id": f"s{status}"}):
            raise RequestError(status, "row 0 field V1", value="x", allowed="a number", action="correct it")
    with pytest.raises(RuntimeError), recorder.exchange({"x-request-id": "broken"}):
        raise RuntimeError
    with recorder.exchange({"x-request-id": "deploy", "x-stepzero-probe": "1"}) as exchange:
        rows = pd.DataFrame({"V1": [1.0]})
        exchange.answered(Prediction(served=Served(), rows=rows, scores=np.array([0.9])), b"")  # type: ignore[arg-type]
    capture.flush()
    rows = captured(store)
    assert rows[ID].tolist() == ["s422.0", "tx-1.0"] or rows[ID].tolist() == ["tx-1.0", "s422.0"]
    assert rows[REFUSED].dropna().tolist() == ["row 0 field V1: got 'x'. Allowed: a number"]
    assert rows["_latency_ms"].between(0, 60_000).all()


def test_a_request_may_not_have_any_name() -> None:
    with pytest.raises(RequestError) as raised, Recorder().exchange({"x-request-id": "../up"}):
        pass
    assert str(raised.value) == (
        "header X-Request-Id: got '../up'. Allowed: 1 to 64 letters, digits and . _ : -. "
        "Do: send such a name, or none: the answer tells the one that it got"
    )


PROCESS = "0123456789ab"


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6), st.data())
def test_whatever_was_merged_and_left_every_flush_is_read_once(
    sizes: list[int], killed: list[bool], data: st.DataObject
) -> None:
    names, first = set(), 1
    for size, is_killed in zip(sizes, killed, strict=False):
        parts = [Part(PROCESS, number, number) for number in range(first, first + size)]
        left = data.draw(st.sets(st.sampled_from(parts))) if is_killed else set()
        names |= {Part(PROCESS, first, first + size - 1).name} | {part.name for part in left}
        first += size
    read = [Part(PROCESS, *map(int, name.removesuffix(".parquet").split("-")[1:])) for name in widest(names)]
    held = [number for part in read for number in range(part.first, part.last + 1)]
    assert held == list(range(1, first))


def test_a_merge_that_was_killed_shows_every_row_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, parts = hour_folder("cards", START), [Part(PROCESS, number, number) for number in (1, 2, 3)]
    for part in parts:
        table = pa.table({ID: [str(part.first)], AT: pa.array([START], pa.timestamp("us", "UTC"))})
        write_part(store, folder, part, table)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "remove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            merge_parts(store, folder, parts)
    assert len(store.list(folder)) == 4
    assert captured(store)[ID].tolist() == ["1", "2", "3"]
    assert captured_uris(store, "cards", START, START + DAY) == [f"{folder}/{PROCESS}-000001-000003.parquet"]


def labels_file(path: Path, rows: list[tuple[str, Any, str]]) -> Path:
    pd.DataFrame(rows, columns=["id", "label", "known_at"]).to_csv(path, index=False)
    return path


def test_labels_come_in_any_order_and_the_last_word_counts(store: Store, tmp_path: Path) -> None:
    second = labels_file(tmp_path / "2.csv", [("a", 0, "2026-11-30T00:00:00Z"), ("c", 1, "2026-11-22T01:00:00+01:00")])
    first = labels_file(tmp_path / "1.csv", [("a", 1, "2026-11-23T00:00:00Z"), ("b", 0, "2026-11-24T00:00:00Z")])
    assert land_labels(store, "cards", PROBLEM, second) == {"2026-11-22": 1, "2026-11-30": 1}
    land_labels(store, "cards", PROBLEM, first)
    assert land_labels(store, "cards", PROBLEM, first) == {"2026-11-23": 1, "2026-11-24": 1}, "twice is once"
    assert len(store.list("labels/cards")) == 4

    def known(as_of: str) -> dict[str, float]:
        found = read_labels(store, "cards", START, datetime.fromisoformat(as_of))
        return dict(zip(found["id"], found["label"], strict=True))

    assert known("2026-11-22T00:00:00+00:00") == {"c": 1.0}, "known at midnight, in Greenwich"
    assert known("2026-11-29T00:00:00+00:00") == {"a": 1.0, "b": 0.0, "c": 1.0}
    assert known("2026-12-01T00:00:00+00:00") == {"a": 0.0, "b": 0.0, "c": 1.0}, "corrected"
    rows = pd.DataFrame({ID: ["a", "x", "a"], SCORE: [0.1, 0.2, 0.3]})
    found, unclear = join_labels(rows, read_labels(store, "cards", START, datetime(2026, 12, 1, tzinfo=UTC)))
    assert unclear == 0
    assert found["label"].tolist()[::2] == [0.0, 0.0]
    assert np.isnan(found["label"][1])
    empty, _ = join_labels(rows, read_labels(store, "cards", START, START))
    assert empty["label"].isna().all()


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([("", 1, "2026-11-23")], "1 rows without id. Allowed: an id in every row"),
        ([("a", "", "2026-11-23")], "1 rows without label. Allowed: a label in every row, no others"),
        ([("a", "yes", "2026-11-23")], "labels such as 'yes'. Allowed: numbers, as the target is one"),
        ([("a", 1, "yesterday")], "1 rows without known_at. Allowed: ISO 8601 in every row"),
    ],
)
def test_a_label_file_that_says_too_little_is_refused_whole(
    store: Store, tmp_path: Path, rows: list[tuple[str, Any, str]], text: str
) -> None:
    with pytest.raises(InputError) as raised:
        land_labels(store, "cards", PROBLEM, labels_file(tmp_path / "f.csv", rows))
    assert text in str(raised.value)
    assert "Do: correct the file; nothing was landed" in str(raised.value)
    assert not store.list("labels")


def test_a_label_file_needs_its_columns(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("id,lable,known_at\na,1,2026-11-23\n")
    with pytest.raises(InputError, match=r"no column label; did you mean 'lable'\?"):
        land_labels(store, "cards", PROBLEM, path)


@pytest.mark.parametrize(
    ("problem", "given_labels", "kept"),
    [
        (Problem(kind="classification", target="t", positive="yes"), ["yes", "no"], [1.0, 0.0]),
        (Problem(kind="classification", target="t", positive=1), ["1.0", "0"], [1.0, 0.0]),
        (Problem(kind="classification", target="t", positive=True), ["true", "false"], [1.0, 0.0]),
        (Problem(kind="regression", target="t"), ["9.5", "-3"], [9.5, -3.0]),
    ],
)
def test_labels_are_kept_as_numbers(
    store: Store, tmp_path: Path, problem: Problem, given_labels: list[str], kept: list[float]
) -> None:
    rows = [(str(at), value, "2026-11-23") for at, value in enumerate(given_labels)]
    land_labels(store, "cards", problem, labels_file(tmp_path / "f.csv", rows))
    assert read_labels(store, "cards", START, START + 9 * DAY)["label"].tolist() == kept
