"""Several workers at one search, some of them killed: it completes, nothing finished is done twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Self

import pytest

from stepzero.adapters.store import Store
from stepzero.core.references import ResultReference
from stepzero.execution.execute import read_plan
from stepzero.execution.warm_start import find_searches
from stepzero.spec.search import Search
from support.search_worker import CELL, NAME, prepare_search, run_stage

SPACE = {"max_depth": {"at_least": 2, "at_most": 30}, "min_samples_leaf": {"at_least": 1, "at_most": 40}}
GRID = {"max_depth": [2, 3, 4], "min_samples_leaf": [1, 5]}
BAYESIAN = {"strategy": "bayesian", "trials": 7, "parallel": 3, "startup_trials": 2}
FOLDS = 3


class Worker:
    """A worker as a process; its lines are read one by one, so that nothing depends on time."""

    def __init__(self, store: Store, attempt: str, counter: Path, hang: str = "") -> None:
        code = Path(__file__).resolve().parents[1]
        paths = os.pathsep.join([str(code), *(path for path in sys.path if path)])
        environment = {**os.environ, "PYTHONPATH": paths, "STEPZERO_TEST_COUNTER": str(counter)}
        argv = [sys.executable, "-m", "support.search_worker", store.root, "r1", attempt]
        self.process = subprocess.Popen(
            argv, env={**environment, "STEPZERO_TEST_HANG": hang}, stdout=subprocess.PIPE, text=True
        )
        self.said: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    @classmethod
    def after(cls, other: Worker, store: Store, attempt: str, counter: Path) -> Worker:
        """Start a worker once another one hangs."""
        other.until("hangs")
        return cls(store, attempt, counter)

    def until(self, word: str) -> None:
        """Read until a line holds a word."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if word in line:
                return
        raise AssertionError(f"ended without {word!r}: {''.join(self.said)}")

    def kill(self) -> int:
        """Kill it as the kernel does when memory is short."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return self.process.pid


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fits.pipe")
    return tmp_path / "fits"


def _fits(counter: Path) -> Counter[int]:
    return Counter(int(line) for line in counter.read_text().splitlines())


def _undisturbed(store: Store, folder: Path) -> ResultReference:
    shutil.copytree(store.path("").rstrip("/"), folder)
    return run_stage(Store(f"file://{folder}"), "r1", "tune", "alone", CELL)


def _records(store: Store, reference: ResultReference) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = store.read_json(reference.uri)["records"]
    return records


def test_two_workers_share_a_bayesian_search_and_one_is_killed(
    tmp_path: Path, counter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepare_search(tmp_path / "store", "r1", space=SPACE, **BAYESIAN)
    alone = _undisturbed(store, tmp_path / "alone")
    # The first does trial 0 and hangs in the first fold of trial 1; the second does trial 2, then has to wait.
    with Worker(store, "1", counter, hang=str(FOLDS + 1)) as first, Worker.after(first, store, "2", counter) as second:
        second.until("waits for trials that other workers are at")
        assert _fits(counter) == {first.process.pid: FOLDS + 1, second.process.pid: FOLDS}
        lost = first.kill()
        second.until("was lost with trial 0-1: its trial is done again")
        second.until('"digest"')
        assert second.process.wait() == 0
    # Five more trials, and the last fit on all rows; nothing of trials 0 and 2.
    assert _fits(counter) == {lost: FOLDS + 1, second.process.pid: FOLDS + 5 * FOLDS + 1}
    # The task of the one that was killed tries again: the result is there.
    monkeypatch.setenv("STEPZERO_TEST_COUNTER", str(counter))
    before = counter.read_text()
    again = run_stage(store, "r1", "tune", "3", CELL)
    assert counter.read_text() == before
    assert again.digest == alone.digest
    attempts = [record["tags"].get("attempt") for record in _records(store, again)]
    assert attempts == [None, "2: a worker was lost with each before", None, None, None, None, None]


def test_a_retry_goes_on_with_a_grid_where_the_killed_one_was(
    tmp_path: Path, counter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepare_search(tmp_path / "store", "r1", space=GRID)
    alone = _undisturbed(store, tmp_path / "alone")
    with Worker(store, "1", counter, hang=str(4 * FOLDS + 2)) as first:
        first.until("hangs")
        lost = first.kill()
    monkeypatch.setenv("STEPZERO_TEST_COUNTER", str(counter))
    again = run_stage(store, "r1", "tune", "2", CELL)
    # Four of six candidates were done, and one fold of the fifth.
    assert _fits(counter) == {lost: 4 * FOLDS + 2, os.getpid(): (FOLDS - 1) + FOLDS + 1}
    assert again.digest == alone.digest
    result = store.read_json(again.uri)
    assert [trial["failed"] for trial in result["values"]["trials"]] == [None] * 6
    assert all(record["metrics"]["seconds"] > 0 for record in result["records"])


def test_a_search_begins_from_that_of_an_earlier_run(
    tmp_path: Path, counter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepare_search(tmp_path / "store", "r1", space=SPACE, **BAYESIAN)
    first = store.read_json(run_stage(store, "r1", "tune", "1", CELL).uri)["values"]
    plan = read_plan(store, NAME, "r1")
    train = plan.use_case.train
    assert train is not None
    warm = {"trials": 2, "parallel": 2, "warm_start": {"run": "r1", "kind": "identical_data"}}
    search = Search.model_validate({**train.search.model_dump(), **warm})
    use_case = plan.use_case.model_copy(update={"train": train.model_copy(update={"search": search})})
    changes = {"run": "r2", "use_case": use_case, "warm_start": find_searches(store, use_case)}
    store.write_json(
        "runs/credit_card_fraud/r2/plan.json", plan.model_copy(update=changes).model_dump(mode="json", by_alias=True)
    )
    monkeypatch.setenv("STEPZERO_TEST_COUNTER", str(counter))
    values = store.read_json(run_stage(store, "r2", "tune", "1", CELL).uri)["values"]
    assert _fits(counter) == {os.getpid(): 2 * FOLDS + 1}
    assert [trial["parameters"] for trial in values["trials"]][:7] == [trial["parameters"] for trial in first["trials"]]
    assert values["score"] == max(trial["mean"] for trial in values["trials"])
