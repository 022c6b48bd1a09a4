"""What a finished search leaves is removed; what somebody is at, or may go on with, is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepzero.adapters import presence
from stepzero.adapters.presence import open_presence
from stepzero.adapters.store import Store
from stepzero.execution.leftovers import remove_finished_work

KEY = "results/toy/tune/abc"


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}" if request.param == "file" else f"memory://{tmp_path.name}")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the waiting so far; time goes on only while it is waited."""
    waited: list[float] = []
    monkeypatch.setattr(presence.time, "monotonic", lambda: sum(waited))
    return waited


def work(store: Store, number: int, key: str = KEY) -> str:
    folder = f"{key}/work/{number:05d}"
    store.write_text(f"{folder}/journal/1", "x")
    return folder


def test_only_the_work_of_committed_results_goes(store: Store, pauses: list[float]) -> None:
    first, second, third = (work(store, number) for number in (1, 2, 3))
    other = work(store, 1, "results/toy/tune/never-ended")
    elsewhere = work(store, 1, "results/another/tune/abc")
    for uri in (f"{KEY}/result-00002.json", "results/another/tune/abc/result-00001.json"):
        store.write_json(uri, {})
    assert remove_finished_work(store, "toy", pause=pauses.append) == 2
    left = {folder for folder in (first, second, third, other, elsewhere) if store.exists(folder)}
    assert left == {third, other, elsewhere}
    assert store.exists(f"{KEY}/result-00002.json")
    assert remove_finished_work(store, "toy", pause=pauses.append) == 0


def test_work_that_somebody_is_at_stays_until_he_is_gone(store: Store, pauses: list[float]) -> None:
    folder = work(store, 1)
    store.write_json(f"{KEY}/result-00001.json", {})
    worker = open_presence(store, f"{folder}/workers")

    def beat(seconds: float) -> None:
        pauses.append(seconds)
        if isinstance(worker, presence.BeatingPresence):
            worker.beat()

    assert remove_finished_work(store, "toy", pause=beat) == 0
    assert store.exists(folder)
    worker.close()
    assert remove_finished_work(store, "toy", pause=beat) == 1
    assert not store.exists(folder)


def test_a_worker_that_was_killed_keeps_nothing(store: Store, pauses: list[float]) -> None:
    folder = work(store, 1)
    store.write_json(f"{KEY}/result-00001.json", {})
    store.write_json(f"{folder}/workers/killed", {"beat": 4})
    assert remove_finished_work(store, "toy", pause=pauses.append) == 1
    assert pauses == ([] if store.is_local else [presence.PATIENCE_SECONDS])
