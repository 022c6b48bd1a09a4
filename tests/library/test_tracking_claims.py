"""One thing per key, however the steps of two that want it fall between each other."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from stepzero.adapters.store import Store
from stepzero.adapters.tracking_claims import Found, claim

KEYS = ("run", "trial 1", "trial 2")


class Server:
    """Things with a key, that are created twice without a word."""

    def __init__(self) -> None:
        self.things: dict[str, str] = {}
        self._numbers = count(1)

    def find(self) -> Found:
        return {key: [thing for thing, of in self.things.items() if of == key] for key in KEYS}

    def create(self, key: str) -> str:
        thing = f"thing {next(self._numbers)}"
        self.things[thing] = key
        return thing

    def delete(self, thing: str) -> None:
        self.things.pop(thing, None)


@pytest.mark.parametrize("step", range(2 * len(KEYS) + 2))
def test_another_that_claims_between_any_two_steps_gets_the_same(tmp_path: Path, step: int) -> None:
    server, store, steps, told = Server(), Store(f"file://{tmp_path}"), count(), []

    def other() -> None:
        told.append(claim(store, "claims", KEYS, find=server.find, create=server.create, delete=server.delete))

    def between() -> None:
        if next(steps) == step:
            other()

    def find() -> Found:
        between()
        found = server.find()
        between()
        return found

    def create(key: str) -> str:
        between()
        thing = server.create(key)
        between()
        return thing

    mine = claim(store, "claims", KEYS, find=find, create=create, delete=server.delete)
    assert told == [mine]
    assert sorted(server.things) == sorted(mine.values()), "what lost is deleted, what won is there"
