"""Explanations on request: what makes them is made once for a version, at the first request or, if declared, before."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from stepzero.adapters.registry_records import DesiredState, read_registration
from stepzero.core.references import Reference
from stepzero.learning.row_explanation import RowExplainer, reference_row
from stepzero.measures.baselines import ColumnBaseline

if TYPE_CHECKING:
    import pandas as pd

    from stepzero.adapters.store import Store
    from stepzero.learning.model import ScoringModel
    from stepzero.measures.checks import Floats


class Explanations:
    """Explains rows of one version; the first call takes seconds, for importing what explains.

    Args:
        model: The version's model.
        rows: A few raw rows of it.
        store: Where the baseline of its training rows is.
        desired: The version.
    """

    def __init__(self, model: ScoringModel, rows: pd.DataFrame, store: Store, desired: DesiredState) -> None:
        self._model, self._rows, self._store, self._desired = model, rows, store, desired
        self._lock = threading.Lock()
        self._made: RowExplainer | None = None

    def explain(self, matrix: Floats) -> list[dict[str, Any]]:
        """Return for each row what every raw feature adds to its score.

        Raises:
            InputError: The model can be explained by asking it thousands of times only.
        """
        return self.ready().explain(matrix)

    def ready(self) -> RowExplainer:
        """Make the explainer, if nobody has yet.

        Raises:
            InputError: As `explain`.
        """
        made = self._made
        if made is None:
            # One at a time: the first callers after a deployment wait for the same explainer.
            with self._lock:
                made = self._made or RowExplainer(self._model, self._rows, self._reference())
                self._made = made
        return made

    def _reference(self) -> Floats | None:
        kept = read_registration(self._store, self._desired.use_case, self._desired.version).baseline
        if kept is None:
            return None
        told = self._store.read_json(Reference.from_json(kept).uri)
        return reference_row(self._model, {name: ColumnBaseline.from_json(column) for name, column in told.items()})
