"""Good rows for every kind of quality rule, and rows that break each of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMNS = {
    "id": "Int64",
    "amount": "Float64",
    "other": "Float64",
    "country": "string",
    "digits": "string",
    "note": "string",
    "label": "Int64",
    "fraud": "Int64",
    "customer": "string",
    "at": "datetime64[us, UTC]",
    "ok": "boolean",
}
CUSTOMERS = {"format": "csv", "prefix": "landing/toy/customers/", "columns": {"name": "string", "region": "string"}}


def good_rows() -> pd.DataFrame:
    """Twelve rows that break no rule."""
    numbers = np.arange(1, 13)
    frame = pd.DataFrame(
        {
            "id": numbers,
            "amount": numbers.astype(float),
            "other": numbers * 2.0 + numbers % 3,
            "country": np.where(numbers % 2 == 0, "DE", "FR"),
            "digits": numbers.astype(str),
            "note": "abc",
            "label": numbers % 2,
            "fraud": numbers % 2,
            "customer": [f"c{1 + number % 3}" for number in numbers],
            "at": pd.Timestamp("2026-01-01T23:00:00Z") - pd.to_timedelta(numbers, unit="h"),
            "ok": True,
        }
    )
    return frame.astype(COLUMNS)


def bad_rows() -> pd.DataFrame:
    """One class of the good rows, and two rows that break every rule about rows and move every number out of bounds."""
    worst = {
        "fraud": 0,
        "amount": -50.0,
        "other": 900.0,
        "country": "de",
        "digits": "1xyz",
        "note": None,
        "customer": "c9",
    }
    rows = [{**worst, "id": 1, "label": 2, "at": None}, {**worst, "id": 1, "label": 3, "at": None, "amount": 1000.0}]
    more = pd.DataFrame([{**row, "ok": False} for row in rows]).astype(COLUMNS)
    return pd.concat([good_rows().assign(fraud=0).astype(COLUMNS), more], ignore_index=True)
