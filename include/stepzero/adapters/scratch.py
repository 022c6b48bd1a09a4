"""A store that is read through and written beside: whoever works on it changes nothing for others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from stepzero.adapters.store import Store


class ScratchStore(Store):
    """Copy on write over another store.

    Args:
        below: What is read where nothing was written here; it is never written to.
        root: Where everything is written, a folder or prefix of its own.
    """

    def __init__(self, below: Store, root: str) -> None:
        super().__init__(below.root)
        self._below, self._own = below, Store(root)

    def path(self, uri: str) -> str:
        """Return the path of what is there; of a new file, where it would be written."""
        return self._holder(uri).path(uri)

    def url(self, uri: str) -> str:
        """Return the URL of what is there; of a new file or folder, where it would be written."""
        return self._holder(uri).url(uri)

    def exists(self, uri: str) -> bool:
        """Tell whether a file or folder is there, here or below."""
        return self._own.exists(uri) or self._below.exists(uri)

    def size(self, uri: str) -> int | None:
        """Return a file's size in bytes, or None when it is missing."""
        return self._holder(uri).size(uri)

    def list(self, folder: str) -> list[str]:
        """Return the relative URIs of all files below a folder, here and below, sorted."""
        return sorted({*self._own.list(folder), *self._below.list(folder)})

    @contextmanager
    def open(self, uri: str, mode: str = "rb") -> Iterator[IO[Any]]:
        """Open a file for reading, here or below, or for writing here."""
        place = self._own if "w" in mode else self._holder(uri)
        with place.open(uri, mode) as stream:
            yield stream

    def read_text(self, uri: str) -> str:
        """Return a small file's text, from here or below."""
        return self._holder(uri).read_text(uri)

    def write_text(self, uri: str, text: str) -> None:
        """Write a small file here."""
        self._own.write_text(uri, text)

    def create(self, uri: str, value: Any) -> bool:
        """Create a JSON file here if it is absent, here and below."""
        return not self.exists(uri) and self._own.create(uri, value)

    def put(self, local: Path, uri: str) -> None:
        """Copy one local file here."""
        self._own.put(local, uri)

    def remove(self, uri: str) -> None:
        """Remove what was written here; what lies below stays."""
        self._own.remove(uri)

    def discard(self) -> None:
        """Remove everything that was written here."""
        if self._own.files.exists(self._own.path("")):
            self._own.files.rm(self._own.path("").rstrip("/"), recursive=True)

    def _holder(self, uri: str) -> Store:
        return self._below if not self._own.exists(uri) and self._below.exists(uri) else self._own
