"""What landed, and which batches were accepted: listing and ledger decide, events only wake."""

from __future__ import annotations

import re
from typing import Any

from stepzero.adapters.datasets import digest_stored
from stepzero.adapters.store import Store
from stepzero.core.digests import digest_json
from stepzero.core.errors import InputError, bare
from stepzero.core.references import Reference
from stepzero.spec.base import Section
from stepzero.spec.plan import Batch, BatchFile, Member

_ENTRY = re.compile(r".*/accepted-\d{5}\.json")
"""A kill in the midst of writing leaves a hidden file beside them."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class Accepted(Section):
    """A batch that passed the gate, whole or without its quarantined rows."""

    partition: str
    digest: str
    files: tuple[BatchFile, ...]
    accepted: dict[str, Any]
    quarantined: dict[str, Any] | None = None
    as_of: str
    run: str

    def member(self) -> Member:
        """Return the batch as a member of a window."""
        return Member(partition=self.partition, digest=self.digest, accepted=self.accepted)


def landed_uris(store: Store, prefix: str) -> list[str]:
    """Return all landed files; folder markers, hidden and empty files do not count as landed."""
    return [uri for uri in store.list(prefix) if not _hidden(uri) and store.size(uri)]


def landed_days(store: Store, prefix: str) -> dict[str, list[str]]:
    """Return the landed files of every day of a partitioned source; folders of other names are none of it."""
    days: dict[str, list[str]] = {}
    for uri in landed_uris(store, prefix):
        day = uri.removeprefix(prefix).partition("/")[0]
        if _DAY.fullmatch(day):
            days.setdefault(day, []).append(uri)
    return days


def make_batch(store: Store, uris: list[str], partition: str | None = None) -> Batch:
    """Describe landed files as a batch; without a partition, its digest names it.

    Raises:
        InputError: A file is missing or empty.
    """
    files = tuple(_describe(store, uri) for uri in sorted(uris))
    digest = digest_json([file.digest for file in files])
    return Batch(partition=partition or digest[:12], digest=digest, files=files)


def accepted_batches(store: Store, use_case: str) -> list[Accepted]:
    """Return the newest entry of every partition, ordered by the time of their runs."""
    newest: dict[str, str] = {}
    for uri in _entries(store, f"ledger/{use_case}"):
        newest[uri.split("/")[2]] = uri
    entries = [Accepted.model_validate(store.read_json(uri)) for uri in newest.values()]
    return sorted(entries, key=lambda entry: (entry.as_of, entry.partition))


def accept(store: Store, use_case: str, entry: Accepted) -> None:
    """Enter an accepted batch; the same content twice is one entry, other content replaces."""
    folder = f"ledger/{use_case}/{entry.partition}"
    while True:
        entries = _entries(store, folder)
        if entries and _same(Accepted.model_validate(store.read_json(entries[-1])), entry):
            return
        if store.create(f"{folder}/accepted-{len(entries) + 1:05d}.json", entry.model_dump(mode="json")):
            return


def waiting_uris(store: Store, use_case: str, prefix: str) -> list[str]:
    """Return landed files whose content no accepted batch holds yet."""
    known = {file.uri for entry in accepted_batches(store, use_case) for file in entry.files}
    digests = {file.digest for entry in accepted_batches(store, use_case) for file in entry.files}
    fresh = [uri for uri in landed_uris(store, prefix) if uri not in known]
    return [uri for uri in fresh if digest_stored(store, uri) not in digests]


def dataset_uris(store: Store, address: str) -> list[str]:
    """Return the files of a dataset: itself, or all below a folder or landing prefix.

    Args:
        store: The store, for a relative address.
        address: ``file:///folder/x.parquet``, ``s3://bucket/x.csv``, or a path within the store.
    """
    place, name = _place(store, address.rstrip("/"))
    if not place.files.isdir(place.path(name)):
        return [address]
    base = f"{place.root}/" if place is not store else ""
    return [f"{base}{uri}" for uri in landed_uris(place, name)]


def _place(store: Store, uri: str) -> tuple[Store, str]:
    """Return a store and a path within it; an absolute address has its own."""
    if "://" not in uri:
        return store, uri
    folder, _, name = uri.rpartition("/")
    return Store(folder), name


def _describe(store: Store, uri: str) -> BatchFile:
    place, name = _place(store, uri)
    size = place.size(name)
    if not size:
        raise InputError(
            f"landed file {uri}",
            value=bare("missing" if size is None else "0 bytes"),
            allowed="a file with a header and rows",
            action="land the file again and start a new run",
        )
    return BatchFile(uri=uri, digest=digest_stored(place, name), bytes=size)


def _entries(store: Store, folder: str) -> list[str]:
    return [uri for uri in store.list(folder) if _ENTRY.fullmatch(uri)]


def _hidden(uri: str) -> bool:
    return uri.rpartition("/")[2].startswith((".", "_"))


def _same(one: Accepted, other: Accepted) -> bool:
    return one.digest == other.digest and _content(one) == _content(other)


def _content(entry: Accepted) -> str:
    return Reference.from_json(entry.accepted).digest
