"""Learning on from later rows, without those before: for estimators that can (`partial_fit`).

What was learned before the estimator (means and widths of columns) stays as the first rows taught it. A refit on all
rows is the rule; this is for rows that come too often, or too many, to begin anew.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from stepzero.core.errors import StageError, bare
from stepzero.learning.regressors import can_go_on

if TYPE_CHECKING:
    from stepzero.learning.model import ScoringModel
    from stepzero.learning.table import Table

EPOCHS = 10
"""How often the later rows are gone through; the reference example's linear learner goes through all ten times."""


def go_on(model: ScoringModel, later: Table, *, epochs: int = EPOCHS) -> ScoringModel:
    """Return a model that learned from later rows besides; the given one stays as it is.

    Args:
        model: As it was fitted on the rows before.
        later: Rows that it has not seen.
        epochs: How often they are gone through, in their order: the same rows, the same model.

    Raises:
        StageError: The estimator can only be fitted anew.
    """
    if not can_go_on(model.estimator):
        raise StageError(
            f"learning on with {type(model.estimator).__name__}",
            value=bare("it has no partial_fit"),
            allowed="an estimator that learns from further rows, such as stochastic_gradient_descent",
            action="fit it on all rows: a run with the window as declared does",
        )
    estimator, features = copy.deepcopy(model.estimator), model.matrix(later.features)
    known = {"classes": [0, 1]} if hasattr(estimator, "classes_") else {}
    for _ in range(epochs):
        estimator.partial_fit(features, later.target, **known)
    return model.replaced(estimator=estimator)
