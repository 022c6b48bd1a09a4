"""Rows that name a record: what is looked up, what is refused and how, without a server and without Feast."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from stepzero.adapters.captured import read_captured
from stepzero.adapters.feast_catalogue import Published
from stepzero.adapters.online_features import EVENT, KNOWN, RecordId
from stepzero.adapters.store import Store
from stepzero.core.errors import ServiceError, bare
from stepzero.learning.group_thresholds import GroupThresholds
from stepzero.learning.model import ScoringModel
from stepzero.learning.transform import Transformer
from stepzero.serving.capture import Capture, Exchange
from stepzero.serving.invocation import Prediction, answer, predict
from stepzero.serving.lookup import Looked, OnlineFeatures
from stepzero.serving.rows import Form, RequestError, parse_request, typed_rows
from stepzero.serving.versions import Served
from stepzero.spec.environment import Capture as Settings
from stepzero.spec.load import validate
from stepzero.spec.serve import Lookup

FEATURES = {"amount": "double", "hour": "int", "age": "int", "income": "double"}
FORM = Form(features=FEATURES, optional=frozenset({"income"}))
NOW = 1_000_000.0
ASKED = {"amount": 9.5, "hour": 3, "age": 40, "income": 1.5}


class Told:
    """An online store of a few records, in memory."""

    def __init__(self, **groups: dict[RecordId, dict[str, Any]]) -> None:
        self.groups, self.asked = groups, list[tuple[str, Sequence[RecordId]]]()

    def read(self, group: str, record_id: str, ids: Sequence[RecordId]) -> list[dict[str, Any] | None]:
        assert record_id == "policy"
        self.asked.append((group, list(ids)))
        times = {EVENT: int((NOW - 900) * 1e6), KNOWN: int((NOW - 300) * 1e6)}
        records = self.groups[group]
        return [times | records[one] if one in records else None for one in ids]


class Broken:
    def read(self, group: str, record_id: str, ids: Sequence[RecordId]) -> list[dict[str, Any] | None]:
        raise ServiceError("online store x", value=bare("locked"), allowed="one that answers", action="wait")


def published(group: str, kind: str = "bigint", **kinds: str) -> Published:
    return Published(
        group=group,
        record_id="policy",
        event_time="event",
        known_time="known",
        kinds={"policy": kind, **kinds},
        snapshot={},
        as_of="1970-01-12T13:30:00+00:00",  # 1000 seconds before NOW
        records=3,
    )


CUSTOMERS: dict[RecordId, dict[str, Any]] = {
    7: {"age": 40, "income": 1.5, "street": "x"},
    8: {"age": 50, "income": None, "street": "y"},
    9: {"age": None, "income": 2.0, "street": "z"},
}
CLAIMS: dict[RecordId, dict[str, Any]] = {7: {"amount": 9.5, "hour": 3}, 8: {"amount": 1.0, "hour": 4}}


def online(
    reader: Any = None, kind: str = "bigint", features: dict[str, str] = FEATURES, **groups: Any
) -> OnlineFeatures:
    lookup = validate({"record_id": "policy", "groups": groups or {"claims": {}, "customers": {}}}, Lookup)
    made = OnlineFeatures(
        lookup=lookup,
        features=features,
        reader=reader or Told(claims=CLAIMS, customers=CUSTOMERS),
        store=Store("memory://none"),
        now=lambda: NOW,
    )
    kinds = {
        "claims": {"amount": "double", "hour": "bigint"},
        "customers": {"age": "bigint", "income": "double", "street": "string"},
    }
    made.published = {name: published(name, kind, **kinds[name]) for name in lookup.groups}
    return made


def complete(one: OnlineFeatures, body: Any, content_type: str = "application/json") -> tuple[Looked, Any]:
    raw = body if isinstance(body, str) else json.dumps(body)
    looked = one.complete(parse_request(raw.encode(), content_type), FORM)
    return looked, np.asarray(typed_rows(looked.asked, FORM)).tolist()


def test_a_batch_may_mix_ids_ids_with_fields_and_rows_that_bring_all() -> None:
    reader = Told(claims=CLAIMS, customers=CUSTOMERS)
    looked, rows = complete(online(reader), [{"policy": 8}, ASKED, {"policy": 7}, {"policy": 7}])
    assert rows[1:] == [[9.5, 3.0, 40.0, 1.5]] * 3
    np.testing.assert_array_equal(rows[0], [1.0, 4.0, 50.0, np.nan])
    assert looked.ages[1] is None
    assert looked.ages[0] is not None
    assert looked.ages[0]["customers"] == {
        "event_time": "1970-01-12T13:31:40+00:00",
        "known_time": "1970-01-12T13:41:40+00:00",
        "published": "1970-01-12T13:30:00+00:00",
        "age_seconds": 1000.0,
    }
    assert reader.asked == [("claims", [8, 7, 7]), ("customers", [8, 7, 7])], "one look at each group for a batch"
    only = online(customers={"columns": ["age"]})
    _, rows = complete(only, [{"policy": 7, "amount": 2, "hour": 1, "income": None}])
    np.testing.assert_array_equal(rows, [[2.0, 1.0, 40.0, np.nan]])


def test_rows_without_ids_are_left_alone() -> None:
    reader = Told(claims=CLAIMS, customers=CUSTOMERS)
    looked, rows = complete(online(reader), [ASKED])
    assert (rows, looked.ages, looked.any) == ([[9.5, 3.0, 40.0, 1.5]], [None], False)
    assert reader.asked == []


def test_csv_says_the_same_as_json() -> None:
    text = "policy,amount,hour,age,income\n7,,,,\n,9.5,3,40,1.5\n"
    looked, rows = complete(online(), text, "text/csv")
    assert rows == [[9.5, 3.0, 40.0, 1.5]] * 2
    assert [one is None for one in looked.ages] == [False, True]
    _, rows = complete(online(customers={}), "policy,hour,amount\n7,3,9.5\n", "text/csv")
    assert rows == [[9.5, 3.0, 40.0, 1.5]]


def test_an_id_that_is_a_feature_too_is_both() -> None:
    features = {"policy": "int", "age": "int"}
    one, form = online(features=features, customers={}), Form(features=features)
    found = [
        typed_rows(one.complete(parse_request(json.dumps([row]).encode(), ""), form).asked, form)
        for row in ({"policy": 8}, {"policy": 1, "age": 2})
    ]
    assert np.concatenate(found).tolist() == [[8, 50], [1, 2]]


REFUSED: dict[str, tuple[Any, int, str]] = {
    "unknown id": (
        [{"policy": 7}, {"policy": 99}],
        422,
        "row 1 field policy: got 99. Allowed: an id that feature group claims has: 3 records, as known at 1970",
    ),
    "unknown in a group": (
        [{"policy": 9}],
        422,
        "row 0 field policy: got 9. Allowed: an id that feature group claims has",
    ),
    "text for a number": ([{"policy": "7"}], 422, "row 0 field policy: got '7'. Allowed: a whole number (bigint)"),
    "a boolean": ([{"policy": True}], 422, "row 0 field policy: got True. Allowed: a whole number"),
    "a fraction": ([{"policy": 7.5}], 422, "row 0 field policy: got 7.5. Allowed: a whole number"),
    "too large": ([{"policy": 2**63}], 422, "row 0 field policy: got 9223372036854775808. Allowed: a whole number"),
    "nothing": ([{"policy": None}], 422, "row 0 field policy: got nothing. Allowed: the id of a record (bigint)"),
    "extra": ([{"policy": 7, "amout": 1}], 422, "row 0 field amout: got 1. Allowed: did you mean 'amount'?"),
    "looked up and sent": (
        [{"policy": 7, "age": 30}],
        422,
        "row 0 field age: got 30. Allowed: no value beside policy: it is looked up in feature group customers. Do:",
    ),
    "raw, one missing": ([{"amount": 1, "hour": 2, "age": 3}], 422, "row 0 field income: got missing."),
    "text id in CSV": ("policy\nx\n", 422, "row 0 field policy: got 'x'. Allowed: a number (bigint)"),
    "fraction in CSV": ("policy\n7.5\n", 422, "row 0 field policy: got 7.5. Allowed: a whole number (bigint)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_looked_up_is_refused_in_four_parts(case: str) -> None:
    body, status, text = REFUSED[case]
    with pytest.raises(RequestError) as error:
        complete(online(), body, "text/csv" if isinstance(body, str) else "application/json")
    assert text in str(error.value)
    assert error.value.status == status


def test_what_the_store_has_no_value_for_is_refused_unless_the_model_fills_it_in() -> None:
    with pytest.raises(
        RequestError, match=r"row 0 field age: got nothing in feature group customers\. Allowed: a value"
    ):
        complete(online(customers={}), [{"policy": 9, "amount": 1.0, "hour": 1}])
    _, rows = complete(online(customers={"columns": ["income"]}), [{"policy": 404, "amount": 1.0, "hour": 1, "age": 2}])
    np.testing.assert_array_equal(rows, [[1.0, 1.0, 2.0, np.nan]])


@pytest.mark.parametrize(
    ("served", "status", "text"),
    [
        (
            {"maximum_age": "16 minutes"},
            503,
            "features 1000 s old, counted from when they were published. Allowed: at most 960 s",
        ),
        ({"maximum_age": "4 minutes", "age": "known"}, 422, "features 300 s old, counted from when they were known."),
        ({"maximum_age": "14 minutes", "age": "event"}, 422, "features 900 s old, counted from when they were true."),
    ],
)
def test_features_older_than_declared_are_refused(served: dict[str, Any], status: int, text: str) -> None:
    with pytest.raises(RequestError) as error:
        complete(online(customers=served), [{"policy": 7, "amount": 1.0, "hour": 1}])
    assert f"row 0 feature group customers: got {text}" in str(error.value)
    assert "serve.groups.customers.maximum_age" in str(error.value)
    assert error.value.status == status
    complete(online(customers=served | {"maximum_age": "1 hour"}), [{"policy": 7, "amount": 1.0, "hour": 1}])


def test_before_anything_is_published_and_when_the_store_is_silent_the_caller_may_come_again() -> None:
    unpublished = online()
    unpublished.published = {}
    with pytest.raises(RequestError, match="feature group claims: got nothing was published yet") as error:
        complete(unpublished, [{"policy": 7}])
    assert error.value.status == 503
    assert complete(unpublished, [ASKED])[1] == [[9.5, 3.0, 40.0, 1.5]]
    with pytest.raises(RequestError, match="online store x: got locked") as error:
        complete(online(Broken()), [{"policy": 7}])
    assert error.value.status == 503


def test_text_ids_are_text() -> None:
    reader = Told(customers={"A-1": CUSTOMERS[7]})
    _, rows = complete(online(reader, "string", customers={}), [{"policy": "A-1", "amount": 9.5, "hour": 3}])
    assert rows == [[9.5, 3.0, 40.0, 1.5]]
    with pytest.raises(RequestError, match=r"row 0 field policy: got 7\. Allowed: text \(string\)"):
        complete(online(reader, "string", customers={}), [{"policy": 7, "amount": 9.5, "hour": 3}])


def test_golden_53_looked_up_columns_come_in_the_trained_order_and_a_wrong_or_missing_one_is_refused() -> None:
    """The reference joined both records, ordered them by hand and sent bare numbers: a shifted row got an answer."""
    trained = {"income": "double", "hour": "int", "age": "int", "amount": "double"}
    form, one = Form(features=trained), online(features=trained)

    def rows(body: Any) -> Any:
        looked = one.complete(parse_request(json.dumps(body).encode(), "application/json"), form)
        return np.asarray(typed_rows(looked.asked, form)).tolist()

    assert rows([{"policy": 7}]) == [[1.5, 3.0, 40.0, 9.5]]
    assert rows([dict(reversed(ASKED.items()))]) == rows([ASKED]) == [[1.5, 3.0, 40.0, 9.5]]
    with pytest.raises(RequestError, match="row 0 field income: got nothing"):
        rows([{"policy": 8}])
    with pytest.raises(RequestError, match=r"row 0 field hours: got 3\. .*hour"):
        rows([{name: value for name, value in ASKED.items() if name != "hour"} | {"hour": 3, "hours": 3}])
    with pytest.raises(RequestError, match="row 0 field hour: got missing"):
        rows([{name: value for name, value in ASKED.items() if name != "hour"} | {"hours": 3}])


def test_a_group_that_no_model_sees_is_looked_up_to_decide_by_its_threshold() -> None:
    """Set aside from the features, still known of the record; a row that brings its features must say it itself."""
    rows = pd.DataFrame({"amount": [1.0, 9.5, 3.0, 8.0], "hour": [4.0, 3.0, 1.0, 2.0]})
    estimator = LogisticRegression().fit(rows.to_numpy(), [0, 1, 0, 1])
    groups = GroupThresholds(column="age", kind="int", values=(50,), disfavoured=0.0, favoured=1.0)
    features = {"amount": "double", "hour": "int"}
    model = ScoringModel(
        features=features, transformer=Transformer().fit(rows), estimator=estimator, threshold=0.5, groups=groups
    )
    served = Served("3", "m" * 32, 0.5, model, online=online(features=model.asked))

    def asked(*instances: dict[str, Any]) -> Prediction:
        return predict(served, parse_request(json.dumps({"instances": instances}).encode(), "application/json"), 10)

    found = asked({"policy": 7}, {"policy": 8}, {"amount": 9.5, "hour": 3, "age": 50})
    told = json.loads(bytes(answer(found, "").body))
    assert told["decisions"] == [0, 1, 1]
    assert told["thresholds"] == [1.0, 0.0, 0.0]
    assert "threshold" not in told
    assert told["scores"][0] == told["scores"][2] == model.score(pd.DataFrame({"amount": [9.5], "hour": [3]}))[0]
    with pytest.raises(RequestError, match="row 0 field age: got missing"):
        asked({"amount": 9.5, "hour": 3})


MODEL = {"amount": "double", "hour": "int", "age": "int"}
PLAIN: dict[str, Any] = {"claims": {}, "customers": {}}
ASIDE: dict[str, Any] = {"claims": {}, "customers": {"beside": ["street"]}}


@cache
def small_model() -> ScoringModel:
    rows = pd.DataFrame({"amount": [1.0, 9.5, 3.0, 8.0], "hour": [4.0, 3.0, 1.0, 2.0], "age": [40.0, 50, 30, 20]})
    estimator = LogisticRegression().fit(rows.to_numpy(), [0, 1, 0, 1])
    return ScoringModel(features=MODEL, transformer=Transformer().fit(rows), estimator=estimator, threshold=0.5)


def asked_for(one: OnlineFeatures, *instances: dict[str, Any]) -> Prediction:
    body = json.dumps({"instances": instances}).encode()
    served = Served("3", "m" * 32, 0.5, small_model(), online=one)
    return predict(served, parse_request(body, "application/json"), 10)


def test_what_no_model_sees_is_looked_up_for_the_capture_alone() -> None:
    """By id: captured beside, with the id; to model and caller it makes no difference, to the last byte."""
    asked = ({"policy": 7}, {"amount": 9.5, "hour": 3, "age": 50}, {"policy": 8})
    without, with_it = (asked_for(online(features=MODEL, **groups), *asked) for groups in (PLAIN, ASIDE))
    assert with_it.beside == {"_record_id": ["7", None, "8"], "_street": ["x", None, "y"]}
    assert without.beside == {"_record_id": ["7", None, "8"]}
    np.testing.assert_array_equal(np.asarray(with_it.rows), np.asarray(without.rows))
    for accept in ("", "text/csv"):
        assert bytes(answer(with_it, accept).body) == bytes(answer(without, accept).body)
    assert b"street" not in bytes(answer(with_it, "").body)
    told = online(features=MODEL, **ASIDE).told()["groups"]["customers"]
    assert (told["columns"], told["captured_beside"]) == (["age"], ["street"])
    reader = Told(claims=CLAIMS, customers=CUSTOMERS)
    asked_for(online(reader, features=MODEL, **ASIDE), *asked)
    assert reader.asked == [("claims", [7, 8]), ("customers", [7, 8])], "no look more than for the features"
    with pytest.raises(RequestError, match=r"row 0 field street: got 'z'\. Allowed: one of age, amount, hour"):
        asked_for(online(features=MODEL, **ASIDE), {"policy": 7, "street": "z"})


@settings(max_examples=25)
@given(st.lists(st.sampled_from([7, 8, None]), min_size=1, max_size=6))
def test_predictions_by_id_are_the_same_bytes_with_and_without_what_is_captured_beside(ids: list[int | None]) -> None:
    rows = [{"amount": 2.0, "hour": 1, "age": 33} if one is None else {"policy": one} for one in ids]
    plain, aside = (asked_for(online(features=MODEL, **one), *rows) for one in (PLAIN, ASIDE))
    assert bytes(answer(plain, "").body) == bytes(answer(aside, "").body)
    wanted = [None if one is None else CUSTOMERS[one]["street"] for one in ids]
    assert aside.beside.get("_street", [None] * len(ids)) == wanted


class Half(Told):
    """An online store that does not answer for one group."""

    def read(self, group: str, record_id: str, ids: Sequence[RecordId]) -> list[dict[str, Any] | None]:
        if group == "customers":
            return Broken().read(group, record_id, ids)
        return super().read(group, record_id, ids)


def test_no_prediction_fails_for_want_of_what_is_only_captured(caplog: pytest.LogCaptureFixture) -> None:
    """Its own group silent, not published yet, or without the record: the row has nothing there, and a score."""
    groups: dict[str, Any] = {"claims": {}, "customers": {"columns": [], "beside": ["street"]}}
    features = {"amount": "double", "hour": "int"}
    form = Form(features=features)

    def completed(one: OnlineFeatures, body: Any) -> tuple[Looked, Any]:
        looked = one.complete(parse_request(json.dumps(body).encode(), ""), form)
        return looked, np.asarray(typed_rows(looked.asked, form)).tolist()

    whole, rows = completed(online(features=features, **groups), [{"policy": 7}])
    assert (whole.beside["_street"], rows) == (["x"], [[9.5, 3.0]])
    assert set((whole.ages[0] or {}).keys()) == {"claims"}, "its age is answered to nobody"
    half = online(Half(claims=CLAIMS), features=features, **groups)
    for _ in range(2):
        silent, rows = completed(half, [{"policy": 7}])
        assert (silent.beside["_street"], rows) == ([None], [[9.5, 3.0]])
    told = "nothing of feature group customers is captured beside requests: online store x"
    assert caplog.text.count(told) == 1, "a log is no place for every request"
    unpublished = online(features=features, **groups)
    del unpublished.published["customers"]
    assert completed(unpublished, [{"policy": 7}])[0].beside == {"_record_id": ["7"], "_street": [None]}
    unknown = online(Told(claims=CLAIMS, customers={}), features=features, **groups)
    assert completed(unknown, [{"policy": 7}])[0].beside["_street"] == [None]
    alone = online(Told(customers=CUSTOMERS), features=features, customers=groups["customers"])
    looked, rows = completed(alone, [{"policy": 8, "amount": 1, "hour": 2}, {"amount": 1, "hour": 2}])
    assert looked.beside == {"_record_id": ["8", None], "_street": ["y", None]}
    assert rows == [[1.0, 2.0]] * 2
    alone.published = {}
    assert completed(alone, [{"policy": 8, "amount": 1, "hour": 2}])[0].beside["_street"] == [None]


def test_what_is_beside_is_captured_with_the_row(tmp_path: Path) -> None:
    store, at = Store(f"file://{tmp_path}"), datetime(2026, 11, 21, 13, tzinfo=UTC)
    capture = Capture(store, "claims", Settings(), clock=lambda: at)
    raw = {"amount": 1, "hour": 2, "age": 3}
    asked: list[tuple[dict[str, Any], dict[str, Any]]] = [(ASIDE, {"policy": 7}), (ASIDE, raw), (PLAIN, {"policy": 8})]
    for number, (groups, row) in enumerate(asked):
        exchange = Exchange(request=f"r{number}", at=at)
        exchange.answered(asked_for(online(features=MODEL, **groups), row), b"")
        capture.offer(exchange)
    assert capture.flush()
    rows = read_captured(store, "claims", at, at + timedelta(hours=1))
    assert rows["_record_id"].tolist() == ["7", None, "8"]
    assert rows["_street"].tolist() == ["x", None, None]
    assert [name for name in map(str, rows) if not name.startswith("_")] == list(MODEL), (
        "what the model takes, and no more"
    )
    exchange.beside = {"_street": [7]}
    assert capture.offer(exchange)
    exchange = replace(exchange, beside={"_street": ["x"]})
    assert capture.offer(exchange)
    assert capture.flush(), "another type of what is beside costs no row"
    assert read_captured(store, "claims", at, at + timedelta(hours=1))["_street"].tolist()[-2:] == ["7", "x"]
