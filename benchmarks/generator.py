"""Compare the generated card payments with the real ones, side by side.

    python benchmarks/generator.py [--data creditcard.csv.gz --provenance provenance.csv.gz] [--without-gate]

Prints prevalence, mean and spread per column and class, the Kolmogorov-Smirnov distance per column
and class, each column's ROC AUC, correlations, and the scores of three models on rows as they are, and of trees on
rows that SMOTE and NearMiss resampled inside the training folds (five-fold cross-validation, metrics at the true share
of frauds). The shipped gate judges both batches, as they are and spoilt in each way that it must catch: it must say
the same of both, by the same rules. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from _fit_generator import fair_rows
from _generator_gate import verdicts
from imblearn.pipeline import make_pipeline as make_resampled
from scipy.stats import ks_2samp, spearmanr
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from stepzero.generators.credit_card import COLUMNS, FEATURES, generate
from stepzero.learning.samplers import make_sampler
from stepzero.learning.transform import Transformer
from stepzero.spec.load import load_use_case

BASE_RATE = 0.001727
DATA = Path(__file__).parents[2] / "shared" / "data" / "credit_card"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "creditcard_28k.csv.gz")
    parser.add_argument("--provenance", type=Path, default=DATA / "creditcard_28k_provenance.csv.gz")
    parser.add_argument("--without-gate", action="store_true", help="without Spark")
    given = parser.parse_args()
    real = fair_rows(given.data, given.provenance)[list(COLUMNS)]
    made = generate(rows=len(real), frauds=int(real["Class"].sum()), seed=7)
    columns = compare_columns(real, made)
    scores = {name: compare_scores(real, made, model) for name, model in models().items()}
    print(f"rows {len(real)} and {len(made)}, frauds {real['Class'].sum()} and {made['Class'].sum()}")
    print(columns.round(2).to_string())
    print(pd.DataFrame(scores).T.round(3).to_string())
    told = figures(real, made, columns, scores)
    if not given.without_gate:
        judged = verdicts({"real": real, "made": made})
        print(pd.DataFrame(judged).T.to_string())
        alike = sum(one["real"] == one["made"] for one in judged.values())
        told |= {"verdicts": judged, "verdicts_alike": f"{alike} of {len(judged)}"}
    print(json.dumps(told))


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
        "smote random_forest": resampled("smote", RandomForestClassifier(50, n_jobs=2, random_state=0)),
        "smote decision_tree": resampled("smote", DecisionTreeClassifier(max_depth=8, random_state=0)),
        "near_miss_1 random_forest": resampled("near_miss_1", RandomForestClassifier(50, n_jobs=2, random_state=0)),
    }


def resampled(sampler: str, model: object) -> object:
    """Return a model that learns from resampled rows, scaled as the use case has it; rows that it scores stay."""
    transformer = Transformer.from_spec(load_use_case("credit_card_fraud").pipeline)
    return make_resampled(transformer, make_sampler(sampler, 0), model)


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
        # Whether models and samplers come out in the same order: 1 is the same.
        "order_of_scores": round(
            float(
                spearmanr(
                    *([line[f"average precision {name}"] for line in scores.values()] for name in ("real", "made"))
                )[0]
            ),
            3,
        ),
        "scores": {name: {key: round(value, 3) for key, value in line.items()} for name, line in scores.items()},
    }


if __name__ == "__main__":
    main()
