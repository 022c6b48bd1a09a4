"""Compute the summary table that the credit-card generator draws from.

    python benchmarks/_fit_generator.py --data creditcard.csv.gz --provenance provenance.csv.gz

For ordinary payments and four kinds of fraud it states, per column, the four parameters of a
sinh-arcsinh distribution (location, spread, skew, tail) met at a few quantiles, and the loadings
of a few factors that stand for the correlations. No row of the file is kept: 5 kinds x 30 columns
of rounded summary figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from scipy.stats import norm
from sklearn.decomposition import FactorAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import StratifiedKFold, cross_val_predict

FEATURES = [f"V{number}" for number in range(1, 29)]
COLUMNS = [*FEATURES, "Amount", "Time"]
QUANTILES = np.array([0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99, 0.997])
OUT = Path(__file__).parents[1] / "include" / "stepzero" / "generators" / "credit_card_parameters.csv"
FACTORS = 4
OVERLOOKED_BELOW = 0.3


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--provenance", type=Path, help="which rows are a fair sample of the whole range")
    arguments.add_argument("--out", type=Path, default=OUT)
    given = arguments.parse_args()
    rows = fair_rows(given.data, given.provenance)
    rows["Amount"] = np.log(rows["Amount"].clip(lower=0.5))
    tables = [describe(kind, part) for kind, part in split_kinds(rows).items()]
    pd.concat(tables).round(3).to_csv(given.out, index=False)


def fair_rows(data: Path, provenance: Path | None) -> pd.DataFrame:
    """Return all frauds, and those ordinary rows that were sampled from the whole range of time."""
    frame = pd.read_csv(data)
    if provenance is not None:
        sampled = pd.read_csv(provenance)["in_whole_range_random"].to_numpy() == 1
        frame = frame[sampled | (frame["Class"] == 1).to_numpy()]
    return frame.drop_duplicates().reset_index(drop=True)


def split_kinds(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Part frauds: those that a forest overlooks, and the others by a mixture of three."""
    frauds = rows["Class"] == 1
    overlooked = frauds & (forest_scores(rows) < OVERLOOKED_BELOW)
    seen = rows[frauds & ~overlooked]
    mixture = GaussianMixture(3, covariance_type="diag", reg_covar=0.25, n_init=5, random_state=0)
    kind = mixture.fit_predict(seen[FEATURES])
    near_first = np.argsort(-mixture.means_[:, FEATURES.index("V14")])
    parts = {name: seen[kind == number] for name, number in zip(("near", "plain", "extreme"), near_first, strict=True)}
    return {"ordinary": rows[~frauds], "overlooked": rows[overlooked]} | parts


def forest_scores(rows: pd.DataFrame) -> np.ndarray:
    """Return each row's score by a forest that never saw it."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    forest = RandomForestClassifier(200, n_jobs=2, random_state=0)
    scores: np.ndarray = cross_val_predict(
        forest, rows.drop(columns="Class"), rows["Class"], cv=folds, method="predict_proba"
    )[:, 1]
    return scores


def describe(kind: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return shape and loadings of every column; of Time only the loadings are used."""
    scores = norm.ppf((rows[COLUMNS].rank() - 0.5) / len(rows))
    factors = FactorAnalysis(FACTORS, random_state=0).fit(scores).components_.T
    shapes = [fit_shape(rows[column].to_numpy()) for column in COLUMNS]
    table = pd.DataFrame(shapes, columns=["location", "spread", "skew", "tail"])
    table.insert(0, "kind", kind)
    table.insert(1, "share", len(rows))
    table.insert(2, "column", COLUMNS)
    for number in range(FACTORS):
        table[f"factor_{number + 1}"] = factors[:, number]
    return table


def fit_shape(values: np.ndarray) -> np.ndarray:
    """Return location, spread, skew and tail such that the quantiles are met as well as may be."""
    observed, normal = np.quantile(values, QUANTILES), norm.ppf(QUANTILES)
    scale = max(float(np.quantile(values, 0.75) - np.quantile(values, 0.25)), 1e-3)

    def misfit(shape: np.ndarray) -> np.ndarray:
        drawn = shape[0] + shape[1] * np.sinh((np.arcsinh(normal) + shape[2]) / shape[3])
        return (np.arcsinh(drawn / scale) - np.arcsinh(observed / scale)) * scale

    start = np.array([np.median(values), scale / 1.35, 0.0, 1.0])
    bounds = ([-np.inf, 1e-4, -2, 0.3], [np.inf, np.inf, 2, 2])
    return least_squares(misfit, start, bounds=bounds).x


if __name__ == "__main__":
    main()
