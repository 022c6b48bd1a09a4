"""Pictures of training rows: classes, distributions, correlations, scores and outliers of the features."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepzero.learning.drawing import BLUE, INK, ORANGE, figure, logarithmic, png
from stepzero.learning.exploration import MOST_FEATURES, Exploration
from stepzero.learning.table import Table

BINS = 40


def exploration_pictures(found: Exploration, table: Table) -> dict[str, bytes]:
    """Return file name → PNG."""
    made = {"class_balance.png": _balance_picture(found)}
    if (found.features["missing"] < len(table.target)).any():
        made["distributions.png"] = _distributions_picture(found, table)
        made["target_correlation.png"] = _target_picture(found)
        made["scores.png"] = _scores_picture(found)
        made["outliers.png"] = _outliers_picture(found)
    if len(found.matrix) > 1:
        made["correlation.png"] = _matrix_picture(found)
    return made


def _balance_picture(found: Exploration) -> bytes:
    counts = [found.negatives, found.positives]
    with figure(6, 2.6) as (made, axis):
        bars = axis.barh(["negative", "positive"], counts, color=[BLUE, ORANGE])
        axis.bar_label(bars, [f"{count:,} ({count / sum(counts):.2%})" for count in counts], padding=4)
        logarithmic(axis)
        axis.set(xlabel="Training rows (logarithmic)", xlim=(1, max(counts) * 12))
        axis.set_title("Class balance")
        return png(made)


def _distributions_picture(found: Exploration, table: Table) -> bytes:
    known = found.features[found.features["missing"] < len(table.target)]
    names = list(known.sort_values("separation", ascending=False, kind="stable").index[:MOST_FEATURES])
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
    if not np.isnan(positive).all():
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


def _scores_picture(found: Exploration) -> bytes:
    scores = found.features.dropna(subset=["anova_f"])
    order = scores.sort_values("mutual_information", kind="stable").index[-MOST_FEATURES:]
    with figure(9, 1.4 + 0.22 * len(order), columns=2) as (made, (left, right)):
        names = [str(name) for name in order]
        finite = scores.loc[order, "anova_f"].replace(np.inf, np.nan)
        left.barh(names, finite.to_numpy(), color=BLUE)
        left.set(xscale="symlog", xlabel="F statistic (logarithmic above 1)", title="Analysis of variance")
        right.barh(names, scores.loc[order, "mutual_information"].to_numpy(), color=ORANGE)
        left.xaxis.set_major_formatter("{x:g}")
        right.set(xlabel="nats", title="Mutual information")
        right.set_yticks([])
        left.tick_params(labelsize=8)
        made.suptitle("What each feature tells about the class by itself", x=0.01, ha="left")
        return png(made)


def _outliers_picture(found: Exploration) -> bytes:
    far = found.outliers.assign(most=found.outliers[["negatives", "positives"]].max(axis=1))
    shown = far.sort_values("most", kind="stable")[-MOST_FEATURES:]
    places = np.arange(len(shown))
    with figure(8.5, 1.6 + 0.34 * len(shown)) as (made, axis):
        axis.barh(places + 0.2, shown["negatives"] * 100, height=0.4, color=BLUE, label="of the negatives")
        axis.barh(places - 0.2, shown["positives"] * 100, height=0.4, color=ORANGE, label="of the positives")
        for place, (_, row) in zip(places, shown.iterrows(), strict=True):
            told = f"{int(row['below'] + row['above']):,} rows outside {row['low']:.3g} to {row['high']:.3g}"
            axis.text(row["most"] * 100 + 1, place, told, va="center", size=7)
        axis.set_yticks(places, [str(name) for name in shown.index], size=8)
        most = max(1.0, float(shown["most"].max()) * 100)
        axis.set(xlabel="Outliers in percent of the class", xlim=(0, most * 1.45), ylim=(-1, len(shown)))
        axis.set_xticks([tick for tick in axis.get_xticks() if tick <= most])
        axis.set_title("Beyond 1.5 interquartile ranges from the quartiles of all training rows")
        axis.legend(loc="lower right")
        return png(made)
