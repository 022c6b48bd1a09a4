"""What landed, and what the gate said of it: listing and ledger decide, events only wake.

A partition has a chain of entries, each committed by creating it if it is absent: what was accepted, and what was
refused. Of a content, what was said last counts, whichever rules said it: a refusal withdraws what was accepted of the
same content, and moves nothing of another. A file that was refused is no news, whatever its name; a person who names
it has it judged again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

from stepzero.adapters.datasets import digest_stored
from stepzero.adapters.store import Store, stamp_of
from stepzero.core.digests import digest_json
from stepzero.core.errors import InputError, bare
from stepzero.core.references import Reference
from stepzero.spec.base import Section
from stepzero.spec.plan import Batch, BatchFile, Member, end_of_day

_ENTRY = re.compile(r".*/(accepted|refused)-(\d{5})\.json")
"""A kill in the midst of writing leaves a hidden file beside them."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
Digests = dict[tuple[str, str], str]
"""``(uri, stamp) -> digest`` of files that were read before."""


class Judged(Section):
    """What every entry says of a batch."""

    partition: str
    digest: str
    files: tuple[BatchFile, ...]
    as_of: str
    run: str
    since: str | None = None
    """When the run began that judged this content first, for this partition; null: this one."""

    @property
    def time(self) -> datetime:
        """Return the batch's time: to judge it again makes it no younger."""
        return time_of(self.partition, self.since or self.as_of)

    def batch(self) -> Batch:
        """Return the batch as it was judged."""
        return Batch(partition=self.partition, digest=self.digest, files=self.files)


class Refused(Judged):
    """A batch that failed the gate, or whose files are no table."""


class Accepted(Judged):
    """A batch that passed the gate, whole or without its quarantined rows."""

    accepted: dict[str, Any]
    quarantined: dict[str, Any] | None = None

    def member(self) -> Member:
        """Return the batch as a member of a window."""
        return Member(partition=self.partition, digest=self.digest, accepted=self.accepted)


def time_of(partition: str, as_of: str) -> datetime:
    """Return a batch's time: the end of its day, or when its run began where the partition is no day."""
    found = datetime.fromisoformat(end_of_day(partition) if _DAY.fullmatch(partition) else as_of)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


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
    """Return what every partition holds, ordered by time; nothing where the same content was refused since."""
    held = [_held(store, chain) for chain in _chains(store, use_case).values()]
    return sorted((entry for entry in held if entry), key=lambda entry: (entry.since or entry.as_of, entry.partition))


def all_accepted(store: Store, use_case: str, digests: Collection[str]) -> list[Accepted]:
    """Return all that was ever accepted of contents, replaced and withdrawn entries too."""
    if not digests:
        return []
    uris = [uri for chain in _chains(store, use_case).values() for uri in chain if not _is_refusal(uri)]
    entries = [Accepted.model_validate(store.read_json(uri)) for uri in uris]
    return [entry for entry in entries if entry.digest in digests]


def known_batch(store: Store, use_case: str, partition: str) -> Batch | None:
    """Return what was accepted of a partition, or else the files that were refused last, as they are now.

    Raises:
        InputError: A file that was refused is gone.
    """
    chain = _chains(store, use_case).get(partition, [])
    held = _held(store, chain)
    if held or not chain:
        return held.batch() if held else None
    return make_batch(store, [file.uri for file in _read(store, chain[-1]).files], partition)


def partition_of(store: Store, use_case: str, digest: str) -> str | None:
    """Return the partition under which a content was judged before, unless the partition holds another by now."""
    refused = None
    for partition, chain in _chains(store, use_case).items():
        held = _held(store, chain)
        if held and held.digest == digest:
            return partition
        if not held and _read(store, chain[-1]).digest == digest:
            refused = partition
    return refused


def was_refused(store: Store, use_case: str, batch: Batch) -> bool:
    """Tell whether a refusal is the last that was said of a partition's content."""
    return isinstance(_last_of(store, _chain(store, f"ledger/{use_case}/{batch.partition}"), batch.digest), Refused)


def accept(store: Store, use_case: str, entry: Accepted) -> None:
    """Enter an accepted batch; the same content twice is one entry, other content replaces."""
    folder = f"ledger/{use_case}/{entry.partition}"
    while True:
        chain = _chain(store, folder)
        held = _held(store, chain)
        if held and _same(held, entry):
            return
        if store.create(_next(folder, chain, "accepted"), _dated(store, chain, entry)):
            return


