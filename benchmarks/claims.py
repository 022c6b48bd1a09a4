"""The champion's recipe against the reference example's, on the same policies: `bin/stepzero bench claims`.

The raw claims and customers (see `--data`; generated ones elsewhere) are prepared by the use case's transforms, joined
to one row a policy, and split by policy ten times over. On each split both recipes learn from the same rows:

* **ours**: the use case's models and grids, cross-validated by average precision, without gender, on rows mitigated as
  the use case says; threshold by cost.
* **the reference's**: XGBoost, depth 3, eta 0.2, as many of 100 rounds as five-fold cross-validated AUC asks for,
  seed 0, all columns, gender among them; threshold 0.5. The same without gender is told, too.

Told are both recipes' figures on held-out policies and the paired gain with a 95 % interval over the splits. Splits
share training rows, so the variance is corrected for that (Nadeau and Bengio, Machine Learning 52, 2003). Splits that
are done are kept: ended in the middle, it goes on there. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from _kept import Kept

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.spark import start_session
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageInput, StageResult, find_stage, load_stage
from stepzero.generators import tables_of, write_csv
from stepzero.learning.model import load_model
from stepzero.measures.decisions import f1
from stepzero.measures.ranking import average_precision, roc_auc
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_environment, load_use_case
from stepzero.spec.use_case import UseCase
from stepzero.spec.view import View
from stepzero.stages.prepare_split import split_rows
from stepzero.stages.prepare_transforms import transform

NAME = "auto_claims_fraud"
DATA = Path(__file__).parents[2] / "shared" / "data" / "auto_claims"
PARAMETERS = {"max_depth": 3, "eta": 0.2, "objective": "binary:logistic", "eval_metric": "auc", "seed": 0, "nthread": 1}
ROUNDS, FOLDS, PATIENCE = 100, 5, 10
MODULES = ("stepzero.stages.tune", "stepzero.stages.evaluate", "stepzero.stages.mitigate", "stepzero.stages.resample")
METRICS = ("average_precision", "roc_auc", "f1", "cost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with claims.csv and customers.csv")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--anew", action="store_true", help="measure again what was measured before")
    asked = parser.parse_args()
    logging.getLogger("stepzero").setLevel(logging.WARNING)
    use_case = load_use_case(NAME)
    with tempfile.TemporaryDirectory(prefix="stepzero-") as folder:
        source, data = _tables(asked.data, Path(folder))
        files = [data / "claims.csv", data / "customers.csv"]
        settings = {"use_case": use_case.model_dump(mode="json", by_alias=True), "splits": asked.splits}
        kept = Kept(Path(__file__), settings, files=files, modules=MODULES, anew=asked.anew)
        parts = [f"split {number}" for number in range(asked.splits)]
        missing = [part for part in parts if not kept.has(part)]
        frames = _splits(use_case, data, asked.splits) if missing else []

        def compared(number: int) -> dict[str, Any]:
            return _compare(use_case, frames[number], Path(folder) / str(number))

        found = [kept.get(part, partial(compared, number)) for number, part in enumerate(parts)]
    gains = {metric: _gain(found, metric) for metric in METRICS}
    print(f"{source}, {len(found)} splits by policy")
    for metric, gain in gains.items():
        print(
            f"{metric:<18} ours {gain['ours']:.3f}, reference {gain['reference']:.3f}, "
            f"gain {gain['gain']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
        )
    blind = {metric: float(np.mean([one["blind"][metric] for one in found])) for metric in METRICS}
    print("the reference's recipe without gender: " + ", ".join(f"{name} {value:.3f}" for name, value in blind.items()))
    none = sum(one["reference"]["alarms"] == 0 for one in found)
    winners = [one["ours"]["model"] for one in found]
    print(f"the reference's model flagged nobody in {none} of {len(found)} splits; ours were {', '.join(winners)}")
    told = {
        "source": source,
        "splits": len(found),
        "gains": gains,
        "blind": blind,
        "reference_flags_nobody": none,
        "winners": winners,
    }
    print(json.dumps(told))


def reference_recipe(features: pd.DataFrame, target: pd.Series[Any]) -> tuple[Any, float]:
    """Return the reference's booster, and its cross-validated AUC."""
    import xgboost

    matrix = xgboost.DMatrix(features.astype(float), label=target)
    history = xgboost.cv(
        PARAMETERS, matrix, num_boost_round=ROUNDS, nfold=FOLDS, early_stopping_rounds=PATIENCE, metrics="auc", seed=0
    )
    return xgboost.train(PARAMETERS, matrix, num_boost_round=len(history)), float(history["test-auc-mean"].iloc[-1])


