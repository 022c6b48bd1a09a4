"""Distances of windows from a reference: equal to other people's, and what chance alone does is within the budget."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import ndcg_score

from stepzero.core.errors import InputError
from stepzero.learning.drift import (
    Rule,
    chance_distances,
    draw_blocks,
    judge_columns,
    make_reference,
    select_columns,
)
from stepzero.learning.drift_power import MOST_WINDOWS, detection_delays
from stepzero.learning.two_samples import classifier_test
from stepzero.measures.drift import DISTANCES, DriftColumn, distances, make_column
from stepzero.measures.expected import expected_quality
from stepzero.measures.false_alarms import (
    Chance,
    calibrate,
    cautious,
    correlation_of,
    fit_chance,
    level_of_evaluation,
    level_of_window,
    lower_quantile,
)
from stepzero.measures.ranks import discounted_gain, rank_correlation
from support.modules import load_module
from support.stack import ROOT

Values = list[float | None]
SMALLEST: dict[str, float] = {}
RULE = Rule(
    at_least=2,
    level=0.02,
    draws=200,
    seed=3,
    names=("population_stability_index", "kolmogorov_smirnov"),
    smallest=SMALLEST,
)


def column_of(values: Values | list[str | None]) -> DriftColumn:
    series = pd.Series(values, dtype="float64" if all(isinstance(one, float | None) for one in values) else "object")
    return make_column(series, np.ones(len(values)), np.zeros(len(values), dtype=np.int64))


def measured(column: DriftColumn, values: Values | list[str | None]) -> dict[str, float]:
    series = pd.Series(values, dtype="float64" if column.kind == "number" else "object")
    found = distances(column, column.total, column.count(series), excess=column.excess(series))
    return {name: float(value) for name, value in found.items()}


whole = st.integers(-20, 20).map(float)


@given(st.lists(whole, min_size=2, max_size=80), st.lists(whole, min_size=1, max_size=80))
def test_ordered_distances_equal_those_of_scipy(before: Values, now: Values) -> None:
    # All values of the reference have a bin of their own, and values between them are counted with the next.
    found = measured(column_of(before), now)
    edges = np.unique(before)
    beyond = np.array(now)
    inside = edges[np.minimum(np.searchsorted(edges, beyond), len(edges) - 1)]
    counted = np.where(beyond < edges[0], beyond, np.where(beyond > edges[-1], beyond, inside))
    theirs = stats.ks_2samp(before, counted, method="asymp").statistic
    assert found["kolmogorov_smirnov"] == pytest.approx(theirs, abs=1e-12)
    spread = float(np.std(before)) or 1.0
    assert found["wasserstein"] == pytest.approx(stats.wasserstein_distance(before, now) / spread, abs=1e-9)


def test_values_between_those_of_a_scale_are_as_near_as_they_are() -> None:
    before = np.tile(np.arange(8) * 0.1, 1_000)
    found = measured(column_of(list(before)), list(before + 0.05))["wasserstein"]
    assert found * float(np.std(before)) == pytest.approx(0.05, abs=1e-9)


@given(st.lists(st.sampled_from("abcd"), min_size=1), st.lists(st.sampled_from("abcd"), min_size=1))
def test_divergences_equal_those_of_scipy(before: list[str], now: list[str]) -> None:
    column = column_of(list(before))
    found = measured(column, list(now))
    old, new = column.total, column.count(pd.Series(list(now), dtype="object"))
    assert found["jensen_shannon"] == pytest.approx(jensenshannon(old, new, base=2) ** 2, abs=1e-9)
    table = np.vstack([old, new])[:, (old + new) > 0]
    if table.shape[1] > 1:
        statistic = stats.chi2_contingency(table, correction=False).statistic
        assert found["chi_square"] == pytest.approx(np.sqrt(statistic / table.sum()), abs=1e-9)
    # The index by its own words, with half a row in every bin that holds one.
    used = (old + new) > 0
    first, second = (old + 0.5) / (old + 0.5).sum(), (new + 0.5) / (new + 0.5).sum()
    assert found["population_stability_index"] == pytest.approx(
        float(((second - first) * np.log(second / first))[used].sum()), abs=1e-12
    )


@given(st.lists(st.none() | whole, min_size=3).filter(lambda values: any(one is not None for one in values)))
def test_the_reference_itself_lies_nowhere_else(values: Values) -> None:
    found = measured(column_of(values), values)
    assert all(value == pytest.approx(0, abs=1e-9) for value in found.values()), found


def test_every_kind_has_its_distances() -> None:
    assert set(measured(column_of([1.0, 2.0, 3.0]), [1.0])) == set(DISTANCES)
    assert set(measured(column_of(["a", "b"]), ["a"])) == set(DISTANCES) - {"kolmogorov_smirnov", "wasserstein"}


@pytest.mark.parametrize("name", DISTANCES)
def test_missing_values_are_part_of_every_distance(name: str) -> None:
    before: Values = [float(value) for value in range(100)]
    column = column_of(before)
    some, more = ([None] * count + before[count:] for count in (10, 40))
    assert 0 < measured(column, some)[name] < measured(column, more)[name]


@pytest.mark.parametrize("name", ["population_stability_index", "jensen_shannon", "chi_square"])
def test_new_categories_are_part_of_the_distance(name: str) -> None:
    column = column_of(["a"] * 50 + ["b"] * 50)
    known, new = ["a"] * 50 + ["b"] * 50, ["a"] * 50 + ["b"] * 40 + ["new"] * 10
    assert measured(column, known)[name] == pytest.approx(0, abs=1e-12)
    assert measured(column, new)[name] > measured(column, ["a"] * 50 + ["b"] * 40)[name]


def test_a_value_beyond_the_reference_counts_by_how_far_it_lies() -> None:
    column = column_of([0.0, 1.0] * 50)
    near, far = (measured(column, [0.0, 1.0 + step] * 50)["wasserstein"] for step in (1.0, 100.0))
    assert near == pytest.approx(0.5 / 0.5)
    assert far == pytest.approx(50 / 0.5)


def test_a_reference_is_read_as_it_was_written() -> None:
    for values in ([1.0, 2.0, None], ["a", None, "b"]):
        column = column_of(values)  # type: ignore[arg-type]
        assert DriftColumn.from_json(column.to_json()) == column


def test_a_chance_knows_its_tail() -> None:
    drawn = np.random.default_rng(1).gamma(3.0, 2.0, 20_000)
    chance = fit_chance(drawn, "gamma")
    assert chance.threshold(0.01) == pytest.approx(stats.gamma.isf(0.01, 3.0, scale=2.0), rel=0.05)
    assert float(chance.exceeds(chance.threshold(0.01))) == pytest.approx(0.01)
    constant = Chance(family="gamma", mean=0.0, variance=0.0)
    assert constant.exceeds([0.0, 0.1]).tolist() == [1.0, 0.0]


def test_rare_quantiles_follow_the_tail() -> None:
    chances = np.random.default_rng(2).random(50_000)
    for level in (0.5, 0.1, 0.01, 1e-4):
        assert lower_quantile(chances, level) == pytest.approx(level, rel=0.15)


def test_a_budget_becomes_a_level() -> None:
    level = level_of_evaluation(at_most=1, days=30, window_hours=24, monitors=4)
    assert level == pytest.approx(1 / 120)
    single = level_of_window(level, windows=3, at_least=2)
    assert 3 * single**2 - 2 * single**3 == pytest.approx(level)


@pytest.mark.parametrize("related", [0.0, 0.3, 0.8])
def test_windows_that_are_alike_are_over_together(related: float) -> None:
    single = level_of_window(0.01, windows=3, at_least=2, correlation=related)
    generator = np.random.default_rng(1)
    shared, own = generator.normal(size=(200_000, 1)), generator.normal(size=(200_000, 3))
    drawn = np.sqrt(related) * shared + np.sqrt(1 - related) * own
    fired = (drawn > stats.norm.isf(single)).sum(axis=1) >= 2
    assert fired.mean() == pytest.approx(0.01, rel=0.1)
    assert correlation_of(drawn[:5_000]) == pytest.approx(related, abs=0.04)


@pytest.mark.parametrize(("blocks", "at_least"), [(8, 1), (20, 2), (60, 2)])
def test_thresholds_from_few_blocks_fire_as_seldom_on_average(blocks: int, at_least: int) -> None:
    asked = cautious(0.05, at_least=at_least, blocks=blocks)
    assert asked < 0.05
    known = np.random.default_rng(6).normal(size=(40_000, blocks))
    lines = known.mean(axis=1) + stats.norm.isf(asked) * known.std(axis=1, ddof=1)
    assert np.mean(stats.norm.sf(lines) ** at_least) == pytest.approx(0.05**at_least, rel=0.1)
    if at_least == 1:  # Student's own
        exact = stats.norm.sf(stats.t.isf(0.05, blocks - 1) * np.sqrt(1 + 1 / blocks))
        assert asked == pytest.approx(exact, rel=0.03)


def test_how_far_a_block_lies_beyond_all_others_is_what_a_fresh_one_would_do() -> None:
    generator = np.random.default_rng(8)
    block = np.repeat(np.arange(12), 50)
    values = pd.Series(generator.standard_t(2, 600)).where(generator.random(600) > 0.1)
    column = make_column(values, np.ones(600), block)
    for number in range(12):
        own, others = values[block == number], values[block != number]
        far = np.maximum(own - others.max(), 0) + np.maximum(others.min() - own, 0)
        assert column.beyond[number] == pytest.approx(far.sum() / 50 / column.spread)
    assert sum(one > 0 for one in column.beyond) in {1, 2}, "one block has the largest value, one the smallest"
    drawn = draw_blocks(12, 3, 50, seed=1)
    with_it, without = (
        chance_distances(one, 50, drawn, 1)["wasserstein"] for one in (column, replace(column, beyond=()))
    )
    assert drawn.windows is not None
    assert with_it - without == pytest.approx(np.asarray(column.beyond)[drawn.windows])


def test_a_long_quiet_time_stays_within_the_budget_of_false_alarms() -> None:
    quiet = load_module(ROOT / "benchmarks" / "watch_quiet.py")
    found = quiet.false_alarms(quiet.DEFAULT, worlds=20, days=200, draws=100)
    assert found["high"] <= 1, "a month, with 95% confidence; one was allowed"
    assert found["low"] > 0.05, "and nothing is bought by never firing"


@pytest.mark.parametrize("related", [0.0, 0.95])
def test_many_values_together_fire_as_often_as_allowed(related: float) -> None:
    generator = np.random.default_rng(4)

    def draw(times: int) -> np.ndarray:
        shared, own = generator.normal(size=(times, 3, 1)), generator.normal(size=(times, 3, 25))
        return np.asarray(np.exp(0.5 * (np.sqrt(related) * shared + np.sqrt(1 - related) * own)))

    limits = calibrate(draw(2_000), at_least=2, level=0.02, family="gamma")
    fresh = draw(20_000) > np.array(limits)
    fired = ((fresh.sum(axis=1) >= 2).any(axis=-1)).mean()
    assert 0.01 < fired < 0.035, "of a level of 0.02"


def frame(rows: int, seed: int, *, days: int = 1, wobble: float = 0.0) -> pd.DataFrame:
    """Return rows of several days, each day with a mood of its own."""
    generator = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), rows)
    mood = generator.normal(0, wobble, size=(days, 6))[day]
    made = {f"V{at}": generator.normal(size=rows * days) + mood[:, at] for at in range(6)}
    made["Kind"] = generator.choice(["a", "b", "c"], size=rows * days, p=[0.6, 0.3, 0.1])
    return pd.DataFrame(made).assign(_block=day)


@pytest.mark.parametrize("wobble", [0.0, 0.2])
def test_a_quiet_time_stays_quiet_and_a_shift_is_seen(wobble: float) -> None:
    reference = frame(400, 1, days=40, wobble=wobble)
    columns = make_reference(reference, np.ones(len(reference)), reference["_block"].to_numpy())
    quiet = frame(400, 2, days=60, wobble=wobble)
    windows = [rows for _, rows in quiet.groupby("_block")]
    fired = [
        any(one.fires for one in judge_columns(columns, windows[at - 2 : at + 1], RULE))
        for at in range(2, len(windows), 3)
    ]
    assert sum(fired) <= 2, f"{sum(fired)} of {len(fired)} at a level of 2%"
    moved = [rows.assign(V3=rows["V3"] + 1.0) for rows in windows[:3]]
    told = {one.column: one for one in judge_columns(columns, moved, RULE)}
    assert [name for name, one in told.items() if one.fires] == ["V3"]
    assert told["V3"].medians[1] - told["V3"].medians[0] == pytest.approx(1, abs=0.5)  # type: ignore[index]


def test_the_level_of_days_with_moods_is_wider_than_that_of_rows() -> None:
    reference = frame(400, 1, days=40, wobble=0.2)
    by_day = make_reference(reference, np.ones(len(reference)), reference["_block"].to_numpy())
    by_row = make_reference(reference, np.ones(len(reference)), np.zeros(len(reference), dtype=np.int64))
    window = [reference.iloc[:400]] * 3
    limits = [judge_columns(one, window, RULE)[0].thresholds["kolmogorov_smirnov"] for one in (by_day, by_row)]
    assert limits[0] > 1.5 * limits[1]
    assert draw_blocks(1, 3, 10, 0).windows is None


def test_one_window_over_is_no_alarm_and_an_old_one_neither() -> None:
    reference = frame(400, 1, days=40)
    columns = make_reference(reference, np.ones(len(reference)), reference["_block"].to_numpy())
    same = [frame(400, seed) for seed in (5, 6, 7)]
    bad = [rows.assign(V0=rows["V0"] + 3) for rows in same]

    def fires(windows: list[pd.DataFrame]) -> bool:
        return judge_columns(columns, windows, RULE)[0].fires

    assert not fires([same[0], same[1], bad[2]])
    assert fires([same[0], bad[1], bad[2]])
    assert not fires([bad[0], bad[1], same[2]]), "it is over"
    tiny = [same[0], bad[1], bad[2].iloc[:5]]
    assert not fires(tiny), "five rows say nothing"
    assert judge_columns(columns, tiny, RULE)[0].to_json()["distances"]["kolmogorov_smirnov"][-1] is None


def test_large_shifts_are_seen_sooner_and_tiny_ones_hardly_ever() -> None:
    reference = frame(400, 1, days=30)
    columns = make_reference(reference, np.ones(len(reference)), reference["_block"].to_numpy())
    found = detection_delays(columns, "V0", RULE, rows=400, length=3, sizes=(0.01, 0.3, 3.0))
    middle = {size: float(np.median(delays)) for size, delays in found.items()}
    assert middle[0.01] == MOST_WINDOWS
    assert middle[0.01] > middle[0.3] >= middle[3.0] == RULE.at_least


def test_columns_are_named_as_the_model_names_them() -> None:
    columns = make_reference(frame(50, 1), np.ones(50), np.zeros(50, dtype=np.int64))
    assert list(select_columns(columns, None, ["V0"], "monitors.data_drift")) == ["V1", "V2", "V3", "V4", "V5", "Kind"]
    with pytest.raises(InputError, match=r"data_drift: got 'V8'. Allowed: a feature of the model; one of"):
        select_columns(columns, ["V8"], [], "monitors.data_drift")
    with pytest.raises(InputError, match="watch the use case whose champion's reference it is"):
        judge_columns(columns, [pd.DataFrame({"x": [1]})], RULE)


def test_a_classifier_sees_what_no_single_column_shows() -> None:
    generator = np.random.default_rng(9)
    first, second = generator.normal(size=(2, 4_000))
    sample = pd.DataFrame({"a": first, "b": second, "_block": np.arange(4_000) // 200})
    sign = generator.normal(size=1_000)
    turned = pd.DataFrame({"a": sign, "b": sign + generator.normal(0, 0.3, 1_000)})
    same = pd.DataFrame({"a": generator.normal(size=1_000), "b": generator.normal(size=1_000)})
    asked = {"level": 0.01, "at_least": 1, "draws": 10, "seed": 1}
    assert not classifier_test(sample, [same], **asked).fires  # type: ignore[arg-type]
    told = classifier_test(sample, [turned], **asked)  # type: ignore[arg-type]
    assert told.fires
    assert told.areas[0] > 0.8


@given(st.lists(st.integers(0, 50), min_size=2, max_size=12), st.data())
@settings(max_examples=50)
def test_orders_are_compared_as_others_do(before: list[int], data: st.DataObject) -> None:
    now = data.draw(st.permutations(range(len(before))))
    if sum(before):
        expected = ndcg_score([before], [now])
        assert discounted_gain(before, now) == pytest.approx(expected)
    assert discounted_gain(before, before) == pytest.approx(1)
    if len(set(before)) > 1:
        assert rank_correlation(before, now) == pytest.approx(stats.spearmanr(before, now).statistic)


def test_orders_need_the_same_features() -> None:
    with pytest.raises(InputError, match="Allowed: one finite number a feature"):
        rank_correlation([1, 2], [1, 2, 3])


def test_calibrated_scores_promise_what_comes_true() -> None:
    generator = np.random.default_rng(3)
    score = generator.beta(0.5, 3, 200_000)
    label = generator.random(200_000) < score
    decided = score >= 0.3
    told = expected_quality(score, 0.3)
    assert told.precision == pytest.approx(label[decided].mean(), abs=0.01)
    assert told.recall == pytest.approx(decided[label].mean(), abs=0.01)
    assert expected_quality([0.1], 0.5) == (0.0, 0.0, 0.0)
