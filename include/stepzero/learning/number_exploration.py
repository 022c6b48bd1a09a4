"""A first look at training rows whose target is a number: how it is spread, and what goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stepzero.learning.drawing import BLUE, INK, ORANGE, figure, png
from stepzero.learning.exploration import MOST_FEATURES
from stepzero.learning.table import Table
from stepzero.measures.outliers import iqr_bounds, is_outside

_BINS = 30
_DRAWN = 9


@dataclass(frozen=True, kw_only=True)
class NumberExploration:
    """Figures of training rows."""

    name: str
    target: dict[str, float]
    """Mean, standard deviation, smallest, median and largest of the target."""
    features: pd.DataFrame
    """One row a numeric feature: ``correlation`` (Pearson) and ``rank_correlation`` (Spearman) with the target,
    ``missing`` rows, and ``outliers`` beyond 1.5 interquartile ranges from the quartiles."""
    words: dict[str, dict[str, float]]
    """Of features that hold words: the mean target of each word."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures; what is undefined (a constant column) is null."""
        ranks = self.features["rank_correlation"].dropna()
        return {
            "target": self.target,
            "rank_correlation": {str(name): round(float(value), 9) for name, value in ranks.items()},
            "features": {
                str(name): {str(key): None if not np.isfinite(value) else float(value) for key, value in row.items()}
                for name, row in self.features.iterrows()
            },
            "words": self.words,
        }

    def sentence(self) -> str:
        """Say the target's spread and what goes with it best."""
        best = self.features["rank_correlation"].abs().sort_values(ascending=False, kind="stable")
        reach = f"{self.target['smallest']:g} to {self.target['largest']:g}"
        told = f"{self.name} from {reach}, mean {self.target['mean']:.3f}"
        return f"{told}; goes best with {', '.join(str(name) for name in best.index[:3])}" if len(best) else told

    def text(self) -> str:
        """Return all of it as aligned text."""
        shown = self.features.reindex(self.features["rank_correlation"].abs().sort_values(ascending=False).index)
        table = shown.head(MOST_FEATURES).to_string(float_format=lambda value: f"{value:.4f}")
        words = [f"mean {self.name} by {name}: " + ", ".join(f"{word} {mean:.3f}" for word, mean in means.items())
                 for name, means in self.words.items()]  # fmt: skip
        return "\n".join([self.sentence(), table, *words])


def explore_numbers(table: Table, name: str) -> NumberExploration:
    """Return the figures of a regression's training rows."""
    numeric = table.features.select_dtypes(["number", "bool"]).astype(np.float64)
    target = pd.Series(table.target)
    varied = numeric[[column for column in numeric.columns if numeric[column].nunique() > 1]]
    features = pd.DataFrame(
        {
            "correlation": varied.corrwith(target).reindex(numeric.columns),
            "rank_correlation": varied.rank().corrwith(target.rank()).reindex(numeric.columns),
            "missing": numeric.isna().sum().astype(int),
            "outliers": [_outliers(numeric[column]) for column in numeric.columns],
        },
        index=numeric.columns,
    )
    others = [column for column in table.features.columns if column not in numeric.columns]
    return NumberExploration(
        name=name,
        target={
            "mean": float(target.mean()),
            "standard_deviation": float(target.std(ddof=0)),
            "smallest": float(target.min()),
            "median": float(target.median()),
            "largest": float(target.max()),
        },
        features=features,
        words={str(column): _means(table.features[column], target) for column in others},
    )


def number_pictures(found: NumberExploration, table: Table) -> dict[str, bytes]:
    """Return file name → PNG."""
    drawn = {"target.png": _target_picture(found, table)}
    if found.features["rank_correlation"].notna().any():
        drawn["features.png"] = _features_picture(found, table)
    return drawn


def _outliers(values: pd.Series[Any]) -> int:
    numbers = values.to_numpy()
    return int(is_outside(numbers, iqr_bounds(numbers)).sum())


def _means(words: pd.Series[Any], target: pd.Series[Any]) -> dict[str, float]:
    means = target.groupby(words.astype(str)).mean()
    return {str(word): float(mean) for word, mean in means.head(MOST_FEATURES).items()}


def _target_picture(found: NumberExploration, table: Table) -> bytes:
    values = table.target
    whole = bool((values == np.round(values)).all()) and np.ptp(values) <= 100
    edges = (
        np.arange(values.min() - 0.5, values.max() + 1.5) if whole else np.linspace(values.min(), values.max(), _BINS)
    )
    with figure(7, 3.4) as (made, axis):
        axis.hist(values, bins=edges, color=BLUE, alpha=0.8)
        axis.axvline(found.target["mean"], color=ORANGE, linewidth=2, label=f"mean {found.target['mean']:.2f}")
        axis.set(xlabel=found.name, ylabel="Training rows")
        axis.set_title(f"How {found.name} is spread")
        axis.legend()
        return png(made)


def _features_picture(found: NumberExploration, table: Table) -> bytes:
    ranks = found.features["rank_correlation"].dropna()
    names = list(ranks.abs().sort_values(ascending=False, kind="stable").index[:_DRAWN])
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with figure(3.6 * columns, 0.8 + 2.6 * rows, rows=rows, columns=columns) as (made, axes):
        panels = np.atleast_1d(np.asarray(axes)).ravel()
        for axis, name in zip(panels, names, strict=False):
            values = table.features[name].to_numpy(dtype=np.float64, na_value=np.nan)
            axis.scatter(values, table.target, s=6, color=BLUE, alpha=0.15, linewidths=0)
            axis.set_title(f"{name}  ({ranks[name]:+.2f})", size=9)
            axis.tick_params(labelsize=7, colors=INK)
        for axis in panels[len(names) :]:
            axis.set_axis_off()
        made.suptitle("What goes with it, best first (rank correlation)", x=0.01, ha="left")
        made.supylabel(found.name, size=9)
        return png(made)
