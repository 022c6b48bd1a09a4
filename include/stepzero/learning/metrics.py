"""The metric that the search maximises or minimises: one of ours, or a function of the user's own.

Those that cut scores, and functions of the user's own, see probabilities at the true share of positives, whatever
resampling taught the model; the order of scores, which is all that a ranking sees, is the same.

A function of the user's own is ``(target, score, frame) -> float`` by dotted name ``package.module:function``;
``frame`` holds the raw features of the same rows. Its attribute ``greater_is_better`` (default true) says
which way is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stepzero.core.errors import InputError
from stepzero.learning.names import load_name
from stepzero.measures import decisions, ranking
from stepzero.measures.checks import Floats, Integers
from stepzero.measures.regression import ERRORS, REGRESSIONS

if TYPE_CHECKING:
    import pandas as pd

HALF = 0.5
"""Where probabilities become decisions when no threshold was chosen yet, as scikit-learn's `predict` does."""

Measure = Callable[[Any, Any, Any], Any]

RANKINGS: dict[str, Measure] = {"average_precision": ranking.average_precision, "roc_auc": ranking.roc_auc}
DECISIONS: dict[str, Measure] = {"f1": decisions.f1, "precision": decisions.precision, "recall": decisions.recall}


MEASURES: dict[str, Measure] = {**RANKINGS, **DECISIONS, **REGRESSIONS}
"""Ours, of either kind of problem."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric with its direction."""

    name: str
    function: Callable[[Integers, Floats, Floats, pd.DataFrame], float]
    greater_is_better: bool = True

    @property
    def takes_probabilities(self) -> bool:
        """Whether more than the order of scores counts: it is given probabilities at the true share of positives."""
        return self.name not in RANKINGS

    def __call__(self, target: Integers, score: Floats, weight: Floats, frame: pd.DataFrame) -> float:
        """Return the value; raises InputError when it is not a finite number."""
        value = float(self.function(target, score, weight, frame))
        if not np.isfinite(value):
            raise InputError(
                f"metric {self.name}", value=value, allowed="a finite number", action="correct the metric's function"
            )
        return value

    def gain(self, value: float) -> float:
        """Return the value turned so that larger is better."""
        return value if self.greater_is_better else -value


def make_metric(name: str) -> Metric:
    """Return a metric by our name or by somebody else's dotted name.

    Raises:
        SpecError: The function cannot be imported.
    """
    if name in RANKINGS:
        measure = RANKINGS[name]
        return Metric(name=name, function=lambda target, score, weight, _: measure(target, score, weight))
    if name in DECISIONS:
        decide = DECISIONS[name]
        return Metric(name=name, function=lambda target, score, weight, _: decide(target, score >= HALF, weight))
    if name in REGRESSIONS:
        distance = REGRESSIONS[name]
        return Metric(
            name=name,
            function=lambda target, score, weight, _: distance(target, score, weight),
            greater_is_better=name not in ERRORS,
        )
    function = load_name(name, "metric")
    return Metric(
        name=name,
        function=lambda target, score, _, frame: function(target, score, frame),
        greater_is_better=bool(getattr(function, "greater_is_better", True)),
    )
