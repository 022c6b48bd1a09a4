"""An Optuna journal in the store: several tasks share one study, on a local folder and on S3 alike.

Optuna's own file journal needs a lock, and whoever is killed while holding it stops all others for half a
minute. Here an entry is a file that is created if it is absent, under the next free number: there is no lock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from optuna.storages.journal import BaseJournalBackend

from stepzero.adapters.store import Store

if TYPE_CHECKING:
    import optuna

STUDY = "search"


class StoreJournal(BaseJournalBackend):
    """Entries of a journal as numbered files below a folder of the store.

    Args:
        store: Where it is.
        folder: Its folder, relative to the store's root.
    """

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder
        self._known: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the entries from a number on; those read before are not read again."""
        while self._store.exists(self._uri(len(self._known))):
            self._known.append(self._store.read_json(self._uri(len(self._known))))
        return self._known[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write entries, each under the first number that nobody took before."""
        number = len(self._known)
        for entry in logs:
            while not self._store.create(self._uri(number), entry):
                number += 1
            number += 1

    def _uri(self, number: int) -> str:
        return f"{self._folder}/{number:06d}.json"


def open_study(store: Store, folder: str, *, greater_is_better: bool) -> optuna.Study:
    """Return the study of a journal; the first who asks makes it."""
    import optuna

    # Optuna writes to standard error by itself; what matters is told in our log.
    optuna.logging.disable_default_handler()
    logging.getLogger("optuna").setLevel(logging.WARNING)
    storage = optuna.storages.JournalStorage(StoreJournal(store, folder))
    return optuna.create_study(
        storage=storage,
        study_name=STUDY,
        direction="maximize" if greater_is_better else "minimize",
        load_if_exists=True,
    )
