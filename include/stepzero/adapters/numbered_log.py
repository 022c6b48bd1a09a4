"""A log in the store whose places are taken once each, and may be marked as dealt with.

    FOLDER/000001.json     FOLDER/000001.MARK.json

Two who write at the same moment see the same log, and only one of them gets its next place; the other looks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepzero.adapters.store import Store


@dataclass(frozen=True, kw_only=True)
class NumberedLog:
    """The log of one folder; entries are JSON objects."""

    store: Store
    folder: str
    mark: str
    """What the file beside a place that is dealt with is called."""

    def entries(self) -> list[dict[str, Any]]:
        """Return all entries, the first one first."""
        names = [uri.removeprefix(f"{self.folder}/").removesuffix(".json") for uri in self.store.list(self.folder)]
        return [self.read(int(name)) for name in sorted(names) if name.isdigit()]

    def read(self, number: int) -> dict[str, Any]:
        """Return the entry that has a place."""
        entry: dict[str, Any] = self.store.read_json(self._uri(number))
        return entry

    def take(self, number: int, entry: dict[str, Any]) -> bool:
        """Take a place; False where another has it."""
        return self.store.create(self._uri(number), entry)

    def settle(self, number: int, why: dict[str, Any]) -> None:
        """Mark a place as dealt with, if it is not yet."""
        self.store.create(self._marked(number), why)

    def is_settled(self, number: int) -> bool:
        """Tell whether a place is marked."""
        return self.store.exists(self._marked(number))

    def _uri(self, number: int) -> str:
        return f"{self.folder}/{number:06d}.json"

    def _marked(self, number: int) -> str:
        return f"{self.folder}/{number:06d}.{self.mark}.json"
