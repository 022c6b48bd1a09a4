"""Turns: one holder at a time, whoever dies; on a folder and on an object store alike."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stepzero.adapters import presence
from stepzero.adapters.presence import BeatingPresence
from stepzero.adapters.store import Store
from stepzero.adapters.turns import turn
from stepzero.core.errors import ServiceError
from support.stack import ROOT

HOLD = """
import sys
from stepzero.adapters.store import Store
from stepzero.adapters.turns import turn
with turn(Store(sys.argv[1]), "turns"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_only_one_holds_a_turn(tmp_path: Path) -> None:
    store, inside, most, numbers = Store(f"file://{tmp_path}"), [0], [0], []
    guard = threading.Lock()

    def take() -> None:
        with turn(store, "turns") as number:
            with guard:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                numbers.append(number)
            store.list("turns")
            with guard:
                inside[0] -= 1

    takers = [threading.Thread(target=take) for _ in range(6)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join(timeout=60)
    assert most == [1]
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]


def test_a_turn_ends_with_its_holder_however_that_ends(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}")
    paths = {"PYTHONPATH": str(ROOT / "include")}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, store.root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **paths},
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(ServiceError, match=r"turn 1 of turns: got held by another process for more than 0 s"),
        turn(store, "turns", patience_seconds=0),
    ):
        pass
    holder.kill()
    holder.wait(timeout=20)
    holder.stdin.close()
    holder.stdout.close()
    with turn(store, "turns", patience_seconds=0) as number:
        assert number == 2


def test_where_there_are_no_locks_a_silent_holder_loses_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock = Store("memory://turns-test"), [0.0]
    monkeypatch.setattr(BeatingPresence, "poll_seconds", 0.0)
    monkeypatch.setattr(presence.time, "monotonic", lambda: clock[0])
    silent = BeatingPresence(store, "turns/present", beat_seconds=0)
    store.create("turns/taken/00000001.json", {"name": silent.name})
    seen: list[float] = []

    def wait(seconds: float) -> None:
        seen.append(clock[0])
        clock[0] += 10

    monkeypatch.setattr("stepzero.adapters.turns.time.sleep", wait)
    with turn(store, "turns") as number:
        assert number == 2
    assert len(seen) >= presence.PATIENCE_SECONDS / 10
