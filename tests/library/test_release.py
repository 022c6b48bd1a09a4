"""Quarantined rows leave once: whoever is killed when, however many release at the same time."""

from __future__ import annotations

import csv
import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.ledger import Accepted, Refused, refuse
from stepzero.adapters.quarantine import QUOTE, Quarantine, read_quarantine
from stepzero.adapters.releases import find_entry, released_of, releases_of
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, StoreError
from stepzero.core.references import Reference
from stepzero.execution.planning import PlanRequest, make_plan
from stepzero.execution.releasing import quarantine_csv
from stepzero.spec.plan import Batch, Plan
from stepzero.spec.release import ReleaseForm
from support.quarantine import (
    ENVIRONMENT,
    NAME,
    NEGATIVE,
    NO_COUNTRY,
    KilledError,
    MeetingStore,
    MortalStore,
    bad,
    check_balance,
    good,
    in_memory,
    judged,
    release,
    seen,
    snapshot,
    use_case_file,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def entry(store: Store) -> Accepted:
    return judged(store)


def quarantine(store: Store, entry: Accepted) -> Quarantine:
    return read_quarantine(store, Reference.from_json(entry.quarantined or {}))


def numbers(values: dict[str, Any]) -> tuple[int, ...]:
    names = ("rows", "accepted", "quarantined", "released_before", "released", "left")
    assert values["rows"] == values["accepted"] + values["quarantined"]
    assert values["quarantined"] == values["released_before"] + values["released"] + values["left"]
    return tuple(values[name] for name in names)


def test_released_rows_are_counted_once(store: Store, entry: Accepted, tmp_path: Path) -> None:
    first = release(store, tmp_path, "a", reasons=[NEGATIVE])
    assert numbers(first.values) == (10, 4, 6, 0, 4, 2)
    assert first.reference.summary == (
        "4 of 6 quarantined rows of batch 2026-11-21 were released, 2 stay; "
        'accepted by anna: "seen by the bank". Later runs use them.'
    )
    assert seen(store, entry)["amount"].sum() == 15 - 16 - 32 - 256 - 256
    again = release(store, tmp_path, "b", reasons=[NEGATIVE])
    assert numbers(again.values) == (10, 4, 6, 4, 0, 2)
    assert again.reference.summary.startswith("None of 6 quarantined rows")
    rest = release(store, tmp_path, "c")
    assert numbers(rest.values) == (10, 4, 6, 4, 2, 0)
    assert len(check_balance(store, entry)) == 6
    told = [(one.how, one.by, one.why, one.reasons) for one in releases_of(store, NAME, entry)]
    assert told == [("accepted", "anna", "seen by the bank", (NEGATIVE,)), ("accepted", "anna", "seen by the bank", ())]


def test_one_of_two_rows_that_are_alike_may_go(store: Store, entry: Accepted, tmp_path: Path) -> None:
    ids = quarantine(store, entry).ids
    assert ids[5] == f"{ids[4]}-2"
    release(store, tmp_path, "a", rows=[ids[5]])
    assert seen(store, entry)["amount"].tolist() == [1, 2, 4, 8, -256]


def test_a_dry_run_changes_nothing(store: Store, entry: Accepted, tmp_path: Path) -> None:
    told = release(store, tmp_path, "a", reasons=["complete"], by="", why="", dry_run=True)
    assert told.values["would_release"] == 1, "the other row without a country has a second reason"
    assert told.reference.summary == (
        "Dry run: 1 of 6 quarantined rows of batch 2026-11-21 would be released; nothing was changed."
    )
    assert releases_of(store, NAME, entry) == ()


def test_a_kill_between_any_two_operations_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with in_memory("kills") as root:
        entry, committed = judged(Store(root)), set()
        before = snapshot()
        counted = MortalStore(root)
        release(counted, tmp_path, "counted", reasons=[NEGATIVE])
        assert counted.done > 20
        for number in range(1, counted.done + 1):
            before()
            with pytest.raises(KilledError):
                release(MortalStore(root, number), tmp_path, "killed", reasons=[NEGATIVE])
            out = len(check_balance(Store(root), entry))
            committed.add(out)
            left = snapshot()
            assert release(Store(root), tmp_path, "killed", reasons=[NEGATIVE]).values["released"] == 4, "a retry"
            assert len(check_balance(Store(root), entry)) == 4
            left()
            done = release(Store(root), tmp_path, "another", reasons=[NEGATIVE]).values["released"]
            assert (out, done) in {(0, 4), (4, 0)}, "all that was asked for, or nothing"
            assert len(check_balance(Store(root), entry)) == 4
        assert committed == {0, 4}, "the kills fell on both sides of the commit"


def test_two_at_once_release_every_row_once(store: Store, entry: Accepted, tmp_path: Path) -> None:
    ids = quarantine(store, entry).ids
    meeting = threading.Barrier(2)
    use_case_file(tmp_path)

    def one(run: str, rows: tuple[str, ...]) -> int:
        return int(release(MeetingStore(store.root, meeting), tmp_path, run, rows=rows).values["released"])

    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(one, ("a", "b"), (ids[:4], ids[2:])))
    assert sorted(counts) == [2, 4]
    assert check_balance(store, entry) == set(ids)


