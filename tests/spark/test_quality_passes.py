"""As few passes as possible: Spark's jobs are counted, and how often the rows are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest

from stepzero.core.verdict import Outcome
from support.gate import Gate

ROWS = pd.DataFrame(
    {
        "id": range(200),
        "amount": [float(number % 50) for number in range(200)],
        "other": [float(number % 7) for number in range(200)],
        "country": ["DE", "FR"] * 100,
    }
)
FEW: list[dict[str, Any]] = [{"rule": "size", "at_least": 1}]
MANY: list[dict[str, Any]] = [
    *FEW,
    {"rule": "size", "at_least": 1, "where": "country = 'DE'"},
    {"rule": "complete", "columns": ["id", "amount"]},
    {"rule": "between", "column": "amount", "at_least": 0, "at_most": 49},
    {"rule": "one_of", "column": "country", "values": ["DE", "FR"]},
    {"rule": "pattern", "column": "country", "pattern": "[A-Z]+"},
    {"rule": "length", "column": "country", "at_most": 2},
    {"rule": "type", "column": "country", "type": "date", "where": "id < 0"},
    {"rule": "compliance", "name": "x", "predicate": "amount < 100"},
    *({"rule": kind, "column": "amount", "at_least": 0} for kind in ("min", "max", "mean", "sum")),
    {"rule": "standard_deviation", "column": "amount", "at_least": 0, "where": "country = 'FR'"},
    *({"rule": "quantile", "column": "amount", "quantile": share, "at_least": 0} for share in (0.1, 0.5, 0.9)),
    {"rule": "correlation", "columns": ["amount", "other"], "at_most": 1},
]
UNIQUE: dict[str, Any] = {"rule": "unique", "columns": ["id"]}


@pytest.fixture
def jobs(gate: Gate) -> Callable[..., int]:
    """Count the jobs of one judgement."""
    uri = gate.land_parquet(ROWS)
    context = gate.spark.sparkContext

    def count(*rules: dict[str, Any], outcome: Outcome = Outcome.PASS, **quality: Any) -> int:
        group = str(uuid4())
        context.setJobGroup(group, group)
        try:
            judged = gate.judge(None, rules, None, uris=[uri], quarantine_limit=0.5, **quality)
            assert judged.outcome is outcome
            return len(context.statusTracker().getJobIdsForGroup(group))
        finally:
            context.setLocalProperty("spark.jobGroup.id", None)

    return count


def test_rules_without_grouping_share_one_pass(jobs: Callable[..., int]) -> None:
    assert jobs(*MANY) == jobs(*FEW) <= 4, "the footers, one aggregate in two steps, and the rows are written"


def test_metrics_of_one_set_of_columns_share_one_grouping(jobs: Callable[..., int]) -> None:
    count = {"rule": "distinct_count", "columns": ["id"], "at_least": 200}
    assert jobs(*FEW, UNIQUE, count) == jobs(*FEW, UNIQUE)


def test_rows_are_looked_at_again_only_where_something_is_broken(jobs: Callable[..., int]) -> None:
    low = {"rule": "between", "column": "amount", "at_most": 45}
    small = {"rule": "between", "column": "other", "at_most": 5}
    good = jobs(*FEW)
    one = jobs(*FEW, low, outcome=Outcome.QUARANTINE)
    assert good < one <= good + 4, "bad rows are written, and the history measures those that go on"
    assert jobs(*FEW, low, small, outcome=Outcome.QUARANTINE) <= one + 2, "and those of both reasons are counted"


ENTROPY: dict[str, Any] = {"rule": "entropy", "column": "country", "at_least": 0}
MUTUAL: dict[str, Any] = {"rule": "mutual_information", "columns": ["country", "other"], "at_least": 0}
KEY: dict[str, Any] = {"rule": "foreign_key", "columns": ["country"], "dataset": "countries", "keys": ["code"]}
DATASETS = {"countries": {"format": "csv", "prefix": "landing/toy/countries/", "columns": {"code": "string"}}}
ANOMALIES: list[dict[str, Any]] = [
    {"metric": "size", "strategy": "relative_change", "at_least": 0.5},
    {"metric": "mean", "column": "amount", "strategy": "rolling_normal"},
    {"metric": "standard_deviation", "column": "other", "strategy": "rolling_normal"},
    {"metric": "share", "predicate": "country = 'DE'", "strategy": "holt_winters"},
]


def test_what_groups_rows_or_looks_elsewhere_costs_so_many_jobs_and_no_more(
    gate: Gate, jobs: Callable[..., int]
) -> None:
    gate.land(b"code\nDE\nFR\n", "countries/all.csv")
    few = jobs(*FEW)
    costs = {
        "entropy": jobs(*FEW, ENTROPY) - few,
        "mutual": jobs(*FEW, MUTUAL) - few,
        "key": jobs(*FEW, KEY, datasets=DATASETS) - few,
        "anomalies": jobs(*FEW, anomalies=ANOMALIES) - few,
        "where": jobs(*FEW, anomalies=[{**one, "where": "other > 1"} for one in ANOMALIES]) - few,
        "all": jobs(*FEW, ENTROPY, MUTUAL, KEY, datasets=DATASETS, anomalies=ANOMALIES) - few,
    }
    assert costs["entropy"] <= 6
    assert costs["mutual"] <= 12
    assert costs["key"] <= 8
    assert costs["anomalies"] <= 4
    assert costs["where"] <= 4
    assert costs["all"] <= 34
