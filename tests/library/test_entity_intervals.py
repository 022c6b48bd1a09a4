"""Rows of one entity do not vouch for each other: intervals draw whole entities, wherever a table has some."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepzero.core.errors import InputError
from stepzero.core.references import Reference
from stepzero.learning.comparison import compare_scores
from stepzero.learning.evaluation import Cell, measure
from stepzero.learning.rivals import judge
from stepzero.learning.selection import Comparisons, compare_cells
from stepzero.learning.table import Table
from stepzero.measures.ranking import roc_auc
from stepzero.measures.uncertainty import Interval, draw_counts, intervals
from stepzero.spec.training import Evaluate

COPIES = 8
LABELS = st.lists(st.booleans(), min_size=2, max_size=40)
ENTITIES = st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=2, max_size=40)


def _counts(target: Any, entity: Any = None, draws: int = 25, seed: int = 3) -> np.ndarray:
    return np.concatenate(list(draw_counts(np.array(target), draws=draws, seed=seed, entity=entity)))


@given(LABELS, st.randoms(use_true_random=False))
def test_a_row_for_each_entity_draws_what_is_drawn_without_entities(labels: list[bool], random: Any) -> None:
    names = [f"customer {number}" for number in range(len(labels))]
    random.shuffle(names)
    assert (_counts(labels, names) == _counts(labels)).all()


@given(ENTITIES)
def test_all_rows_of_an_entity_go_along_and_no_draw_is_without_a_class(rows: list[tuple[bool, int]]) -> None:
    target, entity = (np.array(column) for column in zip(*rows, strict=True))
    counts = _counts(target, entity)
    names = np.unique(entity)
    units = np.stack([counts[:, entity == name][:, 0] for name in names], axis=1)
    for name, of_entity in zip(names, units.T, strict=True):
        assert (counts[:, entity == name] == of_entity[:, None]).all()
    assert (units.sum(axis=1) == len(names)).all()
    for label in (True, False):
        if (target == label).any():
            assert (counts[:, target == label].sum(axis=1) > 0).all()


def test_entities_with_a_positive_keep_their_number() -> None:
    target = np.array([1, 0, 0, 0, 1, 1, 0, 0, 0, 0])
    counts = _counts(target, np.array(list("aabbccddee")))
    with_one = counts[:, 0] + counts[:, 4]
    assert (with_one == 2).all()
    assert (counts[:, [2, 6, 8]].sum(axis=1) == 3).all()
    assert len(np.unique(counts[:, 0])) > 1


def test_entities_of_other_rows_are_told() -> None:
    with pytest.raises(InputError, match=r"entities of drawn rows: got 2 for 3 rows\. Allowed: one for each row"):
        _counts([1, 0, 0], ["a", "b"])


def _clustered(seed: int, entities: int = 60, rows: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Customers who are positive or not with all their payments, and score much alike with all of them."""
    random = np.random.default_rng(seed)
    label = np.arange(entities) < 0.4 * entities
    score = random.normal(size=entities)[:, None] + label[:, None] + random.normal(0, 0.3, (entities, rows))
    return np.repeat(label, rows).astype(int), score.ravel(), np.repeat(np.arange(entities), rows)


def test_clustered_rows_are_covered_as_often_as_is_said_by_entities_and_far_less_by_rows() -> None:
    truth = 0.5 * (1 + erf(1 / np.sqrt(2 * (1 + 0.3**2)) / np.sqrt(2)))
    covered = {"rows": 0, "entities": 0}
    for seed in range(100):
        target, score, entity = _clustered(seed)
        for name, drawn in (("rows", None), ("entities", entity)):
            statistics = {"auc": lambda weight, t=target, s=score: roc_auc(t, s, weight)}
            found = intervals(statistics, target, np.ones(len(target)), draws=200, entity=drawn)["auc"]
            covered[name] += found.low <= truth <= found.high
    assert 89 <= covered["entities"] <= 99, covered
    assert covered["rows"] < 65, covered


