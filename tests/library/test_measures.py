"""Measures equal scikit-learn on random data, weights and ties included, and are sure of their edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from stepzero.core.errors import InputError
from stepzero.measures.decisions import best_f1_threshold, confusion, f1, precision, recall, smooth_f1_threshold
from stepzero.measures.ranking import average_precision, roc_auc
from stepzero.measures.uncertainty import draw_counts, intervals
from stepzero.measures.weights import base_rate_weights

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.floats(0.01, 50)), min_size=2, max_size=60).filter(
    lambda rows: len({row[0] for row in rows}) == 2
)


def _arrays(rows: list[tuple[bool, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    target, score, weight = (np.array(column) for column in zip(*rows, strict=True))
    return target.astype(int), score / 7, weight


@given(ROWS)
def test_rankings_equal_scikit_learn_with_ties_and_weights(rows: list[tuple[bool, int, float]]) -> None:
    target, score, weight = _arrays(rows)
    expected = reference.average_precision_score(target, score, sample_weight=weight)
    assert average_precision(target, score, weight) == pytest.approx(expected, abs=1e-12)
    expected = reference.roc_auc_score(target, score, sample_weight=weight)
    assert roc_auc(target, score, weight) == pytest.approx(expected, abs=1e-12)


@given(ROWS, st.integers(0, 7))
def test_decisions_equal_scikit_learn(rows: list[tuple[bool, int, float]], line: int) -> None:
    target, score, weight = _arrays(rows)
    decision = (score >= line / 7).astype(int)
    options = {"sample_weight": weight, "zero_division": 0}
    assert f1(target, decision, weight) == pytest.approx(reference.f1_score(target, decision, **options))
    assert precision(target, decision, weight) == pytest.approx(reference.precision_score(target, decision, **options))
    assert recall(target, decision, weight) == pytest.approx(reference.recall_score(target, decision, **options))
    expected = reference.confusion_matrix(target, decision, labels=[0, 1], sample_weight=weight).ravel()
    assert np.allclose(confusion(target, decision, weight), expected)


@given(ROWS)
def test_best_threshold_is_the_best_of_all_and_the_highest_of_equals(rows: list[tuple[bool, int, float]]) -> None:
    target, score, weight = _arrays(rows)
    found = best_f1_threshold(target, score, weight)
    tried = {line: f1(target, score >= line, weight) for line in np.unique(score)}
    assert found.f1 == pytest.approx(max(tried.values()))
    assert f1(target, score >= found.value, weight) == pytest.approx(found.f1)
    higher = [value for line, value in tried.items() if line > found.value and line > score[score >= found.value].min()]
    assert all(value < found.f1 + 1e-12 for value in higher)


def test_threshold_between_neighbouring_floats_stays_on_its_side() -> None:
    low = 0.5
    high = np.nextafter(low, 1)
    found = best_f1_threshold([0, 1], [low, high])
    assert found.value == high
    assert found.f1 == 1


def test_large_random_data_without_weights() -> None:
    generator = np.random.default_rng(3)
    target = generator.random(5000) < 0.05
    score = np.round(generator.normal(size=5000) + target, 1)
    assert average_precision(target, score) == pytest.approx(reference.average_precision_score(target, score))
    assert roc_auc(target, score) == pytest.approx(reference.roc_auc_score(target, score))


def _overlapping(generator: np.random.Generator, positives: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rare positives, some of them hard, and negatives of great weight with a long tail."""
    easy = generator.random(positives) < 0.82
    found = np.where(easy, generator.normal(5, 2.5, positives), generator.normal(-5, 2, positives))
    others = -8 + 1.3 * generator.standard_t(5, 30 * positives)
    target = np.r_[np.ones(positives), np.zeros(len(others))]
    return target, np.r_[found, others], np.where(target == 1, 1.0, 18.81)


def test_a_smoothed_line_is_nearer_to_the_best_one_of_the_population_than_the_best_one_of_a_sample() -> None:
    generator = np.random.default_rng(1)
    target, score, weight = _overlapping(generator, 20_000)
    found: dict[str, list[float]] = {"best": [], "smooth": []}
    for _ in range(12):
        sample = _overlapping(generator, 300)
        for name, choose in (("best", best_f1_threshold), ("smooth", smooth_f1_threshold)):
            found[name].append(f1(target, score >= choose(*sample).value, weight))
    assert np.mean(found["smooth"]) > np.mean(found["best"]) + 0.003, found
    assert np.std(found["smooth"]) < np.std(found["best"]) / 2, found
    assert np.mean(found["smooth"]) > best_f1_threshold(target, score, weight).f1 - 0.01


