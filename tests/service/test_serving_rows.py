"""Rows of every column type, read without a server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import numpy as np
import pytest

from stepzero.adapters.store import Store
from stepzero.serving.app import Limits, make_app
from stepzero.serving.rate import RateLimit
from stepzero.serving.rows import Form, RequestError, read_rows
from stepzero.serving.versions import Watch

MIXED = Form(
    features={"age": "int", "amount": "double", "married": "boolean", "state": "string"},
    optional=frozenset({"amount", "state"}),
)
ROW = {"age": 40, "amount": 1.5, "married": True, "state": "OR"}


def read(**changes: Any) -> dict[str, Any]:
    frame = read_rows(json.dumps([ROW | changes]).encode(), "", MIXED)
    return {str(name): value for name, value in frame.iloc[0].items()}


def test_every_type_comes_out_as_the_model_learned_it() -> None:
    frame = read_rows(json.dumps([ROW, ROW]).encode(), "application/json", MIXED)
    assert list(frame.columns) == list(MIXED.features)
    assert [str(kind) for kind in frame.dtypes] == ["float64", "float64", "float64", "object"]
    assert frame.iloc[0].tolist() == [40.0, 1.5, 1.0, "OR"]


def test_csv_says_the_same_as_json() -> None:
    text = b"state,married,age,amount\nOR,true,40,1.5\n,0,41,\n"
    frame = read_rows(text, "text/csv", MIXED)
    assert frame.iloc[0].tolist() == [40.0, 1.5, 1.0, "OR"]
    assert frame.iloc[1].tolist()[0::2] == [41.0, 0.0]
    assert np.isnan(frame.loc[1, "amount"])
    assert frame.loc[1, "state"] is None


def test_what_the_model_fills_in_may_be_missing() -> None:
    found = read(amount=None, state=None)
    assert np.isnan(found["amount"])
    assert found["state"] is None


def test_numbers_alone_make_one_block_with_holes_where_allowed() -> None:
    form = Form(features={"a": "double", "b": "bigint"}, optional=frozenset({"a"}))
    frame = read_rows(b'[{"a": null, "b": 3}, {"b": 4, "a": 2}]', "application/json", form)
    assert (frame.dtypes == "float64").all()
    np.testing.assert_array_equal(frame.to_numpy(), [[np.nan, 3.0], [2.0, 4.0]])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"age": 40.5}, "row 0 field age: got 40.5. Allowed: a whole number (int)"),
        ({"age": None}, "row 0 field age: got nothing. Allowed: a value (int); the model was not taught"),
        ({"age": "40"}, "row 0 field age: got '40'. Allowed: a number (int)"),
        ({"age": 10**400}, "Allowed: a finite number"),
        ({"married": 1}, "row 0 field married: got 1. Allowed: true or false"),
        ({"state": 7}, "row 0 field state: got 7. Allowed: text (string)"),
        ({"state": {"nested": 1}}, "row 0 field state: got {'nested': 1}. Allowed: text"),
    ],
)
def test_a_wrong_type_is_told(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError) as error:
        read(**changes)
    assert text in str(error.value)
    assert error.value.status == 422


def test_more_requests_than_declared_are_told_when_to_come_again() -> None:
    clock = [0.0]
    rate = RateLimit(4, now=lambda: clock[0])
    assert [rate.take() for _ in range(5)] == [0, 0, 0, 0, 0.25]
    clock[0] = 0.5
    assert [rate.take() for _ in range(3)] == [0, 0, 0.25]
    clock[0] = 100.0
    assert [rate.take() for _ in range(5)] == [0, 0, 0, 0, 0.25], "a long pause saves no more than a second"
    slow = RateLimit(0.5, now=lambda: clock[0])
    assert [slow.take(), slow.take()] == [0, 2.0]


def test_plain_numbers_go_a_short_way_that_refuses_what_the_long_one_does() -> None:
    form = Form(features={"a": "double", "b": "bigint"})
    for value, text in (("1", "a number"), (True, "a number"), (1.5, "a whole number"), (None, "a value")):
        with pytest.raises(RequestError, match=f"row 1 field b: got .*Allowed: {text}"):
            read_rows(json.dumps([{"a": 1, "b": 2}, {"b": value, "a": 1}]).encode(), "", form)
    frame = read_rows(b'[{"b": 9007199254740993, "a": 0.1}]', "", form)
    assert frame.iloc[0].tolist() == [0.1, 9007199254740993.0]


def test_requests_beyond_the_rate_are_refused_before_anything_is_read() -> None:
    app = make_app(Watch(Store("memory://rate"), "toy"), limits=Limits(max_requests_per_second=1e-6))

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)  # without its lifespan: nothing is loaded, nothing needs to be
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return [await client.post("/invocations", json=[]) for _ in range(2)] + [await client.get("/ping")]

    first, refused, ping = asyncio.run(ask())
    assert first.status_code == 503
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert "requests: got more than 1e-06 a second. Allowed: 1e-06 a second, of all callers together" in refused.text
    assert ping.status_code == 503, "what looks after the endpoint is not limited"
