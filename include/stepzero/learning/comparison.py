"""Challenger against champion on the same rows: a paired bootstrap of the difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.core.errors import InputError, bare
from stepzero.learning.metrics import MEASURES, Metric, make_metric
from stepzero.measures.checks import Floats
from stepzero.measures.regression import REGRESSIONS
from stepzero.measures.uncertainty import intervals


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both values, and by how much the challenger is better, with a confidence interval.

    ``difference`` is positive where the challenger is better, also for a metric that should be small.
    """

    challenger: float
    champion: float
    difference: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the five numbers."""
        return asdict(self)


def compare_scores(  # noqa: PLR0913 - four arrays and how to compare them
    target: npt.ArrayLike,
    weight: npt.ArrayLike | None,
    challenger: npt.ArrayLike,
    champion: npt.ArrayLike,
    *,
    metric: str = "average_precision",
    frame: pd.DataFrame | None = None,
    confidence: float = 0.95,
    bootstrap: int = 500,
    seed: int = 0,
    regression: bool = False,
    entity: npt.ArrayLike | None = None,
) -> Comparison:
    """Compare two models' scores of the same rows; every draw measures both, so common luck cancels out.

    ``f1``, ``precision`` and ``recall`` count a score as positive from 0.5; hand in decisions to compare thresholds.

    Args:
        target: 1 where positive, 0 elsewhere; the number itself where the metric is one of a regression.
        weight: Weight of each row; None counts every row once.
        challenger: Scores of the new model.
        champion: Scores of the one that serves.
        metric: One of ours, or ``package.module:function`` of the user's own.
        frame: Raw features of the rows; needed by a metric of the user's own.
        confidence: Share of draws within the interval.
        bootstrap: Number of draws.
        seed: Same seed, same interval.
        regression: Whether the target is a number, for a metric of the user's own.
        entity: Whose row each one is, for whole entities are drawn; None: every row stands for itself.

    Raises:
        InputError: The arrays do not fit, or a metric of the user's own has no frame.
        SpecError: The metric cannot be imported.
    """
    judge, numbers = make_metric(metric), regression or metric in REGRESSIONS
    rows = np.asarray(target, dtype=np.float64 if numbers else np.int64)
    weights = np.asarray(np.ones(len(rows)) if weight is None else weight, dtype=np.float64)
    scores = [np.asarray(score, dtype=np.float64) for score in (challenger, champion)]
    measure = _of_draws(judge) if metric in MEASURES else _row_by_row(judge, weights, frame)

    def difference(drawn: Floats) -> Any:
        new, old = (measure(rows, score, drawn) for score in scores)
        return new - old if judge.greater_is_better else old - new

    strata, statistics = np.zeros(len(rows)) if numbers else rows, {"difference": difference}
    options: dict[str, Any] = {"confidence": confidence, "draws": bootstrap, "seed": seed, "entity": entity}
    found = intervals(statistics, strata, weights, **options)["difference"]
    new, old = (float(np.asarray(measure(rows, score, weights))) for score in scores)
    return Comparison(challenger=new, champion=old, difference=found.value, low=found.low, high=found.high)


def _of_draws(judge: Metric) -> Callable[[Any, Floats, Floats], Any]:
    """Measure all draws at once: ours take a matrix of weights."""
    return lambda target, score, drawn: judge.function(target, score, drawn, pd.DataFrame())


def _row_by_row(judge: Metric, weights: Floats, frame: pd.DataFrame | None) -> Callable[[Any, Floats, Floats], Any]:
    """Measure draw after draw on repeated rows: a function of the user's own takes no weights."""
    if frame is None:
        raise InputError(
            f"frame for metric {judge.name}",
            value=bare("none"),
            allowed="the raw features of the compared rows",
            action="hand in frame=, since the metric is a function of target, score and frame",
        )

    def measure(target: Any, score: Floats, drawn: Floats) -> Any:
        if drawn.ndim == 1:
            return judge(target, score, weights, frame)
        values = []
        for counts in np.rint(drawn / np.where(weights > 0, weights, 1)).astype(np.int64):
            rows = np.repeat(np.arange(len(target)), counts)
            values.append(judge(target[rows], score[rows], weights[rows], frame.iloc[rows]))
        return np.array(values)

    return measure
