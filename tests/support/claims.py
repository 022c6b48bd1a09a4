"""Claims whose bias is known to the last digit: the counts behind the reference report, and the real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from stepzero.measures.bias import FacetRows

USE_CASE = Path(__file__).resolve().parents[2] / "include" / "usecases" / "auto_claims_fraud.yaml"
CLAIMS = Path(__file__).resolve().parents[3] / "shared" / "data" / "auto_claims"
"""Where the reference example's tables are, when they are."""


def joined_claims(**sections: Any) -> dict[str, Any]:
    """Return the shipped use case as plain data, its tables joined in the run instead of by feature groups."""
    data: dict[str, Any] = yaml.safe_load(USE_CASE.read_text(encoding="utf-8"))
    del data["features"], data["serve"], data["monitors"]
    return {
        **data,
        "join": [{"table": "customers", "by": "policy_id", "how": "left", "unmatched": "error"}],
        **sections,
    }


def claims_file(name: str) -> Path:
    """Return one of the reference's files, or skip the test."""
    path = CLAIMS / name
    if not path.is_file():
        pytest.skip(f"the reference's claims are not at {path}")
    return path


def counted(*groups: tuple[bool, int, int, int]) -> pd.DataFrame:
    """Return rows from counts: (disfavoured, label, prediction, rows), labels 1 for fraud."""
    parts = [
        pd.DataFrame({"woman": [int(woman)] * rows, "fraud": label, "predicted": predicted, "number": np.arange(rows)})
        for woman, label, predicted, rows in groups
    ]
    return pd.concat(parts, ignore_index=True)


def reference_rows() -> pd.DataFrame:
    """Return the reference's training rows: 2796 men with 89 frauds, 1204 women with 17; none predicted."""
    return counted((False, 0, 0, 2707), (False, 1, 0, 89), (True, 0, 0, 1187), (True, 1, 0, 17))


def oversampled_rows() -> pd.DataFrame:
    """Return them after SMOTE on the gender column: as many women, with 17 frauds; one fraud found in each group."""
    men = (False, 0, 0, 2707), (False, 1, 0, 88), (False, 1, 1, 1)
    return counted(*men, (True, 0, 0, 2779), (True, 1, 0, 16), (True, 1, 1, 1))


def facet_rows(frame: pd.DataFrame, favourable: int = 0, **parts: Any) -> FacetRows:
    """Return counted rows as the metrics take them."""
    return FacetRows(
        disfavoured=(frame["woman"] == 1).to_numpy(),
        favourable=(frame["fraud"] == favourable).to_numpy(),
        predicted=(frame["predicted"] == favourable).to_numpy(),
        weight=np.ones(len(frame)),
        features=frame[["number"]],
        **parts,
    )
