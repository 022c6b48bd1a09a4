"""Bad batches, one of each kind that the gate must catch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from stepzero.core.errors import InputError, did_you_mean
from stepzero.generators import to_csv

BAD_SHARE = 0.005
"""Share of rows that are spoilt where not the whole batch is."""

Spoil = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame | bytes]


def bad(kind: str, frame: pd.DataFrame, seed: int = 7) -> bytes:
    """Return the content of a landed file that must not pass whole.

    Args:
        kind: One of `BAD`.
        frame: A good batch.
        seed: Which rows are spoilt.

    Raises:
        InputError: There is no such kind.
    """
    if kind not in _SPOIL:
        raise InputError("kind of bad batch", value=kind, allowed=did_you_mean(kind, _SPOIL), action="name a kind")
    spoilt = _SPOIL[kind](frame.copy(), np.random.default_rng(seed))
    return spoilt if isinstance(spoilt, bytes) else to_csv(spoilt)


def _some(frame: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
    chosen: np.ndarray = random.choice(len(frame), max(1, int(len(frame) * BAD_SHARE)), replace=False)
    return chosen


def _set(column: str, value: object) -> Spoil:
    def spoil(frame: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        values = frame[column].astype(object).to_numpy()
        values[_some(frame, random)] = value
        frame[column] = values
        return frame

    return spoil


def _negative_amount(frame: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    amounts = frame["Amount"].to_numpy(copy=True)
    chosen = _some(frame, random)
    amounts[chosen] = -amounts[chosen] - 0.01
    frame["Amount"] = amounts
    return frame


def _duplicates(frame: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    again = frame.iloc[random.choice(len(frame), len(frame) // 2, replace=False)]
    return pd.concat([frame, again], ignore_index=True)


def _reordered(frame: pd.DataFrame, _random: np.random.Generator) -> pd.DataFrame:
    columns = list(frame.columns)
    first, second = columns.index("V1"), columns.index("V2")
    columns[first], columns[second] = columns[second], columns[first]
    return frame[columns]


def _binary(_frame: pd.DataFrame, random: np.random.Generator) -> bytes:
    return b"\x89PNG\r\n\x1a\n\x00\x00" + random.bytes(20_000)


_SPOIL: dict[str, Spoil] = {
    "missing_column": lambda frame, _: frame.drop(columns="V14"),
    "renamed_column": lambda frame, _: frame.rename(columns={"Amount": "amount_eur"}),
    "extra_column": lambda frame, _: frame.assign(Merchant="unknown"),
    "reordered_columns": _reordered,
    "text_in_number": _set("V4", "n/a"),
    "nulls": _set("Amount", None),
    "negative_amount": _negative_amount,
    "unknown_class": _set("Class", 2),
    "one_class": lambda frame, _: frame[frame["Class"] == 0],
    "too_few_rows": lambda frame, _: frame.head(10),
    "duplicates": _duplicates,
    "empty_file": lambda _frame, _: b"",
    "header_only": lambda frame, _: frame.head(0),
    "binary_file": _binary,
    "all_rows_bad": lambda frame, _: frame.assign(Amount=-1.0),
    "unit_change": lambda frame, _: frame.assign(Amount=(frame["Amount"] * 100).round(2)),
}

BAD: tuple[str, ...] = tuple(_SPOIL)
"""Kinds of bad batches."""
