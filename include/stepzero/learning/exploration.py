"""A first look at training rows: how the classes differ, and what goes with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stepzero.learning.drawing import BLUE, INK, ORANGE, figure, png
from stepzero.learning.table import Table
from stepzero.measures.checks import Floats
from stepzero.measures.ranking import roc_auc

MOST_FEATURES = 30
"""Features drawn at most: those that tell the classes apart best."""
BINS = 40


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """Figures of training rows."""

    positives: int
    negatives: int
    features: pd.DataFrame
    """One row a feature: ``correlation`` with the target, ``separation`` (ROC AUC, 0.5 to 1), ``missing``."""
    matrix: pd.DataFrame
    """Correlations among the features."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures without the matrix; what is undefined (a constant column) is null."""
        told = {
            str(name): {str(key): None if pd.isna(value) else float(value) for key, value in row.items()}
            for name, row in self.features.iterrows()
        }
        return {
            "positives": self.positives,
            "negatives": self.negatives,
            "positive_share": self.positives / (self.positives + self.negatives),
            "features": told,
        }

    def text(self) -> str:
        """Return the features as an aligned table, those that tell the classes apart best first."""
        shown = self.features.sort_values("separation", ascending=False, kind="stable").head(MOST_FEATURES)
        share = self.positives / (self.positives + self.negatives)
        head = f"{self.positives} positives among {self.positives + self.negatives} training rows ({share:.3%})"
        return f"{head}\n{shown.to_string(float_format=lambda value: f'{value:.4f}')}"


def explore_table(table: Table) -> Exploration:
    """Return the figures of numeric features; words are counted, not correlated."""
    numeric = table.features.select_dtypes(["number", "bool"]).astype(np.float64)
    target = pd.Series(table.target, dtype=np.float64)
    varied = numeric.columns[numeric.nunique() > 1]
    features = pd.DataFrame(
        {
            "correlation": numeric[varied].corrwith(target).reindex(numeric.columns),
            "separation": [_separation(table, numeric[name].to_numpy()) for name in numeric.columns],
            "missing": numeric.isna().sum().astype(int),
        },
        index=numeric.columns,
    )
    positives = int(table.target.sum())
    return Exploration(
        positives=positives,
        negatives=len(table.target) - positives,
        features=features,
        matrix=numeric[varied].corr(),
    )


def exploration_pictures(found: Exploration, table: Table) -> dict[str, bytes]:
    """Return file name → PNG."""
    made = {"class_balance.png": _balance_picture(found)}
    if len(found.features):
        made["distributions.png"] = _distributions_picture(found, table)
        made["target_correlation.png"] = _target_picture(found)
    if len(found.matrix) > 1:
        made["correlation.png"] = _matrix_picture(found)
    return made


def _separation(table: Table, values: Floats) -> float:
    known = ~np.isnan(values)
    target = table.target[known]
    if target.min(initial=1) == target.max(initial=0):
        return 0.5
    area = float(roc_auc(target, values[known]))
    return max(area, 1 - area)


def _balance_picture(found: Exploration) -> bytes:
    counts = [found.negatives, found.positives]
    with figure(6, 2.6) as (made, axis):
        bars = axis.barh(["negative", "positive"], counts, color=[BLUE, ORANGE])
        axis.bar_label(bars, [f"{count:,} ({count / sum(counts):.2%})" for count in counts], padding=4)
        axis.set(xscale="log", xlabel="Training rows (logarithmic)", xlim=(1, max(counts) * 12))
        axis.set_title("Class balance")
        return png(made)


def _distributions_picture(found: Exploration, table: Table) -> bytes:
    names = list(found.features.sort_values("separation", ascending=False, kind="stable").index[:MOST_FEATURES])
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    with figure(3 * columns, 0.8 + 2 * rows, rows=rows, columns=columns) as (made, axes):
        panels = np.atleast_1d(np.asarray(axes)).ravel()
        for axis, name in zip(panels, names, strict=False):
            _distribution(axis, table, str(name), float(found.features.loc[name, "separation"]))
        for axis in panels[len(names) :]:
            axis.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside upper right", ncols=2)
        made.suptitle("Distributions by class, best told apart first (1st to 99th percentile)", x=0.01, ha="left")
        return png(made)


def _distribution(axis: Any, table: Table, name: str, separation: float) -> None:
    values = table.features[name].to_numpy(dtype=np.float64, na_value=np.nan)
    low, high = np.nanpercentile(values, [1, 99])
    positive = values[table.target == 1]
    low, high = min(low, np.nanpercentile(positive, 1)), max(high, np.nanpercentile(positive, 99))
    edges = np.linspace(low, high if high > low else low + 1, BINS)
    for label, colour, word in ((0, BLUE, "negative"), (1, ORANGE, "positive")):
        shown = values[(table.target == label) & ~np.isnan(values)]
        counts, _ = np.histogram(shown, bins=edges)
        axis.stairs(counts / max(1, len(shown)), edges, fill=True, color=colour, alpha=0.6, label=word)
    axis.set_title(f"{name}  ({separation:.2f})", size=9)
    axis.set_yticks([])
    axis.locator_params(axis="x", nbins=5)
    axis.tick_params(labelsize=7)


def _target_picture(found: Exploration) -> bytes:
    shown = found.features["correlation"].dropna()
    shown = shown.reindex(shown.abs().sort_values(kind="stable").index)[-MOST_FEATURES:]
    with figure(6.5, 1.2 + 0.22 * len(shown)) as (made, axis):
        colours = [ORANGE if value > 0 else BLUE for value in shown]
        axis.barh([str(name) for name in shown.index], shown.to_numpy(), color=colours)
        axis.axvline(0, color=INK, linewidth=0.8)
        axis.tick_params(labelsize=8)
        axis.set(xlabel="Pearson correlation with the positive class, training rows as sampled")
        axis.set_title("What goes with the target")
        return png(made)


def _matrix_picture(found: Exploration) -> bytes:
    names = [str(name) for name in found.matrix.columns][: 2 * MOST_FEATURES]
    size = 3 + 0.24 * len(names)
    with figure(size + 0.8, size) as (made, axis):
        picture = axis.imshow(found.matrix.to_numpy()[: len(names), : len(names)], cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_xticks(range(len(names)), names, rotation=90, size=7)
        axis.set_yticks(range(len(names)), names, size=7)
        axis.set_title("Correlation among the features")
        axis.spines[:].set_visible(False)
        made.colorbar(picture, ax=axis, shrink=0.7, label="Pearson correlation")
        return png(made)
