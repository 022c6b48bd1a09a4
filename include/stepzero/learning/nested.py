"""Shortcuts: scores for several values of one parameter from a single fit, equal to separate fits to the last bit.

The first k trees of a forest with a seed are a forest of k trees, the first k rounds of a boosting are a
boosting of k rounds, and the k nearest of the K nearest are the k nearest. A path over a penalty, or a deep
tree cut at a depth, is not exact and so is not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from stepzero.measures.checks import Booleans, Floats

Scores = dict[int, Floats]


class Shortcut(Protocol):
    """An optional part of a model: one fit with the largest value of `parameter` scores them all."""

    @property
    def parameter(self) -> str:
        """Name of the nested parameter, whose values are whole numbers."""
        ...

    def applies(self, parameters: Mapping[str, Any]) -> bool:
        """Tell whether the shortcut is exact under these other parameters."""
        ...

    def scores(self, fitted: Any, features: Floats, values: Sequence[int]) -> Scores:
        """Return the positives' scores for each value, from an estimator fitted with the largest."""
        ...


class FirstTrees:
    """The first k trees of one random forest."""

    parameter = "n_estimators"

    def applies(self, parameters: Mapping[str, Any]) -> bool:
        """Tell whether trees are independent of how many follow them: always, unless fits are warm."""
        return not parameters.get("warm_start", False)

    def scores(self, fitted: Any, features: Floats, values: Sequence[int]) -> Scores:
        """Add up the trees' votes in order, as the forest itself does, and stop by at each value."""
        rows = np.asarray(features, dtype=np.float32)
        total = np.zeros(len(rows))
        found: Scores = {}
        for number, tree in enumerate(fitted.estimators_, start=1):
            total += self._of_tree(fitted, tree, rows)
            if number in values:
                found[number] = total / number
        return found

    @staticmethod
    def _of_tree(fitted: Any, tree: Any, rows: Any) -> Any:
        if not hasattr(fitted, "classes_"):
            return tree.predict(rows, check_input=False)
        column = int(np.flatnonzero(fitted.classes_ == 1)[0])
        return tree.predict_proba(rows, check_input=False)[:, column]


class FirstRounds:
    """The first k rounds of one boosting."""

    parameter = "n_estimators"

    def applies(self, parameters: Mapping[str, Any]) -> bool:
        """Tell whether rounds are independent of how many follow them: trees that are neither dropped nor stopped."""
        return parameters.get("booster", "gbtree") == "gbtree" and parameters.get("early_stopping_rounds") is None

    def scores(self, fitted: Any, features: Floats, values: Sequence[int]) -> Scores:
        """Predict with the first k rounds for each value."""
        if not hasattr(fitted, "predict_proba"):
            return {value: fitted.predict(features, iteration_range=(0, value)).astype(np.float64) for value in values}
        column = int(np.flatnonzero(fitted.classes_ == 1)[0])
        return {
            value: fitted.predict_proba(features, iteration_range=(0, value))[:, column].astype(np.float64)
            for value in values
        }


class NearestOfMany:
    """One query of the K nearest neighbours answers for every smaller k."""

    parameter = "n_neighbors"

    def applies(self, parameters: Mapping[str, Any]) -> bool:
        """Tell whether neighbours count alike; weights by distance are added up in another order."""
        return str(parameters.get("weights", "uniform")) == "uniform"

    def scores(self, fitted: Any, features: Floats, values: Sequence[int]) -> Scores:
        """Count positives among the first k; a k whose last place is tied across classes is asked on its own."""
        most = min(max(values) + 1, fitted.n_samples_fit_)
        distances, neighbours = fitted.kneighbors(features, n_neighbors=most)
        column = int(np.flatnonzero(fitted.classes_ == 1)[0])
        positive = np.asarray(fitted._y)[neighbours] == column  # noqa: SLF001 - its only record of the targets
        counts = np.cumsum(positive, axis=1)
        found: Scores = {}
        for value in values:
            tied = value < most and _is_tied(distances, positive, value)
            found[value] = self._asked(fitted, features, value)[:, column] if tied else counts[:, value - 1] / value
        return found

    @staticmethod
    def _asked(fitted: Any, features: Floats, value: int) -> Floats:
        kept = fitted.n_neighbors
        try:
            return np.asarray(fitted.set_params(n_neighbors=value).predict_proba(features))
        finally:
            fitted.set_params(n_neighbors=kept)


def _is_tied(distances: Floats, positive: Booleans, value: int) -> bool:
    """Tell whether equal distances on both sides of the last place leave open which class takes it."""
    tied: Booleans = distances[:, value - 1] == distances[:, value]
    equal = distances[tied] == distances[tied, value - 1][:, None]
    votes = (positive[tied] & equal).sum(axis=1)
    undecided: Booleans = (votes > 0) & (votes < equal.sum(axis=1))
    return bool(np.any(undecided))