def _single(rows: int = 120) -> tuple[Table, dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    target = (np.arange(rows) % 3 == 0).astype(np.int64)
    table = Table(
        row_ids=np.arange(rows).astype(str),
        features=pd.DataFrame({"Amount": random.exponential(size=rows)}),
        target=target,
        weight=np.ones(rows),
    )
    return table, {name: target * skill + random.normal(size=rows) for name, skill in (("a", 1.6), ("b", 1.1))}


def _copied(table: Table) -> Table:
    """Return each row eight times: nothing more is known than before."""
    rows = np.repeat(np.arange(len(table.target)), COPIES)
    return table.rows(rows).replaced(entity=table.row_ids[rows])


def _cells(scores: dict[str, np.ndarray]) -> list[Cell]:
    nowhere = Reference(uri="x", digest="x", kind="dataset")
    more: dict[str, Any] = {"parameters": {}, "score": 0.0, "metrics": {}, "out_of_fold": pd.DataFrame()}
    return [
        Cell(sampler="none", model=name, threshold=0.6, test_score=score, reference=nowhere, **more)
        for name, score in scores.items()
    ]


def _ends(found: Interval) -> list[float]:
    return [found.low, found.value, found.high]


def test_copies_of_rows_make_no_figure_surer() -> None:
    table, scores = _single()
    evaluate = Evaluate(bootstrap=100)
    once = measure(scores["a"], 0.6, table, evaluate, 7)
    copied = measure(np.repeat(scores["a"], COPIES), 0.6, _copied(table), evaluate, 7)
    assert {name: _ends(one) for name, one in copied.items()} == {
        name: pytest.approx(_ends(one)) for name, one in once.items()
    }


def test_copies_of_rows_tell_no_models_apart() -> None:
    table, scores = _single()

    def compared(seen: Table, guesses: dict[str, np.ndarray]) -> Comparisons:
        cells = _cells(guesses)
        return compare_cells(cells[0], cells, seen, "average_precision", Evaluate(bootstrap=400), 7)

    once = compared(table, scores)
    copied = compared(_copied(table), {name: np.repeat(score, COPIES) for name, score in scores.items()})
    one, other = once.cells[0], copied.cells[0]
    assert (other.low, other.high, other.p) == (pytest.approx(one.low), pytest.approx(one.high), one.p)
    assert other.finding == "cannot be told apart"
    assert "on 960 held-out rows of 120 entities with 320 positives" in copied.sentence()
    assert "held-out entities, each with all of its rows" in copied.to_json()["method"]
    assert copied.to_json()["entities"] == 120
    assert "entities" not in once.to_json()
    assert "on 120 held-out rows with 40 positives" in once.sentence()
    apart = compared(_copied(table).replaced(entity=None), {n: np.repeat(s, COPIES) for n, s in scores.items()})
    assert apart.cells[0].finding == "worse", "what rows that are taken for independent would say"


@pytest.mark.parametrize("metric", ["average_precision", "support.theirs:expected_loss"])
def test_copies_of_rows_let_no_challenger_win(metric: str) -> None:
    table, scores = _single()
    copied = _copied(table)
    options: dict[str, Any] = {"metric": metric, "bootstrap": 50, "seed": 7}
    once = compare_scores(table.target, None, scores["a"], scores["b"], frame=table.features, **options)
    many = [np.repeat(scores[name], COPIES) for name in ("a", "b")]
    found = compare_scores(copied.target, None, *many, frame=copied.features, entity=copied.entity, **options)
    assert found.to_json() == pytest.approx(once.to_json())


def test_copies_of_rows_make_no_rival_lose() -> None:
    random = np.random.default_rng(5)
    truth = random.gamma(8.0, 1.1, 90)
    guesses = {name: truth + random.normal(0, spread, 90) for name, spread in (("one", 1.0), ("other", 1.15))}
    options: dict[str, Any] = {"metric": "rmse", "tie": ("other",), "draws": 200, "seed": 7}
    once = judge(guesses, truth, **options)
    rows = np.repeat(np.arange(90), COPIES)
    found = judge({name: one[rows] for name, one in guesses.items()}, truth[rows], entity=rows, **options)
    assert (found.winner, found.by_rule) == (once.winner, once.by_rule) == ("other", True)
    assert found.rivals[0].p == once.rivals[0].p
    assert _ends(found.figures["one"]["rmse"]) == pytest.approx(_ends(once.figures["one"]["rmse"]))
    assert "paired bootstrap on all 90 test entities" in found.to_json()["method"]
    assert "paired bootstrap on all test rows" in once.to_json()["method"]