def test_a_smoothed_line_is_one_of_log_odds_where_scores_are_probabilities() -> None:
    target, odds, weight = _overlapping(np.random.default_rng(2), 300)
    probability = smooth_f1_threshold(target, 1 / (1 + np.exp(-odds)), weight)
    plain = smooth_f1_threshold(target, odds, weight)
    assert np.log(probability.value / (1 - probability.value)) == pytest.approx(plain.value, abs=1e-6)
    assert probability.f1 == plain.f1 == f1(target, odds >= plain.value, weight)
    assert smooth_f1_threshold([0, 1, 1], [0.0, 1.0, 1.0]).f1 == 1, "scores of 0 and 1 have no log-odds"


@pytest.mark.parametrize("measure", [average_precision, roc_auc, best_f1_threshold, smooth_f1_threshold])
def test_one_class_only_is_told(measure: object) -> None:
    with pytest.raises(InputError, match=r"got 3 rows, 0 of them positive\. Allowed: rows of both classes"):
        measure([0, 0, 0], [0.1, 0.2, 0.3])  # type: ignore[operator]


def test_arrays_that_do_not_fit_are_told() -> None:
    with pytest.raises(InputError, match="target \\(2,\\), values \\(3,\\)"):
        roc_auc([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(InputError, match="1 not finite"):
        roc_auc([0, 1], [0.1, float("nan")])
    with pytest.raises(InputError, match="0 and 1 only"):
        roc_auc([0, 2], [0.1, 0.2])
    with pytest.raises(InputError, match="negative or not finite"):
        roc_auc([0, 1], [0.1, 0.2], [1, -1])


def test_base_rate_weights_state_the_rate() -> None:
    target = np.array([1] * 30 + [0] * 70)
    weight = base_rate_weights(target, 0.001727)
    assert np.average(target, weights=weight) == pytest.approx(0.001727)
    assert (weight[target == 1] == 1).all()
    with pytest.raises(InputError, match=r"base rate: got 1\.5\. Allowed: between 0 and 1"):
        base_rate_weights(target, 1.5)


def test_draws_keep_the_strata_and_the_seed() -> None:
    target = np.array([1] * 5 + [0] * 20)
    counts = np.concatenate(list(draw_counts(target, draws=40, seed=1)))
    assert counts.shape == (40, 25)
    assert (counts[:, :5].sum(axis=1) == 5).all()
    assert (counts[:, 5:].sum(axis=1) == 20).all()
    assert (counts == np.concatenate(list(draw_counts(target, draws=40, seed=1)))).all()
    assert (counts != np.concatenate(list(draw_counts(target, draws=40, seed=2)))).any()


def test_draws_in_pieces_have_all_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepzero.measures.uncertainty.MOST_NUMBERS", 100)
    pieces = list(draw_counts([1, 0] * 5, draws=33, seed=1))
    assert [len(piece) for piece in pieces] == [10, 10, 10, 3]


def test_interval_agrees_with_drawing_rows_one_by_one() -> None:
    """The weights of a draw stand for the rows drawn: each draw scored by scikit-learn on repeated rows."""
    generator = np.random.default_rng(0)
    target = np.array([1] * 40 + [0] * 160)
    score = generator.normal(size=200) + 1.5 * target
    found = intervals(
        {"ap": lambda weight: average_precision(target, score, weight)}, target, np.ones(200), draws=60, seed=5
    )["ap"]
    drawn = []
    for counts in np.concatenate(list(draw_counts(target, draws=60, seed=5))):
        rows = np.repeat(np.arange(200), counts.astype(int))
        drawn.append(reference.average_precision_score(target[rows], score[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.value == pytest.approx(reference.average_precision_score(target, score))


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        target = np.array([1] * 80 + [0] * 320)
        score = generator.normal(size=400) + target
        found = intervals({"a": lambda w, t=target, s=score: roc_auc(t, s, w)}, target, np.ones(400), draws=200)["a"]  # type: ignore[misc]
        covered += found.low <= 0.7602 <= found.high  # Φ(1/√2): two normals one apart
    assert 50 <= covered <= 60


def test_interval_never_misses_its_own_value() -> None:
    target = np.array([1, 0, 0, 0])
    found = intervals({"x": lambda weight: weight[..., 0] * 0 + (weight.ndim == 1)}, target, np.ones(4), draws=50)["x"]
    assert (found.low, found.value, found.high) == (0, 1, 1)
