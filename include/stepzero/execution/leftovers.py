"""What finished searches leave behind: the work state beside their results, which nobody reads any more."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from stepzero.adapters.presence import PATIENCE_SECONDS, open_presence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stepzero.adapters.presence import Presence
    from stepzero.adapters.store import Store

_WORK = re.compile(r"(?P<key>results/[^/]+/[^/]+/[^/]+)/work/(?P<number>\d{5})/.*")
_WORKER = re.compile(r"results/[^/]+/[^/]+/[^/]+/work/\d{5}/workers/(?P<name>[^/]+)")


def remove_finished_work(store: Store, use_case: str, *, pause: Callable[[float], None] = time.sleep) -> int:
    """Remove the work state of searches whose result is committed and at which nobody is any more.

    A search that was ended before its result keeps its state: whoever clears the task goes on from there.

    Args:
        store: Where results are.
        use_case: Whose.
        pause: Waits, in a store without locks, until workers that are gone would have given another sign of life.

    Returns:
        How many searches' state was removed.
    """
    uris = store.list(f"results/{use_case}")
    finished = _finished(uris)
    workers = {folder: [match["name"] for uri in uris if (match := _worker(uri, folder))] for folder in finished}
    gone = [folder for folder in finished if not workers[folder]]
    asked = [folder for folder in finished if workers[folder]]
    gone += _deserted(store, asked, workers, pause)
    for folder in gone:
        store.remove(folder)
    return len(gone)


def _finished(uris: Iterable[str]) -> list[str]:
    """Return the work folders whose number, or a later one, has a committed result."""
    known = set(uris)
    found = {(match["key"], match["number"]) for uri in known if (match := _WORK.fullmatch(uri))}
    newest = {key: max((uri for uri in known if uri.startswith(f"{key}/result-")), default="") for key, _ in found}
    return sorted(f"{key}/work/{number}" for key, number in found if newest[key] >= f"{key}/result-{number}.json")


def _worker(uri: str, folder: str) -> re.Match[str] | None:
    return _WORKER.fullmatch(uri) if uri.startswith(f"{folder}/workers/") else None


def _deserted(
    store: Store, folders: list[str], workers: dict[str, list[str]], pause: Callable[[float], None]
) -> list[str]:
    """Return the folders none of whose workers lives; without locks that takes two looks."""
    eyes = {folder: open_presence(store, f"{folder}/workers") for folder in folders}
    try:
        alive = {folder: _lives(eyes[folder], workers[folder]) for folder in folders}
        if not store.is_local and any(alive.values()):
            pause(PATIENCE_SECONDS)
            alive = {folder: _lives(eyes[folder], workers[folder]) for folder in folders}
    finally:
        for presence in eyes.values():
            presence.close()
    return [folder for folder in folders if not alive[folder]]


def _lives(presence: Presence, names: list[str]) -> bool:
    looked = [presence.lives(name) for name in names]  # all of them: a second look compares with the first
    return any(looked)
