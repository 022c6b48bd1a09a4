"""Compare the generated claims and customers with the reference example's: `bin/stepzero bench generator_claims`.

Prints, side by side, the mean and spread of every number, the share and the fraud rate of every word, and how well
three models tell fraud (five-fold cross-validation). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from stepzero.core.errors import InputError, bare
from stepzero.generators.auto_claims import generate_tables

DATA = Path(__file__).parents[2] / "shared" / "data" / "auto_claims"
HIDDEN = ["policy_id", "fraud", "customer_zip"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the reference's claims.csv, customers.csv")
    given = parser.parse_args()
    if not (given.data / "claims.csv").is_file():
        raise InputError(
            f"data folder {given.data}",
            value=bare("no claims.csv"),
            allowed="the reference example's raw tables",
            action="give --data",
        )
    real = _joined(
        *(pd.read_csv(given.data / f"{name}.csv", keep_default_na=False) for name in ("claims", "customers"))
    )
    made = _joined(*generate_tables(rows=len(real)).values())
    numbers, words, scores = compare_numbers(real, made), compare_words(real, made), compare_scores(real, made)
    for table in (numbers, words, scores):
        print(table.round(3).to_string(), end="\n\n")
    away = (numbers["mean made"] - numbers["mean real"]).abs() / numbers["spread real"]
    shares = (words["share made"] - words["share real"]).abs()
    told = {
        "rows": len(real),
        "frauds": {"real": int(real["fraud"].sum()), "made": int(made["fraud"].sum())},
        "largest_distance_of_means": float(away.max()),
        "largest_difference_of_shares": float(shares.max()),
        "scores": scores.to_dict(orient="index"),
    }
    print(json.dumps(told))


def compare_numbers(real: pd.DataFrame, made: pd.DataFrame) -> pd.DataFrame:
    """Return one line per column of numbers."""
    columns = real.drop(columns=HIDDEN).select_dtypes("number").columns
    told = {
        f"{statistic} {name}": getattr(frame[columns], method)()
        for statistic, method in (("mean", "mean"), ("spread", "std"))
        for name, frame in (("real", real), ("made", made))
    }
    return pd.DataFrame(told)


def compare_words(real: pd.DataFrame, made: pd.DataFrame) -> pd.DataFrame:
    """Return one line per word of every column of words; what only one of both has counts nothing in the other."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, frame in (("real", real), ("made", made)):
        for column in frame.select_dtypes("object").columns.drop("customer_zip", errors="ignore"):
            # The reference misspells one word.
            for word, rows in frame.groupby(frame[column].replace("Unkown", "Unknown")):
                line = found.setdefault((str(column), str(word)), {})
                line |= {f"share {name}": len(rows) / len(frame), f"fraud {name}": float(rows["fraud"].mean())}
    return pd.DataFrame.from_dict(found, orient="index").fillna(0.0)


def compare_scores(real: pd.DataFrame, made: pd.DataFrame) -> pd.DataFrame:
    """Return how well each model tells fraud from the rest."""
    found: dict[str, dict[str, float]] = {}
    for model, estimator in _models().items():
        for name, frame in (("real", real), ("made", made)):
            features = pd.get_dummies(frame.drop(columns=HIDDEN)).astype(float)
            folds = StratifiedKFold(5, shuffle=True, random_state=7)
            score = cross_val_predict(estimator, features, frame["fraud"], cv=folds, method="predict_proba")[:, 1]
            found.setdefault(model, {}).update(
                {
                    f"ROC AUC {name}": float(roc_auc_score(frame["fraud"], score)),
                    f"average precision {name}": float(average_precision_score(frame["fraud"], score)),
                }
            )
    return pd.DataFrame.from_dict(found, orient="index")


def _models() -> dict[str, Any]:
    return {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)),
        "random forest": RandomForestClassifier(200, max_depth=8, min_samples_leaf=10, random_state=7, n_jobs=1),
        "xgboost": XGBClassifier(n_estimators=60, max_depth=3, learning_rate=0.1, n_jobs=1, random_state=7),
    }


def _joined(claims: pd.DataFrame, customers: pd.DataFrame) -> pd.DataFrame:
    joined = claims.merge(customers, on="policy_id")
    return joined.replace([np.inf, -np.inf], np.nan)


if __name__ == "__main__":
    main()
