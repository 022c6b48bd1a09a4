"""Models against each other on the same rows. Golden checks 59 and 61 are named by number."""

from __future__ import annotations

import numpy as np
import pytest

from stepzero.learning.regression_pictures import toss_picture
from stepzero.learning.rivals import Contest, coin_toss, judge, tosses_of_more_rows
from stepzero.measures.checks import Floats
from stepzero.measures.regression import accuracy

ORDER = ("xgboost", "least_absolute_deviations")


def truth(rows: int = 600, seed: int = 5) -> Floats:
    return np.round(1 + np.random.default_rng(seed).gamma(8.0, 1.1, rows))


def guesses(target: Floats, **spread: float) -> dict[str, Floats]:
    random = np.random.default_rng(7)
    common = random.normal(0, 1.5, len(target))
    return {name: target + common + random.normal(0, width, len(target)) for name, width in spread.items()}


def contest(predicted: dict[str, Floats], target: Floats, **options: object) -> Contest:
    return judge(predicted, target, **{"metric": "rmse", "tie": ORDER, "draws": 500, **options})  # type: ignore[arg-type]


def test_a_clear_winner_is_told_with_its_distance() -> None:
    target = truth()
    found = contest(guesses(target, xgboost=1.5, least_absolute_deviations=0.3), target)
    assert (found.winner, found.best, found.by_rule) == ("least_absolute_deviations",) * 2 + (False,)
    (rival,) = found.rivals
    assert rival.finding == "worse"
    assert 0 < rival.low < rival.difference < rival.high
    own = {
        name: np.sqrt(np.mean((guess - target) ** 2))
        for name, guess in guesses(target, xgboost=1.5, least_absolute_deviations=0.3).items()
    }
    assert rival.difference == pytest.approx(own["xgboost"] - own["least_absolute_deviations"])
    assert found.sentence().startswith("least_absolute_deviations wins by RMSE on 600 test rows (")
    assert "xgboost" in found.sentence()


def test_golden_61_a_tie_goes_to_xgboost() -> None:
    target = truth()
    same = guesses(target, one=1.0)["one"]
    found = contest({"least_absolute_deviations": same, "xgboost": same.copy()}, target)
    assert (found.winner, found.by_rule) == ("xgboost", True)
    assert "by the declared tie rule" in found.sentence()
    assert "cannot be told apart" in found.sentence()


def test_a_small_lead_is_no_win_and_the_rule_decides() -> None:
    target = truth(rows=80)
    found = contest(guesses(target, xgboost=0.52, least_absolute_deviations=0.5), target)
    assert found.best == "least_absolute_deviations"
    assert found.winner == "xgboost"
    assert found.tied == ["least_absolute_deviations", "xgboost"]
    assert "least_absolute_deviations has the best figure" in found.sentence()
    without = contest(guesses(target, xgboost=0.52, least_absolute_deviations=0.5), target, tie=())
    assert without.winner == "least_absolute_deviations"


def test_false_wins_are_as_rare_as_declared() -> None:
    """Four equally good models, again and again: with Holm's correction hardly any contest finds a difference."""
    found = 0
    for seed in range(60):
        target = truth(rows=150, seed=seed)
        random = np.random.default_rng(seed)
        equal = {name: target + random.normal(0, 2, len(target)) for name in "abcd"}
        found += any(rival.finding == "worse" for rival in contest(equal, target, tie=(), draws=300).rivals)
    # The best of four is compared with the others, which is a little worse than the level of 5 % says.
    assert found <= 12


def test_mae_may_decide_and_the_same_seed_says_the_same() -> None:
    target = truth()
    rows = guesses(target, xgboost=1.0, least_absolute_deviations=0.2)
    one, two = (contest(rows, target, metric="mae").to_json() for _ in range(2))
    assert one == two
    assert one["metric"] == "mae"
    assert one["figures"]["xgboost"]["mae"]["value"] == pytest.approx(np.abs(rows["xgboost"] - target).mean())


def test_three_random_rows_are_a_coin_toss() -> None:
    target = truth(rows=2_000)
    close = guesses(target, xgboost=0.5, least_absolute_deviations=0.8)
    chance = coin_toss(close["xgboost"], close["least_absolute_deviations"], target)
    assert 0.45 < chance < 0.6, "although all rows know who is better"
    found = contest(close, target)
    assert (found.winner, found.by_rule) == ("xgboost", False)


def test_golden_59_the_toss_counts_accuracy_as_the_reference_does() -> None:
    target = np.array([10.0, 10.0])
    assert coin_toss(np.array([9.0, 9.0]), np.array([8.0, 8.0]), target) == 1.0
    assert coin_toss(np.array([8.0, 8.0]), np.array([9.0, 9.0]), target) == 0.0
    assert coin_toss(target, target, target) == 1.0, "a tie goes to the first"


def test_more_rows_choose_by_accuracy_more_surely_whatever_the_error_says() -> None:
    target = np.tile([20.0] * 2 + [10.0] * 23, 40)
    near, mostly_right = target * 0.96, np.where(target == 20, 22.0, target)
    found = contest({"xgboost": near, "least_absolute_deviations": mostly_right}, target, tie=())
    assert found.winner == "xgboost"
    assert accuracy(target, near) == pytest.approx(96.0)
    assert accuracy(target, mostly_right) == pytest.approx(99.2)
    chances = tosses_of_more_rows(near, mostly_right, target)
    assert list(chances) == [1, 3, 10, 30, 100, 300]
    # It wins a toss where the other draws mostly large ones: one of one, two of three.
    assert chances[1] == pytest.approx(0.08, abs=0.01)
    assert chances[3] == pytest.approx(3 * 0.08**2 * 0.92 + 0.08**3, abs=0.005)
    assert chances[300] == 0
    assert chances == tosses_of_more_rows(near, mostly_right, target), "by a seed"


def test_the_toss_is_drawn_beside_the_verdict() -> None:
    target = truth(rows=80)
    rows = guesses(target, xgboost=0.52, least_absolute_deviations=0.5, nearest_neighbours=3.0)
    found, pair = contest(rows, target), ("xgboost", "least_absolute_deviations")
    drawn = toss_picture(found, pair, {1: 0.5, 3: 0.49, 10: 0.45})
    assert drawn.startswith(b"\x89PNG")
    assert drawn == toss_picture(found, pair, {1: 0.5, 3: 0.49, 10: 0.45}), "the same content, the same bytes"
    assert drawn != toss_picture(found, pair, {1: 0.5, 3: 0.9, 10: 0.45})


def test_one_model_alone_wins() -> None:
    target = truth(rows=50)
    found = contest(guesses(target, xgboost=1.0), target)
    assert (found.winner, found.rivals, found.by_rule) == ("xgboost", (), False)
    assert found.sentence().endswith("and is alone.")
