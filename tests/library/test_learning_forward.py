"""Folds that go forward in time, through resampling, search and evaluation: nothing learns from its future."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.datasets import read_frame, write_frame
from stepzero.core.stages import StageResult
from stepzero.learning.evaluation import choose_threshold
from stepzero.learning.folds import make_fold
from stepzero.learning.table import Table, make_table
from stepzero.spec.training import Threshold
from support.cards import Bench, as_input, made_up_cards, prepared

DAY = 86_400.0
GAP = 0.1
FOLDS = 2


def forward(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows as the prepare stage leaves them with ``by: time``: three blocks, two folds, a gap before each."""
    both = pd.concat(prepared(frame)).drop(columns="_fold").sort_values("Time", kind="stable")
    both["_split_time"] = both["Time"]
    test = both[both["Time"] >= both["Time"].quantile(0.75)]
    train = both[both["Time"] < test["Time"].min() - GAP * DAY].copy()
    borders = [train["Time"].quantile(share) for share in (1 / 3, 2 / 3)]
    train["_fold"] = sum((train["Time"] >= border).astype(int) for border in borders) - 1
    train["_first_fold"] = sum((train["Time"] >= border - GAP * DAY).astype(int) for border in borders)
    train["_group_fold"] = -1
    return tuple(part.sort_values("_row_id").reset_index(drop=True) for part in (train, test))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    sections: dict[str, Any] = {
        "split": {"by": "time", "time": "Time", "gap_days": GAP, "stratified": False},
        "evaluate": {"bootstrap": 50, "explain": []},
    }
    made = Bench(tmp_path_factory.mktemp("forward"), **sections)
    frames = dict(zip(("train", "test"), forward(made_up_cards()), strict=True))
    outputs = {
        side: write_frame(made.store, f"forward/{side}", rows, producer="prepare") for side, rows in frames.items()
    }
    values = {"test": {str(label): int(rows) for label, rows in frames["test"]["Class"].value_counts().items()}}
    made.prepared = as_input("prepare", StageResult(outputs=outputs, values=values))
    return made


def table(bench: Bench, side: str = "train") -> Table:
    problem = bench.use_case.problem
    assert problem is not None
    return make_table(read_frame(bench.store, bench.prepared.output(side)), problem, bench.use_case.weight)


@pytest.mark.parametrize("sampler", ["none", "smote"])
def test_a_fold_learns_from_older_rows_only(bench: Bench, sampler: str) -> None:
    train = table(bench)
    assert train.folds == [0, 1]
    assert "_first_fold" not in train.features
    for number in train.folds:
        fold = make_fold(str(number), train, bench.use_case.pipeline, sampler, 7)
        source = fold.resampled.source
        validation = train.time[fold.validation(train)]  # type: ignore[index]
        assert train.time[source[source >= 0]].max() < validation.min() - GAP * DAY  # type: ignore[index]
        counts = fold.counts(train)
        assert counts["positive_before"] + counts["negative_before"] == len(train.training(number))
    assert train.training(0).size < train.training(1).size < len(train.target)


def test_from_resampling_to_a_verdict(bench: Bench) -> None:
    tuned = bench.tune("smote", "decision_tree")
    scored = read_frame(bench.store, tuned.outputs["out_of_fold"])
    train = table(bench)
    assert (scored["score"].notna() == train.judged).all()
    assert 0 < train.judged.sum() < len(train.target)
    result = bench.evaluate(tuned)
    found = {one["name"]: one for one in result.values["sentinels"]}
    assert [name for name, one in found.items() if not one["passed"]] == []
    assert "time" in found
    assert "prevalence" not in found, "which rows are the newest is no chance"
    assert 0 < result.values["winner"]["threshold"] < 1


def test_the_threshold_comes_from_judged_rows_alone(bench: Bench) -> None:
    train = table(bench)
    scored = pd.DataFrame({"score": np.where(train.judged, train.target * 0.6 + 0.2, 0.99)})
    assert 0.2 < choose_threshold(scored, train, Threshold()) <= 0.8
    unknown = scored.assign(score=np.where(train.judged, scored["score"], np.nan))
    assert choose_threshold(unknown, train, Threshold()) == choose_threshold(scored, train, Threshold())


def test_training_rows_of_the_future_are_an_alarm(bench: Bench, tmp_path: Path) -> None:
    frame = read_frame(bench.store, bench.prepared.output("train"))
    frame.loc[0, "_split_time"] = frame["_split_time"].max() + 30 * DAY
    honest = bench.prepared
    planted = write_frame(bench.store, "planted/train", frame, producer="prepare")
    outputs = {**honest.outputs, "train": planted}
    bench.prepared = as_input("prepare", StageResult(outputs=outputs, values=honest.values))
    try:
        result = bench.evaluate(bench.tune("none", "decision_tree"))
    finally:
        bench.prepared = honest
    assert result.verdict is not None
    assert "sentinel time" in {reason.rule for reason in result.verdict.reasons}
