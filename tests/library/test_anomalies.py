"""Bounds from history: what counts as history, what each strategy allows, and what a file may say."""

from __future__ import annotations

import itertools
import math
import threading
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepzero.adapters.history import Entry, enter, entries, is_by_history, points_before, without_refused
from stepzero.adapters.store import Store
from stepzero.core.errors import SpecError
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.measures.anomalies import (
    Bounds,
    change_bounds,
    normal_bounds,
    on_calendar,
    seasonal_bounds,
    smoothed,
)
from stepzero.spec.anomalies import NormalRule, SeasonalRule
from stepzero.spec.load import validate
from stepzero.spec.plan import Batch, HistoryPoint
from stepzero.spec.use_case import UseCase
from stepzero.stages.quality_anomalies import judge_anomalies

NAME = "toy"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


def entry(partition: str, size: float, *, accepted: bool = True, as_of: str = "2026-01-01T00:00:00+00:00") -> Entry:
    metrics = {"size": size, "mean of amount": size / 2}
    return Entry(partition=partition, digest=partition, accepted=accepted, as_of=as_of, run="r", metrics=metrics)


def sizes(store: Store, partition: str, as_of: str = "2026-01-01T00:00:00+00:00", most: int = 99) -> list[float]:
    batch = Batch(partition=partition, digest="own", files=())
    points = points_before(store, NAME, batch, as_of, ["size"], most)
    return [point.values["size"] for point in points if point.accepted]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_order_of_a_backfill_does_not_matter_for_days(tmp_path: Path, order: tuple[int, ...]) -> None:
    store = Store(f"file://{tmp_path}/store")
    for place, day in enumerate(order):
        # The later it ran, the later its time: days count, not runs.
        enter(store, NAME, entry(f"2026-03-0{day + 1}", day + 1, as_of=f"2026-06-0{place + 1}T00:00:00+00:00"))
    assert sizes(store, "2026-03-03", "2026-07-01T00:00:00+00:00") == [1, 2]
    assert sizes(store, "2026-03-05", "2026-07-01T00:00:00+00:00", most=2) == [3, 4]


def test_running_a_day_again_replaces_its_entry_and_a_failed_one_moves_nothing(store: Store) -> None:
    enter(store, NAME, entry("2026-03-01", 1))
    enter(store, NAME, entry("2026-03-01", 10))
    enter(store, NAME, entry("2026-03-02", 5000, accepted=False))
    enter(store, NAME, entry("2026-03-01", 7000, accepted=False).model_copy(update={"digest": "landed again"}))
    assert sizes(store, "2026-03-04") == [10], "what was accepted is still what later stages read"
    assert [(one.partition, one.accepted) for one in entries(store, NAME)] == [
        ("2026-03-01", False),
        ("2026-03-01", True),
        ("2026-03-02", False),
    ]
    enter(store, NAME, entry("2026-03-01", 20))
    assert [one.metrics["size"] for one in entries(store, NAME) if one.partition == "2026-03-01"] == [20]
    enter(store, NAME, entry("2026-03-01", 20, accepted=False))
    assert sizes(store, "2026-03-04") == [], "the same rows, refused by other rules"


@pytest.mark.parametrize("own_run_first", [True, False])
def test_a_day_refused_by_its_history_is_not_accepted_by_a_later_run_without_one(
    store: Store, own_run_first: bool
) -> None:
    day = Batch(partition="2026-03-02", digest="2026-03-02", files=())
    again = day.model_copy(update={"digest": "landed again"})
    own = entry("2026-03-02", 5000, accepted=False).model_copy(update={"by_history": True})
    of_window = entry("2026-03-02", 5000).model_copy(update={"of_window": True})
    for one in (entry("2026-03-01", 1), *((own, of_window) if own_run_first else (of_window, own))):
        enter(store, NAME, one)
    assert sizes(store, "2026-03-04") == [1]
    assert without_refused(store, NAME, [day, again]) == (again,), "other rows are judged anew"
    enter(store, NAME, of_window.model_copy(update={"digest": "landed again"}))
    assert sizes(store, "2026-03-04") == [1, 5000]


def test_only_anomalies_that_refuse_are_refusals_by_history() -> None:
    def verdict(rule: str, severity: str, outcome: Outcome) -> bool:
        reason = Reason(rule=rule, column=None, observed="", bound="", severity=severity)
        return is_by_history(Verdict(outcome=outcome, subject="", reasons=(reason,)))

    assert verdict("holt_winters", "error", Outcome.FAIL)
    assert not verdict("holt_winters", "warning", Outcome.FAIL)
    assert not verdict("size", "error", Outcome.FAIL)
    assert not verdict("holt_winters", "error", Outcome.QUARANTINE)


