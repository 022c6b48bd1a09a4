"""Abalones like those of the UCI data set: rings, sex, and seven measures of size and weight.

Drawn from what biology says of them, not from rows of the real file: rings from a skewed distribution, length from
von Bertalanffy's growth curve (so that old animals look alike, and no model can tell 15 rings from 20), weights from
the cube of length. Parameters were set by hand so that means, correlations and what a model can reach come near the
real ones; ``tests/library/test_abalone.py`` says how near.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stepzero.core.errors import InputError, did_you_mean
from stepzero.generators import to_libsvm

__all__ = ["BAD", "COLUMNS", "bad", "generate"]

COLUMNS = (
    "Rings",
    "Sex",
    "Length",
    "Diameter",
    "Height",
    "WholeWeight",
    "ShuckedWeight",
    "VisceraWeight",
    "ShellWeight",
)
BAD = ("unknown_sex", "no_rings", "cut_line")
MALE, FEMALE, INFANT = 1, 2, 3
LONGEST, GROWTH = 0.68, 0.155
"""Length that growth ends at, in units of 200 mm, and its rate per ring."""
FLAT_SHARE = 2 / 4177
"""Share of rows whose height was not measured and stands as 0, as in the real file."""


def generate(*, rows: int = 4_177, seed: int = 7) -> pd.DataFrame:
    """Return abalones in no order.

    Args:
        rows: Number of rows.
        seed: The same seed makes the same rows.

    Example:
        >>> generate(rows=100, seed=1)["Sex"].between(1, 3).all()
        np.True_
    """
    random = np.random.default_rng(seed)
    rings = np.clip(np.round(1 + random.gamma(7.6, 1.17, rows)), 1, 29).astype(int)
    length = LONGEST * (1 - np.exp(-GROWTH * rings)) * np.exp(random.normal(0, 0.175, rows))
    length = np.clip(length, 0.075, 0.815)
    whole = 4.75 * length**3 * np.exp(random.normal(0, 0.1, rows))
    # Of two of one size the older one has more shell and less meat: the little that weights tell beyond size.
    age = (rings - 9.9) / 3.2
    shucked = whole * 0.43 * np.exp(random.normal(0, 0.1, rows) - 0.065 * age)
    shell = whole * 0.28 * np.exp(random.normal(0, 0.1, rows) + 0.075 * age)
    frame = pd.DataFrame(
        {
            "Rings": rings,
            "Sex": _sexes(rings, length, random),
            "Length": _steps(length),
            "Diameter": _steps(length * 0.778 * np.exp(random.normal(0, 0.03, rows))),
            "Height": _steps(length * 0.266 * np.exp(random.normal(0, 0.1, rows))),
            "WholeWeight": whole.round(4),
            "ShuckedWeight": shucked.round(4),
            "VisceraWeight": (whole * 0.218 * np.exp(random.normal(0, 0.13, rows))).round(4),
            "ShellWeight": shell.round(4),
        }
    )
    flat = random.choice(rows, size=round(rows * FLAT_SHARE), replace=False)
    frame.loc[flat, "Height"] = 0.0
    return frame[list(COLUMNS)]


def bad(kind: str, frame: pd.DataFrame, seed: int = 7) -> bytes:
    """Return a file that the gate must not pass whole.

    Args:
        kind: One of `BAD`.
        frame: A good batch.
        seed: Chooses the rows at fault.

    Raises:
        InputError: There is no such kind.
    """
    random = np.random.default_rng(seed)
    broken, chosen = frame.copy(), random.choice(len(frame), size=5, replace=False)
    if kind == "unknown_sex":
        broken.loc[chosen, "Sex"] = 4
    elif kind == "no_rings":
        broken.loc[chosen, "Rings"] = 0
    elif kind == "cut_line":
        return to_libsvm(broken).rstrip(b"\n")[:-12] + b" 8"
    else:
        allowed = did_you_mean(kind, BAD)
        raise InputError("kind of bad batch", value=kind, allowed=allowed, action="choose one of them")
    return to_libsvm(broken)


def _sexes(rings: np.ndarray, length: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return codes: infants are small and young, and of the grown ones a little more than half are male."""
    grown = 1 / (1 + np.exp(-(0.4 * (rings - 7.9) + 9.0 * (length - 0.46))))
    adult = np.where(random.random(len(rings)) < 0.54, MALE, FEMALE)
    sexes: np.ndarray = np.where(random.random(len(rings)) < grown, adult, INFANT)
    return sexes


def _steps(values: np.ndarray) -> np.ndarray:
    """Return lengths in steps of 0.005, which is one millimetre."""
    steps: np.ndarray = (np.maximum(np.round(values * 200), 1) / 200).round(3)
    return steps
