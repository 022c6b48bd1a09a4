"""Which quarantined rows were released: numbered entries of a chain, each committed by creating it if it is absent.

A release is made on what the entries before it say, and takes the number after theirs. Where another one was faster,
the number is taken: it looks again and leaves out what is no longer there. So every row leaves at most once, however
many release at the same time, and whatever is killed when. A chain belongs to a batch and to the rows of it that were
accepted: both together say which were set aside, however their reasons are worded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from stepzero.adapters.ledger import Accepted, accepted_batches, all_accepted
from stepzero.core.errors import InputError, StoreError, bare, did_you_mean
from stepzero.core.references import Reference
from stepzero.spec.base import Section
from stepzero.spec.plan import Batch, Member, Released

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepzero.adapters.store import Store

_ENTRY = re.compile(r"release-\d{5}\.json")


class Release(Section):
    """Rows that left a quarantine: which, how, and who answers for it."""

    format: Literal[1] = 1
    run: str
    partition: str
    how: Literal["accepted", "corrected"]
    by: str
    why: str
    when: str
    """When the run that released them began, ISO 8601."""
    reasons: tuple[str, ...] = ()
    """Reasons that were forgiven; none is all."""
    rows: dict[str, Any]
    """The rows as they are used from now on: a `Reference` as JSON."""
    ids: dict[str, Any]
    """Their ids in the quarantine: the `Reference` of a JSON list."""

    @property
    def count(self) -> int:
        """How many rows it released."""
        return int(self.rows["rows"])


def chain_folder(use_case: str, entry: Accepted) -> str:
    """Return where the releases of a batch's quarantine lie."""
    return f"releases/{use_case}/{entry.digest}/{entry.accepted['digest']}"


def releases_of(store: Store, use_case: str, entry: Accepted) -> tuple[Release, ...]:
    """Return the committed releases of a batch, the first one first.

    Raises:
        StoreError: They release more rows than were set aside.
    """
    folder = chain_folder(use_case, entry)
    uris = [uri for uri in store.list(folder) if _ENTRY.fullmatch(uri.removeprefix(f"{folder}/"))]
    releases = tuple(Release.model_validate(store.read_json(uri)) for uri in uris)
    aside, out = quarantined_rows(entry), sum(release.count for release in releases)
    if out > aside:
        raise StoreError(
            f"releases of batch {entry.partition}",
            value=bare(f"{out} rows"),
            allowed=f"at most the {aside} quarantined ones",
            action=f"restore {folder} from a copy: its files were changed",
        )
    return releases


def released_ids(store: Store, releases: tuple[Release, ...]) -> set[str]:
    """Return the ids of all rows that releases let out."""
    return {row for release in releases for row in store.read_json(Reference.from_json(release.ids).uri)}


def release_once(
    store: Store,
    use_case: str,
    entry: Accepted,
    run: str,
    make: Callable[[tuple[Release, ...]], Release | None],
) -> tuple[Release | None, tuple[Release, ...]]:
    """Commit one release, or find the one that this run committed before.

    Args:
        store: Where the chain is.
        use_case: Name of the use case.
        entry: The batch.
        run: Id of the run; it releases once, however often it is tried.
        make: Writes the rows that are left after the given releases, and says so; None where none is left.

    Returns:
        The release, and those before it.
    """
    while True:
        before = releases_of(store, use_case, entry)
        mine = [place for place, release in enumerate(before) if release.run == run]
        if mine:
            return before[mine[0]], before[: mine[0]]
        made = make(before)
        if made is None:
            return None, before
        uri = f"{chain_folder(use_case, entry)}/release-{len(before) + 1:05d}.json"
        if store.create(uri, made.model_dump(mode="json")):
            return made, before


def find_entry(store: Store, use_case: str, name: str) -> Accepted:
    """Return the accepted batch that a person means: by partition, digest, or name of a file.

    Raises:
        InputError: No accepted batch is called so.
    """
    entries = accepted_batches(store, use_case)
    found = [entry for entry in entries if name in _names(entry)]
    if found:
        return found[-1]
    known = [entry.partition for entry in entries if entry.quarantined]
    told = did_you_mean(name, known) if known else "no accepted batch has quarantined rows"
    raise InputError(
        f"batch of {use_case}", value=name, allowed=told, action="name an accepted batch by its partition or file"
    )


def member_of(store: Store, use_case: str, entry: Accepted) -> Member:
    """Return a batch as a member of a window, with the rows that left its quarantine."""
    rows = tuple(release.rows for release in releases_of(store, use_case, entry))
    return entry.member().model_copy(update={"released": rows})


def released_of(store: Store, use_case: str, *batches: Batch) -> tuple[Released, ...]:
    """Return what left the quarantines of batches that were accepted before, whichever rules set the rows aside.

    The rules of a run decide which rows it accepts, and so which releases count: those that go with these rows.
    """
    digests = {batch.digest for batch in batches}
    entries = [one for one in all_accepted(store, use_case, digests) if one.quarantined]
    found = []
    for entry in {(one.digest, one.accepted["digest"]): one for one in entries}.values():
        rows = tuple(release.rows for release in releases_of(store, use_case, entry))
        if rows:
            found.append(Released(accepted=entry.accepted["digest"], rows=rows))
    return tuple(found)


def quarantined_rows(entry: Accepted) -> int:
    """Return how many rows the gate set aside."""
    return int(entry.quarantined["rows"]) if entry.quarantined else 0


def _names(entry: Accepted) -> set[str]:
    files = {file.uri.rpartition("/")[2] for file in entry.files}
    return {entry.partition, entry.digest, *files, *(name.partition(".")[0] for name in files)}