def test_refused_batches_are_there_to_be_seen_in_their_place_and_marked(store: Store) -> None:
    for day in range(1, 7):
        enter(store, NAME, entry(f"2026-03-0{day}", day, accepted=day not in {2, 4, 6}))
    batch = Batch(partition="2026-03-09", digest="own", files=())
    seen = points_before(store, NAME, batch, "2026-06-01T00:00:00+00:00", ["size"], 2)
    assert [(point.values["size"], point.accepted) for point in seen] == [(3, True), (4, False), (5, True), (6, False)]
    assert [point.accepted for point in points_before(store, NAME, batch, "x", ["size"], 1)] == [True, False]
    assert points_before(store, NAME, batch, "x", ["mean of other"], 9) == ()


def test_refused_batches_move_no_bound(store: Store) -> None:
    """Ten batches of garbage, in the plan as in the charts, and the bounds are those of the good ones."""
    rule = validate({"metric": "size", "strategy": "rolling_normal", "needed": 2, "window": 3}, NormalRule)
    good = [HistoryPoint(partition=f"2026-03-0{day}", values={"size": 100.0 + day}) for day in range(1, 6)]
    bad = [HistoryPoint(partition=f"2026-03-1{day}", values={"size": 9e9}, accepted=False) for day in range(10)]
    batch = Batch(partition="2026-04-01", digest="own", files=())
    (clean,) = judge_anomalies([rule], {"size": 104.0}, good, batch)
    (poisoned,) = judge_anomalies([rule], {"size": 104.0}, [*good[:3], *bad, *good[3:]], batch)
    assert poisoned == clean
    assert clean.bounds.points == 3


def test_partitions_without_a_date_are_in_the_order_of_their_runs(store: Store) -> None:
    enter(store, NAME, entry("b0", 2, as_of="2026-01-02T00:00:00+00:00"))
    enter(store, NAME, entry("a0", 3, as_of="2026-01-03T00:00:00+00:00"))
    enter(store, NAME, entry("c0", 1, as_of="2026-01-01T00:00:00+00:00"))
    assert sizes(store, "own", "2026-01-03T12:00:00+00:00") == [1, 2, 3]
    assert sizes(store, "b0", "2026-01-04T00:00:00+00:00") == [1, 3], "never itself"
    assert sizes(store, "own", "2026-01-02T00:00:00+00:00") == [1]


def test_writers_at_once_lose_nothing(store: Store) -> None:
    barrier = threading.Barrier(16)

    def write(number: int) -> None:
        barrier.wait()
        enter(store, NAME, entry(f"2026-03-{number % 8 + 1:02d}", number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {one.partition: one.metrics["size"] for one in entries(store, NAME)}
    assert len(found) == 8
    assert all(size % 8 + 1 == int(partition[-2:]) for partition, size in found.items())


@given(
    history=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5),
    value=st.floats(-1e6, 1e6),
    low=st.floats(-3, 1),
    high=st.floats(1, 5),
)
def test_a_ratio_is_judged_alike_by_bounds_and_by_division(
    history: list[float], value: float, low: float, high: float
) -> None:
    last = history[-1]
    bounds = change_bounds(history, at_least=low, at_most=high, relative=True)
    if last and not any(math.isclose(value, last * bound, rel_tol=1e-9, abs_tol=1e-9) for bound in (low, high)):
        assert bounds.allow(value) == (low <= value / last <= high)
    bounds = change_bounds(history, at_least=None, at_most=high, relative=True)
    if last and not math.isclose(value, last * high, rel_tol=1e-9, abs_tol=1e-9):
        assert bounds.allow(value) == (value / last <= high)


def test_without_enough_history_nothing_is_flagged() -> None:
    assert change_bounds([], at_least=0, at_most=0, relative=False).allow(1e9)
    assert normal_bounds([5.0] * 6, deviations=3, needed=7).allow(1e9)
    assert not normal_bounds([5.0] * 7, deviations=3, needed=7).allow(5.1)
    assert seasonal_bounds([5.0] * 13, season=7, deviations=5).allow(1e9)
    assert not seasonal_bounds([5.0] * 14, season=7, deviations=5).allow(1e9)


def test_normal_bounds_are_mean_and_sample_deviation() -> None:
    bounds = normal_bounds([1.0, 2.0, 3.0, 4.0], deviations=2, needed=2)
    assert bounds.low == pytest.approx(2.5 - 2 * math.sqrt(5 / 3))
    assert bounds.high == pytest.approx(2.5 + 2 * math.sqrt(5 / 3))
    assert bounds.widened(1).high == pytest.approx(bounds.high + 1)


def test_a_season_is_foreseen_and_its_break_is_seen() -> None:
    week = [100, 110, 120, 130, 140, 40, 20]
    noise = np.random.default_rng(3).normal(0, 1, 70)
    series = [week[day % 7] + 0.5 * day + noise[day] for day in range(70)]
    bounds = seasonal_bounds(series, season=7, deviations=5)
    assert bounds.allow(100 + 35)
    assert not bounds.allow(20 + 35), "a Sunday's number on a Monday"
    forecast, residuals = smoothed(np.asarray([week[day % 7] for day in range(21)], dtype=float), 7, 0.3, 0.1, 0.1)
    assert forecast == pytest.approx(100)
    assert np.abs(residuals).max() == pytest.approx(0, abs=1e-9)


def test_missing_days_take_the_value_of_their_weekday() -> None:
    days = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]
    assert on_calendar(days, [float(day) for day in days], 7, until=14) == [
        0, 1, 2, 3, 4, 5, 6, 7, 1, 9, 10, 11, 12, 6, 7,
    ]  # fmt: skip
    assert on_calendar([0, 1, 3, 9], [0.0, 1.0, 3.0, 9.0], 7, until=9) == [0, 1, 9, 3, 3, 3, 3, 0, 1, 9]


