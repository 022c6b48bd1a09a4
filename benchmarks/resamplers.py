"""Every sampler with every model: what `resample`, `tune` and `evaluate` make of the real card payments.

    python benchmarks/resamplers.py [--data creditcard.csv.gz] [--samplers A,B] [--models A,B] [--rows N] [--reports F]
                                    [--anew]

The stages are those of a run, on duplicates dropped and a stable fifth held out; metrics are at the use case's base
rate, with intervals. What a sampler does inside its training folds is told too: a sampler that cannot work on a fold is
a line with its reason. What is done is kept: the same command goes on where it was ended. The last line is JSON: the
table, and whether SMOTE with a forest is above SMOTE with a tree, as in the public example that this table extends.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from _cards import DATA, WHY, Stages, prepare_rows
from _kept import Kept
from threadpoolctl import threadpool_limits

from stepzero.core.stages import StageResult
from stepzero.learning.samplers import SAMPLERS

MODELS: dict[str, dict[str, Any]] = {
    "decision_tree": {"max_depth": [4, 8], "min_samples_leaf": [5, 20]},
    "random_forest": {"n_estimators": [50, 100], "max_depth": [12]},
    "logistic_regression": {"C": [0.01, 1.0]},
    "nearest_neighbours": {"n_neighbors": [3, 5, 11]},
    "xgboost": {"n_estimators": [100, 200], "max_depth": [3, 5], "learning_rate": [0.1]},
}
SHOWN = ("f1", "precision", "recall", "roc_auc", "average_precision")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / "creditcard_28k.csv.gz")
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rows", type=int, default=0, help="so many rows only, every fraud among them")
    parser.add_argument("--anew", action="store_true", help="begin again")
    parser.add_argument("--reports", type=Path, help="copy what the evaluate stage wrote to this folder")
    given = parser.parse_args()
    models = {name: MODELS[name] for name in given.models.split(",")}
    train, test = prepare_rows(some(pd.read_csv(given.data).drop_duplicates(), given.rows))
    modules = ["stepzero.stages.resample", "stepzero.stages.tune", "stepzero.stages.evaluate"]
    settings = [given.samplers, given.models, given.rows]
    kept = Kept(Path(__file__), settings, files=[given.data], modules=modules, anew=given.anew)
    with threadpool_limits(limits=1):
        stages = Stages(kept.folder / "store", train, test, models=models, kept=kept)
        stages.count(test)
        tuned = tune_all(stages, given.samplers.split(","), list(models))
        evaluated = stages.evaluate(tuned)
        if given.reports:
            written = Path(stages.store.path(evaluated.outputs["table"].uri)).parent
            shutil.copytree(written, given.reports, dirs_exist_ok=True)
    table = evaluated.values["table"]
    print(pd.DataFrame([shown(row) for row in table]).to_string(index=False))
    for sampler, told in WHY.items():
        rows = [row for row in table if row["sampler"].startswith(sampler) and not row["failed"]]
        if rows:
            span = " to ".join(f"{one(row['f1']['value'] for row in rows):.2f}" for one in (min, max))
            print(f"{sampler}: F1 {span}. {told}")
    print(json.dumps(figures(table, evaluated)))


def some(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Return all frauds and as many ordinary payments as make up the number; 0 is all."""
    if not rows:
        return frame
    frauds, ordinary = frame[frame["Class"] == 1], frame[frame["Class"] == 0]
    return pd.concat([ordinary.sample(max(rows - len(frauds), 1), random_state=0), frauds])


def tune_all(stages: Stages, samplers: list[str], models: list[str]) -> list[StageResult]:
    """Return all cells."""
    tuned = []
    for sampler in samplers:
        folds = stages.resample(sampler)
        print(folds.summary, flush=True)
        for model in models:
            tuned.append(stages.tune(sampler, model, folds))
            print(f"  {len(tuned)} of {len(samplers) * len(models)}: {tuned[-1].summary}", flush=True)
    return tuned


def shown(row: dict[str, Any]) -> dict[str, str]:
    """Return a row of the table for a reader."""
    told = {"sampler": row["sampler"], "model": row["model"]}
    if row["failed"]:
        return {**told, "f1": row["failed"]}
    values = {name: row[name] for name in SHOWN}
    return told | {name: f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for name, one in values.items()}


def figures(table: list[dict[str, Any]], evaluated: StageResult) -> dict[str, Any]:
    """Return what the last line says."""
    values = {
        f"{row['sampler']} {row['model']}": {name: round(row[name]["value"], 4) for name in SHOWN}
        for row in table
        if not row["failed"]
    }
    forest, tree = values.get("smote random_forest"), values.get("smote decision_tree")
    return {
        "benchmark": "resamplers",
        "table": values,
        "failed": {f"{row['sampler']} {row['model']}": row["failed"] for row in table if row["failed"]},
        "winner": {name: evaluated.values["winner"][name] for name in ("sampler", "model")},
        "smote_forest_above_smote_tree": forest["f1"] > tree["f1"] if forest and tree else None,
        "sentinels_passed": all(one["passed"] for one in evaluated.values["sentinels"]),
    }


if __name__ == "__main__":
    main()
