"""Distances by their definitions, and what they say of rows that shifted and of rows that did not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from stepzero.core.errors import InputError
from stepzero.core.verdict import Outcome, Verdict
from stepzero.learning.skew import Baseline, compare, judge, make_baseline
from stepzero.measures.baselines import ColumnBaseline, describe
from stepzero.measures.distances import (
    chance_bound,
    chi_square,
    even_groups,
    jensen_shannon,
    kolmogorov_smirnov,
    population_stability_index,
)
from stepzero.spec.skew import Skew

REAL = Path(__file__).parents[3] / "shared" / "data" / "credit_card" / "creditcard_28k.csv.gz"
COUNTS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=2, max_size=8).filter(
    lambda pairs: sum(pair[0] for pair in pairs) > 0 and sum(pair[1] for pair in pairs) > 0
)


def test_index_by_hand() -> None:
    # Shares 0.5 and 0.5 against 0.7 and 0.3, half a row in every bin.
    before, now = (500.5 / 1001, 500.5 / 1001), (700.5 / 1001, 300.5 / 1001)
    by_hand = sum((b - a) * math.log(b / a) for a, b in zip(before, now, strict=True))
    assert population_stability_index([500, 500], [700, 300]) == pytest.approx(by_hand)


@given(COUNTS)
def test_distances_are_symmetric_bounded_and_zero_for_equal_shares(pairs: list[tuple[int, int]]) -> None:
    before, now = zip(*pairs, strict=True)
    for distance in (population_stability_index, jensen_shannon, kolmogorov_smirnov):
        assert distance(before, now) == pytest.approx(distance(now, before), abs=1e-12)
        assert distance(before, before) == pytest.approx(0, abs=1e-12)
    assert 0 <= kolmogorov_smirnov(before, now) <= 1 + 1e-12
    theirs = jensenshannon(np.asarray(before) / sum(before), np.asarray(now) / sum(now), base=2) ** 2
    assert jensen_shannon(before, now) == pytest.approx(0 if math.isnan(theirs) else theirs, abs=1e-9)


def test_binned_distance_is_near_that_of_the_samples() -> None:
    generator = np.random.default_rng(2)
    before, now = generator.normal(0, 1, 20_000), generator.normal(0.3, 1.2, 20_000)
    column = describe(pd.Series(before))
    assert kolmogorov_smirnov(column.counts, column.count(pd.Series(now))) == pytest.approx(
        ks_2samp(before, now).statistic, abs=1 / 200
    )


def test_chi_square_is_that_of_a_table() -> None:
    # Agresti's table 3.2 has no such round numbers; this one is by hand: all expected counts are 50.
    found = chi_square([60, 40], [40, 60])
    assert found.statistic == pytest.approx(8.0)
    assert found.freedom == 1
    assert found.p_value == pytest.approx(0.004677735)
    assert chi_square([10, 0], [20, 0]).p_value == 1


@pytest.mark.parametrize("size", [50, 500, 5000])
def test_chance_alone_stays_within_the_bounds(size: int) -> None:
    generator = np.random.default_rng(size)
    shares = np.full(10, 0.1)
    beyond = {"population_stability_index": 0, "jensen_shannon": 0, "kolmogorov_smirnov": 0}
    for _ in range(200):
        before, now = generator.multinomial(5000, shares), generator.multinomial(size, shares)
        beyond["population_stability_index"] += population_stability_index(before, now) > chance_bound(
            "population_stability_index", before, now, confidence=0.99
        )
        beyond["jensen_shannon"] += jensen_shannon(before, now) > chance_bound(
            "jensen_shannon", before, now, confidence=0.99
        )
        beyond["kolmogorov_smirnov"] += kolmogorov_smirnov(before, now) > chance_bound(
            "kolmogorov_smirnov", before, now, confidence=0.99
        )
    assert max(beyond.values()) <= 9, f"{beyond} of 200, where 2 are expected"
    assert beyond["population_stability_index"] + beyond["jensen_shannon"] > 0, "bounds so wide say nothing"


def test_groups_hold_about_as_many_rows_and_never_divide_a_bin() -> None:
    groups = even_groups([10] * 20, 10)
    assert np.bincount(groups).tolist() == [2] * 10
    assert even_groups([1000, 1, 1, 1], 10).tolist() == [0, 1, 1, 1]


def rows(size: int, seed: int, **changed: Any) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "_row_id": [str(number) for number in range(size)],
            "amount": generator.lognormal(3, 1, size),
            "country": generator.choice(["DE", "FR", "IT"], size, p=[0.6, 0.3, 0.1]),
            "is_new": generator.random(size) < 0.2,
            "comment": [f"text {number}" for number in range(size)],
            "when": pd.Timestamp("2026-01-01") + pd.to_timedelta(generator.integers(0, 9999, size), unit="s"),
        }
    ).assign(**changed)


def shifted(frame: pd.DataFrame, limits: Skew | None = None, baseline: Baseline | None = None) -> list[str]:
    found = compare(baseline or BASELINE, frame, limits or Skew())
    return [one.column for one in found if one.broken]


BASELINE = make_baseline(rows(4000, 1))


def test_a_baseline_is_written_and_read_back() -> None:
    assert list(BASELINE) == ["amount", "country", "is_new", "comment", "when"]
    assert [column.kind for column in BASELINE.values()] == ["number", "category", "category", "text", "number"]
    read = {name: ColumnBaseline.from_json(json.loads(json.dumps(one.to_json()))) for name, one in BASELINE.items()}
    assert read == BASELINE
    assert sum(BASELINE["amount"].counts) == 4000


@pytest.mark.parametrize("size", [30, 300, 3000])
def test_rows_of_the_same_kind_are_not_flagged(size: int) -> None:
    for seed in range(2, 7):
        assert shifted(rows(size, seed)) == []


def test_every_kind_of_shift_is_flagged_where_it_is() -> None:
    frame = rows(2000, 2)
    assert shifted(frame.assign(amount=frame["amount"] * 100)) == ["amount"]
    assert shifted(frame.assign(amount=frame["amount"].where(frame.index % 4 > 0))) == ["amount"], "missing values"
    assert shifted(frame.assign(country="DE")) == ["country"]
    assert shifted(frame.assign(country=frame["country"].where(frame.index % 6 > 0, "AT"))) == ["country"], "a new one"
    assert shifted(frame.assign(comment=None)) == ["comment"]
    assert shifted(frame.assign(when=frame["when"] + pd.Timedelta(days=1))) == ["when"]
    assert shifted(frame.assign(when=frame["when"] + pd.Timedelta(days=1)), Skew(ignore=("when",))) == []
    assert shifted(frame.assign(is_new=~frame["is_new"])) == ["is_new"]


def verdict_of(frame: pd.DataFrame, **limits: Any) -> Verdict:
    section = Skew(columns=("country",), **limits)
    return judge(compare(BASELINE, frame, section), section, "captured requests")[0]


def test_the_verdict_says_what_is_behind_a_distance() -> None:
    frame = rows(2000, 2)
    new = frame.assign(country=frame["country"].where(frame.index % 5 > 0, "AT"))
    verdict = verdict_of(new)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reasons[0].rule == "population_stability_index"
    assert verdict.reasons[0].observed.endswith("(new categories 20.00%)")
    assert verdict.reasons[0].bound == "at most 0.2"
    warned = verdict_of(new, severity="warning")
    assert warned.outcome is Outcome.PASS
    assert {reason.severity for reason in warned.reasons} == {"warning"}
    tested = verdict_of(new, chi_square=0.001, population_stability_index=None, jensen_shannon=None)
    assert [reason.rule for reason in tested.reasons] == ["chi_square"]
    assert verdict_of(frame, chi_square=0.001).outcome is Outcome.PASS


def test_what_cannot_be_compared_is_told() -> None:
    with pytest.raises(InputError, match="did you mean 'country'"):
        compare(BASELINE, rows(5, 1), Skew(columns=("cuontry",)))
    with pytest.raises(InputError, match="give rows as the model takes them"):
        compare(BASELINE, rows(5, 1).iloc[:0], Skew())
    with pytest.raises(InputError, match="counts of a distance"):
        jensen_shannon([1, 2], [0, 0])


@pytest.mark.skipif(not REAL.exists(), reason="the real card payments are not here (../shared/data)")
def test_real_payments_random_halves_pass_and_shifts_are_flagged() -> None:
    frame = pd.read_csv(REAL)
    half = frame.sample(frac=0.5, random_state=1)
    other = frame.drop(half.index)
    baseline = make_baseline(half)
    assert shifted(other, baseline=baseline) == []
    assert shifted(other.sample(100, random_state=1), baseline=baseline) == []
    changed = other.assign(Amount=other["Amount"] * 100, V14=other["V14"] + 0.5)
    assert shifted(changed, baseline=baseline) == ["V14", "Amount"]
    early, late = frame[frame["Time"] < 90_000], frame[frame["Time"] >= 90_000]
    found = shifted(late, baseline=make_baseline(early))
    assert "Time" in found, "two days: the second is another time"
