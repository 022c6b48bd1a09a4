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

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _claims import Learned, Stages, compared_splits, measured, paired_interval

from stepzero.spec.use_case import UseCase

PARAMETERS = {"max_depth": 3, "eta": 0.2, "objective": "binary:logistic", "eval_metric": "auc", "seed": 0, "nthread": 1}
ROUNDS, FOLDS, PATIENCE = 100, 5, 10
METRICS = ("average_precision", "roc_auc", "f1", "cost")


def main() -> None:
    source, found = compared_splits(__doc__, Path(__file__), _settings, _compare)
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


def _settings(use_case: UseCase, splits: int) -> dict[str, Any]:
    return {"use_case": use_case.model_dump(mode="json", by_alias=True), "splits": splits}


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


def _compare(use_case: UseCase, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
    parts = frame.drop(columns="_side").groupby(frame["_side"])
    sides = {str(side): part.reset_index(drop=True) for side, part in parts}
    ours = _ours(use_case, sides, folder)
    features = [name for name in frame.columns if not name.startswith("_") and name not in {"fraud", "policy_id"}]
    booster, _ = reference_recipe(sides["train"][features], sides["train"]["fraud"])
    reference = measured(sides["test"], reference_score(booster, sides["test"][features]), 0.5)
    shown = [name for name in features if name not in use_case.prepare.set_aside]
    blind = reference_score(reference_recipe(sides["train"][shown], sides["train"]["fraud"])[0], sides["test"][shown])
    share = len(sides["test"]) / len(sides["train"])
    told = f"ours {ours['model']} {ours['average_precision']:.3f}, reference {reference['average_precision']:.3f}"
    print(told, flush=True)
    return {"ours": ours, "reference": reference, "blind": measured(sides["test"], blind, 0.5), "share": share}


def _ours(use_case: UseCase, sides: dict[str, pd.DataFrame], folder: Path) -> dict[str, Any]:
    """Return what the stages of the use case make of the same rows."""
    learned = Learned(Stages(use_case, folder, sides))
    return measured(learned.test, learned.score, learned.lines) | {"model": learned.model}


def _gain(found: list[dict[str, Any]], metric: str) -> dict[str, float]:
    """Return both means and the paired gain; a gain in cost is money saved."""
    ours, reference = (np.array([one[who][metric] for one in found]) for who in ("ours", "reference"))
    gain = reference - ours if metric == "cost" else ours - reference
    share = float(np.mean([one["share"] for one in found]))
    told = paired_interval(gain, share)
    means = {"ours": float(ours.mean()), "reference": float(reference.mean()), "gain": told["mean"]}
    return means | {end: told[end] for end in ("low", "high")}


if __name__ == "__main__":
    main()
