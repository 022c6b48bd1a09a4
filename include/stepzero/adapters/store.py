"""The store: every file that outlives a task, behind one adapter (local folder or S3).

Paths are relative to the store's root. What is committed is committed by creating one small file
if it is absent: the first of two writers wins, the other finds the result.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from stepzero.core.errors import StoreError, StoreFullError, bare, is_disk_full

_BEING_WRITTEN = re.compile(r"(?:.*/)?\.[^/]*[0-9a-f]{32}")


class Store:
    """Read and write under one root.

    Args:
        root: ``file:///folder``, ``s3://bucket/prefix`` or ``memory://name`` (tests).
        options: Passed to the fsspec file system, for example endpoint and credentials of S3.
    """

    def __init__(self, root: str, **options: Any) -> None:
        self.root = root.rstrip("/")
        self.files, self._base = fsspec.core.url_to_fs(self.root, **options)

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return isinstance(self.files, LocalFileSystem)

    def path(self, uri: str) -> str:
        """Return the file system's own path of a relative URI.

        Raises:
            StoreError: The URI leaves the store.
        """
        if uri.startswith("/") or "://" in uri or ".." in uri.split("/"):
            raise StoreError(
                "store path", value=uri, allowed="a path within the store", action="give a relative path without '..'"
            )
        return f"{self._base}/{uri}"

    def url(self, uri: str) -> str:
        """Return the absolute URL of a relative URI, as Spark reads it (``s3a`` for S3)."""
        return f"{self.root.replace('s3://', 's3a://')}/{uri}"

    def exists(self, uri: str) -> bool:
        """Tell whether a file or folder is there."""
        self.files.invalidate_cache()
        return bool(self.files.exists(self.path(uri)))

    def size(self, uri: str) -> int | None:
        """Return a file's size in bytes, or None when it is missing."""
        try:
            return int(self.files.info(self.path(uri))["size"])
        except FileNotFoundError:
            return None

    def list(self, folder: str) -> list[str]:
        """Return the relative URIs of all files below a folder, sorted; empty when it is missing.

        What somebody is still writing, or was when he was killed, is not listed: it has no name yet.
        """
        self.files.invalidate_cache()
        found = self.files.find(self.path(folder)) if self.files.exists(self.path(folder)) else []
        return sorted(path[len(self._base) + 1 :] for path in found if not _BEING_WRITTEN.fullmatch(path))

    @contextmanager
    def open(self, uri: str, mode: str = "rb") -> Iterator[IO[Any]]:
        """Open a file for reading or writing; folders are made.

        Raises:
            StoreError: The file is missing.
            StoreFullError: No room is left.
        """
        with self._explained(uri):
            if "w" in mode:
                self.files.makedirs(self.path(uri).rpartition("/")[0], exist_ok=True)
            with self.files.open(self.path(uri), mode) as stream:
                yield stream

    def open_any(self, uri: str) -> AbstractContextManager[IO[Any]]:
        """Open a file for reading: one of the store, or an absolute address such as ``file:///x.csv``."""
        if "://" not in uri:
            return self.open(uri)
        folder, _, name = uri.rpartition("/")
        return Store(folder).open(name)

    def read_text(self, uri: str) -> str:
        """Return a small file's text, read whole: one that somebody overwrites is read as it was or as it is now.

        A stream of s3fs asks first and reads then, and only what it has heard of.
        """
        with self._explained(uri):
            return bytes(self.files.cat_file(self.path(uri))).decode()

    def read_json(self, uri: str) -> Any:
        """Return a small JSON file's content."""
        return json.loads(self.read_text(uri))

    def write_text(self, uri: str, text: str) -> None:
        """Write a small file; readers see the old one or the new one, never half."""
        with self._explained(uri):
            if self.is_local:
                self._replace_local(Path(self.path(uri)), text.encode())
            else:
                self.files.pipe_file(self.path(uri), text.encode())

    def write_json(self, uri: str, value: Any) -> None:
        """Write a small JSON file; keys keep their order."""
        self.write_text(uri, dump_json(value))

    def create(self, uri: str, value: Any) -> bool:
        """Create a JSON file if it is absent; return whether this call made it."""
        with self._explained(uri):
            if self.is_local:
                return self._link_local(Path(self.path(uri)), dump_json(value).encode())
            try:
                self.files.pipe_file(self.path(uri), dump_json(value).encode(), mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if _is_taken(error):
                    return False
                raise
            return True

    def put(self, local: Path, uri: str) -> None:
        """Copy one local file into the store; readers see all of it or nothing."""
        if not self.is_local:
            return self.upload(local, uri)
        part = f"{uri.rpartition('/')[0]}/.{uuid.uuid4().hex}"
        try:
            self.upload(local, part)
            with self._explained(uri):
                Path(self.path(part)).replace(self.path(uri))
        finally:
            Path(self.path(part)).unlink(missing_ok=True)

    def upload(self, local: Path, uri: str) -> None:
        """Copy a local file or folder into the store."""
        for file in sorted(local.rglob("*")) if local.is_dir() else [local]:
            if file.is_file():
                target = f"{uri}/{file.relative_to(local).as_posix()}" if local.is_dir() else uri
                with self.open(target, "wb") as stream, file.open("rb") as source:
                    while piece := source.read(1 << 20):
                        stream.write(piece)

    def download(self, uri: str, local: Path) -> Path:
        """Copy a file or folder out of the store and return where it is."""
        for name in self.list(uri) if self.files.isdir(self.path(uri)) else [uri]:
            target = local / name[len(uri) + 1 :] if name != uri else local
            target.parent.mkdir(parents=True, exist_ok=True)
            with self.open(name) as source:
                target.write_bytes(source.read())
        return local

    def remove(self, uri: str) -> None:
        """Remove a file or folder; nothing happens when it is missing."""
        if self.exists(uri):
            self.files.rm(self.path(uri), recursive=True)

    def remove_empty(self, folder: str) -> None:
        """Remove a folder that holds nothing, not even a file that is being written; S3 has no such folders."""
        if self.is_local:
            with suppress(OSError):
                Path(self.path(folder)).rmdir()

    @contextmanager
    def _explained(self, uri: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise StoreError(
                f"store file {uri}",
                value=bare("missing"),
                allowed="an existing file",
                action="run the stage that writes it again",
            ) from error
        except OSError as error:
            if is_disk_full(error):
                raise StoreFullError(
                    f"store {self.root}",
                    value=bare("no space left"),
                    allowed="free space under the store",
                    action="make room, then clear the task; nothing was lost",
                ) from error
            raise StoreError(
                f"store file {uri}",
                value=bare(error),
                allowed="read and write access",
                action="run `bin/stepzero doctor`",
            ) from error

    @staticmethod
    def _replace_local(path: Path, data: bytes) -> None:
        temporary = _written_beside(path, data)
        temporary.replace(path)

    @staticmethod
    def _link_local(path: Path, data: bytes) -> bool:
        temporary = _written_beside(path, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True


def stamp_of(told: Mapping[str, Any]) -> str:
    """Return what differs where anything was written, from what a file system tells of a file."""
    etag = str(told.get("ETag") or "").strip('"')
    return etag or f"{told['size']}-{told.get('mtime')}-{told.get('ino')}"


def dump_json(value: Any) -> str:
    """Return readable JSON; keys keep their order, which matters for columns and derived values."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _is_taken(error: OSError) -> bool:
    """Tell whether S3 refused because the object is there: s3fs makes an "invalid argument" of it.

    A second writer at the very same moment gets a conflict instead, and has lost as well.
    """
    told = getattr(error.__cause__, "response", None) or {}
    return told.get("Error", {}).get("Code") in {"PreconditionFailed", "ConditionalRequestConflict", "412"}


def _written_beside(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