def refuse(store: Store, use_case: str, entry: Refused) -> None:
    """Enter a refused batch: its files are no news from now on, and what was accepted of it is withdrawn."""
    chains = _chains(store, use_case)
    holding = [one for one, chain in chains.items() if (held := _held(store, chain)) and held.digest == entry.digest]
    for partition in dict.fromkeys([*holding, entry.partition]):
        _refuse(store, f"ledger/{use_case}/{partition}", entry.model_copy(update={"partition": partition}))


def waiting_uris(store: Store, use_case: str, prefix: str, read: Digests | None = None) -> list[str]:
    """Return landed files whose content no accepted batch holds, and no run has refused.

    Args:
        store: Where files land.
        use_case: Whose ledger is asked.
        prefix: Where they land.
        read: Keeps the digests of files that are looked at again and again: each is read once.
    """
    chains = _chains(store, use_case)
    held = [entry for chain in chains.values() if (entry := _held(store, chain))]
    known = {file.uri for entry in held for file in entry.files}
    fresh = [uri for uri in landed_uris(store, prefix) if uri not in known]
    judged = {file.digest for entry in held for file in entry.files}
    judged |= {digest for chain in chains.values() for digest in _refused_files(store, chain)}
    return [uri for uri in fresh if _digest(store, uri, {} if read is None else read) not in judged]


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


def _digest(store: Store, uri: str, read: Digests) -> str:
    key = (uri, stamp_of(store.files.info(store.path(uri))))
    if key not in read:
        read[key] = digest_stored(store, uri)
    return read[key]


def _chains(store: Store, use_case: str) -> dict[str, list[str]]:
    """Return the entries of every partition, the first one first."""
    chains: dict[str, list[str]] = {}
    for uri in _chain(store, f"ledger/{use_case}"):
        chains.setdefault(uri.split("/")[2], []).append(uri)
    return chains


def _chain(store: Store, folder: str) -> list[str]:
    return sorted((uri for uri in store.list(folder) if _ENTRY.fullmatch(uri)), key=_order)


def _order(uri: str) -> tuple[int, str]:
    """Return the order of an entry; of two that were entered at the same moment the refusal counts."""
    name = uri.rpartition("/")[2]
    return int(name[-10:-5]), name


def _is_refusal(uri: str) -> bool:
    return uri.rpartition("/")[2].startswith("refused-")


def _read(store: Store, uri: str) -> Judged:
    return (Refused if _is_refusal(uri) else Accepted).model_validate(store.read_json(uri))


def _held(store: Store, chain: list[str]) -> Accepted | None:
    """Return what a partition holds: what was accepted last, unless the same content was refused since."""
    refused = set()
    for entry in _from_the_last(store, chain):
        if isinstance(entry, Accepted):
            return None if entry.digest in refused else entry
        refused.add(entry.digest)
    return None


def _from_the_last(store: Store, chain: list[str]) -> Iterator[Judged]:
    return (_read(store, uri) for uri in reversed(chain))


def _last_of(store: Store, chain: list[str], digest: str) -> Judged | None:
    return next((entry for entry in _from_the_last(store, chain) if entry.digest == digest), None)


def _refused_files(store: Store, chain: list[str]) -> set[str]:
    """Return the digests of files of which a refusal is the last that was said."""
    if not any(_is_refusal(uri) for uri in chain):
        return set()
    said: dict[str, bool] = {}
    for entry in _from_the_last(store, chain):
        for file in entry.files:
            said.setdefault(file.digest, isinstance(entry, Refused))
    return {digest for digest, is_refused in said.items() if is_refused}


def _refuse(store: Store, folder: str, entry: Refused) -> None:
    while True:
        chain = _chain(store, folder)
        if isinstance(_last_of(store, chain, entry.digest), Refused):
            return
        if store.create(_next(folder, chain, "refused"), _dated(store, chain, entry)):
            return


def _next(folder: str, chain: list[str], kind: str) -> str:
    return f"{folder}/{kind}-{_order(chain[-1])[0] + 1 if chain else 1:05d}.json"


def _dated(store: Store, chain: list[str], entry: Judged) -> dict[str, Any]:
    """Return an entry as JSON; a content that is judged again, by other rules, is as old as it was."""
    first = next((one for uri in chain if (one := _read(store, uri)).digest == entry.digest), None)
    since = first.since or first.as_of if first else None
    return entry.model_copy(update={"since": since}).model_dump(mode="json")


def _hidden(uri: str) -> bool:
    return uri.rpartition("/")[2].startswith((".", "_"))


def _same(one: Accepted, other: Accepted) -> bool:
    return one.digest == other.digest and _content(one) == _content(other)


def _content(entry: Accepted) -> str:
    return Reference.from_json(entry.accepted).digest
