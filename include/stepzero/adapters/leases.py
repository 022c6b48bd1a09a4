"""Leases of ephemeral endpoints: what somebody asked for, and what the endpoint host says of it.

Both lie in one folder of the store, ``endpoints/ephemeral/NAME``. Whoever wants an endpoint writes the lease; the host
(`stepzero.serving.host`) makes the world so and writes the status. A lease that is taken away, or runs out, takes its
process, its port and this folder with it.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Literal

from stepzero.core.digests import digest_text
from stepzero.core.errors import StoreError
from stepzero.core.references import Reference
from stepzero.spec.base import Section

if TYPE_CHECKING:
    from stepzero.adapters.store import Store

FOLDER = "endpoints/ephemeral"
STORE_VARIABLE, LEASE_VARIABLE = "STEPZERO_STORE", "STEPZERO_LEASE"
"""By which a container elsewhere is told the store's root, and the lease (as JSON) that it serves."""
CONFIRM_SECONDS = 0.3
"""Longer than an object takes to be overwritten."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


class Lease(Section):
    """What is asked for. Without a model it is only reserved: a name whose end is seen to."""

    name: str
    use_case: str
    run: str
    model: dict[str, Any] | None = None
    """A `Reference` as JSON."""
    generation: str = ""
    """Which try asked: another one begins anew, also after a failure."""
    memory_mb: int
    seconds: float
    healthy_seconds: float

    @property
    def reference(self) -> Reference | None:
        """The model, where one is wanted."""
        return Reference.from_json(self.model) if self.model else None


class Status(Section):
    """What became of a lease."""

    state: Literal["reserved", "starting", "healthy", "failed"]
    generation: str = ""
    since: float
    """When the host first saw the lease, seconds since 1970; it runs out by the host's own clock."""
    uri: str | None = None
    pid: int | None = None
    problem: str | None = None


def lease_name(use_case: str, model: str, run: str) -> str:
    """Return the name of a run's endpoint for one model: safe in paths, and the same whoever asks.

    >>> lease_name("abalone_age", "my.Model", "manual__1").rpartition("-")[0]
    'abalone_age-my_Model'
    """
    return f"{_UNSAFE.sub('_', use_case)}-{_UNSAFE.sub('_', model)}-{digest_text(f'{model} {run}')[:8]}"


def leased_names(store: Store) -> list[str]:
    """Return all names of which anything is left."""
    return sorted({uri.removeprefix(f"{FOLDER}/").partition("/")[0] for uri in store.list(FOLDER)})


def write_lease(store: Store, lease: Lease) -> None:
    """Ask for an endpoint, or for another generation of it."""
    store.write_json(_lease_uri(lease.name), lease.model_dump(mode="json"))


def read_lease(store: Store, name: str) -> Lease | None:
    """Return a lease, None where it was taken away.

    Raises:
        ValueError: It is none, or of another release.
    """
    found = _read(store, _lease_uri(name))
    return Lease.model_validate(found) if found is not None else None


def write_status(store: Store, name: str, status: Status) -> None:
    """Say what became of a lease."""
    store.write_json(_status_uri(name), status.model_dump(mode="json"))


def read_status(store: Store, name: str) -> Status | None:
    """Return what the host says, None where it has not seen the lease or has forgotten it."""
    found = _read(store, _status_uri(name))
    return Status.model_validate(found) if found is not None else None


def end_lease(store: Store, name: str) -> None:
    """Take a lease away; the host sees to the rest."""
    store.remove(_lease_uri(name))
    store.remove_empty(f"{FOLDER}/{name}")


def forget(store: Store, name: str) -> None:
    """Remove what the host said of a name; a lease that somebody writes at this moment is left alone."""
    store.remove(_status_uri(name))
    store.remove_empty(f"{FOLDER}/{name}")


def sweep_away(store: Store, name: str) -> None:
    """Remove all that is left of a name, whatever it is."""
    store.remove(f"{FOLDER}/{name}")


def _read(store: Store, uri: str) -> Any:
    """Return a file's content, None where it is not there; trouble with the store is no absence.

    OpenStack Swift may say of an object that is just being overwritten that there is none, so there a second look
    decides.
    """
    for look in (1, 2):
        try:
            return store.read_json(uri)
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        if store.is_local:
            break
        if look == 1:
            time.sleep(CONFIRM_SECONDS)
    return None


def _lease_uri(name: str) -> str:
    return f"{FOLDER}/{name}/lease.json"


def _status_uri(name: str) -> str:
    return f"{FOLDER}/{name}/status.json"
