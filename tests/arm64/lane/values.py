"""How far two values, files or tables are apart."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import image

NOT_COMPARABLE = math.inf
"""Distance of values that differ in kind: other text, another shape, a missing key."""


@dataclass(frozen=True)
class Gap:
    """One place where two sides differ."""

    place: str
    largest: float
    note: str = ""


def gaps(native: Any, other: Any, place: str = "") -> Iterator[Gap]:
    """Yield every place where two JSON values differ."""
    if isinstance(native, dict) and isinstance(other, dict):
        for name in sorted({*native, *other}, key=str):
            where = f"{place}.{name}" if place else str(name)
            if name in native and name in other:
                yield from gaps(native[name], other[name], where)
            else:
                yield Gap(where, NOT_COMPARABLE, "only on one side")
    elif isinstance(native, list) and isinstance(other, list) and len(native) == len(other):
        for number, pair in enumerate(zip(native, other, strict=True)):
            yield from gaps(*pair, f"{place}[{number}]")
    elif _are_numbers(native, other):
        yield from _gap(np.asarray(native, dtype=float), np.asarray(other, dtype=float), place)
    elif native != other:
        yield Gap(place, NOT_COMPARABLE, f"{native!r} against {other!r}"[:200])


def file_gaps(native: bytes, other: bytes, name: str) -> Iterator[Gap]:
    """Yield where two files differ in content; files of equal content may differ in bytes."""
    if native == other:
        return
    match PurePosixPath(name).suffix:
        case ".json":
            yield from gaps(json.loads(native), json.loads(other), name)
        case ".parquet":
            yield from frame_gaps(_parquet(native), _parquet(other), name)
        case ".npy":
            yield from array_gaps(np.load(io.BytesIO(native)), np.load(io.BytesIO(other)), name)
        case ".arrays":
            one, two = io.BytesIO(native), io.BytesIO(other)
            while one.tell() < len(native) and two.tell() < len(other):
                yield from array_gaps(np.load(one), np.load(two), f"{name}@{one.tell()}")
        case ".png":
            pixels = [image.imread(io.BytesIO(data), format="png") for data in (native, other)]
            yield from array_gaps(pixels[0], pixels[1], name)
        case _:
            yield Gap(name, NOT_COMPARABLE, "bytes differ")


def frame_gaps(native: pd.DataFrame, other: pd.DataFrame, place: str) -> Iterator[Gap]:
    """Yield the columns in which two tables differ."""
    if list(native.columns) != list(other.columns) or len(native) != len(other):
        yield Gap(place, NOT_COMPARABLE, f"{native.shape} against {other.shape}")
        return
    for column in native.columns:
        yield from array_gaps(native[column].to_numpy(), other[column].to_numpy(), f"{place}:{column}")


def array_gaps(native: np.ndarray[Any, Any], other: np.ndarray[Any, Any], place: str) -> Iterator[Gap]:
    """Yield the largest difference of two arrays, if any."""
    if native.shape != other.shape or native.dtype != other.dtype:
        yield Gap(place, NOT_COMPARABLE, f"{native.shape} {native.dtype} against {other.shape} {other.dtype}")
    elif native.dtype.kind in "biufc":
        yield from _gap(native.astype(float), other.astype(float), place)
    else:
        count = sum(_differ(one, two) for one, two in zip(native.ravel(), other.ravel(), strict=True))
        if count:
            yield Gap(place, NOT_COMPARABLE, f"{count} of {native.size} values differ")


def _gap(native: np.ndarray[Any, Any], other: np.ndarray[Any, Any], place: str) -> Iterator[Gap]:
    if np.array_equal(native, other, equal_nan=True):
        return
    apart = np.abs(native - other)
    same = (native == other) | (np.isnan(native) & np.isnan(other))
    largest = float(np.max(np.where(same, 0.0, np.nan_to_num(apart, nan=NOT_COMPARABLE))))
    yield Gap(place, largest, f"{int((~same).sum())} of {native.size} values differ")


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _differ(one: Any, two: Any) -> bool:
    if isinstance(one, np.ndarray):
        return not np.array_equal(one, two)
    return bool(one != two) and not (pd.isna(one) and pd.isna(two))


def _parquet(data: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(data))
