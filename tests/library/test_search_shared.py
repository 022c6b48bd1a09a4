"""What workers of a search share, on a store of any kind."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from stepzero.adapters import presence
from stepzero.adapters.journal import StoreJournal
from stepzero.adapters.presence import BeatingPresence, LockedPresence, open_presence
from stepzero.adapters.store import Store
from stepzero.learning.shared import SharedTrials
from stepzero.learning.trial import Trial
from support.cards import FOLDS, Bench, made_up_cards


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}" if request.param == "file" else f"memory://{tmp_path.name}")


def test_entries_of_two_writers_stand_in_one_order(store: Store) -> None:
    one, two = StoreJournal(store, "journal"), StoreJournal(store, "journal")
    one.append_logs([{"a": 1}, {"a": 2}])
    two.append_logs([{"b": 1}])
    one.append_logs([{"a": 3}])
    expected = [{"a": 1}, {"a": 2}, {"b": 1}, {"a": 3}]
    assert list(one.read_logs(0)) == list(two.read_logs(0)) == expected
    assert list(two.read_logs(3)) == expected[3:]


def test_what_one_worker_notes_the_other_reads(store: Store) -> None:
    with (
        SharedTrials(store, "work", greater_is_better=True) as one,
        SharedTrials(store, "work", greater_is_better=True) as two,
    ):
        assert one.claim("0-0") == 1
        assert two.claim("0-0") == 0
        assert two.claim("0-1") == 1
        done = Trial({"a": [1]}, [0.25, 1 / 3], attempt=2, pieces=[one.keep(0, 0, np.array([0.5, np.nan]))])
        one.add(0, 0, done, None)
        one.add(0, 0, Trial({"a": [1]}, [0.0]), None)  # whoever is later changes nothing
        one.add(1, 0, Trial({}, [], failed="broken"), None)
        found = two.done(0)
        assert list(found) == [0]
        assert (found[0].fold_scores, found[0].attempt) == ([0.25, 1 / 3], 2)
        assert two.done(1)[0].failed == "broken"
        np.testing.assert_array_equal(two.kept(found[0], 2), [0.5, np.nan])


def test_a_claim_of_who_is_gone_is_taken_over(store: Store) -> None:
    with SharedTrials(store, "work", greater_is_better=True) as two:
        with SharedTrials(store, "work", greater_is_better=True) as one:
            assert one.claim("0-0") == 1
        assert two.claim("0-0") == 2


def test_a_locked_presence_is_judged_by_its_lock(tmp_path: Path) -> None:
    one, two = LockedPresence(tmp_path), LockedPresence(tmp_path)
    assert one.lives(two.name)
    two.close()
    assert not one.lives(two.name)
    assert not one.lives("never-was")
    one.close()


def test_a_beating_presence_is_judged_by_its_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(presence.time, "monotonic", lambda: now[0])
    store = Store("memory://beats")
    one, two = (BeatingPresence(store, "workers", beat_seconds=0) for _ in range(2))
    assert one.lives(two.name)
    now[0] += presence.PATIENCE_SECONDS - 1
    assert one.lives(two.name)
    two.beat()
    now[0] += 2
    assert one.lives(two.name)
    now[0] += presence.PATIENCE_SECONDS + 1
    assert not one.lives(two.name)
    two.beat()
    assert one.lives(two.name)  # it was only slow
    two.close()
    assert not one.lives(two.name)


def test_beats_go_on_by_themselves() -> None:
    store = Store("memory://thread")
    one = BeatingPresence(store, "workers", beat_seconds=0.001)
    while store.read_json(f"workers/{one.name}")["beat"] < 3:
        pass
    one.close()
    assert isinstance(open_presence(store, "workers"), BeatingPresence)


def test_the_second_worker_begins_at_the_other_end_and_waits_for_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", logger="stepzero")
    models = {"decision_tree": {"max_depth": [2, 3, 4]}}
    bench = Bench(tmp_path, made_up_cards(rows=400, frauds=40), train={"folds": FOLDS, "models": models})
    bench.shared = "work"
    first = SharedTrials(bench.store, "work", greater_is_better=True)
    assert first.claim("0-0") == 1
    waited: list[int] = []

    def wait(_: SharedTrials) -> None:
        waited.append(len(caplog.records))
        first.__exit__()  # the first worker is lost

    monkeypatch.setattr(SharedTrials, "wait", wait)
    done = bench.tune("none", "decision_tree")
    fits = re.findall(r"fold 0, fit (\d) of 3", caplog.text)
    assert fits == ["3", "2", "1"]
    assert len(waited) == 1
    assert [trial["parameters"]["max_depth"] for trial in done.values["trials"]] == [2, 3, 4]
    assert [record.tags.get("attempt", "")[:1] for record in done.records] == ["2", "", ""]
