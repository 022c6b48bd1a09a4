"""What MLflow calls to load a registered model: ``mlflow.pyfunc.load_model("models:/NAME@champion")``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepzero.stages.register_package import load_packaged

if TYPE_CHECKING:
    import pandas as pd

    from stepzero.learning.model import ScoringModel


class PyfuncModel:
    """A `ScoringModel` as MLflow's generic flavour asks for it."""

    def __init__(self, model: ScoringModel) -> None:
        self.model = model

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return scores, and decisions where there is a threshold."""
        import pandas as pd

        del params
        answer = pd.DataFrame({"score": self.model.score(model_input)}, index=model_input.index)
        if self.model.threshold is not None:
            answer["decision"] = (answer["score"] >= self.model.lines(model_input)).astype("int64")
        return answer


def _load_pyfunc(path: str) -> PyfuncModel:
    return PyfuncModel(load_packaged(Path(path)))
