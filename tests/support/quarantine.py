"""A batch with quarantined rows in a store, without Spark; and stores that die between two operations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
import pandas as pd

from stepzero.adapters.datasets import read_frame, write_frame
from stepzero.adapters.ledger import Accepted, accept, make_batch
from stepzero.adapters.releases import member_of, released_ids, releases_of
from stepzero.adapters.store import Store
from stepzero.core.references import Reference
from stepzero.core.stages import StageInput
from stepzero.execution.releasing import run_release
from stepzero.spec.environment import Environment
from stepzero.spec.release import ReleaseForm

NAME = "toy"
USE_CASE = """\
name: toy
quality: {rules: [{rule: between, column: amount, at_least: 0}, {rule: complete, columns: [country]}]}
source: {format: csv, prefix: landing/toy/, columns: {id: int, amount: double, country: string}}
"""
NEGATIVE, NO_COUNTRY = "between of amount: at least 0", "complete of country: no null"
ENVIRONMENT = Environment(name="local", store="file:///x", approval="rule")


def good() -> pd.DataFrame:
    """Return the rows that were accepted."""
    return pd.DataFrame({"id": [1, 2, 3, 4], "amount": [1.0, 2.0, 4.0, 8.0], "country": ["DE", "FR", "DE", "FR"]})


def bad() -> pd.DataFrame:
    """Return the rows that were set aside, each with its reasons; amounts are told apart in any sum; two are alike."""
    return pd.DataFrame(
        {
            "id": [5, 6, 7, 8, 9, 9],
            "amount": [-16.0, -32.0, 64.0, -128.0, -256.0, -256.0],
            "country": ["DE", "FR", None, None, "FR", "FR"],
            "_reasons": [[NEGATIVE], [NEGATIVE], [NO_COUNTRY], [NEGATIVE, NO_COUNTRY], [NEGATIVE], [NEGATIVE]],
        }
    )


def judged(
    store: Store, accepted: pd.DataFrame | None = None, partition: str = "2026-11-21", name: str = NAME
) -> Accepted:
    """Enter a batch as the gate would have, under the name of its use case or of one of several tables."""
    store.write_text("landing/toy/day.csv", "as it landed")
    batch = make_batch(store, ["landing/toy/day.csv"], partition)
    rows = good() if accepted is None else accepted
    number = len(store.list("judged"))
    entry = Accepted(
        partition=partition,
        digest=batch.digest,
        files=batch.files,
        accepted=write_frame(store, f"judged/{number}-accepted", rows, producer="quality_gate").to_json(),
        quarantined=write_frame(store, f"judged/{number}-quarantined", bad(), producer="quality_gate").to_json(),
        as_of="2026-11-21T02:00:00+00:00",
        run="r1",
    )
    accept(store, name, entry)
    return entry


def use_case_file(folder: Path) -> str:
    """Return the path of the use case, written once: two threads may ask for it at the same time."""
    path = folder / "toy.yaml"
    if not path.exists():
        written = folder / f"{threading.get_ident()}.yaml"
        written.write_text(USE_CASE, encoding="utf-8")
        written.replace(path)
    return str(path)


@contextmanager
def in_memory(name: str) -> Iterator[str]:
    """Yield the root of a store that costs no disk; it is gone afterwards."""
    root = f"memory://{name}"
    try:
        yield root
    finally:
        fsspec.filesystem("memory").store.clear()


def snapshot() -> Callable[[], None]:
    """Return a function that puts all stores in memory back to what they are now."""
    files = fsspec.filesystem("memory").store
    kept = {path: bytes(file.getbuffer()) for path, file in files.items()}

    def restore() -> None:
        files.clear()
        fsspec.filesystem("memory").pipe(kept)

    return restore


def release(store: Store, folder: Path, run: str, **form: Any) -> StageInput:
    """Release rows as the command does."""
    asked = ReleaseForm(**{"batch": "2026-11-21", "by": "anna", "why": "seen by the bank"} | form)
    return run_release(asked, use_case_file(folder), run, "2026-11-22T00:00:00+00:00", store, ENVIRONMENT)


def seen(store: Store, entry: Accepted) -> pd.DataFrame:
    """Return the rows of a batch that a later run's window holds."""
    member = member_of(store, NAME, entry)
    return pd.concat([read_frame(store, Reference.from_json(rows)) for rows in (member.accepted, *member.released)])


def check_balance(store: Store, entry: Accepted) -> set[str]:
    """Assert that numbers and sums add up, and return the ids of the rows that are out."""
    from stepzero.adapters.quarantine import read_quarantine

    releases = releases_of(store, NAME, entry)
    listed = [row for one in releases for row in store.read_json(Reference.from_json(one.ids).uri)]
    out = released_ids(store, releases)
    assert len(listed) == len(out), "no row is released twice"
    assert len(out) == sum(one.count for one in releases) <= len(bad())
    quarantine = read_quarantine(store, Reference.from_json(entry.quarantined or {}))
    rows = seen(store, entry)
    expected = sum(
        [*read_frame(store, Reference.from_json(entry.accepted))["amount"], *quarantine.take(out)["amount"].to_pylist()]
    )
    assert rows["amount"].sum() == expected
    assert len(rows) == len(good()) + len(out)
    return out


class KilledError(BaseException):
    """What a kill looks like from inside: nothing may catch it."""


class MortalStore(Store):
    """A store whose process is killed just before its n-th operation, which is just after the one before it.

    Args:
        root: As of any store.
        dies_at: Number of the operation, from 1; 0 lives for ever. Opening and closing a file are two.
    """

    def __init__(self, root: str, dies_at: int = 0) -> None:
        super().__init__(root)
        self.dies_at, self.done = dies_at, 0

    def _step(self) -> None:
        self.done += 1
        if self.done == self.dies_at:
            raise KilledError

    def list(self, folder: str) -> list[str]:
        self._step()
        return super().list(folder)

    def create(self, uri: str, value: Any) -> bool:
        self._step()
        return super().create(uri, value)

    def read_text(self, uri: str) -> str:
        self._step()
        return super().read_text(uri)

    def write_text(self, uri: str, text: str) -> None:
        self._step()
        super().write_text(uri, text)

    @contextmanager
    def open(self, uri: str, mode: str = "rb") -> Iterator[IO[Any]]:
        self._step()
        with super().open(uri, mode) as stream:
            yield stream
            self._step()


class MeetingStore(Store):
    """A store in which two wait for each other before either commits its first release."""

    def __init__(self, root: str, meeting: threading.Barrier) -> None:
        super().__init__(root)
        self.meeting: threading.Barrier | None = meeting

    def create(self, uri: str, value: Any) -> bool:
        if self.meeting and uri.startswith("releases/"):
            meeting, self.meeting = self.meeting, None
            meeting.wait(timeout=60)
        return super().create(uri, value)
