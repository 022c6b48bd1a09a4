"""The prior correction: probabilities of a model that learned from other shares of the classes than there are.

Resampling, weights and enriched data teach a model that positives are commoner than they are. The correction
travels in the stored model, so that whoever loads it, the endpoint included, gets corrected probabilities, and
the threshold is one of corrected probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stepzero.measures.calibration import shift_prior
from stepzero.measures.checks import Floats, Integers


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Shares of positives: where the model learned, and where it is used."""

    trained_share: float
    true_share: float

    def correct(self, score: Floats) -> Floats:
        """Return probabilities at the true share; their order stays, and so do rows without a score."""
        if self.trained_share == self.true_share:
            return np.array(score, dtype=np.float64)
        known = np.isfinite(score)
        corrected = np.array(score, dtype=np.float64)
        corrected[known] = shift_prior(corrected[known], self.trained_share, self.true_share)
        return corrected

    def to_json(self) -> dict[str, float]:
        """Return both shares."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, float] | None) -> Prior | None:
        """Read what `to_json` wrote; None stays None."""
        return cls(trained_share=data["trained_share"], true_share=data["true_share"]) if data else None


def gives_probabilities(estimator: Any) -> bool:
    """Tell whether an estimator's scores are probabilities, which alone can be corrected."""
    return hasattr(estimator, "predict_proba")


def learned_prior(labels: Integers, weight: Floats, estimator: Any, true_share: float) -> Prior:
    """Return the shares of positives that an estimator learned from, beside the true one.

    Args:
        labels: 1 where positive, of the rows that it was fitted on.
        weight: How much each of them counted in ``fit``.
        estimator: Its parameters may weight the classes.
        true_share: Share of positives where it is used.
    """
    masses = np.array([weight[labels == label].sum() for label in (0, 1)])
    parameters = estimator.get_params() if hasattr(estimator, "get_params") else {}
    masses = masses * class_weights(parameters, masses)
    return Prior(trained_share=float(masses[1] / masses.sum()), true_share=true_share)


def class_weights(parameters: Mapping[str, Any], masses: Floats) -> Floats:
    """Return how much more each class counts in ``fit`` than its rows do.

    Args:
        parameters: ``class_weight``, ``is_unbalance`` and ``scale_pos_weight`` shift the shares as resampling does.
        masses: Weight of all negatives and of all positives among the rows that are fitted on.

    Example:
        >>> class_weights({"scale_pos_weight": 9}, np.array([90.0, 10.0])).tolist()
        [1.0, 9.0]
    """
    weights = np.ones(2)
    declared = parameters.get("class_weight")
    if declared == "balanced" or parameters.get("is_unbalance"):
        weights = masses.sum() / (2 * masses)
    elif isinstance(declared, Mapping):
        weights = np.array([float(declared.get(label, declared.get(str(label), 1))) for label in (0, 1)])
    if parameters.get("scale_pos_weight") is not None:
        weights = weights * np.array([1.0, float(parameters["scale_pos_weight"])])
    return weights
