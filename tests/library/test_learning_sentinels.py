"""Each leak is planted, and seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

from stepzero.learning.folds import ALL, Fold, make_fold, training_positions
from stepzero.learning.samplers import SAMPLERS, Resampled
from stepzero.learning.sentinels import (
    MakeFold,
    check_counts,
    check_entities,
    check_fold,
    check_folds,
    check_prevalence,
    check_rows,
    check_shuffled,
    check_time,
    training_alone,
)
from stepzero.learning.table import Table, make_table
from stepzero.learning.transform import Transformer
from stepzero.spec.data import Pipeline
from support.cards import card_table, cards, made_up_cards, prepared

PIPELINE = Pipeline(scale={"robust": ("Amount", "Time")})


def _sides() -> tuple[Table, Table]:
    train, test = prepared(made_up_cards())
    problem = cards().problem
    assert problem is not None
    return make_table(train, problem, None), make_table(test, problem, None)


def _honest(sampler: str) -> object:
    return lambda name, table: make_fold(name, table, PIPELINE, sampler, 7)


def _again(sampler: str, train: Table, name: str = "1") -> Fold:
    return make_fold(ALL, training_alone(train, name), PIPELINE, sampler, 7)


def _scored(table: Table) -> pd.DataFrame:
    return pd.DataFrame({"_row_id": table.row_ids, "fold": table.fold, "score": 0.0})


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_honest_work_passes(sampler: str) -> None:
    train, test = _sides()
    checked = [
        check_fold(make_fold(name, train, PIPELINE, sampler, 7), train, _again(sampler, train, name))
        for name in ("1", ALL)
    ]
    assert check_folds(checked).passed
    assert check_folds(checked).observed == "2 of 2 folds made again, each the same to the last bit"
    for seed in range(5):
        assert check_shuffled(train, _honest(sampler), seed=seed).passed  # type: ignore[arg-type]
    assert check_prevalence(train, test).passed
    assert check_rows(train, test, [_scored(train)]).passed
    assert check_counts(test, {"positive": int(test.target.sum()), "rows": len(test.target)}).passed


def test_held_out_rows_that_were_balanced_are_seen() -> None:
    train, test = _sides()
    rows = np.r_[np.flatnonzero(test.target == 1), np.flatnonzero(test.target == 0)[: test.target.sum()]]
    balanced = test.replaced(
        row_ids=test.row_ids[rows],
        features=test.features.iloc[rows],
        target=test.target[rows],
        weight=test.weight[rows],
    )
    found = check_prevalence(train, balanced)
    assert not found.passed
    assert found.observed == "23 positives among 46 held-out rows"
    told = check_counts(balanced, {"positive": int(test.target.sum()), "rows": len(test.target)})
    assert not told.passed
    assert told.reason().rule == "sentinel held-out counts"


def test_a_row_on_both_sides_is_seen() -> None:
    train, test = _sides()
    ids = test.row_ids.copy()
    ids[3] = train.row_ids[10]
    found = check_rows(train, test.replaced(row_ids=ids), [])
    assert not found.passed
    assert found.observed == "1 rows on both sides, 0 out of place among out-of-fold rows"


def test_synthetic_and_misplaced_rows_among_out_of_fold_scores_are_seen() -> None:
    train, test = _sides()
    extra = pd.concat([_scored(train), pd.DataFrame({"_row_id": ["made up"], "fold": [0], "score": [0.5]})])
    assert check_rows(train, test, [extra]).observed.endswith("1 out of place among out-of-fold rows")
    replaced = _scored(train)
    replaced.loc[5, "_row_id"] = "made up"
    assert not check_rows(train, test, [replaced]).passed
    moved = _scored(train)
    moved.loc[7, "fold"] += 1
    assert not check_rows(train, test, [moved]).passed


def test_a_validation_row_in_training_is_seen() -> None:
    train, _ = _sides()
    fold = make_fold("1", train, PIPELINE, "none", 7)
    source = fold.resampled.source.copy()
    source[0] = fold.validation(train)[0]
    leaky = Fold(
        name="1", transformer=fold.transformer, resampled=Resampled(source, *list(fold.resampled.__dict__.values())[1:])
    )
    found = check_fold(leaky, train, _again("none", train))
    assert not found.passed
    assert found.observed.startswith("1 foreign rows in training")


def test_a_scaler_fitted_on_all_rows_is_seen() -> None:
    train, _ = _sides()
    fold = make_fold("1", train, PIPELINE, "none", 7)
    everywhere = Transformer.from_spec(PIPELINE).fit(train.features)
    found = check_fold(Fold(name="1", transformer=everywhere, resampled=fold.resampled), train, _again("none", train))
    assert not found.passed
    assert "transformer another" in found.observed


def test_synthetic_rows_made_from_validation_rows_are_seen() -> None:
    """SMOTE before the split: its rows lie between training and validation rows."""
    train, _ = _sides()
    whole = make_fold("all", train, PIPELINE, "smote", 7)
    honest = make_fold("1", train, PIPELINE, "smote", 7)
    made = whole.resampled.synthetic[: len(honest.resampled.synthetic)]
    leaky = Fold(
        name="1",
        transformer=honest.transformer,
        resampled=Resampled(honest.resampled.source, made, honest.resampled.synthetic_target),
    )
    found = check_fold(leaky, train, _again("smote", train))
    assert not found.passed
    assert found.observed.endswith("resampled rows another")
    turned = Resampled(honest.resampled.source, honest.resampled.synthetic, 1 - honest.resampled.synthetic_target)
    relabelled = Fold(name="1", transformer=honest.transformer, resampled=turned)
    assert not check_fold(relabelled, train, _again("smote", train)).passed
    both = check_folds([found, check_fold(honest, train, _again("smote", train)), found.named("fold all")])
    assert (both.passed, both.observed) == (False, f"fold 1: {found.observed}; fold all: {found.observed}")


def test_resampling_before_the_split_is_seen_by_shuffled_labels() -> None:
    """Copies of positives on both sides of the fold: a model that learns by heart knows them."""

    def leaky(name: str, table: Table) -> Fold:
        sampler = RandomOverSampler(random_state=7)
        sampler.fit_resample(np.zeros((len(table.target), 1)), table.target)
        drawn = sampler.sample_indices_
        side = np.random.default_rng(0).random(len(drawn)) < 0.8
        fold = make_fold(name, table, PIPELINE, "none", 7)
        return Fold(
            name=name,
            transformer=fold.transformer,
            resampled=Resampled(drawn[side], fold.resampled.synthetic, fold.resampled.synthetic_target),
        )

    train, _ = _sides()
    found = check_shuffled(train, leaky, seed=1)
    assert not found.passed
    assert float(found.observed.split()[-1]) > 0.9


def test_a_transform_that_learns_from_the_target_of_all_rows_is_seen_by_shuffled_labels() -> None:
    """A feature that carries the (shuffled) target of validation rows too, as target encoding before the split does."""

    def leaky(name: str, table: Table) -> Fold:
        table.features["Amount"] = table.features["Amount"] + 1e6 * table.target
        return make_fold(name, table, PIPELINE, "none", 7)

    assert not check_shuffled(card_table(), leaky, seed=1).passed


def _one_to_ten(leaks: bool) -> MakeFold:
    """Under-sample to a tenth, as a sampler of somebody's own may: it refuses where more are positive already."""

    def make(name: str, table: Table) -> Fold:
        if leaks:
            table.features["Amount"] = table.features["Amount"] + 1e6 * table.target
        fold = make_fold(name, table, PIPELINE, "none", 7)
        rows = training_positions(name, table)
        sampler = RandomUnderSampler(sampling_strategy=0.1, random_state=7)
        sampler.fit_resample(np.zeros((len(rows), 1)), table.target[rows])
        source = rows[sampler.sample_indices_]
        return Fold(
            name=name, transformer=fold.transformer, resampled=Resampled(source, *_no_synthetic_rows(fold.resampled))
        )

    return make


