"""Rows are accepted or quarantined, never lost; the numbers are Deequ's; limits and the ledger hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.core.verdict import Outcome
from support.gate import SMALL, Gate, rows_of, small

pytestmark = pytest.mark.usefixtures("few_rows")

RULES: list[dict[str, Any]] = [
    {"rule": "complete", "columns": ["country"]},
    {"rule": "unique", "columns": ["id"]},
    {"rule": "unique", "columns": ["label", "amount"]},
    {"rule": "between", "column": "amount", "at_least": 3, "at_most": 16},
    {"rule": "one_of", "column": "label", "values": [0, 1]},
]


def random_rows(seed: int, rows: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": random.integers(0, rows * 4, rows),
            "amount": random.integers(0, 20, rows).astype(float),
            "country": random.choice(["DE", "FR", ""], rows),
            "label": random.integers(0, 3, rows),
        }
    )


@pytest.mark.parametrize(("seed", "rows"), [(1, 1), (2, 40), (3, 300)])
def test_no_row_is_lost_and_every_reason_is_counted_by_deequ(gate: Gate, seed: int, rows: int) -> None:
    frame = random_rows(seed, rows)
    judged = gate.judge(frame, RULES, quarantine_limit=1)
    values = judged.result.values
    assert values["rows"] == rows == values["accepted"] + values["quarantined"]
    assert (len(judged.accepted), len(judged.quarantined)) == (values["accepted"], values["quarantined"])
    assert rows_of(gate.store, judged.result.outputs["accepted"]) == values["accepted"]
    together = pd.concat([judged.accepted, judged.quarantined])[list(SMALL)].fillna("")
    pd.testing.assert_frame_equal(
        together.sort_values(list(SMALL)).reset_index(drop=True),
        frame.sort_values(list(SMALL)).reset_index(drop=True),
        check_dtype=False,
    )
    metrics = gate.store.read_json(judged.result.outputs["metrics"].uri)
    told = judged.quarantined.get("_reasons", pd.Series(dtype=object)).explode().value_counts()
    by_deequ = {label: round((1 - share) * rows) for label, share in metrics["compliance"].items()}
    assert {label: count for label, count in by_deequ.items() if count} == values["broken"]
    assert sum(by_deequ.values()) == told.sum()
    assert by_deequ["4 between"] == (~frame["amount"].between(3, 16)).sum()
    assert by_deequ["2 unique"] == frame.duplicated("id", keep=False).sum()
    assert by_deequ["3 unique"] == frame.duplicated(["label", "amount"], keep=False).sum()
    assert metrics["uniqueness"]["id"] == pytest.approx(1 - by_deequ["2 unique"] / rows, abs=1e-12)
    assert metrics["uniqueness"]["label, amount"] == pytest.approx(1 - by_deequ["3 unique"] / rows, abs=1e-12)
    assert metrics["profile"]["Mean of amount"] == pytest.approx(frame["amount"].mean())


@pytest.mark.parametrize(
    ("bad", "settings", "outcome"),
    [
        (0, {}, Outcome.PASS),
        (2, {"quarantine_limit": 0.02}, Outcome.QUARANTINE),
        (3, {"quarantine_limit": 0.02}, Outcome.FAIL),
        (1, {"on_bad_rows": "fail", "quarantine_limit": 0.5}, Outcome.FAIL),
        (100, {"quarantine_limit": 1}, Outcome.FAIL),
    ],
)
def test_ledger_holds_what_passed_and_nothing_else(
    gate: Gate, bad: int, settings: dict[str, Any], outcome: Outcome
) -> None:
    frame = small(100)
    frame.loc[: bad - 1, "amount"] = -1.0
    judged = gate.judge(frame, [{"rule": "between", "column": "amount", "at_least": 0}], **settings)
    assert judged.outcome is outcome
    assert len(judged.quarantined) == bad
    assert len(gate.entered()) == (0 if outcome is Outcome.FAIL else 1)


def test_the_same_batch_judged_twice_gives_the_same_bytes(gate: Gate) -> None:
    uri = gate.land(random_rows(4, 30))
    one, other = (gate.judge(None, RULES, uris=[uri], quarantine_limit=1) for _ in range(2))
    assert one.result.values == other.result.values
    for name in ("accepted", "quarantined", "metrics", "report", "picture"):
        assert one.result.outputs[name].digest == other.result.outputs[name].digest, name
    assert len(gate.entered()) == 1


def test_what_was_judged_is_not_remembered_when_a_file_changes(gate: Gate) -> None:
    first = gate.judge(small(10))
    second = gate.judge(small(12))
    assert (first.result.values["rows"], second.result.values["rows"]) == (10, 12)
