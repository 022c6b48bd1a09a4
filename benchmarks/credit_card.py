"""The real card payments at their true base rate: what the engine's champion reaches, beside plain models.

    python benchmarks/credit_card.py [--data creditcard.csv.gz --provenance provenance.csv.gz] [--repeats 4]

Rows are the random sample of the whole range of time with all frauds (a file whose rows a provenance file marks),
normal rows weighted so that frauds have their share of 0.1727 %; duplicates are dropped. Outer: 5 stratified
folds, repeated. Inside each outer training part the engine does what a run does: resample and tune every cell on
3 inner folds, choose the winner and its threshold by out-of-fold scores. Outer folds are pooled: each repeat
scores every row once by a model that never saw it. Intervals: 95 %, from drawing rows (the same in all repeats).
Beside it: XGBoost and random forest as they come, threshold 0.5. The cells are fewer than a run's, for time.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from _cards import DATA, Stages, prepare_rows
from _fit_generator import fair_rows
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import RepeatedStratifiedKFold
from threadpoolctl import threadpool_limits
from xgboost import XGBClassifier

from stepzero.adapters.datasets import read_frame
from stepzero.learning.evaluation import choose_threshold
from stepzero.learning.model import load_model
from stepzero.learning.table import make_table
from stepzero.learning.transform import feature_columns
from stepzero.measures.decisions import f1
from stepzero.measures.ranking import average_precision, roc_auc
from stepzero.measures.uncertainty import intervals
from stepzero.spec.data import Weight

NORMAL_WEIGHT = 18.81
OUTER, INNER = 5, 3
MODELS = {
    "xgboost": {"n_estimators": [100, 200, 300], "max_depth": [3, 5], "learning_rate": [0.1]},
    "random_forest": {"n_estimators": [50, 100], "max_depth": [12]},
    "logistic_regression": {"C": [0.01, 1.0]},
}
CELLS = [("none", "xgboost"), ("smote", "xgboost"), ("none", "random_forest"), ("none", "logistic_regression")]
Floats = npt.NDArray[np.float64]
Scored = tuple[Floats, Floats]
"""Scores and decisions of some rows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / "creditcard_28k.csv.gz")
    parser.add_argument("--provenance", type=Path, default=DATA / "creditcard_28k_provenance.csv.gz")
    parser.add_argument("--repeats", type=int, default=4)
    given = parser.parse_args()
    rows = weighted_rows(given.data, given.provenance)
    splits = RepeatedStratifiedKFold(n_splits=OUTER, n_repeats=given.repeats, random_state=7)
    found = {name: np.zeros((2, given.repeats, len(rows))) for name in ("champion", "plain xgboost", "plain forest")}
    singles: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    winners: Counter[str] = Counter()
    with threadpool_limits(limits=1):
        for number, (train, test) in enumerate(splits.split(rows, rows["Class"])):
            for name, winner, scored in contestants(rows.iloc[train], rows.iloc[test]):
                found[name][:, number // OUTER, test] = scored
                singles[name].append(single(rows.iloc[test], scored))
                winners.update([winner] if winner else [])
            last = {name: round(values[-1]["f1"], 3) for name, values in singles.items()}
            print(f"outer fold {number + 1} of {OUTER * given.repeats}: F1 {last}", flush=True)
    lines = {name: pooled(rows, both) | spread(singles[name]) for name, both in found.items()}
    print(table(lines).to_string())
    print(f"winners of the inner selection: {dict(winners.most_common())}")
    print(
        json.dumps(
            {
                "benchmark": "credit_card",
                "rows": len(rows),
                "frauds": int(rows["Class"].sum()),
                "outer": f"{OUTER} x {given.repeats}",
                "winners": dict(winners),
                **lines,
            }
        )
    )


def weighted_rows(data: Path, provenance: Path) -> pd.DataFrame:
    """Return the fair sample without duplicates, with each row's weight."""
    rows = fair_rows(data, provenance)
    rows = rows[[*(f"V{i}" for i in range(1, 29)), "Time", "Amount", "Class"]].drop_duplicates().reset_index(drop=True)
    return rows.assign(weight=np.where(rows["Class"] == 1, 1.0, NORMAL_WEIGHT))


def contestants(train: pd.DataFrame, test: pd.DataFrame) -> Iterator[tuple[str, str, Scored]]:
    """Yield each contestant's name, what it chose, and its scores and decisions on the test part."""
    yield ("champion", *champion(train, test))
    features = feature_columns([str(name) for name in train.columns], "Class", "weight")
    plain = {
        "plain xgboost": XGBClassifier(random_state=7, n_jobs=1),
        "plain forest": RandomForestClassifier(random_state=7),
    }
    for name, model in plain.items():
        score = model.fit(train[features], train["Class"]).predict_proba(test[features])[:, 1].astype(np.float64)
        yield name, "", (score, (score >= 0.5).astype(np.float64))


def champion(train: pd.DataFrame, test: pd.DataFrame) -> tuple[str, Scored]:
    """Return what the engine chooses within the training part, and how it scores the test part."""
    inner, _ = prepare_rows(train, test=0, folds=INNER)
    with tempfile.TemporaryDirectory() as folder:
        stages = Stages(Path(folder), inner, inner[:0], models=MODELS, weight={"column": "weight"})
        folds = {sampler: stages.resample(sampler) for sampler in dict.fromkeys(sampler for sampler, _ in CELLS)}
        tuned = [stages.tune(sampler, model, folds[sampler]) for sampler, model in CELLS]
        best = max(tuned, key=lambda one: one.values["score"])
        out_of_fold = read_frame(stages.store, best.outputs["out_of_fold"])
        assert stages.use_case.problem is not None
        rows = make_table(inner, stages.use_case.problem, Weight(column="weight"))
        threshold = choose_threshold(out_of_fold, rows, stages.use_case.evaluate.threshold)
        score = load_model(stages.store, best.outputs["model"]).score(test)
    return f"{best.values['sampler']} x {best.values['model']}", (score, (score >= threshold).astype(np.float64))


def single(test: pd.DataFrame, scored: Scored) -> dict[str, float]:
    """Return the metrics of one 20 % split."""
    target, weight, (score, decision) = test["Class"], test["weight"], scored
    return {
        "f1": f1(target, decision, weight),
        "average_precision": average_precision(target, score, weight),
        "roc_auc": roc_auc(target, score, weight),
    }


def pooled(rows: pd.DataFrame, both: Floats) -> dict[str, Any]:
    """Return the metrics of pooled outer folds, the mean over repeats, with intervals."""
    target, (scores, decisions) = rows["Class"].to_numpy(), both

    def mean(measure: Any, values: Floats) -> Any:
        return lambda weight: np.mean([measure(target, one, weight) for one in values], axis=0)

    statistics = {
        "f1": mean(f1, decisions),
        "average_precision": mean(average_precision, scores),
        "roc_auc": mean(roc_auc, scores),
    }
    found = intervals(statistics, target, rows["weight"], draws=500, seed=7)
    return {name: {key: round(value, 4) for key, value in one.to_json().items()} for name, one in found.items()}


def spread(singles: list[dict[str, float]]) -> dict[str, Any]:
    """Return mean and standard deviation over single splits."""
    frame = pd.DataFrame(singles)
    return {f"{name}_single": [round(frame[name].mean(), 4), round(frame[name].std(), 4)] for name in frame}


def table(lines: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return the figures as a table for a reader."""
    shown: dict[str, dict[str, str]] = {}
    for name, line in lines.items():
        shown[name] = {}
        for metric in ("f1", "average_precision", "roc_auc"):
            one, (middle, width) = line[metric], line[f"{metric}_single"]
            shown[name][metric] = f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
            shown[name][f"{metric}, single splits"] = f"{middle:.3f} ± {width:.3f}"
    return pd.DataFrame(shown).T


if __name__ == "__main__":
    main()