def test_one_run_twice_at_once_releases_once(store: Store, entry: Accepted, tmp_path: Path) -> None:
    meeting = threading.Barrier(2)
    use_case_file(tmp_path)

    def one(_: int) -> int:
        return int(release(MeetingStore(store.root, meeting), tmp_path, "a").values["released"])

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, range(2))) == [6, 6], "the second finds what the first released for both"
    assert len(check_balance(store, entry)) == 6
    assert len(releases_of(store, NAME, entry)) == 1


WISHES = st.lists(st.tuples(st.sets(st.integers(0, 5), min_size=1), st.integers(0, 60)), max_size=5)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WISHES)
def test_any_series_of_releases_and_kills_adds_up(
    tmp_path_factory: pytest.TempPathFactory, wishes: list[tuple[set[int], int]]
) -> None:
    folder = tmp_path_factory.mktemp("series")
    with in_memory("series") as root:
        _series(folder, Store(root), wishes)


def _series(folder: Path, store: Store, wishes: list[tuple[set[int], int]]) -> None:
    entry = judged(store)
    ids, expected = quarantine(store, entry).ids, set[str]()
    for run, (places, dies_at) in enumerate(wishes):
        wanted = {ids[place] for place in places}
        try:
            release(MortalStore(store.root, dies_at), folder, f"run {run}", rows=sorted(wanted))
        except KilledError:
            out = check_balance(store, entry)
            assert out in (expected, expected | wanted)
            expected = out
        else:
            expected |= wanted
        assert check_balance(store, entry) == expected


def test_a_batch_judged_anew_keeps_no_release_of_the_old_quarantine(
    store: Store, entry: Accepted, tmp_path: Path
) -> None:
    release(store, tmp_path, "a")
    anew = judged(store, good().head(3))
    assert seen(store, anew)["amount"].tolist() == [1, 2, 4]
    release(store, tmp_path, "b", reasons=["complete"])
    assert seen(store, anew)["amount"].tolist() == [1, 2, 4, 64]
    accepted = [one.accepted for one in released_of(store, NAME, entry.batch())]
    assert accepted == [entry.accepted["digest"], anew.accepted["digest"]], "the rules of a run decide which count"
    back = judged(store)
    assert len(check_balance(store, back)) == len(bad()), "the old rules again: what they set aside is still out"
    refuse(store, NAME, Refused(**entry.model_dump(exclude={"accepted", "quarantined"})))
    with pytest.raises(InputError, match="batch of toy: got '2026-11-21'"):
        release(store, tmp_path, "c")
    assert len(check_balance(store, judged(store))) == len(bad()), "nor does a refusal between them lose a row"


