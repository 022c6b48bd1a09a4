"""All bias metrics of one facet value: each has a value, or a reason why it has none; one never costs the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.core.errors import InputError, bare
from stepzero.measures import bias_labels as labels
from stepzero.measures import bias_predictions as predictions
from stepzero.measures.checks import Booleans, Floats
from stepzero.measures.decisions import Confusion, confusion

NEUTRAL = {"DI": 1.0}
"""The value that says "no difference", where it is not 0."""


@dataclass(frozen=True, kw_only=True)
class BiasMetric:
    """One metric; ``value`` is None where ``error`` says why."""

    name: str
    description: str
    value: float | None
    error: str | None = None

    @property
    def distance(self) -> float | None:
        """How far the value is from "no difference"."""
        return None if self.value is None else abs(self.value - NEUTRAL.get(self.name, 0.0))

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a report; JSON has no infinity, so that is a word."""
        value: float | str | None = self.value
        if self.value is not None and np.isinf(self.value):
            value = "Infinity" if self.value > 0 else "-Infinity"
        told = {"name": self.name, "description": self.description, "value": value}
        return told if self.error is None else {**told, "error": self.error}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BiasMetric:
        """Read what `to_json` wrote."""
        value = None if data["value"] is None else float(data["value"])
        return cls(name=data["name"], description=data["description"], value=value, error=data.get("error"))


@dataclass(frozen=True, kw_only=True)
class FacetRows:
    """Rows of two groups, with what the metrics ask of them.

    Args:
        disfavoured: Which rows have the facet's value; all others are the favoured.
        favourable: Which rows have the favourable label.
        predicted: Which rows the model gives the favourable label.
        weight: How much each row counts.
        group: The group variable's value, for the conditional metrics.
        features: Columns for the flip test, without facet and label.
    """

    disfavoured: Booleans
    favourable: Booleans
    predicted: Booleans | None = None
    weight: Floats
    group: npt.NDArray[Any] | None = None
    features: pd.DataFrame | None = None

    @cached_property
    def counts(self) -> tuple[float, float]:
        """Weight of the favoured and of the disfavoured rows."""
        return float(self.weight[~self.disfavoured].sum()), float(self.weight[self.disfavoured].sum())

    @cached_property
    def shares(self) -> tuple[float, float]:
        """Share of favourable labels among the favoured and among the disfavoured."""
        return self._shares(self.favourable)

    @cached_property
    def predicted_shares(self) -> tuple[float, float]:
        """Share of favourable predictions among the favoured and among the disfavoured."""
        return self._shares(self.decided)

    @property
    def distributions(self) -> tuple[list[float], list[float]]:
        """Shares of the unfavourable and the favourable label in each group."""
        a, d = self.shares
        return [1 - a, a], [1 - d, d]

    @property
    def decided(self) -> Booleans:
        """Predictions.

        Raises:
            InputError: There are none.
        """
        if self.predicted is None:
            raise _missing("Predictions are not provided", "predictions of a model")
        return self.predicted

    @cached_property
    def confusions(self) -> tuple[Confusion, Confusion]:
        """Rows of the favoured and of the disfavoured by label and prediction."""
        a, d = (
            confusion(self.favourable[rows], self.decided[rows], self.weight[rows])
            for rows in (~self.disfavoured, self.disfavoured)
        )
        return a, d

    def conditional(self, favourable: Booleans) -> float:
        """Return the demographic disparity within the groups.

        Raises:
            InputError: There is no group variable.
        """
        if self.group is None or len(self.group) == 0:
            raise _missing("Group variable is empty or not provided", "a column in bias.group")
        return labels.conditional_demographic_disparity(favourable, self.disfavoured, self.group, self.weight)

    def flipped(self) -> float:
        """Return the flip test.

        Raises:
            InputError: There are no features.
        """
        if self.features is None:
            raise _missing("Features are not provided", "the columns of the rows")
        return predictions.flip_test(self.features, self.decided, self.disfavoured, self.weight)

    def check(self) -> None:
        """Check that both groups have rows.

        Raises:
            InputError: One has none.
        """
        for count, name in zip(self.counts, ("Negated facet set is empty", "Facet set is empty"), strict=True):
            if count == 0:
                raise _missing(name, "rows with the facet's value, and rows without")

    def _shares(self, favourable: Booleans) -> tuple[float, float]:
        weights = self.weight * favourable
        parts = float(weights[~self.disfavoured].sum()), float(weights[self.disfavoured].sum())
        a, d = (labels.ratio(part, whole) for part, whole in zip(parts, self.counts, strict=True))
        return a, d