def _no_synthetic_rows(resampled: Resampled) -> tuple[np.ndarray, np.ndarray]:
    return resampled.synthetic, resampled.synthetic_target


def test_a_sampler_that_refuses_a_fifth_is_tried_with_fewer_positives() -> None:
    train = card_table()
    honest = check_shuffled(train, _one_to_ten(leaks=False), seed=1)
    assert honest.passed
    assert honest.observed.startswith("with 5.96% positives, ROC AUC 0.")
    leaky = check_shuffled(train, _one_to_ten(leaks=True), seed=1)
    assert (leaky.passed, leaky.observed) == (False, "with 5.96% positives, ROC AUC 1.000")


def test_a_check_that_cannot_be_made_is_an_alarm() -> None:
    train = card_table()
    real = train.target.copy()

    def picky(name: str, table: Table) -> Fold:
        if not np.array_equal(table.target, real):
            raise KeyError("positives of yesterday only")
        return make_fold(name, table, PIPELINE, "none", 7)

    found = check_shuffled(train, picky, seed=1)
    assert not found.passed
    assert found.reason().sentence() == (
        "sentinel shuffled labels: observed not evaluated: the sampler works on the real labels, and fails on shuffled "
        "ones: KeyError: 'positives of yesterday only', allowed a sampler that works whichever rows are positive"
    )


