"""Abalones: the reference example's coin toss beside our verdict, and later arrivals by refit and by learning on.

    bin/stepzero bench abalone [--data abalone_libsvm.csv] [--chart coin_toss.png]

Fits the declared models on the training part of a 70/15/15 split by a stable hash and judges them on all test rows.
The coin toss is the reference example's way to choose: three random rows for each model, the higher mean accuracy wins.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stepzero.generators.abalone import COLUMNS, generate
from stepzero.learning.increments import go_on
from stepzero.learning.model import ScoringModel
from stepzero.learning.models import make_algorithm
from stepzero.learning.regression_pictures import toss_picture
from stepzero.learning.rivals import TRIALS, coin_toss, judge, tosses_of_more_rows
from stepzero.learning.table import Table, make_table
from stepzero.learning.transform import Transformer
from stepzero.measures.regression import row_accuracy
from stepzero.spec.load import load_use_case
from stepzero.spec.training import Model

DATA = Path(__file__).parents[2] / "shared" / "data" / "abalone" / "abalone_libsvm.csv"
USE_CASE = load_use_case("abalone_age")
SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--chart", type=Path, help="draw the toss beside the verdict")
    asked = parser.parse_args()
    path = asked.data
    frame = read(path) if path.is_file() else generate()
    parts = split(frame)
    test = table(parts["test"])
    models = dict(USE_CASE.train.models) if USE_CASE.train else {}
    predicted = {name: fit(name, model, table(parts["train"])).score(test.features) for name, model in models.items()}
    contest = judge(predicted, test.target, metric="rmse", tie=USE_CASE.compare.tie, seed=SEED)
    pair = ("xgboost", "least_absolute_deviations")
    chance = coin_toss(predicted[pair[0]], predicted[pair[1]], test.target, seed=SEED)
    by_rows = tosses_of_more_rows(predicted[pair[0]], predicted[pair[1]], test.target, seed=SEED) | {TRIALS: chance}
    if asked.chart:
        asked.chart.write_bytes(toss_picture(contest, pair, by_rows))
    accuracy = {name: row_accuracy(test.target, guess) for name, guess in predicted.items()}
    print(f"{len(frame)} rows ({path.name if path.is_file() else 'generated'}), {len(test.target)} of them test")
    shown = {name: {m: round(i.value, 3) for m, i in found.items()} for name, found in contest.figures.items()}
    print(pd.DataFrame(shown).T.to_string())
    print(contest.sentence())
    print(f"three random rows each: {pair[0]} wins over {pair[1]} with probability {chance:.3f}")
    print("more rows: " + ", ".join(f"{rows} {found:.3f}" for rows, found in by_rows.items()))
    spread = accuracy["xgboost"]
    print(f"accuracy of one row: standard deviation {spread.std():.1f}, least {spread.min():.1f}")
    arrivals = later(frame, test)
    print(pd.DataFrame(arrivals, index=["rmse"]).T.round(3).to_string())
    told = {"rows": len(frame), "figures": shown, "winner": contest.winner, "by_rule": contest.by_rule}
    print(json.dumps({**told, "three_rows_agree": round(chance, 3), "more_rows": by_rows, "later_arrivals": arrivals}))


def read(path: Path) -> pd.DataFrame:
    rows = [
        [pair.rpartition(":")[2] for pair in line.split()] for line in path.read_text().splitlines() if line.strip()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=float).astype({"Rings": int, "Sex": int})


def split(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Cut rows by a hash of their content; a row keeps its part as others arrive."""
    digests = [hashlib.sha256(repr(row).encode()).hexdigest() for row in frame.itertuples(index=False)]
    unit = np.array([int(digest[:13], 16) / 16**13 for digest in digests])
    side = np.where(unit < 0.15, "test", np.where(unit < 0.3, "validation", "train"))
    rows = frame.assign(Sex=frame["Sex"].map({1: "M", 2: "F", 3: "I"}), _row_id=digests)
    return {name: rows[side == name].reset_index(drop=True) for name in ("train", "validation", "test")}


def table(rows: pd.DataFrame) -> Table:
    assert USE_CASE.problem is not None
    return make_table(rows, USE_CASE.problem, None)


def fit(name: str, model: Model, rows: Table) -> ScoringModel:
    """Fit a model with its fixed parameters and the last of each list."""
    from stepzero.learning.models import TrainingRows

    transformer = Transformer.from_spec(USE_CASE.pipeline).fit(rows.features)
    chosen = {key: values[-1] for key, values in model.grid.items()}
    algorithm = make_algorithm(name, model, "regression")
    estimator = algorithm.fit(
        chosen, TrainingRows(transformer.transform(rows.features), rows.target, rows.weight), SEED
    )
    return ScoringModel(features=rows.feature_types(), transformer=transformer, estimator=estimator)


def later(frame: pd.DataFrame, test: Table) -> dict[str, float]:
    """Return RMSE on the same test rows: of the first half alone, of learning on, of a refit on both."""
    halves = [split(frame.iloc[: len(frame) // 2])["train"], split(frame.iloc[len(frame) // 2 :])["train"]]
    name, model = "stochastic_gradient_descent", Model()
    first = fit(name, model, table(halves[0]))
    both = fit(name, model, table(pd.concat(halves, ignore_index=True)))
    found: dict[str, Any] = {"first half": first, "learned on": go_on(first, table(halves[1])), "refit on both": both}
    errors = {key: one.score(test.features) - test.target for key, one in found.items()}
    return {key: round(float(np.sqrt(np.mean(error**2))), 4) for key, error in errors.items()}


if __name__ == "__main__":
    main()
