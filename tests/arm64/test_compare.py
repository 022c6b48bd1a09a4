"""The comparison sees every kind of difference: an eye that sees nothing would call all equal."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from arm64.lane.compare import Bound, Side, compare
from arm64.lane.report import make_report, render
from arm64.lane.values import file_gaps, gaps
from stepzero.adapters.datasets import write_frame
from stepzero.adapters.store import Store

FRAME = pd.DataFrame({"_row_id": ["a", "b", "c"], "score": [0.1, 0.2, 0.3]})
KNOWN = (Bound("tune *", "out_of_fold:score", 1e-6, "the order of sums"),)


@pytest.mark.parametrize(
    ("native", "other", "place", "largest"),
    [
        ({"f1": 0.5}, {"f1": 0.5 + 2**-52}, "f1", 2**-52),
        ({"rows": [1, 2]}, {"rows": [1, 3]}, "rows[1]", 1.0),
        ({"name": "smote"}, {"name": "none"}, "name", math.inf),
        ({"a": 1}, {}, "a", math.inf),
        ([1, 2], [1], "", math.inf),
        ({"a": True}, {"a": 1.5}, "a", math.inf),
        ({"a": float("nan")}, {"a": 1.0}, "a", math.inf),
    ],
)
def test_differences_of_values(native: Any, other: Any, place: str, largest: float) -> None:
    found = list(gaps(native, other))
    assert [(gap.place, gap.largest) for gap in found] == [(place, largest)]


def test_equal_values_have_none() -> None:
    value = {"a": [1, 2.5, None, float("nan")], "b": {"c": "text"}}
    assert list(gaps(value, json.loads(json.dumps(value)))) == []


@pytest.mark.parametrize("change", ["value", "order", "column", "text"])
def test_differences_of_tables(change: str) -> None:
    other = FRAME.copy()
    match change:
        case "value":
            other.loc[2, "score"] = np.nextafter(0.3, 1)
        case "order":
            other = other.iloc[::-1]
        case "column":
            other = other.rename(columns={"score": "scores"})
        case "text":
            other.loc[0, "_row_id"] = "z"
    assert list(file_gaps(_parquet(FRAME), _parquet(other), "table.parquet"))


def test_other_bytes_of_equal_content_are_no_difference() -> None:
    assert _parquet(FRAME) != _parquet(FRAME, compression="gzip")
    assert list(file_gaps(_parquet(FRAME), _parquet(FRAME, compression="gzip"), "table.parquet")) == []


def test_bound_covers_what_it_names_and_no_more() -> None:
    one = compare("tune smote.logistic_regression", _side(0.1), _side(0.1 + 1e-8))
    assert not one.equal
    assert one.unexplained(KNOWN) == []
    far = compare("tune smote.logistic_regression", _side(0.1), _side(0.1 + 1e-5))
    assert [gap.place for gap in far.unexplained(KNOWN)] == ["out_of_fold:score"]
    elsewhere = compare("evaluate", _side(0.1), _side(0.1 + 1e-8))
    assert elsewhere.unexplained(KNOWN) != []


def test_report_names_result_size_and_reason() -> None:
    same = compare("prepare", _side(0.1), _side(0.1))
    near = compare("tune smote.logistic_regression", _side(0.1), _side(0.1 + 1e-8))
    far = compare("evaluate", _side(0.1), _side(0.2))
    report = make_report([same, near, far], KNOWN, not_run=["deploy: no endpoint"])
    assert [stage["result"] for stage in report["stages"]] == [
        "equal to the last bit",
        "equal within the bound",
        "different",
    ]
    text = render(report)
    assert "| tune smote.logistic_regression | equal within the bound | 1.0e-08 | the order of sums |" in text
    assert "Not run: deploy: no endpoint" in text


def _side(score: float) -> Side:
    store = Store(f"memory://compare-{score!r}")
    frame = FRAME.assign(score=[score, 0.2, 0.3])
    reference = write_frame(store, "out_of_fold", frame, producer="tune")
    result = {
        "digest": reference.digest,
        "key": "k",
        "values": {},
        "verdict": None,
        "outputs": {"out_of_fold": reference.to_json()},
    }
    return Side(store, result)


def _parquet(frame: pd.DataFrame, compression: str = "zstd") -> bytes:
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False, compression=compression)
    return stream.getvalue()