def test_a_sampler_that_fails_on_the_real_labels_teaches_nothing() -> None:
    def broken(name: str, table: Table) -> Fold:
        raise RuntimeError("out of luck")

    found = check_shuffled(card_table(), broken, seed=1)
    assert found.passed
    assert found.observed == (
        "nothing is learned: the sampler fails on the real labels, too: RuntimeError: out of luck"
    )


def test_chance_without_bounds_is_not_passed() -> None:
    train = card_table()
    few = train.rows(np.arange(90))
    found = check_shuffled(few, _honest("none"), seed=1)  # type: ignore[arg-type]
    assert not found.passed
    assert found.observed.startswith("not evaluated: with ")
    assert found.observed.endswith("positives among 31 rows that judge a fold, chance may give any ROC AUC")
    numbers = few.rows(np.arange(45)).replaced(kind="regression", target=np.linspace(1.0, 2.0, 45))
    found = check_shuffled(numbers, _honest("none"), seed=1)  # type: ignore[arg-type]
    assert not found.passed
    assert "rows that judge a fold, chance may give any correlation" in found.observed


def test_rows_that_nobody_counted_are_not_passed() -> None:
    _, test = _sides()
    found = check_counts(test, None)
    assert (found.passed, found.observed) == (
        False,
        "not evaluated: the stage that held rows out did not count them",
    )
    assert check_counts(test, {"rows": len(test.target)}).passed
    other = check_counts(test, {"rows": len(test.target) + 1})
    assert (other.passed, other.observed) == (False, "{'rows': 376}")


def _in_time() -> tuple[Table, Table]:
    """Forty days of a row each: ten to hold out after a gap of two, two folds forward in time, five customers."""
    train, test = _sides()
    day = 86_400.0
    rows = np.arange(28)
    fold = np.repeat([-1, 0, 1], [10, 9, 9])
    first = np.repeat([0, 1, 2], [8, 9, 11])
    learned = train.rows(rows).replaced(
        fold=fold, first=first, group=np.full(28, -1), time=rows * day, entity=np.array([f"c{n % 3}" for n in rows])
    )
    held = test.rows(np.arange(10)).replaced(
        time=np.arange(30, 40) * day, entity=np.array([f"h{n % 2}" for n in range(10)])
    )
    return learned, held


def test_looking_ahead_is_seen() -> None:
    train, test = _in_time()
    assert check_time(train, test, gap_days=2).passed
    late = check_time(train, test, gap_days=3)
    assert (late.passed, late.observed) == (False, "1 training rows nearer than 3 days to held-out ones, 2 in folds")
    assert train.time is not None
    planted = train.time.copy()
    planted[4] = test.time[3]  # type: ignore[index]
    found = check_time(train.replaced(time=planted), test, gap_days=2)
    assert (found.passed, found.observed) == (False, "1 training rows nearer than 2 days to held-out ones, 2 in folds")
    assert not check_time(train.replaced(time=None), test, gap_days=2).passed


def test_a_fold_that_learns_from_its_future_is_seen() -> None:
    train, test = _in_time()
    assert train.first is not None
    eager = train.first.copy()
    eager[-1] = 0
    found = check_time(train.replaced(first=eager), test, gap_days=2)
    assert (found.passed, found.observed) == (False, "0 training rows nearer than 2 days to held-out ones, 2 in folds")


def test_an_entity_on_both_sides_is_seen() -> None:
    train, test = _in_time()
    apart = train.replaced(group=np.array([int(name[1]) for name in train.entity]))  # type: ignore[union-attr]
    own = np.where(apart.group == apart.fold, apart.fold, -1)
    apart = apart.replaced(fold=own)
    assert check_entities(apart, test).passed
    found = check_entities(train, test)
    assert (found.passed, found.observed) == (False, "0 entities held out and trained on, 6 on both sides of a fold")
    names = test.entity.copy()  # type: ignore[union-attr]
    names[0] = "c1"
    found = check_entities(apart, test.replaced(entity=names))
    assert (found.passed, found.observed) == (False, "1 entities held out and trained on, 0 on both sides of a fold")
    assert not check_entities(apart.replaced(entity=None), test).passed
