"""A classifier as a two-sample test: whether a model can tell a window's rows from the reference's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.measures.checks import Floats
from stepzero.measures.false_alarms import correlation_of, fit_chance, level_of_window
from stepzero.measures.ranking import roc_auc

MOST_ROWS = 1_000
"""Rows of each side: the test looks for what many columns show together, not for the smallest difference."""
BLOCK = "_block"


@dataclass(frozen=True, kw_only=True)
class Told:
    """How well windows are told from the reference, and how well chance alone would."""

    areas: list[float]
    """Area under the ROC curve of each window: 0.5 where nothing tells them apart."""
    threshold: float
    at_least: int
    columns: list[str]
    """Columns that tell the newest window, the strongest first."""

    @property
    def over(self) -> int:
        """Return how many windows were over the threshold."""
        return int(sum(area > self.threshold for area in self.areas))

    @property
    def fires(self) -> bool:
        """Tell whether enough windows were, the newest among them."""
        return self.over >= self.at_least and self.areas[-1] > self.threshold


def classifier_test(
    sample: pd.DataFrame,
    windows: list[pd.DataFrame],
    *,
    level: float,
    at_least: int,
    draws: int,
    seed: int,
) -> Told:
    """Tell windows from reference rows by boosted trees, scored on rows that they did not learn from.

    Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017, with the area under the curve in place
    of accuracy. What chance does is measured: following blocks of the reference against its other blocks.

    Args:
        sample: Reference rows, with the column ``_block``.
        windows: Rows of each window; columns of the sample.
        level: How likely chance may be over in enough windows.
        at_least: In how many windows it must be over to fire.
        draws: How often chance is measured.
        seed: Same seed, same answer.
    """
    names = [str(name) for name in sample.columns if not str(name).startswith("_")]
    generator = np.random.default_rng(seed)
    kinds = {name: _vocabulary(sample[name]) for name in names}
    reference = _matrix(sample, names, kinds)
    block = sample[BLOCK].to_numpy(dtype=np.int64)
    size = min(MOST_ROWS, len(reference) // 2, *(max(len(window), 2) for window in windows))
    judged = (at_least, max(len(windows), at_least))
    threshold = chance_threshold(reference, block, size, judged=judged, level=level, draws=draws, seed=seed)
    areas, gains = [], np.zeros(len(names))
    for window in windows:
        rows = _some(_matrix(window, names, kinds), size, generator)
        area, gains = _area(_some(reference, size, generator), rows, generator)
        areas.append(area)
    strongest = [names[at] for at in np.argsort(-gains, kind="stable")[:3] if gains[at] > 0]
    return Told(areas=areas, threshold=threshold, at_least=at_least, columns=strongest)


def chance_threshold(
    reference: Floats,
    block: npt.NDArray[np.int64],
    size: int,
    *,
    judged: tuple[int, int],
    level: float,
    draws: int,
    seed: int,
) -> float:
    """Return the area that chance alone exceeds in N of M windows (`judged`) with the level's probability.

    Windows that follow each other are alike: by how much is measured, too.
    """
    at_least, windows = judged
    generator = np.random.default_rng([seed, draws])
    alone = np.array([_chance(reference, block, size, windows, generator) for _ in range(draws)])
    single = level_of_window(level, windows=windows, at_least=at_least, correlation=correlation_of(alone))
    return fit_chance(alone, "normal").threshold(single)


def _chance(
    reference: Floats, block: npt.NDArray[np.int64], size: int, windows: int, generator: np.random.Generator
) -> list[float]:
    """Return the areas of following blocks, or of random halves where there is no time, against the other rows."""
    blocks = np.unique(block)
    if len(blocks) >= windows + 2:
        start = int(generator.integers(len(blocks)))
        chosen = [block == blocks[(start + at) % len(blocks)] for at in range(windows)]
        outside = [~np.any(chosen, axis=0)] * windows
    else:
        chosen = [generator.permutation(len(block)) % 2 == 0 for _ in range(windows)]
        outside = [~one for one in chosen]
    areas = []
    for inside, others in zip(chosen, outside, strict=True):
        taken = min(size, int(inside.sum()), int(others.sum()))
        rows = _some(reference[inside], taken, generator)
        areas.append(_area(_some(reference[others], taken, generator), rows, generator)[0])
    return areas


def _area(reference: Floats, rows: Floats, generator: np.random.Generator) -> tuple[float, Floats]:
    """Return the area under the curve on rows left out, and how much each column was used."""
    from xgboost import XGBClassifier

    data = np.vstack([reference, rows])
    target = np.r_[np.zeros(len(reference), dtype=np.int64), np.ones(len(rows), dtype=np.int64)]
    half = np.zeros(len(data), dtype=bool)
    for label in (0, 1):
        side = generator.permutation(np.flatnonzero(target == label))
        half[side[: len(side) // 2]] = True
    score, gains = np.zeros(len(data)), np.zeros(data.shape[1])
    for learned in (half, ~half):
        model = XGBClassifier(
            n_estimators=30, max_depth=3, learning_rate=0.3, tree_method="hist", n_jobs=1, random_state=0
        )
        model.fit(data[learned], target[learned])
        score[~learned] = model.predict_proba(data[~learned])[:, 1]
        gains += model.feature_importances_
    return float(roc_auc(target, score)), gains


def _some(rows: Floats, size: int, generator: np.random.Generator) -> Floats:
    chosen: Floats = rows if len(rows) <= size else rows[np.sort(generator.permutation(len(rows))[:size])]
    return chosen


def _vocabulary(values: pd.Series[Any]) -> dict[str, int] | None:
    if pd.api.types.is_numeric_dtype(values.dtype):
        return None
    return {name: place for place, name in enumerate(values.dropna().astype(str).value_counts().index)}


def _matrix(rows: pd.DataFrame, names: list[str], kinds: dict[str, dict[str, int] | None]) -> Floats:
    """Return numbers: categories by their frequency's rank in the reference, new ones beyond all."""
    columns = []
    for name in names:
        known = kinds[name]
        if known is None:
            columns.append(pd.to_numeric(rows[name], errors="coerce").to_numpy(dtype=np.float64))
        else:
            words = rows[name].astype(str).map(known).fillna(len(known)).where(rows[name].notna())
            columns.append(words.to_numpy(dtype=np.float64))
    return np.column_stack(columns)
