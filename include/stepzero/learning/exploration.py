"""A first look at training rows: how the classes differ, and what goes with what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stepzero.learning.table import Table
from stepzero.learning.transform import Columns, Transformer
from stepzero.measures.checks import Floats
from stepzero.measures.outliers import iqr_bounds, is_outside
from stepzero.measures.ranking import roc_auc
from stepzero.measures.selection import anova_f, mutual_information

MOST_FEATURES = 30
"""Features drawn at most: those that tell the classes apart best."""
_DIGITS = 9
"""Of a score in the figures: the last bits depend on the processor."""


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """Figures of training rows."""

    positives: int
    negatives: int
    features: pd.DataFrame
    """One row a feature: ``correlation`` with the target, ``separation`` (ROC AUC, 0.5 to 1), ``anova_f`` and
    ``mutual_information`` (nats) with the target, ``missing``."""
    outliers: pd.DataFrame
    """One row a feature: bounds ``low`` and ``high`` by the interquartile range, rows ``below`` and ``above`` them,
    and which share of the ``negatives`` and of the ``positives`` those are."""
    matrix: pd.DataFrame
    """Correlations among the features."""
    removed: dict[str, Any] = field(default_factory=dict)
    """What the pipeline removes of these rows as outliers, as `Transformer.removed_outliers` tells; empty: nothing."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures without the matrix; what is undefined (a constant column) is null."""
        return {
            "positives": self.positives,
            "negatives": self.negatives,
            "positive_share": self.positives / (self.positives + self.negatives),
            "features": _told(self.features),
            "outliers": _told(self.outliers),
            **({"removed": self.removed} if self.removed else {}),
        }

    def text(self) -> str:
        """Return the features as an aligned table, those that tell the classes apart best first."""
        shown = self.features.sort_values("separation", ascending=False, kind="stable").head(MOST_FEATURES)
        share = self.positives / (self.positives + self.negatives)
        head = f"{self.positives} positives among {self.positives + self.negatives} training rows ({share:.3%})"
        far = self.outliers.sort_values("positives", ascending=False, kind="stable").head(MOST_FEATURES)
        tables = [part.to_string(float_format=lambda value: f"{value:.4f}") for part in (shown, far)]
        far_out = "outliers, beyond 1.5 interquartile ranges from the quartiles"
        return f"{head}\n{tables[0]}\n\n{far_out}\n{tables[1]}{self._removed_text()}"

    def _removed_text(self) -> str:
        if not self.removed:
            return ""
        head = f"{self.removed['rows']} of {self.removed['positives']} positive rows are removed before training"
        lines = [
            f"{name}: {one['rows']} outside of {one['low']:.4f} to {one['high']:.4f}, the bounds of the positives"
            for name, one in self.removed["columns"].items()
        ]
        return "\n\n" + "\n".join([head, *lines])


def explore_table(table: Table, outliers: Columns | None = None) -> Exploration:
    """Return the figures of numeric features; words are counted, not correlated.

    Args:
        table: The training rows.
        outliers: Of which columns the pipeline removes outliers.
    """
    removing = Transformer(outliers=outliers) if any((outliers or {}).values()) else None
    numeric = table.features.select_dtypes(["number", "bool"]).astype(np.float64)
    target = pd.Series(table.target, dtype=np.float64)
    varied = numeric.columns[numeric.nunique() > 1]
    features = pd.DataFrame(
        {
            "correlation": numeric[varied].corrwith(target).reindex(numeric.columns),
            "separation": [_separation(table, numeric[name].to_numpy()) for name in numeric.columns],
            "anova_f": [anova_f(table.target, numeric[name].to_numpy()) for name in numeric.columns],
            "mutual_information": [mutual_information(table.target, numeric[name].to_numpy()) for name in numeric],
            "missing": numeric.isna().sum().astype(int),
        },
        index=numeric.columns,
    )
    positives = int(table.target.sum())
    return Exploration(
        positives=positives,
        negatives=len(table.target) - positives,
        features=features,
        outliers=_outliers(table, numeric),
        matrix=numeric[varied].corr(),
        removed=removing.removed_outliers(table.features, table.target) if removing else {},
    )


def _outliers(table: Table, numeric: pd.DataFrame) -> pd.DataFrame:
    rows = {}
    for name in numeric.columns:
        values = numeric[name].to_numpy()
        low, high = iqr_bounds(values)
        outside = is_outside(values, (low, high))
        rows[name] = {
            "low": low,
            "high": high,
            "below": int((values < low).sum()),
            "above": int((values > high).sum()),
            "negatives": float(outside[table.target == 0].mean()),
            "positives": float(outside[table.target == 1].mean()),
        }
    columns = ["low", "high", "below", "above", "negatives", "positives"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _told(frame: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    exact = ("correlation", "separation")
    return {
        str(name): {
            str(key): None if not np.isfinite(value) else float(value if key in exact else f"{value:.{_DIGITS}g}")
            for key, value in row.items()
        }
        for name, row in frame.iterrows()
    }


def _separation(table: Table, values: Floats) -> float:
    known = ~np.isnan(values)
    target = table.target[known]
    if target.min(initial=1) >= target.max(initial=0):
        return 0.5
    area = float(roc_auc(target, values[known]))
    return max(area, 1 - area)
