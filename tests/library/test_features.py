"""Feature groups: no value from after the moment is ever seen, whatever arrives in whatever order."""

from __future__ import annotations

import threading
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.feature_history import append_history, history_members, read_history
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, SpecError
from stepzero.learning.as_known import as_known, find_versions, snapshot, training_set
from stepzero.learning.transform import feature_columns
from stepzero.spec.features import FeatureGroup
from stepzero.spec.load import validate
from stepzero.spec.serve import Lookup, lookup_of
from stepzero.spec.use_case import UseCase
from support.claims import claims_file
from support.features import (
    DAY,
    DAYS,
    GROUP,
    Runs,
    expected,
    history_of,
    plain,
    random_history,
    random_rows,
    rows_of,
    use_case_of,
)

VERSIONS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 6), st.integers(0, 99)), max_size=25)
ASKED = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), min_size=1, max_size=8)


@settings(max_examples=50)
@given(VERSIONS, ASKED)
def test_no_value_from_after_the_moment_is_ever_seen(
    versions: list[tuple[int, int, int, int]], asked: list[tuple[int, int]]
) -> None:
    """Random histories, with late corrections (known long after the event) and ties in either time."""
    found = as_known(history_of(versions), rows_of(asked), GROUP, as_of="moment")["value"]
    assert len(found) == len(asked)
    for (policy, moment), value in zip(asked, found, strict=True):
        known = [one for one in versions if one[0] == policy and one[1] <= moment and one[2] <= moment]
        if not known:
            assert pd.isna(value)
            continue
        latest = max((one[1], one[2]) for one in known)
        assert value in {one[3] for one in known if (one[1], one[2]) == latest}


@settings(max_examples=20)
@given(VERSIONS, ASKED, st.randoms())
def test_what_comes_later_in_either_time_and_the_order_of_arrival_change_nothing(
    versions: list[tuple[int, int, int, int]], asked: list[tuple[int, int]], random: Any
) -> None:
    rows = rows_of(asked)
    before = as_known(history_of(versions), rows, GROUP, as_of="moment")
    latest = max(moment for _, moment in asked)
    later = [(policy, 0, latest + 1, 777) for policy in range(5)] + [
        (policy, latest + 1, 0, 888) for policy in range(5)
    ]
    shuffled = [*versions, *versions, *later]
    random.shuffle(shuffled)
    after = as_known(history_of(shuffled), rows, GROUP, as_of="moment")
    pd.testing.assert_frame_equal(before.astype(float), after.astype(float))


