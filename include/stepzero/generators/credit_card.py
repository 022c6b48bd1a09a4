"""Card payments like the ULB data: 31 columns, two days, frauds enriched.

Drawn from a table of summary figures (`credit_card_parameters.csv`, computed by
``benchmarks/_fit_generator.py``): for ordinary payments and for four kinds of fraud, the shape of
every column and the loadings of a few factors that carry the correlations. No real row is in it.
How like the real data the result is, ``benchmarks/generator.py`` shows side by side.

The share of frauds is raised, so that a small file has enough to test on; the true share, at which
metrics are stated, is the use case's ``weight.base_rate``.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np
import pandas as pd

from stepzero.generators.credit_card_bad import BAD, bad

__all__ = ["BAD", "COLUMNS", "bad", "generate"]

FEATURES = tuple(f"V{number}" for number in range(1, 29))
COLUMNS = ("Time", *FEATURES, "Amount", "Class")
FRAUD_SHARE = 250 / 12_000
FRAUD_KINDS = ("overlooked", "near", "plain", "extreme")
LOOKALIKE_SHARE = 0.0003
"""Share of ordinary payments that no model can tell from fraud, as there are in the real data."""
DUPLICATE_SHARE = 0.002
SECONDS_PER_DAY = 86_400
LARGEST_AMOUNT = 25_000.0

# Share of payments per hour of the day, in per mille.
_HOURS = {
    "ordinary": (28, 15, 13, 12, 8, 10, 15, 24, 36, 55, 62, 55, 55, 58, 57, 54, 58, 56, 60, 55, 57, 58, 59, 40),
    "fraud": (12, 20, 116, 35, 47, 22, 18, 47, 18, 33, 16, 108, 35, 35, 47, 53, 45, 59, 67, 39, 37, 33, 18, 43),
}
# Amounts that occur far more often than any other.
_ROUND_AMOUNTS = {
    "ordinary": {0.0: 0.006, 1.0: 0.048, 1.98: 0.021, 0.89: 0.017, 9.99: 0.016, 15.0: 0.013},
    "fraud": {0.0: 0.055, 1.0: 0.230, 99.99: 0.055, 0.76: 0.034},
}


def generate(*, rows: int = 12_000, seed: int = 7, frauds: int | None = None) -> pd.DataFrame:
    """Return payments in order of time, a few of them exact duplicates.

    Args:
        rows: Number of rows, duplicates included.
        seed: The same seed makes the same rows.
        frauds: Number of frauds; without it 250 of every 12,000 rows, but at least one.

    Example:
        >>> generate(rows=1000, seed=1)["Class"].value_counts().to_dict()
        {0: 979, 1: 21}
    """
    random = np.random.default_rng(seed)
    fraud_rows = max(1, round(rows * FRAUD_SHARE)) if frauds is None else frauds
    duplicates = min(int(rows * DUPLICATE_SHARE), max(rows - fraud_rows - 1, 0))
    lookalikes = _draw("near", round(rows * LOOKALIKE_SHARE), random, fraud=False)
    ordinary = _draw("ordinary", rows - fraud_rows - duplicates - len(lookalikes), random, fraud=False)
    repeated = ordinary.iloc[random.choice(len(ordinary), duplicates, replace=False)]
    parts = [ordinary, repeated, lookalikes, *_draw_frauds(fraud_rows, random)]
    frame = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return frame.sort_values("Time", kind="stable", ignore_index=True)[list(COLUMNS)]


def _draw_frauds(rows: int, random: np.random.Generator) -> list[pd.DataFrame]:
    shares = np.array([_parameters(kind)["share"].iloc[0] for kind in FRAUD_KINDS], dtype=float)
    counts = random.multinomial(rows, shares / shares.sum())
    return [_draw(kind, count, random) for kind, count in zip(FRAUD_KINDS, counts, strict=True)]


def _draw(kind: str, rows: int, random: np.random.Generator, *, fraud: bool = True) -> pd.DataFrame:
    """Draw rows of one kind: correlated normal scores, bent into each column's shape."""
    table = _parameters(kind)
    label = "fraud" if fraud else "ordinary"
    scores = _correlated_scores(table.filter(like="factor_").to_numpy(), rows, random)
    shaped = _bend(scores, table)
    frame = pd.DataFrame(shaped, columns=table.index)[list(FEATURES)].round(6)
    frame["Amount"] = _amounts(shaped[:, table.index.get_loc("Amount")], label, random)
    frame["Time"] = _times(scores[:, table.index.get_loc("Time")], label, random)
    frame["Class"] = int(fraud)
    return frame


def _correlated_scores(loadings: np.ndarray, rows: int, random: np.random.Generator) -> np.ndarray:
    own = np.sqrt(np.clip(1 - (loadings**2).sum(axis=1), 0.02, 1))
    common = random.standard_normal((rows, loadings.shape[1])) @ loadings.T
    scores: np.ndarray = common + random.standard_normal((rows, len(loadings))) * own
    return scores


def _bend(scores: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    location, spread, skew, tail = (table[name].to_numpy() for name in ("location", "spread", "skew", "tail"))
    bent: np.ndarray = location + spread * np.sinh((np.arcsinh(scores) + skew) / tail)
    return bent


def _amounts(logarithms: np.ndarray, label: str, random: np.random.Generator) -> np.ndarray:
    amounts = np.exp(np.clip(logarithms, np.log(0.01), np.log(LARGEST_AMOUNT)))
    common = _ROUND_AMOUNTS[label]
    share = sum(common.values())
    chosen = random.random(len(amounts)) < share
    weights = np.array(list(common.values())) / share
    amounts[chosen] = random.choice(list(common), size=int(chosen.sum()), p=weights)
    rounded: np.ndarray = np.round(amounts, 2)
    return rounded


def _times(scores: np.ndarray, label: str, random: np.random.Generator) -> np.ndarray:
    """Turn scores into whole seconds of two days: order comes from the score, rhythm from the hours."""
    per_hour = np.tile(np.array(_HOURS[label], dtype=float), 2)
    reached = np.concatenate([[0.0], np.cumsum(per_hour / per_hour.sum())])
    ranks = (np.argsort(np.argsort(scores)) + random.random(len(scores))) / max(len(scores), 1)
    seconds = np.interp(ranks, reached, np.arange(len(reached)) * 3600.0)
    whole: np.ndarray = np.floor(np.minimum(seconds, 2 * SECONDS_PER_DAY - 1))
    return whole


@lru_cache(maxsize=8)
def _parameters(kind: str) -> pd.DataFrame:
    with (files("stepzero.generators") / "credit_card_parameters.csv").open() as stream:
        table = pd.read_csv(stream)
    return table[table["kind"] == kind].set_index("column")
