"""Fit what depends most on the order of sums, and print scores and the numerical code that was chosen.

Argument: a CSV file as the credit-card use case declares it. Runs with the Python of either side.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import threadpoolctl
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import RobustScaler


def main() -> None:
    """Print one JSON object."""
    rows = np.genfromtxt(sys.argv[1], delimiter=",", skip_header=1)
    features = RobustScaler().fit_transform(rows[:, :-1])
    model = LogisticRegression(max_iter=1000).fit(features, rows[:, -1])
    scores = model.predict_proba(features)[:, 1]
    chosen = {library["architecture"] for library in threadpoolctl.threadpool_info() if "architecture" in library}
    sys.stdout.write(json.dumps({"chosen": sorted(chosen), "scores": scores.tolist()}) + "\n")


if __name__ == "__main__":
    main()
