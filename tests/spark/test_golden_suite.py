"""The review suite of the field's textbook, by the numbers of its known results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.core.verdict import Outcome
from support.gate import Gate

SUITE: list[dict[str, Any]] = [
    {"rule": "size", "at_least": 200_000},
    {"rule": "min", "column": "star_rating", "at_least": 1, "at_most": 1},
    {"rule": "max", "column": "star_rating", "at_least": 5, "at_most": 5},
    {"rule": "complete", "columns": ["review_id"]},
    {"rule": "unique", "columns": ["review_id"]},
    {"rule": "complete", "columns": ["marketplace"]},
    {"rule": "one_of", "column": "marketplace", "values": ["US", "UK", "DE", "JP", "FR"]},
]


@pytest.mark.parametrize(("rows", "failed"), [(199_999, {"size"}), (200_000, set())])
def test_check_75_one_row_too_few_fails_the_size_alone(gate: Gate, rows: int, failed: set[str]) -> None:
    reviews = gate.spark.range(rows).selectExpr(
        "concat('R', id) AS review_id", "CAST(1 + id % 5 AS INT) AS star_rating", "'US' AS marketplace"
    )
    uri = gate.land_parquet(reviews, "reviews")
    judged = gate.judge(None, SUITE, None, uris=[uri])
    assert set(judged.reasons) == failed
    assert judged.outcome is (Outcome.FAIL if failed else Outcome.PASS)
    assert bool(gate.entered()) is not bool(failed), "a batch that failed stops here"


def test_check_76_three_faults_are_three_named_failures(gate: Gate) -> None:
    reviews = pd.DataFrame(
        {
            "review_id": ["R1", "R2", "R2", None, "R4", "R5"],
            "star_rating": [1, 2, 3, 4, 5, 5],
            "marketplace": ["US", "UK", "DE", "JP", "FRA", "FR"],
        }
    )
    uri = gate.land_parquet(reviews)
    judged = gate.judge(None, SUITE[1:], None, uris=[uri], quarantine_limit=0.5)
    assert judged.outcome is Outcome.FAIL
    assert [reason.sentence() for reason in list(judged.reasons.values())[1:]] == [
        "complete of review_id: observed 1 of 6 rows break it, allowed no null (1 rows)",
        "unique of review_id: observed 2 of 6 rows break it, allowed no two rows alike (2 rows)",
        "one_of of marketplace: observed 1 of 6 rows break it, allowed one of US, UK, DE, JP, FR (1 rows)",
    ]


def test_check_77_compliance_and_correlations_are_those_of_pandas(gate: Gate) -> None:
    from pydeequ import analyzers

    random = np.random.default_rng(77)
    votes = random.integers(0, 50, 500)
    reviews = pd.DataFrame(
        {
            "star_rating": random.integers(1, 6, 500),
            "total_votes": votes,
            "helpful_votes": random.binomial(votes, 0.6),
        }
    )
    uri = gate.land_parquet(reviews)
    rule = {"rule": "compliance", "name": "top star_rating", "predicate": "star_rating >= 4.0", "severity": "warning"}
    pairs = [["total_votes", other] for other in ("star_rating", "helpful_votes")]
    correlations = [{"rule": "correlation", "columns": pair, "at_least": -1, "at_most": 1} for pair in pairs]
    judged = gate.judge(None, [rule, *correlations], None, uris=[uri])
    metrics = gate.store.read_json(judged.result.outputs["metrics"].uri)
    assert metrics["compliance"]["1 compliance"] == pytest.approx((reviews["star_rating"] >= 4).mean(), abs=1e-9)
    for pair in pairs:
        expected = pytest.approx(reviews[pair[0]].corr(reviews[pair[1]]), abs=1e-9)
        assert metrics["metrics"][f"correlation of {', '.join(pair)}"] == expected
    run = analyzers.AnalysisRunner(gate.spark).onData(gate.spark.read.parquet(gate.store.url(uri)))
    for other in ("star_rating", "helpful_votes"):
        run = run.addAnalyzer(analyzers.Correlation("total_votes", other))
    by_deequ = analyzers.AnalyzerContext.successMetricsAsJson(gate.spark, run.run())
    for other in ("star_rating", "helpful_votes"):
        found = [one["value"] for one in by_deequ if one["instance"] == f"total_votes,{other}"]
        assert found == [pytest.approx(reviews["total_votes"].corr(reviews[other]), abs=1e-9)]
