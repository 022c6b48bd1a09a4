"""Winners by rule, and what may be said of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.core.references import Reference
from stepzero.learning.evaluation import Cell
from stepzero.learning.metrics import make_metric
from stepzero.learning.selection import choose, compare_cells, fold_scores
from stepzero.learning.table import Table
from stepzero.spec.training import Evaluate

METRIC = make_metric("average_precision")
NOWHERE = Reference(uri="x", digest="x", kind="dataset")


def _table(rows: int = 600, positives: int = 120, seed: int = 1) -> Table:
    generator = np.random.default_rng(seed)
    target = np.r_[np.ones(positives), np.zeros(rows - positives)].astype(np.int64)
    return Table(
        row_ids=np.arange(rows).astype(str),
        features=pd.DataFrame({"Amount": generator.exponential(size=rows)}),
        target=target,
        weight=np.ones(rows),
        fold=np.arange(rows, dtype=np.int64) % 5,
    )


def _cell(name: str, table: Table, skill: float, seed: int, score: float | None = None) -> Cell:
    """Return a cell whose scores are as good as its skill."""
    sampler, _, model = name.partition(" ")
    noise = np.random.default_rng(seed).normal(size=len(table.target))
    scores = table.target * skill + noise
    cell = Cell(
        sampler=sampler,
        model=model,
        parameters={},
        score=0.0,
        threshold=skill / 2,
        metrics={},
        test_score=scores,
        out_of_fold=pd.DataFrame({"score": scores}),
        reference=NOWHERE,
    )
    folds = fold_scores(cell, table, METRIC)
    return Cell(**{**cell.__dict__, "score": float(np.mean(folds)) if score is None else score, "fold_scores": folds})


def _choose(cells: list[Cell], table: Table, **settings: Any) -> Any:
    return choose(cells, table, METRIC, Evaluate(**settings))


def test_the_simplest_within_one_standard_error_is_shown_and_promoted_only_if_declared() -> None:
    table = _table()
    best = _cell("smote xgboost", table, 2.0, 1)
    near = [
        _cell("none random_forest", table, 2, 2, best.score - 1e-6),
        _cell("smote decision_tree", table, 2, 3, best.score - 1e-6),
        _cell("none decision_tree", table, 2, 4, best.score - 2e-6),
        _cell("none logistic_regression", table, 2, 5, best.score - 0.5),
    ]
    found = _choose([best, *near], table)
    assert (found.best.name, found.simplest.name) == ("smote × xgboost", "none × decision_tree")
    assert found.promoted is best
    ruled = _choose([best, *near], table, winner="simplest_within_one_standard_error")
    assert ruled.promoted.name == "none × decision_tree"
    assert "Simplest within one standard error" in ruled.sentence()
    assert ruled.sentence().endswith("Promoted: none × decision_tree.")
    declared = _choose([best, *near], table, simplest_first=("random_forest", "decision_tree"))
    assert declared.simplest.name == "none × random_forest"


def test_one_standard_error_is_that_of_the_best_ones_folds() -> None:
    table = _table()
    best = _cell("none xgboost", table, 2.0, 1)
    room = float(np.std(best.fold_scores, ddof=1) / np.sqrt(5))
    inside = _cell("none decision_tree", table, 2, 2, best.score - 0.999 * room)
    outside = _cell("none logistic_regression", table, 2, 2, best.score - 1.001 * room)
    found = _choose([best, inside, outside], table)
    assert found.room == pytest.approx(room)
    assert found.simplest is inside
    alone = _choose([best, outside], table)
    assert alone.simplest is best
    assert "No simpler one is within one standard error" in alone.sentence()


def test_a_metric_of_which_little_is_good_turns_the_rule_around() -> None:
    table = _table()
    loss = make_metric("support.theirs:expected_loss")
    cells = [_cell("none xgboost", table, 2, 1, 3.0), _cell("none decision_tree", table, 2, 2, 9.0)]
    assert not loss.greater_is_better
    assert choose(cells, table, loss, Evaluate()).best.name == "none × xgboost"


def test_equals_cannot_be_told_apart_and_much_worse_ones_can() -> None:
    table = _table()
    promoted = _cell("none xgboost", table, 2.0, 1)
    cells = [
        promoted,
        *(_cell(f"s{i} xgboost", table, 2.0, 10 + i) for i in range(5)),
        _cell("bad xgboost", table, 0.3, 9),
    ]
    found = compare_cells(promoted, cells, table, "average_precision", Evaluate(bootstrap=100), 7)
    by_name = {cell.name: cell for cell in found.cells}
    assert by_name["bad × xgboost"].finding == "worse"
    assert by_name["bad × xgboost"].p_adjusted < 0.05
    assert by_name["bad × xgboost"].low > 0
    assert all(by_name[f"s{i} × xgboost"].finding == "cannot be told apart" for i in range(5))
    assert found.draws >= 480
    text = found.sentence()
    assert "none × xgboost is better than bad × xgboost; cannot be told apart from s0 × xgboost, s1 × xgboost, " in text
    assert "and 2 more (95% confidence, Holm's correction for 6 comparisons)" in text
    assert "600 held-out rows with 120 positives" in text


def test_the_same_scores_are_no_difference_and_the_same_seed_says_the_same() -> None:
    table = _table()
    promoted, twin = _cell("none xgboost", table, 2.0, 1), _cell("smote xgboost", table, 2.0, 1)
    found = compare_cells(promoted, [promoted, twin], table, "f1", Evaluate(), 7)
    assert found.metric == "f1"
    assert found.cells[0].difference == 0
    assert found.cells[0].p_adjusted == 1
    assert found == compare_cells(promoted, [promoted, twin], table, "f1", Evaluate(), 7)
    alone = compare_cells(promoted, [promoted], table, "f1", Evaluate(), 7)
    assert "nothing to compare it with" in alone.sentence()


def test_a_metric_of_ones_own_is_compared_by_average_precision_and_says_so() -> None:
    table = _table()
    promoted, other = _cell("none xgboost", table, 2.0, 1), _cell("none decision_tree", table, 1.0, 2)
    found = compare_cells(promoted, [promoted, other], table, "support.theirs:expected_loss", Evaluate(), 7)
    assert found.sentence().startswith("By average precision on ")