WEEK = [100, 110, 120, 130, 140, 40, 20]
"""From Monday, the 2nd of March 2026, on."""


def judge_after_gaps(size: float, missing: set[int], *, dated: bool = True) -> tuple[bool, Bounds, list[float]]:
    """Judge the Monday after five weeks without some of their days; return the days' sizes, too."""
    rule = validate({"metric": "size", "strategy": "holt_winters"}, SeasonalRule)
    noise = np.random.default_rng(3).normal(0, 1, 35)
    sizes = [float(WEEK[day % 7] + noise[day]) for day in range(35)]

    def name(day: int) -> str:
        return (date(2026, 3, 2) + timedelta(days=day)).isoformat() if dated else f"batch-{day}"

    history = [
        HistoryPoint(partition=name(day), values={"size": sizes[day]}) for day in range(35) if day not in missing
    ]
    # What was refused is in the plan to be seen, and is as missing as what never came.
    history += [HistoryPoint(partition=name(day), values={"size": 9e9}, accepted=False) for day in missing]
    history.sort(key=lambda point: point.partition if dated else int(point.partition.removeprefix("batch-")))
    (judged,) = judge_anomalies([rule], {"size": size}, history, Batch(partition=name(35), digest="d", files=()))
    return judged.passed, judged.bounds, sizes


def test_a_season_is_kept_over_days_that_are_missing() -> None:
    """Two days within, and the weekend right before the judged Monday."""
    missing = {9, 20, 33, 34}
    monday, bounds, sizes = judge_after_gaps(100, missing)
    sunday, _, _ = judge_after_gaps(20, missing)
    assert (monday, sunday) == (True, False)
    filled = [sizes[day - 7] if day in missing - {9} else sizes[2] if day == 9 else sizes[day] for day in range(35)]
    expected = seasonal_bounds(filled, season=7, deviations=5)
    assert (bounds.low, bounds.high) == (expected.low, expected.high)
    assert (bounds.points, bounds.needed) == (31, 14), "days that were filled in are no accepted batches"


def test_partitions_without_a_date_follow_one_another() -> None:
    passed, bounds, sizes = judge_after_gaps(20, {9, 20, 33, 34}, dated=False)
    kept = [size for day, size in enumerate(sizes) if day not in {9, 20, 33, 34}]
    expected = seasonal_bounds(kept, season=7, deviations=5)
    assert (bounds.low, bounds.high, bounds.points) == (expected.low, expected.high, 31)
    assert passed, "without a calendar the weekdays are lost, and nothing is told apart any more"


def test_a_season_needs_two_seasons_of_accepted_days() -> None:
    passed, bounds, _ = judge_after_gaps(9e9, set(range(35)) - set(range(13)))
    assert (passed, bounds.known, bounds.points) == (True, False, 13)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"metric": "size", "strategy": "relative_change"}, "no bound: give at_least, at_most or both"),
        ({"metric": "mean", "strategy": "rolling_normal"}, "all metrics but size and share name a column"),
        ({"metric": "share", "strategy": "rolling_normal"}, "the metric share has a predicate"),
        ({"metric": "size", "strategy": "rolling_normal", "needed": 40}, "needed 40 is above window 30"),
        ({"metric": "size", "strategy": "holt_winters", "season": 60}, "window 91 is below two seasons of 60"),
        ({"metric": "size", "strategy": "holt_wintres"}, "holt_winters"),
        ({"metric": "sise", "strategy": "rolling_normal"}, "size"),
    ],
)
def test_impossible_rules_are_refused(rule: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError) as caught:
        validate({"name": NAME, "quality": {"anomalies": [rule]}}, UseCase)
    assert told in str(caught.value)
