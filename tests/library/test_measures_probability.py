"""Probabilities, prices and claims: each measure against its definition, its library, or what must hold of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from stepzero.core.errors import InputError
from stepzero.measures.calibration import brier, reliability, shift_prior
from stepzero.measures.cost import best_cost_threshold, cost_curve, mean_cost
from stepzero.measures.significance import draws_for, holm, paired_difference, standard_error
from stepzero.measures.uncertainty import draw_statistics

SHARES = st.floats(1e-4, 1 - 1e-4)
SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=40)
ROWS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 6), st.floats(0.01, 50), st.floats(0, 9)), min_size=2, max_size=50
).filter(lambda rows: len({row[0] for row in rows}) == 2)


@given(SCORES, SHARES, SHARES)
def test_prior_shift_is_bayes_rule(scores: list[float], trained: float, true: float) -> None:
    found = shift_prior(scores, trained, true)
    p = np.array(scores)
    up, down = p * true / trained, (1 - p) * (1 - true) / (1 - trained)
    assert found == pytest.approx(up / (up + down), abs=1e-12)


@given(SCORES, SHARES, SHARES)
def test_prior_shift_keeps_the_order_and_comes_back(scores: list[float], trained: float, true: float) -> None:
    ordered = np.sort(scores)
    found = shift_prior(ordered, trained, true)
    assert (np.diff(found) >= 0).all()
    assert shift_prior(ordered, trained, trained) == pytest.approx(ordered, abs=1e-12)
    assert shift_prior(shift_prior([0.3], trained, true), true, trained) == pytest.approx([0.3], abs=1e-6)


@given(st.floats(0.001, 1), st.floats(0.01, 0.99))
def test_prior_shift_is_the_formula_for_undersampling(kept: float, score: float) -> None:
    """Dal Pozzolo et al. 2015, equation 4: p = β p_s / (β p_s - p_s + 1), β the share of negatives that is kept."""
    share = 0.01
    trained = share / (share + kept * (1 - share))
    expected = kept * score / (kept * score - score + 1)
    assert shift_prior([score], trained, share)[0] == pytest.approx(expected, rel=1e-9)


def test_prior_shift_brings_an_undersampled_model_back_to_the_truth() -> None:
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(5)
    features = generator.normal(size=(60_000, 1))
    truth = 1 / (1 + np.exp(-(1.5 * features[:, 0] - 4)))
    target = (generator.random(60_000) < truth).astype(int)
    kept = np.r_[np.flatnonzero(target == 1), np.flatnonzero(target == 0)[: int(target.sum())]]
    learned = LogisticRegression().fit(features[kept], target[kept]).predict_proba(features)[:, 1]
    corrected = shift_prior(learned, 0.5, float(target.mean()))
    assert np.abs(learned - truth).mean() > 0.2
    assert np.abs(corrected - truth).mean() < 0.005
    assert brier(target, corrected) < brier(target, learned) / 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([0.5], 0.0, 0.1), r"trained share of positives: got 0\.0\. Allowed: between 0 and 1"),
        (([1.5], 0.5, 0.1), r"scores as probabilities: got 1 outside 0 to 1, for example 1\.5\. Allowed: numbers from"),
    ],
)
def test_prior_shift_refuses_what_is_no_probability(arguments: tuple[list[float], float, float], text: str) -> None:
    with pytest.raises(InputError, match=text):
        shift_prior(*arguments)


@given(ROWS)
def test_brier_equals_scikit_learn(rows: list[tuple[bool, int, float, float]]) -> None:
    target, score, weight, _ = (np.array(column) for column in zip(*rows, strict=True))
    expected = brier_score_loss(target, score / 7, sample_weight=weight)
    assert brier(target, score / 7, weight) == pytest.approx(expected, abs=1e-12)
    both = brier(target, score / 7, np.vstack([weight, np.ones(len(weight))]))
    assert both == pytest.approx([expected, brier(target, score / 7)], abs=1e-12)


@given(ROWS)
def test_reliability_loses_no_row_and_holds_its_shares(rows: list[tuple[bool, int, float, float]]) -> None:
    target, score, weight, _ = (np.array(column) for column in zip(*rows, strict=True))
    found = reliability(target, score / 7, weight)
    assert found.rows.sum() == len(rows)
    assert (found.low <= found.came).all()
    assert (found.came <= found.high).all()
    assert ((found.low >= 0) & (found.high <= 1)).all()
    alone = reliability(target, np.full(len(rows), 0.25), weight)
    assert alone.came == pytest.approx([weight[target].sum() / weight.sum()])


@given(ROWS, st.integers(0, 7))
def test_cost_is_the_sum_of_its_mistakes(rows: list[tuple[bool, int, float, float]], line: int) -> None:
    target, score, weight, price = (np.array(column) for column in zip(*rows, strict=True))
    decision = score >= line
    parts = [w * p for t, d, w, p in zip(target, decision, weight, price, strict=True) if t and not d]
    parts += [w * 2.5 for t, d, w in zip(target, decision, weight, strict=True) if d and not t]
    found = mean_cost(target, decision, weight, false_negative=price, false_positive=2.5)
    assert found == pytest.approx(sum(parts) / weight.sum())


@given(ROWS)
def test_the_cheapest_line_is_the_cheapest_of_all(rows: list[tuple[bool, int, float, float]]) -> None:
    target, score, weight, price = (np.array(column) for column in zip(*rows, strict=True))
    prices = {"false_negative": price, "false_positive": 2.5}
    found = best_cost_threshold(target, score / 7, weight, **prices)
    tried = [mean_cost(target, score / 7 >= line, weight, **prices) for line in [*np.unique(score / 7), np.inf]]
    assert found.cost == pytest.approx(min(tried))
    assert mean_cost(target, score / 7 >= found.value, weight, **prices) == pytest.approx(found.cost)
    curve = cost_curve(target, score / 7, weight, **prices)
    told = [mean_cost(target, score / 7 >= line, weight, **prices) for line in curve.thresholds]
    assert curve.costs == pytest.approx(told)


def test_with_true_probabilities_the_cheapest_line_is_elkans() -> None:
    """Elkan 2001, equation 2: c_fp / (c_fp + c_fn)."""
    generator = np.random.default_rng(1)
    score = generator.random(200_000)
    target = generator.random(200_000) < score
    found = best_cost_threshold(target, score, false_negative=9.0, false_positive=1.0)
    assert found.value == pytest.approx(0.1, abs=0.02)


def test_where_alarms_cost_too_much_nothing_is_raised() -> None:
    score = np.array([0.1, 0.4, 1.0])
    found = best_cost_threshold([0, 1, 0], score, false_negative=1.0, false_positive=9.0)
    assert not (score >= found.value).any()
    with pytest.raises(InputError, match=r"price of a mistake: got 3 negative or missing, for example -1\.0"):
        best_cost_threshold([0, 1, 0], score, false_negative=-1.0, false_positive=9.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_its_definition(p_values: list[float]) -> None:
    found = holm(p_values)
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    highest = 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, p_values[at] * (len(p_values) - rank)))
        assert found[at] == pytest.approx(highest)
    assert (found >= np.array(p_values)).all()
    assert holm(p_values[::-1]) == pytest.approx(found[::-1])


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.floats(-5, 5))
def test_a_difference_turned_around_is_as_sure(drawn: list[float], value: float) -> None:
    one, other = paired_difference(value, drawn), paired_difference(-value, [-number for number in drawn])
    assert one.p == other.p
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert 2 / (len(drawn) + 1) <= one.p <= 1
    assert one.low <= one.value <= one.high


def test_enough_draws_reach_holms_strictest_level() -> None:
    for comparisons in (1, 19, 44):
        draws = draws_for(comparisons, 0.95)
        assert holm([2 / (draws + 1), *[1.0] * (comparisons - 1)])[0] < 0.05


def test_three_lucky_rows_are_not_called_a_win() -> None:
    """The second model finds three of sixty positives more, by luck, and misses one that the first finds."""
    from stepzero.measures.decisions import recall

    target = np.r_[np.ones(60), np.zeros(500)]
    first = np.r_[np.ones(50), np.zeros(510)]
    second = np.r_[np.zeros(1), np.ones(52), np.zeros(507)]
    statistics = {
        name: lambda weight, decision=decision: recall(target, decision, weight)
        for name, decision in (("first", first), ("second", second))
    }
    drawn = draw_statistics(statistics, target, np.ones(560), draws=1000, seed=1)
    found = paired_difference(2 / 60, drawn["second"] - drawn["first"])
    assert found.value > 0
    assert found.p > 0.05
    assert found.low < 0
    better = np.r_[np.ones(60), np.zeros(500)]
    sure = draw_statistics(
        {"better": lambda weight: recall(target, better, weight)}, target, np.ones(560), draws=1000, seed=1
    )
    assert paired_difference(10 / 60, sure["better"] - drawn["first"]).p < 0.01


def test_a_claim_is_false_as_rarely_as_it_says() -> None:
    """Two models of equal worth on fresh rows, two hundred times: about one in twenty is called different."""
    generator = np.random.default_rng(3)
    claims = 0
    for seed in range(200):
        right = generator.random((2, 400)) < 0.7
        drawn = draw_statistics(
            {str(i): lambda weight, one=right[i]: weight @ one / weight.sum(axis=-1) for i in (0, 1)},
            np.ones(400),
            np.ones(400),
            draws=200,
            seed=seed,
        )
        claims += paired_difference(float(right[0].mean() - right[1].mean()), drawn["0"] - drawn["1"]).p <= 0.05
    assert 2 <= claims <= 22


def test_standard_error_of_folds() -> None:
    assert standard_error([0.8, 0.9, 1.0]) == pytest.approx(0.1 / np.sqrt(3))
    assert standard_error([0.8]) == 0