Function = Callable[[FacetRows], float]
BEFORE: dict[str, tuple[str, Function]] = {
    "CDDL": (
        "Conditional Demographic Disparity in Labels (CDDL)",
        lambda rows: rows.conditional(rows.favourable),
    ),
    "CI": ("Class Imbalance (CI)", lambda rows: labels.class_imbalance(*rows.counts)),
    "DPL": (
        "Difference in Positive Proportions in Labels (DPL)",
        lambda rows: labels.difference_in_proportions(*rows.shares),
    ),
    "JS": ("Jensen-Shannon Divergence (JS)", lambda rows: labels.jensen_shannon(*rows.distributions)),
    "KL": ("Kullback-Leibler Divergence (KL)", lambda rows: labels.kullback_leibler(*rows.distributions)),
    "KS": ("Kolmogorov-Smirnov Distance (KS)", lambda rows: labels.kolmogorov_smirnov(*rows.distributions)),
    "LP": ("L-p Norm (LP)", lambda rows: labels.lp_norm(*rows.distributions)),
    "TVD": ("Total Variation Distance (TVD)", lambda rows: labels.total_variation_distance(*rows.distributions)),
}
AFTER: dict[str, tuple[str, Function]] = {
    "AD": ("Accuracy Difference (AD)", lambda rows: predictions.accuracy_difference(*rows.confusions)),
    "CDDPL": (
        "Conditional Demographic Disparity in Predicted Labels (CDDPL)",
        lambda rows: rows.conditional(rows.decided),
    ),
    "DAR": (
        "Difference in Acceptance Rates (DAR)",
        lambda rows: predictions.difference_in_acceptance_rates(*rows.confusions),
    ),
    "DCA": (
        "Difference in Conditional Acceptance (DCA)",
        lambda rows: predictions.difference_in_conditional_acceptance(*rows.confusions),
    ),
    "DCR": (
        "Difference in Conditional Rejection (DCR)",
        lambda rows: predictions.difference_in_conditional_rejection(*rows.confusions),
    ),
    "DI": ("Disparate Impact (DI)", lambda rows: predictions.disparate_impact(*rows.confusions)),
    "DPPL": (
        "Difference in Positive Proportions in Predicted Labels (DPPL)",
        lambda rows: predictions.difference_in_predicted_proportions(*rows.confusions),
    ),
    "DRR": (
        "Difference in Rejection Rates (DRR)",
        lambda rows: predictions.difference_in_rejection_rates(*rows.confusions),
    ),
    "FT": ("Flip Test (FT)", lambda rows: rows.flipped()),
    "GE": (
        "Generalized Entropy (GE)",
        lambda rows: predictions.generalized_entropy(rows.favourable, rows.decided, rows.weight),
    ),
    "RD": ("Recall Difference (RD)", lambda rows: predictions.recall_difference(*rows.confusions)),
    "SD": ("Specificity Difference (SD)", lambda rows: predictions.specificity_difference(*rows.confusions)),
    "TE": ("Treatment Equality (TE)", lambda rows: predictions.treatment_equality(*rows.confusions)),
}


def measure_before(rows: FacetRows) -> tuple[BiasMetric, ...]:
    """Return every metric of labels, in the order of their names."""
    return tuple(_measure(rows, name, *parts) for name, parts in BEFORE.items())


def measure_after(rows: FacetRows) -> tuple[BiasMetric, ...]:
    """Return every metric of predictions, in the order of their names."""
    return tuple(_measure(rows, name, *parts) for name, parts in AFTER.items())


def _measure(rows: FacetRows, name: str, description: str, function: Function) -> BiasMetric:
    try:
        rows.check()
        return BiasMetric(name=name, description=description, value=float(function(rows)))
    except InputError as error:
        return BiasMetric(name=name, description=description, value=None, error=str(error))


def _missing(what: str, allowed: str) -> InputError:
    return InputError(what, value=bare("none"), allowed=allowed, action="see the bias section of the use case")
