"""Anomaly rules in the gate, and every strategy against Deequ's own on the same series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.history import Entry, enter, entries
from stepzero.core.errors import RuleError
from stepzero.core.verdict import Outcome
from stepzero.measures.anomalies import Bounds, change_bounds, normal_bounds, seasonal_bounds
from stepzero.spec.use_case import UseCase
from support.gate import NAME, SMALL, Gate, Judged, small
from support.modules import load_module
from support.stack import ROOT

pytestmark = pytest.mark.usefixtures("few_rows")

deequ_flags = load_module(ROOT / "benchmarks" / "_deequ_anomalies.py").detects
SERIES: list[list[float]] = [
    [1000, 1010, 990, 1005, 995, 1001, 999, 1003, 1010],
    [1000, 1010, 990, 1005, 995, 1001, 999, 1003, 5000],
    [1000, 1010, 990, 1005, 995, 1001, 999, 1003, 600],
    [-5, -6, -5.5, -5, -4, -6, -5, -7, -2],
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.4999],
    [3, 1, 4, 1, 5, 9, 2, 6, 5.3],
]


def flags(bounds: Bounds, series: list[float]) -> bool:
    return not bounds.allow(series[-1])


@pytest.mark.parametrize("limits", [(-50.0, 50.0), (None, 3.0), (-0.00001, None)])
def test_absolute_change_judges_as_deequ(spark: Any, limits: tuple[float | None, float | None]) -> None:
    option = spark._jvm.scala.Option.apply
    theirs = spark._jvm.com.amazon.deequ.anomalydetection.AbsoluteChangeStrategy(*map(option, limits), 1)
    for series in SERIES:
        ours = change_bounds(series[:-1], at_least=limits[0], at_most=limits[1], relative=False)
        assert flags(ours, series) == deequ_flags(spark, theirs, series), series


@pytest.mark.parametrize("limits", [(0.5, 2.0), (None, 1.001), (0.9999, None)])
def test_relative_change_judges_as_deequ(spark: Any, limits: tuple[float | None, float | None]) -> None:
    option = spark._jvm.scala.Option.apply
    theirs = spark._jvm.com.amazon.deequ.anomalydetection.RelativeRateOfChangeStrategy(*map(option, limits), 1)
    for series in SERIES:
        ours = change_bounds(series[:-1], at_least=limits[0], at_most=limits[1], relative=True)
        assert flags(ours, series) == deequ_flags(spark, theirs, series), series


@pytest.mark.parametrize("deviations", [1.0, 3.0])
def test_rolling_normal_judges_as_deequ(spark: Any, deviations: float) -> None:
    option = spark._jvm.scala.Option.apply(deviations)
    theirs = spark._jvm.com.amazon.deequ.anomalydetection.BatchNormalStrategy(option, option, False)
    verdicts = set()
    for series in SERIES:
        ours = flags(normal_bounds(series[:-1], deviations=deviations, needed=7), series)
        assert ours == deequ_flags(spark, theirs, series), series
        verdicts.add(ours)
    assert verdicts == {True, False}


def test_holt_winters_judges_as_deequ(spark: Any) -> None:
    """Values well within and well outside; the two optimisers may end a little apart."""
    from pydeequ.anomaly_detection import HoltWinters, MetricInterval, SeriesSeasonality

    named = HoltWinters(MetricInterval.Daily, SeriesSeasonality.Weekly)
    named._set_jvm(spark._jvm)
    theirs = named._anomaly_jvm
    generator = np.random.default_rng(5)
    week = np.asarray([100, 110, 120, 130, 140, 40, 20], dtype=float)
    for days, slope, noise in ((21, 0.0, 2.0), (35, 0.5, 3.0), (70, -0.3, 4.0)):
        series = week[np.arange(days) % 7] + slope * np.arange(days) + generator.normal(0, noise, days)
        bounds = seasonal_bounds(series.tolist(), season=7, deviations=1.96)
        middle, reach = (bounds.low + bounds.high) / 2, (bounds.high - bounds.low) / 2
        for factor in (-5.0, -1.4, -0.6, 0.0, 0.6, 1.4, 5.0):
            judged = [*series.tolist(), middle + factor * reach]
            assert flags(bounds, judged) == (abs(factor) > 1)
            assert flags(bounds, judged) == deequ_flags(spark, theirs, judged), (days, factor)


RULES: list[dict[str, Any]] = [
    {"metric": "size", "strategy": "relative_change", "at_least": 0.5, "at_most": 2.0},
    {"metric": "mean", "column": "amount", "strategy": "rolling_normal", "needed": 3, "tolerance": 0.5},
    {"metric": "completeness", "column": "amount", "strategy": "absolute_change", "at_least": -0.1},
    {
        "metric": "distinct_count",
        "column": "country",
        "strategy": "absolute_change",
        "at_most": 0,
        "severity": "warning",
    },
    {
        "metric": "share",
        "predicate": "label = 1",
        "where": "country = 'FR'",
        "strategy": "absolute_change",
        "at_most": 0.4,
    },
]


def judge_day(
    gate: Gate, day: int, frame: pd.DataFrame, declared: list[dict[str, Any]] = RULES, **quality: Any
) -> Judged:
    """Judge a frame as the batch of a day of March 2026."""
    use_case = UseCase.model_validate(
        {
            "name": NAME,
            "source": {"format": "csv", "prefix": "landing/toy/", "columns": SMALL},
            "quality": {"anomalies": declared, "quarantine_limit": 0.5, **quality},
        }
    )
    uri = gate.land(frame, f"day-{day}-{gate.runs}.csv")
    return gate.judge_use_case(use_case, [uri], partition=f"2026-03-{day:02d}")


def anomalies(judged: Judged) -> dict[str, dict[str, Any]]:
    return {one["metric"]: one for one in judged.result.values["anomalies"]}


def test_history_grows_by_accepted_batches_and_ten_failed_ones_move_no_bound(gate: Gate) -> None:
    first = judge_day(gate, 1, small(10))
    assert first.outcome is Outcome.PASS, "nothing is flagged without a history"
    assert anomalies(first)["size"] == {
        "metric": "size", "strategy": "relative_change", "observed": 10.0, "low": None, "high": None,
        "points": 0, "needed": 1, "passed": True,
    }  # fmt: skip
    assert "not enough history: 0 of 3 accepted batches" in first.text("report")
    assert "<svg" not in first.text("report"), "one batch is no history"
    for day, rows in ((2, 11), (3, 10)):
        assert judge_day(gate, day, small(rows)).outcome is Outcome.PASS
    before = judge_day(gate, 20, small(10))
    for day in (4, 5):
        poisoned = judge_day(gate, day, small(200).assign(amount=1e6), RULES[:2])
        assert poisoned.outcome is Outcome.FAIL
    failed = next(one for one in entries(gate.store, NAME) if not one.accepted)
    for day in range(6, 14):  # what the gate leaves of such a batch, without judging it again
        named = {"partition": f"2026-03-{day:02d}", "digest": str(day)}
        enter(gate.store, NAME, failed.model_copy(update=named))
    assert "size (relative change): 10, within 5 to 20" in before.text("report")
    assert "size (relative change): 200, outside 5 to 20" in poisoned.text("report")
    told = poisoned.reasons["relative_change"]
    assert told.sentence() == (
        "relative_change of size: observed 200, allowed at least 5 and at most 20 (from the accepted batch before)"
    )
    assert poisoned.reasons["rolling_normal"].bound.endswith("(from 3 accepted batches)")
    after = judge_day(gate, 20, small(10))
    assert anomalies(after) == anomalies(before), "ten failed batches moved a bound"
    assert [one.accepted for one in entries(gate.store, NAME)] == [True] * 3 + [False] * 10 + [True]
    assert anomalies(before)["mean of amount"]["points"] == 3


def test_each_anomaly_is_told_and_a_warning_changes_nothing(gate: Gate) -> None:
    for day in (1, 2, 3):
        judge_day(gate, day, small(10))
    other = small(10)
    other.loc[:4, "amount"] = None
    burst = judge_day(gate, 4, other)
    assert burst.outcome is Outcome.FAIL
    assert burst.reasons["absolute_change"].sentence() == (
        "absolute_change of completeness of amount: observed 0.5, allowed at least 0.9 (from the accepted batch before)"
    )
    named = judge_day(gate, 5, small(10).assign(country=["FR", "DE"] * 4 + ["IT", "DE"]))
    assert named.outcome is Outcome.PASS
    assert [reason.column for reason in named.reasons.values()] == ["distinct_count of country"]
    nothing = judge_day(gate, 6, small(10).assign(amount=None), RULES[1:2])
    assert nothing.outcome is Outcome.FAIL
    assert nothing.reasons["rolling_normal"].observed == "no value"
    shifted = judge_day(gate, 7, small(10).assign(label=1), RULES[4:])
    assert shifted.outcome is Outcome.FAIL
    share = anomalies(shifted)["share of label = 1 where country = 'FR'"]
    assert (share["observed"], share["low"], share["high"]) == (1.0, None, 0.4)


def test_a_season_is_judged_by_the_gate_over_days_that_are_missing(gate: Gate) -> None:
    """Four weeks are in the history but for a Tuesday and the Sunday before the judged Monday, the 30th of March."""
    week = [10, 11, 12, 13, 14, 4, 2]
    sizes = {day: float(week[(day - 2) % 7] + day % 3 / 10) for day in range(2, 30)}
    for day in set(sizes) - {10, 29}:
        named = {"partition": f"2026-03-{day:02d}", "digest": str(day), "as_of": "2026-01-01T00:00:00", "run": "r"}
        enter(gate.store, NAME, Entry(accepted=True, metrics={"size": sizes[day]}, **named))
    rule = {"metric": "size", "strategy": "holt_winters"}
    usual = judge_day(gate, 30, small(10), [rule])
    filled = [sizes[3] if day == 10 else sizes[22] if day == 29 else size for day, size in sizes.items()]
    expected = seasonal_bounds(filled, season=7, deviations=5)
    told = anomalies(usual)["size"]
    assert (told["low"], told["high"]) == pytest.approx((expected.low, expected.high))
    assert (usual.outcome, told["points"], told["needed"]) == (Outcome.PASS, 26, 14)
    assert "size (holt winters): 10, within " in usual.text("report")
    sundays = judge_day(gate, 30, small(2), [rule])
    assert sundays.outcome is Outcome.FAIL
    assert sundays.reasons["holt_winters"].bound.endswith("(from 26 accepted batches)")


def test_rows_that_were_set_aside_are_not_in_the_history(gate: Gate) -> None:
    frame = small(10)
    frame.loc[9, "amount"] = 1e9
    rules = [{"rule": "between", "column": "amount", "at_most": 1000}]
    judged = judge_day(gate, 1, frame, RULES, rules=rules)
    assert judged.outcome is Outcome.QUARANTINE
    assert judged.result.history is not None
    assert judged.result.history["mean of amount"] == 5.0
    assert judged.result.history["maximum of amount"] == 9.0
    assert judged.result.history["size"] == 9.0


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"metric": "mean", "column": "amuont"}, "did you mean 'amount'?"),
        ({"metric": "mean", "column": "country"}, "a column of type string"),
        ({"metric": "share", "predicate": "nothing = 1"}, "correct it"),
        ({"metric": "size", "where": "amount +"}, "correct it"),
    ],
)
def test_an_anomaly_rule_that_cannot_be_measured_is_an_error(gate: Gate, rule: dict[str, Any], told: str) -> None:
    with pytest.raises(RuleError) as caught:
        judge_day(gate, 1, small(10), [{**rule, "strategy": "rolling_normal"}])
    assert told in str(caught.value)
    assert entries(gate.store, NAME) == []