@settings(max_examples=20)
@given(VERSIONS, st.integers(0, 7))
def test_a_snapshot_is_what_each_record_would_be_told(versions: list[tuple[int, int, int, int]], moment: int) -> None:
    history = history_of(versions)
    found = snapshot(history, GROUP, as_of=pd.Timestamp(moment * DAY, unit="s"))
    assert found["policy"].is_unique
    asked = rows_of([(policy, moment) for policy in range(5)])
    known = asked.assign(value=as_known(history, asked, GROUP, as_of="moment")["value"]).dropna()
    assert found[["policy", "value"]].astype(float).to_numpy().tolist() == (
        known[["policy", "value"]].astype(float).to_numpy().tolist()
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_histories_are_looked_up_as_the_definition_says_it(seed: int) -> None:
    """Ties in both times are settled by the values: the order of arrival, shuffled here, has no effect."""
    history, rows = random_history(300, seed), random_rows(300, seed)
    found = as_known(history, rows, GROUP, as_of="moment")
    places = find_versions(history, rows, GROUP, as_of="moment")
    wanted = expected(history, rows)
    assert [place >= 0 for place in places] == [one is not None for one in wanted]
    assert sum(one is None for one in wanted) > 50
    known = found[places >= 0].to_dict("records")
    assert [plain(one) for one in known] == [one for one in wanted if one is not None]
    assert found[places < 0].isna().all(axis=None)
    shuffled = history.sample(frac=1, random_state=seed + 9)
    pd.testing.assert_frame_equal(found, as_known(shuffled, rows, GROUP, as_of="moment"))


def test_work_grows_with_rows_and_versions_not_with_their_product() -> None:
    """One record with 20,000 versions, asked for 20,000 times: their product would not fit in memory."""
    count = 20_000
    history = pd.DataFrame({"policy": 1, "event": range(count), "known": range(count), "value": range(count)})
    rows = pd.DataFrame({"policy": 1, "moment": np.arange(count) + 0.5})
    assert as_known(history, rows, GROUP, as_of="moment")["value"].tolist() == list(range(count))


def test_ids_of_another_kind_are_refused_and_do_not_go_unfound() -> None:
    history, rows = history_of([(1, 1, 1, 10)]), rows_of([(1, 2)])
    with pytest.raises(InputError, match=r"rows to look up, column policy: got type object\. Allowed: ids as .* int64"):
        as_known(history, rows.assign(policy=["1"]), GROUP, as_of="moment")
    assert as_known(history, rows.assign(policy=[1.0]), GROUP, as_of="moment")["value"].tolist() == [10]


def test_a_late_correction_counts_from_when_it_is_known() -> None:
    history = history_of([(1, 1, 1, 10), (1, 2, 2, 20), (1, 1, 5, 11), (1, 2, 6, 21)])
    found = as_known(history, rows_of([(1, moment) for moment in range(8)]), GROUP, as_of="moment")["value"]
    assert found.fillna(-1).tolist() == [-1, 10, 20, 20, 20, 20, 21, 21]


def test_golden_37_both_versions_ingested_twice_give_one_row_for_each_policy(tmp_path: Path) -> None:
    """The reference's joined file has four rows for a policy: two versions of its claim times two of its customer."""
    joined = pd.read_csv(claims_file("dataset.csv"))
    store, moments = Store(f"file://{tmp_path}"), ("2026-01-01", "2026-02-01")
    first: dict[str, pd.DataFrame] = {}
    histories = {}
    for table in ("claims", "customers"):
        columns = list(pd.read_csv(claims_file(f"{table}_preprocessed.csv"), nrows=1).columns)
        versions = joined[columns].drop_duplicates().sort_values(columns).reset_index(drop=True)
        second = versions.duplicated("policy_id")
        group = FeatureGroup(record_id="policy_id", event_time="event_time", known_time="known_time")
        for part, moment in ((versions[~second], moments[0]), (versions[second], moments[1])):
            timed = part.assign(event_time=pd.Timestamp(moment, tz="UTC"), known_time=pd.Timestamp(moment, tz="UTC"))
            for again in ("once", "twice"):
                rows = write_frame(store, f"made/{table}/{moment}/{again}", timed, producer="test")
                assert append_history(store, table, group, rows) == (again == "once")
        first[table] = versions[~second].set_index("policy_id")
        history = read_history(store, history_members(store, table))
        assert len(history) == 10_000
        histories[table] = (group, history)
    claims = first["claims"].reset_index()[["policy_id"]]
    for moment, later in (("2026-01-15", False), ("2026-03-01", True)):
        rows = claims.assign(moment=pd.Timestamp(moment, tz="UTC"))
        found, missing = training_set(rows, histories, as_of="moment")
        assert len(found) == 5000
        assert found["policy_id"].is_unique
        assert missing == {"claims": 0, "customers": 0}
        assert found.shape[1] == 2 + 29 + 17
        for table, versions in first.items():
            same = (found.set_index("policy_id")[list(versions.columns)] == versions).all(axis=1)
            assert (not same.any()) if later else same.all(), table
    _, missing = training_set(claims.assign(moment=pd.Timestamp("2025-12-31", tz="UTC")), histories, as_of="moment")
    assert missing == {"claims": 5000, "customers": 5000}


def test_unknown_records_and_records_without_values_are_told_apart() -> None:
    history = history_of([(1, 1, 1, 10)]).astype({"value": "float64"})
    history.loc[0, "value"] = None
    found, missing = training_set(rows_of([(1, 2), (1, 0), (9, 2)]), {"toy": (GROUP, history)}, as_of="moment")
    assert found["value"].isna().all()
    assert missing == {"toy": 2}
    with pytest.raises(
        InputError, match=r"feature group toy: got columns that are there already: value\. Allowed: names"
    ):
        training_set(found, {"toy": (GROUP, history)}, as_of="moment")


def test_times_may_be_seconds_texts_or_timestamps() -> None:
    seconds = history_of([(1, 1, 1, 10), (1, 3, 3, 30)])
    texts = seconds.assign(**{name: pd.to_datetime(seconds[name], unit="s").astype(str) for name in ("event", "known")})
    rows = pd.DataFrame({"policy": [1, 1], "moment": pd.to_datetime(["1970-01-02T00:00", "1970-01-05T00:00"])})
    for history in (seconds, texts):
        assert as_known(history, rows, GROUP, as_of="moment")["value"].tolist() == [10, 30]
    with pytest.raises(
        InputError, match=r"rows to look up, column moment: got .*Allowed: dates, timestamps, ISO texts"
    ):
        as_known(seconds, rows.assign(moment=["soon", "later"]), GROUP, as_of="moment")


def test_what_is_missing_is_told() -> None:
    history, rows = history_of([(1, 1, 1, 10)]), rows_of([(1, 1)])
    with pytest.raises(InputError, match=r"history of a feature group, column known: got missing"):
        as_known(history.drop(columns="known"), rows, GROUP, as_of="moment")
    with pytest.raises(
        InputError, match=r"rows to look up, column momnt: got missing\. Allowed: did you mean 'moment'"
    ):
        as_known(history, rows, GROUP, as_of="momnt")
    with pytest.raises(InputError, match=r"column event: got 1 rows without a value\. Allowed: a value in every row"):
        as_known(history.assign(event=[None]), rows, GROUP, as_of="moment")
    with pytest.raises(SpecError, match="record_id, event_time and known_time are three columns"):
        validate({"record_id": "a", "event_time": "b", "known_time": "b"}, FeatureGroup)


def test_a_history_keeps_its_shape_and_loses_nothing(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}")
    versions = history_of([(1, 1, 1, 10)])
    one = write_frame(store, "made/one", versions, producer="test")
    other = write_frame(store, "made/other", versions.assign(value=11), producer="test")
    assert append_history(store, "toy", GROUP, one)
    assert append_history(store, "toy", GROUP, other)
    assert not append_history(store, "toy", GROUP, one)
    assert sorted(read_history(store, history_members(store, "toy"))["value"]) == [10, 11]
    wide = write_frame(store, "made/wide", versions.assign(more=1), producer="test")
    with pytest.raises(InputError, match=r"rows of feature group toy: got another shape: more\. Allowed: event, known"):
        append_history(store, "toy", GROUP, wide)
    swapped = FeatureGroup(record_id="policy", event_time="known", known_time="event")
    with pytest.raises(InputError, match="another shape: event_time, known_time"):
        append_history(store, "toy", swapped, one)
    bare_rows = write_frame(store, "made/bare", versions.drop(columns="known"), producer="test")
    with pytest.raises(
        InputError, match=r"rows of feature group new: got no known\. Allowed: record id, event time and"
    ):
        append_history(store, "new", GROUP, bare_rows)
    with pytest.raises(InputError, match="history of a feature group: got empty"):
        read_history(store, history_members(store, "new"))


def test_each_run_adds_what_is_new_and_an_earlier_run_is_made_again_as_it_was(tmp_path: Path) -> None:
    runs = Runs(tmp_path, use_case_of())
    claims = pd.DataFrame({"policy": [1, 2, 3], "when": [1.0, 2.0, 3.0], "label": [0, 1, 0]})
    ages = [pd.DataFrame({"policy": [1, 2, 3], "age": [20, 30, age]}) for age in (40, 41, 40)]
    claimed = runs.ingest("claims", claims, DAYS[0])
    ingested = [runs.ingest("customers", age, day) for age, day in zip(ages, DAYS, strict=True)]
    assert [one.values["new"] for one in ingested] == [3, 1, 1], "going back to a former value is news"
    assert runs.ingest("customers", ages[2], DAYS[2]).values["new"] == 0, "the same again is not"
    assert runs.ingest("claims", claims, DAYS[1]).values["new"] == 0
    found = [runs.join(runs.ingest("claims", claims, day), one) for day, one in zip(DAYS, ingested, strict=True)]
    for frame, age in zip(found, (40, 41, 40), strict=True):
        assert frame["age"].tolist() == [20, 30, age]
        assert frame["policy"].tolist() == [1, 2, 3]
        assert feature_columns(list(frame.columns), "label", None) == ["policy", "age"]
    pd.testing.assert_frame_equal(runs.join(claimed, ingested[0]), found[0])


def test_each_row_has_its_own_moment_where_a_column_says_so(tmp_path: Path) -> None:
    runs = Runs(tmp_path, use_case_of(as_of="when"))
    seconds = [pd.Timestamp(day).timestamp() for day in DAYS]
    claims = pd.DataFrame({"policy": [1, 2, 1], "when": [seconds[0], seconds[1], seconds[2]], "label": [0, 1, 0]})
    for day, age in zip(DAYS, (20, 21, 22), strict=True):
        customers = runs.ingest("customers", pd.DataFrame({"policy": [1, 2], "age": [age, age + 10]}), day)
    found = runs.join(runs.ingest("claims", claims, DAYS[2]), customers)
    assert found[["policy", "age"]].to_numpy().tolist() == [[1, 22], [2, 31]]


def test_an_event_that_lands_again_is_compared_with_itself(tmp_path: Path) -> None:
    runs = Runs(tmp_path, use_case_of())
    claims = pd.DataFrame({"policy": [1, 1], "when": [1.0, 2.0], "label": [0, 1]})
    assert runs.ingest("claims", claims, DAYS[0]).values["new"] == 2
    assert runs.ingest("claims", claims, DAYS[1]).values["new"] == 0
    corrected = claims.assign(label=[1, 1])
    ingested = runs.ingest("claims", corrected, DAYS[2])
    assert ingested.values["new"] == 1
    assert ingested.values["datasets"] == 2


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"rows": "claim"}, "rows is one of the groups, not 'claim'; did you mean 'claims'"),
        ({"as_of": "whenn"}, r"features\.as_of: got 'whenn'.*did you mean 'when'"),
        (
            {
                "groups": {
                    "claims": {"record_id": "policy", "event_time": "e", "known_time": "k"},
                    "x": GROUP.model_dump(),
                }
            },
            r"features\.groups\.x: got 'x'\. Allowed: a table; one of claims, customers",
        ),
        (
            {"groups": {"claims": {"record_id": "polcy", "event_time": "e", "known_time": "k"}}},
            r"features\.groups\.claims\.record_id: got 'polcy'.*did you mean 'policy'",
        ),
    ],
)
def test_wrong_groups_are_found_when_the_file_is_read(features: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        use_case_of(**features)


def test_a_group_that_is_not_declared_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"toy: feature group: got custmers\. Allowed: did you mean 'customers'"):
        Runs(tmp_path, use_case_of()).ingest("custmers", pd.DataFrame({"policy": [1]}), DAYS[0])


