"""One thing per key outside the store (a run, a model, a version), whoever else tries at the same time.

MLflow creates the same thing twice without a word. So what exists is found by its key tag first,
what is missing is created, and the store decides between two that tried at once: the first to
create the claim wins, and what the other made is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stepzero.adapters.store import Store

Found = Mapping[str, Sequence[str]]
"""Key → ids that carry its tag, oldest first."""


def claim(
    store: Store,
    folder: str,
    keys: Sequence[str],
    *,
    find: Callable[[], Found],
    create: Callable[[str], str],
    delete: Callable[[str], None],
) -> dict[str, str]:
    """Return exactly one id for every key.

    Args:
        store: Decides who was first.
        folder: Where claims of this set of keys lie; the newest that still exists counts.
        keys: What is wanted.
        find: Look up what exists.
        create: Make the thing of a key and return its id.
        delete: Remove a thing that lost.
    """
    made: list[str] = []
    while True:
        numbered = store.list(folder)
        # Only now: what a claim names was made before the claim was written, so a later look finds it.
        found = {key: list(ids) for key, ids in find().items()}
        winner = _standing(store, numbered, keys, found)
        if winner is None:
            winner = {key: found[key][0] if found.get(key) else _make(create, key, found, made) for key in keys}
            if not store.create(f"{folder}/claim-{len(numbered) + 1:05d}.json", winner):
                continue
        _clean(winner, found, made, delete)
        return {key: winner[key] for key in keys}


def _make(create: Callable[[str], str], key: str, found: dict[str, list[str]], made: list[str]) -> str:
    made.append(create(key))
    found[key] = [made[-1]]
    return made[-1]


def _standing(store: Store, numbered: Sequence[str], keys: Sequence[str], found: Found) -> dict[str, str] | None:
    if not numbered:
        return None
    newest: dict[str, str] = store.read_json(numbered[-1])
    return newest if all(newest.get(key) in found.get(key, ()) for key in keys) else None


def _clean(winner: Mapping[str, str], found: Found, made: Sequence[str], delete: Callable[[str], None]) -> None:
    kept = set(winner.values())
    losers = {thing for key in winner for thing in [*found.get(key, ()), *made]} - kept
    for loser in sorted(losers):
        delete(loser)