def reference_score(booster: Any, features: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the probabilities of fraud."""
    import xgboost

    return np.asarray(booster.predict(xgboost.DMatrix(features.astype(float))))


def _tables(data: Path, folder: Path) -> tuple[str, Path]:
    """Return where the rows come from, and the folder of the tables."""
    if (data / "claims.csv").is_file():
        return "the reference's raw tables", data
    for name, frame in tables_of(NAME).items():
        write_csv(folder / f"{name}.csv", frame)
    return "generated tables", folder


def _splits(use_case: UseCase, data: Path, count: int) -> list[pd.DataFrame]:
    """Return the rows with side and folds, once for each salt of the split."""
    session = start_session(load_environment(), "claims")
    session.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")
    joined = _joined(session, use_case, data).cache()
    salted = [use_case.split.model_copy(update={"salt": f"s{number}"}) for number in range(count)]
    sides = [split_rows(joined, use_case.model_copy(update={"split": split})).toPandas() for split in salted]
    frames = [frame.sort_values("_row_id").reset_index(drop=True) for frame in sides]
    session.stop()
    return frames


def _joined(session: Any, use_case: UseCase, data: Path) -> Any:
    from pyspark.sql import functions

    frames = []
    for name, table in use_case.tables.items():
        columns = ", ".join(f"`{column}` {kind}" for column, kind in table.source.columns.items())
        raw = session.read.csv(str(data / f"{name}.csv"), header=True, schema=columns, nullValue="")
        frames.append(transform(raw, table.transforms, name)[0])
    joined = frames[0].join(frames[1], "policy_id")
    return joined.withColumn("_row_id", functions.sha2(functions.col("policy_id").cast("string"), 256))


def _compare(use_case: UseCase, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
    parts = frame.drop(columns="_side").groupby(frame["_side"])
    sides = {str(side): part.reset_index(drop=True) for side, part in parts}
    ours = _ours(use_case, sides, folder)
    features = [name for name in frame.columns if not name.startswith("_") and name not in {"fraud", "policy_id"}]
    booster, _ = reference_recipe(sides["train"][features], sides["train"]["fraud"])
    reference = _measured(sides["test"], reference_score(booster, sides["test"][features]), 0.5)
    shown = [name for name in features if name not in use_case.prepare.set_aside]
    blind = reference_score(reference_recipe(sides["train"][shown], sides["train"]["fraud"])[0], sides["test"][shown])
    share = len(sides["test"]) / len(sides["train"])
    told = f"ours {ours['model']} {ours['average_precision']:.3f}, reference {reference['average_precision']:.3f}"
    print(told, flush=True)
    return {"ours": ours, "reference": reference, "blind": _measured(sides["test"], blind, 0.5), "share": share}


def _ours(use_case: UseCase, sides: dict[str, pd.DataFrame], folder: Path) -> dict[str, Any]:
    """Return what the stages of the use case make of the same rows."""
    aside = {name: f"_{name}" for name in use_case.prepare.set_aside}
    hidden = {side: frame.rename(columns=aside) for side, frame in sides.items()}
    stages = _Stages(use_case, folder, hidden)
    if use_case.bias and use_case.bias.mitigate and use_case.bias.mitigate.method != "thresholds":
        stages.prepared = stages.run("mitigate", {})
    resampled = stages.run("resample", {}, sampler="none")
    models = list(use_case.train.models) if use_case.train else []
    tuned = [stages.run("tune", {"resampled": resampled}, sampler="none", model=model) for model in models]
    judged = stages.run("evaluate", {"tuned": tuned})
    winner, model = judged.values["winner"], load_model(stages.store, judged.output("model"))
    measured = _measured(hidden["test"], model.score(hidden["test"]), float(winner["threshold"]))
    return measured | {"model": winner["model"]}


class _Stages:
    """Runs learning stages one after the other in a store of its own."""

    def __init__(self, use_case: UseCase, folder: Path, sides: dict[str, pd.DataFrame]) -> None:
        data = use_case.model_dump(mode="json", by_alias=True)
        data["evaluate"] |= {"explain": [], "bootstrap": 50}
        self.use_case, self.store, self.runs = UseCase.model_validate(data), Store(f"file://{folder}"), 0
        outputs = {
            side: write_frame(self.store, f"prepared/{side}", rows, producer="prepare") for side, rows in sides.items()
        }
        counts = {str(value): int(count) for value, count in sides["test"]["fraud"].value_counts().items()}
        self.prepared = _as_input("prepare", StageResult(outputs=outputs, values={"test": counts}))

    def run(self, stage: str, inputs: dict[str, Any], **parameters: str) -> StageInput:
        self.runs += 1
        info = find_stage(stage)
        workspace = Workspace(
            store=self.store,
            environment=Environment(name="bench", store="memory://bench"),
            plan=cast("Any", None),
            folder=f"results/{self.runs}",
            stage=stage,
            parameters=parameters,
        )
        view = View(self.use_case, info.sections, always=("name",), parameters=parameters)
        return _as_input(stage, load_stage(info)(view, {"prepared": self.prepared, **inputs}, workspace))


def _as_input(stage: str, result: StageResult) -> StageInput:
    reference = ResultReference(stage=stage, uri="", digest="")
    return StageInput(reference=reference, outputs=result.outputs, values=result.values, verdict=result.verdict)


def _measured(test: pd.DataFrame, score: np.ndarray[Any, Any], threshold: float) -> dict[str, Any]:
    """Return figures on held-out policies; cost is in dollars a claim, at the prices of the use case."""
    target, alarm = test["fraud"].to_numpy(), score >= threshold
    declared = load_use_case(NAME).evaluate.threshold
    missed = test[str(declared.false_negative)].to_numpy() * ((target == 1) & ~alarm)
    needless = float(declared.false_positive or 0) * ((target == 0) & alarm)
    return {
        "average_precision": float(average_precision(target, score)),
        "roc_auc": float(roc_auc(target, score)),
        "f1": float(f1(target, alarm)),
        "cost": float((missed + needless).mean()),
        "alarms": int(alarm.sum()),
    }


def _gain(found: list[dict[str, Any]], metric: str) -> dict[str, float]:
    """Return both means and the paired gain; a gain in cost is money saved."""
    from scipy.stats import t

    ours, reference = (np.array([one[who][metric] for one in found]) for who in ("ours", "reference"))
    gain = reference - ours if metric == "cost" else ours - reference
    share = float(np.mean([one["share"] for one in found]))
    error = float(np.sqrt((1 / len(gain) + share) * gain.var(ddof=1)))
    reach = float(t.ppf(0.975, len(gain) - 1)) * error
    mean = float(gain.mean())
    told = {"ours": float(ours.mean()), "reference": float(reference.mean()), "gain": mean}
    return told | {"low": mean - reach, "high": mean + reach}


if __name__ == "__main__":
    main()