def test_plans_name_what_was_released(store: Store, entry: Accepted, tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    release(store, tmp_path, "a", reasons=["complete"])
    store.write_text("landing/toy/next.csv", "the next day")
    request = PlanRequest(use_case=str(path), run="r2", as_of="2026-11-22T02:00:00+00:00")
    made = make_plan(request, store, ENVIRONMENT, None)
    (member,) = made.window
    assert [rows["rows"] for rows in member.released] == [1]
    assert made.released == ()
    form = {"batch": "2026-11-21"}
    again = make_plan(
        PlanRequest(use_case=str(path), run="r3", as_of="2026-11-23T02:00:00+00:00", form=form),
        store,
        ENVIRONMENT,
        None,
    )
    assert again.batch == Batch(partition="2026-11-21", digest=entry.digest, files=entry.files)
    (released,) = again.released
    assert (released.accepted, released.rows) == (entry.accepted["digest"], member.released)
    written = again.model_dump(mode="json", by_alias=True)
    older = Plan.model_validate(written | {"released": written["released"][0]})
    assert older == again, "plans of earlier releases had one, or null"
    assert Plan.model_validate(written | {"released": None}).released == ()


def test_what_is_left_is_written_to_be_corrected(store: Store, entry: Accepted, tmp_path: Path) -> None:
    release(store, tmp_path, "a", reasons=[NEGATIVE])
    text, rows = quarantine_csv(store, NAME, "day.csv")
    ids = quarantine(store, entry).ids
    assert rows == 2
    assert text.splitlines() == [
        "_row_id,_reasons,id,amount,country",
        f"{ids[2]},{NO_COUNTRY},7,64.0,",
        f"{ids[3]},{NEGATIVE}; {NO_COUNTRY},8,-128.0,",
    ]
    release(store, tmp_path, "b")
    with pytest.raises(InputError, match=r"quarantine of batch 2026-11-21: got no row\. .* Do: name another batch"):
        quarantine_csv(store, NAME, "2026-11-21")


def test_cells_are_no_formulas_to_a_spreadsheet(store: Store) -> None:
    words = ["=1+2", "+1", "-x", "@a", "\t=b", "'c", "plain", None]
    aside = pd.DataFrame({"id": range(8), "country": words, "_reasons": [["=cmd of x"]] * 8})
    read = read_quarantine(store, write_frame(store, "active", aside, producer="quality_gate"))
    rows = list(csv.reader(io.StringIO(read.to_csv())))[1:]
    assert [row[3] for row in rows] == ["'=1+2", "'+1", "'-x", "'@a", "'\t=b", "''c", "plain", ""]
    assert {row[1] for row in rows} == {"'=cmd of x"}
    assert [re.sub(QUOTE, "", row[3]) for row in rows[:-1]] == words[:-1], "and reading takes the quote away"


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (
            {"by": " "},
            r"release\.by: got nothing\. Allowed: the name of who answers for it\. Do: say `by`, or make a dry",
        ),
        ({"why": ""}, r"release\.why: got nothing\. Allowed: a sentence for those who ask later\. Do: say `why`"),
        ({"reasons": ["betwen"]}, r"release\.reasons: got 'betwen'\. Allowed: .*\. Do: name a reason that rows have"),
        ({"rows": ["12"]}, r"release\.rows: got 12\. Allowed: ids of the 6 quarantined rows\. Do: take them from"),
        (
            {"batch": "2026-11-12"},
            r"batch of toy: got '2026-11-12'\. Allowed: did you mean '2026-11-21'\?\. Do: name an",
        ),
    ],
)
def test_what_cannot_be_released_is_told(
    store: Store, entry: Accepted, tmp_path: Path, form: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        release(store, tmp_path, "a", **form)
    assert releases_of(store, NAME, entry) == ()


CORRECTIONS = {
    "id,amount,country\n": r"corrections x\.csv: got id, amount, country\. Allowed: the columns _row_id, _reasons, id,",
    "_row_id,_reasons,id,amount,country\n": r"corrections x\.csv: got a header and no row",
    "_row_id,_reasons,id,amount,country\na,,1,1,DE\na,,1,1,DE\n": r"corrections x\.csv: got a more than once",
    "_row_id,_reasons,id,amount,country\nb,,1,1,DE\n": r"release\.rows: got b\. Allowed: ids of the 6 quarantined rows",
}


@pytest.mark.parametrize("text", CORRECTIONS)
def test_corrections_that_cannot_be_used_are_told(store: Store, entry: Accepted, tmp_path: Path, text: str) -> None:
    store.write_text("x.csv", text)
    with pytest.raises(InputError, match=CORRECTIONS[text]):
        release(store, tmp_path, "a", corrections="x.csv")


def test_a_chain_that_was_tampered_with_is_told(store: Store, entry: Accepted, tmp_path: Path) -> None:
    release(store, tmp_path, "a")
    (uri,) = (uri for uri in store.list("releases") if uri.endswith("00001.json"))
    store.write_text(uri.replace("00001", "00002"), store.read_text(uri))
    with pytest.raises(StoreError, match=r"releases of batch 2026-11-21: got 12 rows\. Allowed: at most the 6"):
        releases_of(store, NAME, entry)


def test_litter_of_a_killed_writer_is_no_entry(store: Store, entry: Accepted, tmp_path: Path) -> None:
    release(store, tmp_path, "a", reasons=["complete"])
    for uri in [*store.list("releases"), *store.list("ledger")]:
        folder, _, name = uri.rpartition("/")
        Path(store.path(f"{folder}/.{name}.0123abcd")).write_text("half an ent")
    assert len(releases_of(store, NAME, entry)) == 1
    assert find_entry(store, NAME, "day") == entry
    assert released_of(store, NAME, Batch(partition="x", digest=entry.digest, files=entry.files))


def test_a_form_is_closed() -> None:
    with pytest.raises(ValueError, match="extra"):
        ReleaseForm.model_validate({"batch": "a", "reason": "typo"})
