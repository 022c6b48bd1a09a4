"""Arrivals on a local folder: claimed once each, whoever looks, and whatever else lies there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from stepzero.adapters.arrivals import Arrivals, claimed_uris, settled
from stepzero.adapters.store import Store
from stepzero.execution.planning import PlanRequest, make_plan
from stepzero.spec.environment import Environment

PREFIX = "landing/abalone_age/"


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    return Arrivals(Store(f"file://{tmp_path}"), "abalone_age", PREFIX)


def land(arrivals: Arrivals, name: str, text: str = "9 1:1\n") -> str:
    arrivals.store.write_text(f"{PREFIX}{name}", text)
    return f"{PREFIX}{name}"


def take(arrivals: Arrivals, run: str) -> list[str]:
    return arrivals.claim(run, arrivals.fresh(arrivals.listing()).values())


def test_all_that_is_there_is_one_manifest_and_comes_once(arrivals: Arrivals) -> None:
    landed = [land(arrivals, f"{number}.libsvm", f"{number} 1:1\n") for number in range(50)]
    assert take(arrivals, "one") == sorted(landed)
    assert take(arrivals, "two") == []
    assert take(arrivals, "one") == sorted(landed), "a task that is done again has its manifest again"


def test_the_same_again_is_none_and_other_content_is_one(arrivals: Arrivals) -> None:
    uri = land(arrivals, "a.libsvm")
    assert take(arrivals, "one") == [uri]
    land(arrivals, "a.libsvm")
    assert take(arrivals, "two") == [], "written anew, but the same"
    land(arrivals, "a.libsvm", "8 1:2\n")
    assert take(arrivals, "three") == [uri]
    copy = land(arrivals, "copy.libsvm", "8 1:2\n")
    assert take(arrivals, "four") == [copy], "another key is another object"


def test_markers_empty_files_and_parts_are_refused_with_their_reason(arrivals: Arrivals, tmp_path: Path) -> None:
    land(arrivals, "good.libsvm")
    (tmp_path / PREFIX / "folder").mkdir()
    (tmp_path / PREFIX / "day_$folder$").write_text("x")
    for name in ("empty.libsvm", ".hidden", "_SUCCESS", "half.libsvm.part"):
        (tmp_path / PREFIX / name).write_text("" if name == "empty.libsvm" else "x")
    listing = arrivals.listing()
    assert list(listing.seen) == [f"{PREFIX}good.libsvm"]
    told = {uri.removeprefix(PREFIX): reason for uri, reason in listing.refused.items()}
    assert told == {
        "day_$folder$": "a folder marker",
        "empty.libsvm": "empty",
        ".hidden": "hidden or a part of a copy",
        "_SUCCESS": "hidden or a part of a copy",
        "half.libsvm.part": "hidden or a part of a copy",
    }


def test_what_still_grows_is_not_settled(arrivals: Arrivals, tmp_path: Path) -> None:
    done, growing = land(arrivals, "done.libsvm"), land(arrivals, "growing.libsvm")
    before = arrivals.listing()
    with (tmp_path / growing).open("a") as stream:
        stream.write("8 1:2\n")
    assert list(settled(before, arrivals.listing())) == [done]


def test_arrivals_during_a_run_are_the_next_ones(arrivals: Arrivals) -> None:
    first = land(arrivals, "1.libsvm")
    assert take(arrivals, "one") == [first]
    second = land(arrivals, "2.libsvm", "8 1:2\n")
    assert take(arrivals, "two") == [second]
    assert claimed_uris(arrivals.store, "abalone_age", "one") == [first]


def test_of_many_runs_at_once_each_object_has_one(arrivals: Arrivals) -> None:
    landed = [land(arrivals, f"{number}.libsvm", f"{number} 1:1\n") for number in range(40)]
    begin = threading.Barrier(4)
    found: dict[str, list[str]] = {}

    def claim(run: str) -> None:
        own = Arrivals(Store(arrivals.store.root), "abalone_age", PREFIX)
        fresh = own.fresh(own.listing())
        begin.wait()
        found[run] = own.claim(run, fresh.values())

    threads = [threading.Thread(target=claim, args=(f"run-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = [uri for uris in found.values() for uri in uris]
    assert sorted(together) == sorted(landed), "none lost, none twice"


def test_a_try_that_died_while_claiming_loses_nothing(arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch) -> None:
    landed = [land(arrivals, f"{number}.libsvm", f"{number} 1:1\n") for number in range(6)]
    create, made = Store.create, []

    def dying(store: Store, uri: str, value: object) -> bool:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(uri)
        return create(store, uri, value)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "create", dying)
        with pytest.raises(KeyboardInterrupt):
            take(arrivals, "one")
    assert claimed_uris(arrivals.store, "abalone_age", "one") == []
    other = take(arrivals, "two")
    assert len(other) == 3, "what was not claimed yet may be another's"
    assert sorted([*take(arrivals, "one"), *other]) == sorted(landed)


def test_the_plan_takes_what_its_run_claimed_and_nothing_else(arrivals: Arrivals) -> None:
    first = land(arrivals, "1.libsvm")
    take(arrivals, "run-1")
    second = land(arrivals, "2.libsvm", "8 1:2\n")
    take(arrivals, "run-2")
    environment = Environment(name="test", store=arrivals.store.root)
    for run, uri in (("run-1", first), ("run-2", second)):
        request = PlanRequest(use_case="abalone_age", run=run, as_of="2026-11-21T00:00:00+00:00")
        plan = make_plan(request, arrivals.store, environment, None)
        assert [file.uri for file in plan.batch.files] == [uri]
