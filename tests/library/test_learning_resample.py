"""Resampling happens inside training folds and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from imblearn.over_sampling import ADASYN, SMOTE, BorderlineSMOTE, RandomOverSampler
from imblearn.under_sampling import NearMiss, RandomUnderSampler

from stepzero.adapters.datasets import read_frame
from stepzero.core.errors import InputError, StageError
from stepzero.learning.folds import ALL, make_fold, read_fold, read_folds
from stepzero.learning.samplers import SAMPLERS, make_sampler, resample
from stepzero.learning.transform import Transformer
from stepzero.spec.data import Pipeline
from support.cards import FOLDS, Bench, card_table, made_up_cards, prepared
from support.theirs import Jitter, OneClass

PIPELINE = Pipeline(scale={"robust": ("Amount", "Time")})
THEIRS = {
    "random_under": RandomUnderSampler(random_state=7),
    "near_miss_1": NearMiss(version=1),
    "near_miss_2": NearMiss(version=2),
    "near_miss_3": NearMiss(version=3),
    "random_over": RandomOverSampler(random_state=7),
    "smote": SMOTE(random_state=7),
    "borderline_smote": BorderlineSMOTE(random_state=7),
    "adasyn": ADASYN(random_state=7),
}
MAKE_ROWS = {"smote", "borderline_smote", "adasyn"}


@pytest.mark.parametrize("sampler", list(THEIRS))
@pytest.mark.parametrize("name", ["1", ALL])
def test_a_fold_is_what_imbalanced_learn_makes_row_by_row(sampler: str, name: str) -> None:
    table = card_table()
    rows = np.arange(len(table.target)) if name == ALL else np.flatnonzero(table.fold != int(name))
    learned = Transformer.from_spec(PIPELINE).fit(table.features.iloc[rows])
    features, target = THEIRS[sampler].fit_resample(learned.transform(table.features.iloc[rows]), table.target[rows])
    made = make_fold(name, table, PIPELINE, sampler, 7).training_rows(table)
    assert made.features.tobytes() == np.ascontiguousarray(features).tobytes()
    assert (made.target == target).all()


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_rows_of_the_validation_fold_change_nothing_in_training(sampler: str) -> None:
    table = card_table()
    other = table.features.copy()
    other.loc[table.fold == 0] = other[table.fold == 0] * 7 - 3
    flipped = np.where(table.fold == 0, 1 - table.target, table.target)
    before = make_fold("0", table, PIPELINE, sampler, 7)
    after = make_fold("0", table.replaced(features=other, target=flipped), PIPELINE, sampler, 7)
    assert before.transformer.to_state() == after.transformer.to_state()
    assert (before.resampled.source == after.resampled.source).all()
    assert before.resampled.synthetic.tobytes() == after.resampled.synthetic.tobytes()


def test_every_sampler_keeps_its_promise_and_validation_rows_their_mixture() -> None:
    table = card_table()
    for sampler in SAMPLERS:
        fold = make_fold("2", table, PIPELINE, sampler, 7)
        counts = fold.counts(table)
        kept = fold.resampled.source[fold.resampled.source >= 0]
        assert not np.isin(kept, np.flatnonzero(table.fold == 2)).any()
        if sampler == "none":
            assert counts["positive_after"] == counts["positive_before"] < counts["negative_after"]
        elif sampler == "adasyn":  # it rounds how many rows each neighbourhood needs
            assert counts["positive_after"] == pytest.approx(counts["negative_after"], rel=0.02)
        else:
            assert counts["positive_after"] == counts["negative_after"]
        made = counts["positive_after"] - counts["positive_before"] if sampler in MAKE_ROWS else 0
        assert counts["synthetic"] == made
        assert (made > 0) == (sampler in MAKE_ROWS)
        share = table.target[fold.validation(table)].mean()
        assert share == pytest.approx(table.target.mean(), abs=0.002)


def test_a_sampler_without_indices_is_understood() -> None:
    generator = np.random.default_rng(0)
    features, target = generator.normal(size=(30, 2)), np.array([1] * 5 + [0] * 25)
    features[1] = features[0]  # a genuine duplicate is two rows
    expected = Jitter().fit_resample(features, target)
    done = resample(Jitter(), features, target)
    assert len(done.synthetic) == 5
    assert sorted(done.source[done.source >= 0]) == list(range(30))
    made = done.apply(features, target)
    assert made[0].tobytes() == np.ascontiguousarray(expected[0]).tobytes()
    assert (made[1] == expected[1]).all()


def test_synthetic_rows_weigh_what_their_class_does() -> None:
    table = card_table(weight={"base_rate": 0.01})
    rows = make_fold(ALL, table, PIPELINE, "smote", 7).training_rows(table)
    assert (rows.weight[rows.target == 1] == 1).all()
    assert set(rows.weight[rows.target == 0]) == set(table.weight[table.target == 0])


def test_outliers_go_from_training_rows_only() -> None:
    table = card_table()
    section = Pipeline(outliers={"iqr": ("V14", "V10")})
    fold = make_fold("0", table, section, "none", 7)
    positives = table.target[fold.resampled.source].sum()
    assert positives < table.target[table.fold != 0].sum()
    assert len(fold.validation(table)) == (table.fold == 0).sum()


def test_removed_outliers_are_told_of_each_fold_with_their_bounds(tmp_path: Path) -> None:
    rows = made_up_cards()[["Time", "V14", "V21", "Amount", "Class"]]
    bench = Bench(tmp_path, rows, pipeline={"outliers": {"iqr": ["V21"]}})
    train = read_frame(bench.store, bench.prepared.outputs["train"])
    done, looked = bench.resample("none"), bench.run("explore", {})
    told = done.values["outliers"]
    assert list(told) == [*(str(number) for number in range(FOLDS)), ALL]
    for name, one in told.items():
        positives = train.loc[(train["Class"] == 1) & (train["_fold"].astype(str) != name), "V21"]
        low, high = np.percentile(positives, [25, 75])
        reach = 1.5 * (high - low)
        gone = int(((positives < low - reach) | (positives > high + reach)).sum())
        assert one["rows"] == one["columns"]["V21"]["rows"] == gone, name
        assert (one["columns"]["V21"]["low"], one["columns"]["V21"]["high"]) == pytest.approx(
            (low - reach, high + reach)
        )
        counts = done.values["folds"][name]
        assert counts["positive_before"] - counts["positive_after"] == gone, "and so many rows are missing"
    rows = told[ALL]["rows"]
    assert rows > 0
    assert f"; {rows} of {told[ALL]['positives']} positive rows removed as outliers, " in done.summary
    (record,) = done.records
    assert record.metrics["resample.none.outliers.all"] == rows
    assert record.files == {"resample/none-outliers.json": "outliers.json"}
    assert looked.values["removed"] == told[ALL], "the exploration says what the last fit loses"
    (shown,) = looked.records
    assert shown.metrics["train.outliers_removed"] == rows
    folder = looked.outputs["figures"].uri.rpartition("/")[0]
    text = bench.store.read_text(f"{folder}/features.txt")
    assert f"{rows} of {told[ALL]['positives']} positive rows are removed before training" in text
    assert f"V21: {rows} outside of " in text


def test_stored_folds_come_back_the_same_and_twice_the_same(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first, second = bench.resample("smote"), bench.resample("smote")
    assert first.outputs["folds"].digest == second.outputs["folds"].digest
    assert first.values == second.values
    assert "outliers" not in first.values, "none are removed where none are declared"
    table = card_table()
    stored = {f.name: f for f in read_folds(bench.store, first.outputs["folds"], bench.prepared.outputs["train"])}
    assert list(stored) == [*(str(number) for number in range(FOLDS)), ALL]
    made = make_fold("1", table, bench.use_case.pipeline, "smote", bench.use_case.train.seed)
    assert stored["1"].training_rows(table).features.tobytes() == made.training_rows(table).features.tobytes()


def test_folds_of_other_rows_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    folds = bench.resample("none").outputs["folds"]
    with pytest.raises(StageError, match=r"got made from rows \w+\. Allowed: folds of the rows"):
        next(read_folds(bench.store, folds, bench.prepared.outputs["test"]))
    assert read_fold(bench.store, folds, "0").name == "0"


@pytest.mark.parametrize(
    ("sampler", "reason"),
    [
        ("support.theirs.BrokenSampler", "RuntimeError: out of luck"),
        ("support.theirs.OneClass", "StageError: rows after sampler OneClass"),
        ("support.theirs.Missing", "SpecError: sampler support.theirs.Missing"),
    ],
)
def test_a_sampler_that_fails_is_a_result_with_its_reason(tmp_path: Path, sampler: str, reason: str) -> None:
    done = Bench(tmp_path).resample(sampler)
    assert reason in done.values["failed"]
    assert done.outputs == {}
    assert done.summary.startswith(f"{sampler} failed: fold 0")


def test_a_sampler_of_somebody_else_gets_the_seed(tmp_path: Path) -> None:
    assert make_sampler("support.theirs.Repeat", 11).random_state == 11  # type: ignore[attr-defined]
    done = Bench(tmp_path).resample("support.theirs.Repeat")
    counts = done.values["folds"][ALL]
    assert counts["positive_after"] == counts["negative_after"]
    assert counts["synthetic"] == 0


def test_smote_without_enough_positives_fails_with_its_reason(tmp_path: Path) -> None:
    done = Bench(tmp_path, made_up_cards(rows=400, frauds=8)).resample("smote")
    assert "Expected n_neighbors <= n_samples_fit" in done.values["failed"]


def test_adasyn_where_no_neighbour_is_of_the_other_class_fails_alone(tmp_path: Path) -> None:
    frame = made_up_cards(rows=600, frauds=60)
    frame.loc[frame["Class"] == 1, "V1"] += 1e6
    bench = Bench(tmp_path, frame, pipeline={"scale": {}})
    done = bench.resample("adasyn")
    assert done.values["failed"].startswith("fold 0: ")
    assert "majority class" in done.values["failed"]
    assert "adasyn" in bench.tune("adasyn", "decision_tree", done).values["failed"]
    assert bench.resample("smote").values["failed"] is None


def test_what_a_sampler_warns_of_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="stepzero")
    generator = np.random.default_rng(0)
    features, target = generator.normal(size=(40, 2)), np.array([1] * 15 + [0] * 25)
    features[:15] = 0.0  # all frauds have the same few neighbours
    done = resample(make_sampler("near_miss_3", 7), features, target)
    assert (done.source >= 0).all()
    assert any(record.message.startswith("sampler NearMiss: The number of the samples") for record in caplog.records)


def test_one_class_only_is_told(tmp_path: Path) -> None:
    frame = made_up_cards(rows=400, frauds=8)
    bench = Bench(tmp_path, frame, problem={"kind": "classification", "target": "Class", "positive": 9})
    with pytest.raises(
        InputError, match=r"target Class: got \d+ rows with counts \{'0': \d+, '1': \d\}.*positive class 9"
    ):
        bench.resample("none")


def test_rows_without_folds_are_told() -> None:
    table = card_table()
    from stepzero.learning.folds import fold_names

    with pytest.raises(StageError, match=r"folds of the prepared training rows: got 0\. Allowed: at least 2"):
        fold_names(table.replaced(fold=None))
    assert prepared(made_up_cards(rows=300, frauds=30))[0]["_fold"].nunique() == FOLDS
    with pytest.raises(StageError, match="90 rows of 1 classes"):
        resample(OneClass(), np.zeros((100, 1)), np.array([1] * 90 + [0] * 10))
