"""Files that arrive under a prefix, each of them handed to exactly one run.

Listing and claims decide; events only wake. What is known of an object is its key and its version (S3's ETag; the
content's digest on a local folder): the same again is no arrival, another content under the same key is one. A claim
is one small file, created if it is absent, so that of two runs one gets an object and the other does not; a task that
is done again finds what its run has claimed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stepzero.adapters.datasets import digest_stored
from stepzero.adapters.store import stamp_of
from stepzero.core.digests import digest_text
from stepzero.core.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stepzero.adapters.store import Store

MARKER, EMPTY, HIDDEN, GROWING = "a folder marker", "empty", "hidden or a part of a copy", "still being written"
CONFIRM_SECONDS = 1.0
"""Longer than a small object takes to be written."""
_PARTS = (".part", ".tmp", ".crdownload", ".filepart")


@dataclass(frozen=True)
class Seen:
    """An object as a listing shows it."""

    uri: str
    size: int
    stamp: str
    """Differs where anything was written since."""
    etag: str | None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies under a prefix: what may be taken, and what may not, with the reason."""

    seen: dict[str, Seen] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class Arrivals:
    """What arrives for one use case.

    Args:
        store: The store.
        use_case: Whose claims these are.
        prefix: Where files land.
    """

    def __init__(self, store: Store, use_case: str, prefix: str) -> None:
        self.store, self.use_case, self.prefix = store, use_case, prefix
        self._versions: dict[tuple[str, str], str] = {}

    def listing(self) -> Listing:
        """Look once."""
        files, base = self.store.files, self.store.path("")
        files.invalidate_cache()
        path = self.store.path(self.prefix.rstrip("/"))
        found = files.find(path, withdirs=False, detail=True) if files.exists(path) else {}
        seen, refused = {}, {}
        for name, told in sorted(found.items()):
            uri = name.removeprefix(base)
            reason = _refused(uri, told, self.prefix)
            if reason:
                refused[uri] = reason
            else:
                etag = str(told["ETag"]).strip('"') if told.get("ETag") else None
                seen[uri] = Seen(uri, int(told["size"]), stamp_of(told), etag)
        return Listing(seen=seen, refused=refused)

    def fresh(self, listing: Listing) -> dict[str, Seen]:
        """Return what no run has claimed."""
        known = {uri.rpartition("/")[2] for uri in self.store.list(self._folder)}
        return {uri: one for uri, one in listing.seen.items() if self._name(one) not in known}

    def claim(self, run: str, chosen: Iterable[Seen]) -> list[str]:
        """Claim objects for a run and write its manifest; a run that has one keeps it.

        A try that died on its way left claims without a manifest: the next finds them and goes on.

        Raises:
            StoreError: The store cannot be written.
        """
        manifest, begun = _manifest(self.use_case, run), _manifest(self.use_case, run, "begun")
        if self.store.exists(manifest):
            return claimed_uris(self.store, self.use_case, run)
        objects = list(chosen)
        if not objects and not self.store.exists(begun):
            return []
        made: dict[str, str] = {}
        mine = set() if self.store.create(begun, {"run": run}) else self._left_by(run)
        for one in objects:
            told = {"uri": one.uri, "version": self.version(one), "bytes": one.size, "run": run}
            if self.store.create(f"{self._folder}/{self._name(one)}", told):
                made[one.uri] = f"{self._folder}/{self._name(one)}"
        mine |= set(self._confirmed(run, made))
        if mine:
            self.store.create(manifest, {"run": run, "uris": sorted(mine)})
        return sorted(mine)

    def _confirmed(self, run: str, made: dict[str, str]) -> list[str]:
        """Return which new claims are the run's after a moment.

        AWS creates an object if it is absent in one step. OpenStack Swift looks and writes in two, so that of two
        who ask at the very same moment both are told yes; what is there a moment later is what counts.
        """
        if self.store.is_local or not made:
            return list(made)
        time.sleep(CONFIRM_SECONDS)
        return [uri for uri, claim in made.items() if _claim(self.store, claim).get("run") == run]

    def _left_by(self, run: str) -> set[str]:
        claims = [_claim(self.store, uri) for uri in self.store.list(self._folder)]
        return {str(claim["uri"]) for claim in claims if claim.get("run") == run and "uri" in claim}

    def version(self, one: Seen) -> str:
        """Return an object's version: its ETag, or the digest of its content, which is read once."""
        if one.etag:
            return one.etag
        key = (one.uri, one.stamp)
        if key not in self._versions:
            self._versions[key] = digest_stored(self.store, one.uri)
        return self._versions[key]

    @property
    def _folder(self) -> str:
        return _claims_folder(self.use_case)

    def _name(self, one: Seen) -> str:
        return f"{digest_text(f'{one.uri}|{self.version(one)}')}.json"


def claimed_uris(store: Store, use_case: str, run: str) -> list[str]:
    """Return what a run has claimed, sorted: its manifest; nothing where it has none."""
    manifest = _manifest(use_case, run)
    return list(store.read_json(manifest)["uris"]) if store.exists(manifest) else []


def settled(before: Listing, now: Listing) -> dict[str, Seen]:
    """Return what did not change between two looks."""
    return {uri: one for uri, one in now.seen.items() if before.seen.get(uri) == one}


def _manifest(use_case: str, run: str, kind: str = "manifest") -> str:
    return f"{_claims_folder(use_case)}/runs/{digest_text(run)}.{kind}.json"


def _claims_folder(use_case: str) -> str:
    return f"arrivals/{use_case}"


def _claim(store: Store, uri: str) -> dict[str, Any]:
    try:
        return dict(store.read_json(uri)) if uri.endswith(".json") else {}
    except StoreError:
        return {}


def _refused(uri: str, told: dict[str, Any], prefix: str) -> str | None:
    name = uri.rpartition("/")[2]
    if not name or told.get("type") == "directory" or uri.endswith("_$folder$") or uri == prefix.rstrip("/"):
        return MARKER
    if name.startswith((".", "_")) or name.endswith(_PARTS):
        return HIDDEN
    return EMPTY if not told.get("size") else None
