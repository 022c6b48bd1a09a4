"""Compare the generated card payments with the real ones, side by side.

    python benchmarks/generator.py [--data creditcard.csv.gz --provenance provenance.csv.gz]

Prints prevalence, mean and spread per column and class, the Kolmogorov-Smirnov distance per column
and class, each column's ROC AUC, correlations, and the scores of three models (five-fold
cross-validation, metrics at the true share of frauds). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from _fit_generator import fair_rows
from scipy.stats import ks_2samp
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler
from xgboost import XGBClassifier

from stepzero.generators.credit_card import COLUMNS, FEATURES, generate

BASE_RATE = 0.001727
DATA = Path(__file__).parents[2] / "shared" / "data" / "credit_card"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "creditcard_28k.csv.gz")
    parser.add_argument("--provenance", type=Path, default=DATA / "creditcard_28k_provenance.csv.gz")
    given = parser.parse_args()
    real = fair_rows(given.data, given.provenance)[list(COLUMNS)]
    made = generate(rows=len(real), frauds=int(real["Class"].sum()), seed=7)
    columns = compare_columns(real, made)
    scores = {name: compare_scores(real, made, model) for name, model in models().items()}
    print(f"rows {len(real)} and {len(made)}, frauds {real['Class'].sum()} and {made['Class'].sum()}")
    print(columns.round(2).to_string())
    print(pd.DataFrame(scores).T.round(3).to_string())
    print(json.dumps(figures(real, made, columns, scores)))


def compare_columns(real: pd.DataFrame, made: pd.DataFrame) -> pd.DataFrame:
    """Return one line per column, real beside generated."""
    lines = {}
    for column in (*FEATURES, "Amount", "Time"):
        line: dict[str, float] = {}
        for label, name in ((0, "ordinary"), (1, "fraud")):
            one, other = (frame.loc[frame["Class"] == label, column] for frame in (real, made))
            line |= {f"{name} mean": one.mean(), f"{name} mean made": other.mean()}
            line |= {f"{name} sd": one.std(), f"{name} sd made": other.std()}
            line[f"{name} KS"] = ks_2samp(one, other).statistic
        line["AUC"], line["AUC made"] = (roc_auc_score(frame["Class"], frame[column]) for frame in (real, made))
        lines[column] = line
    return pd.DataFrame(lines).T


def models() -> dict[str, object]:
    return {
        "xgboost": XGBClassifier(n_estimators=100, n_jobs=2, random_state=0),
        "random_forest": RandomForestClassifier(100, n_jobs=2, random_state=0),
        "logistic_regression": make_pipeline(RobustScaler(), LogisticRegression(max_iter=500)),
    }


def compare_scores(real: pd.DataFrame, made: pd.DataFrame, model: object) -> dict[str, float]:
    found = {}
    for name, frame in (("real", real), ("made", made)):
        rows = frame.drop_duplicates()
        target = rows["Class"].to_numpy()
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        score = cross_val_predict(model, rows.drop(columns="Class"), target, cv=folds, method="predict_proba")[:, 1]
        weight = np.where(target == 1, 1.0, target.sum() * (1 - BASE_RATE) / (BASE_RATE * (target == 0).sum()))
        found[f"average precision {name}"] = average_precision_score(target, score, sample_weight=weight)
        found[f"ROC AUC {name}"] = roc_auc_score(target, score, sample_weight=weight)
    return found


def figures(
    real: pd.DataFrame, made: pd.DataFrame, columns: pd.DataFrame, scores: dict[str, dict[str, float]]
) -> dict[str, object]:
    """Return what the README and the tests quote."""
    correlation = {}
    for label, name in ((0, "ordinary"), (1, "fraud")):
        one, other = (
            frame.loc[frame["Class"] == label, list(FEATURES)].corr("spearman").to_numpy() for frame in (real, made)
        )
        upper = np.triu_indices(len(FEATURES), 1)
        correlation[name] = round(float(np.sqrt(np.mean((one - other)[upper] ** 2))), 3)
    return {
        "median_ks": {name: round(float(columns[f"{name} KS"].median()), 3) for name in ("ordinary", "fraud")},
        "largest_ks": {name: round(float(columns[f"{name} KS"].max()), 3) for name in ("ordinary", "fraud")},
        "largest_auc_difference": round(float((columns["AUC"] - columns["AUC made"]).abs().max()), 3),
        "rank_correlation_rms_difference": correlation,
        "scores": {name: {key: round(value, 3) for key, value in line.items()} for name, line in scores.items()},
    }


if __name__ == "__main__":
    main()
