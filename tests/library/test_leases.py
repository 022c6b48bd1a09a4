"""The janitor's eyes: what is a lease, what is only coming to be one, what is left of one; no process is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepzero.adapters.leases import FOLDER, Lease, end_lease, leased_names, read_lease, read_status, write_lease
from stepzero.adapters.store import Store
from stepzero.core.errors import StoreError, bare
from stepzero.serving.host import WRITING_SECONDS, EndpointHost
from stepzero.spec.environment import Environment

NAME = "abalone_age-xgboost-1"
LEASE = Lease(name=NAME, use_case="abalone_age", run="manual__1", memory_mb=100, seconds=900, healthy_seconds=60)


class Host(EndpointHost):
    """A host whose time a test sets."""

    def __init__(self, store: Store) -> None:
        self.now = 1_000.0
        super().__init__(store, Environment(name="test", store=store.root), clock=lambda: self.now)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}")


def half_written(store: Store) -> Path:
    """Return the file that a lease is for a moment, before it is moved to its place."""
    path = Path(store.path(f"{FOLDER}/{NAME}/.lease.json.0123"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(LEASE.model_dump_json(), encoding="utf-8")
    return path


def test_a_lease_that_is_being_written_is_left_alone(store: Store) -> None:
    host, path = Host(store), half_written(store)
    host.look()
    path.replace(path.with_name("lease.json"))
    host.look()
    assert read_lease(store, NAME) == LEASE
    said = read_status(store, NAME)
    assert said is not None
    assert said.state == "reserved"


def test_what_a_dead_writer_left_is_removed(store: Store) -> None:
    host, path = Host(store), half_written(store)
    host.look()
    host.now += WRITING_SECONDS - 1
    host.look()
    assert path.exists()
    host.now += 2
    host.look()
    assert not path.parent.exists()


def test_each_writer_has_the_whole_time(store: Store) -> None:
    host, path = Host(store), half_written(store)
    host.look()
    path.unlink()
    host.look()
    host.now += WRITING_SECONDS + 1
    again = half_written(store)
    host.look()
    assert again.exists(), "another one, who has just begun"


def test_the_end_of_one_lease_does_not_take_the_next_one_along(store: Store) -> None:
    host = Host(store)
    write_lease(store, LEASE)
    host.look()
    end_lease(store, NAME)
    path = half_written(store)
    host.look()
    assert read_status(store, NAME) is None, "the first one is removed"
    assert path.exists(), "a task that is done again writes the next one at this very moment"


def test_nothing_is_left_of_an_ended_lease_seen_or_not(store: Store) -> None:
    host = Host(store)
    for looks in (1, 0):
        write_lease(store, LEASE)
        for _ in range(looks):
            host.look()
        end_lease(store, NAME)
        host.look()
        assert leased_names(store) == []
        assert not Path(store.path(f"{FOLDER}/{NAME}")).exists()


class Flickering(Store):
    """A store that says once of each file that it is not there, as Swift may while the file is overwritten."""

    def __init__(self) -> None:
        super().__init__("memory://flickering")
        self.denied: set[str] = set()
        self.broken = False

    def read_text(self, uri: str) -> str:
        if self.broken:
            raise StoreError(f"store file {uri}", value=bare("503"), allowed="access", action="wait") from OSError(
                "503"
            )
        if uri not in self.denied:
            self.denied.add(uri)
            return super().read_text("nowhere")
        return super().read_text(uri)


def test_what_is_being_overwritten_is_not_gone() -> None:
    store = Flickering()
    write_lease(store, LEASE)
    assert read_lease(store, NAME) == LEASE
    assert read_lease(store, "another") is None


def test_a_store_in_trouble_does_not_end_a_lease() -> None:
    store = Flickering()
    host = Host(store)
    write_lease(store, LEASE)
    host.look()
    store.broken = True
    with pytest.raises(StoreError, match="503"):
        read_lease(store, NAME)
    host.look()
    store.broken = False
    said = read_status(store, NAME)
    assert said is not None
    assert said.state == "reserved"