def test_several_who_append_the_same_at_once_append_it_once(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}")
    made = [
        write_frame(store, f"made/{number % 2}", history_of([(1, 1, 1, number % 2)]), producer="t")
        for number in range(8)
    ]
    barrier, added = threading.Barrier(len(made)), list[bool]()

    def append(rows: Any) -> None:
        barrier.wait()
        added.append(append_history(store, "toy", GROUP, rows))

    workers = [threading.Thread(target=append, args=(rows,)) for rows in made]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    assert sorted(added) == [False] * 6 + [True] * 2
    assert sorted(read_history(store, history_members(store, "toy"))["value"]) == [0, 1]


def test_what_a_killed_run_wrote_is_no_history_until_it_was_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the one small file is created: nothing was added. Killed after it: the next try finds it there."""
    runs, frame = Runs(tmp_path, use_case_of()), pd.DataFrame({"policy": [1, 2], "age": [20, 30]})
    create = Store.create

    def killed(self: Store, uri: str, value: Any, *, before: bool) -> bool:
        if "/history/" in uri and not before:
            create(self, uri, value)
        if "/history/" in uri:
            raise KeyboardInterrupt
        return create(self, uri, value)

    for before, known in ((True, 0), (False, 1)):
        monkeypatch.setattr(Store, "create", partialmethod(killed, before=before))
        with pytest.raises(KeyboardInterrupt):
            runs.ingest("customers", frame, DAYS[0])
        assert len(history_members(runs.store, "customers")) == known
    monkeypatch.setattr(Store, "create", create)
    assert runs.ingest("customers", frame, DAYS[0]).values == {
        "group": "customers",
        "as_of": DAYS[0],
        "rows": 2,
        "new": 0,
        "datasets": 1,
    }


@pytest.mark.parametrize(
    ("serve", "expected"),
    [
        ({"groups": {"custmers": {}}}, r"serve\.groups\.custmers: got 'custmers'.*did you mean 'customers'"),
        (
            {"groups": {"customers": {"columns": ["agee"]}}},
            r"serve\.groups\.customers\.columns: got 'agee'.*a feature of the group; did you mean 'age'",
        ),
        ({"groups": {"claims": {"columns": ["policy"]}}}, r"serve\.groups\.claims\.columns: got 'policy'"),
        ({"groups": {"claims": {"maximum_age": "soon"}}}, r"maximum_age: got 'soon'.*a number and a unit"),
    ],
)
def test_what_the_endpoint_cannot_look_up_is_found_when_the_file_is_read(serve: dict[str, Any], expected: str) -> None:
    data = use_case_of().model_dump(mode="json", by_alias=True)
    with pytest.raises(SpecError, match=expected):
        validate(data | {"serve": serve}, UseCase)


def test_a_deployed_version_is_told_what_to_look_up() -> None:
    data = use_case_of().model_dump(mode="json", by_alias=True)
    made = validate(data | {"serve": {"groups": {"customers": {"maximum_age": "2 days"}}}}, UseCase)
    lookup = lookup_of(made.serve, made.features)
    assert lookup is not None
    assert lookup.model_dump(mode="json") == {
        "record_id": "policy",
        "groups": {"customers": {"columns": None, "beside": [], "maximum_age": "P2D", "age": "published"}},
    }
    assert validate(lookup.model_dump(mode="json"), Lookup) == lookup
    assert lookup_of(use_case_of().serve, use_case_of().features) is None
