"""The model as MLflow wants it: a folder with signature, input example and what must be installed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepzero.adapters.store import Store, dump_json
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import Reference
from stepzero.core.stages import StageInput

if TYPE_CHECKING:
    import pandas as pd

    from stepzero.learning.model import ScoringModel

LOADER = "stepzero.serving.pyfunc"
"""Module that MLflow calls to load the folder; named, not imported: stages know nothing of serving."""
_PACKAGES = ("numpy", "pandas", "scikit-learn", "imbalanced-learn", "xgboost", "stepzero")
_TYPES = {"int": "long", "bigint": "long", "double": "double", "boolean": "boolean", "timestamp": "datetime"}
"""Our column types as MLflow's; integers are long, since a data frame reads them so; others are text."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A saved model with what must be known of it."""

    folder: Path
    threshold: float | None
    example: Reference
    """A few raw rows as ``{"instances": […]}``."""


def save_for_registry(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> Package:
    """Save the evaluated model in MLflow's format, after reading it back from the store."""
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, Schema

    from stepzero.learning.model import load_model

    reference = inputs["evaluated"].output("model")
    model = load_model(workspace.store, reference)
    rows = _example_rows(workspace.read_frame(inputs["prepared"].output("test")), use_case, model)
    data = workspace.local / "model_data"
    workspace.store.download(reference.uri, data / reference.uri)
    (data / "reference.json").write_text(dump_json(reference.to_json()), encoding="utf-8")
    columns = [ColSpec(_TYPES.get(kind, "string"), name) for name, kind in model.asked.items()]
    answers = [ColSpec("double", "score"), *([ColSpec("long", "decision")] if model.threshold is not None else [])]
    folder = workspace.local / "package"
    save_model(
        str(folder),
        loader_module=LOADER,
        data_path=str(data),
        signature=ModelSignature(inputs=Schema(columns), outputs=Schema(answers)),
        input_example=rows,
        pip_requirements=_requirements(),
        metadata={"use_case": use_case.name, "model_digest": reference.digest},
    )
    example = workspace.write_json("example.json", {"instances": [_plain(row) for row in rows.to_dict("records")]})
    return Package(folder=folder, threshold=model.threshold, example=example)


def load_packaged(data: Path) -> ScoringModel:
    """Load what `save_for_registry` put under MLflow's ``data`` folder; digests are verified."""
    from stepzero.learning.model import load_model

    reference = Reference.from_json(json.loads((data / "reference.json").read_text(encoding="utf-8")))
    return load_model(Store(f"file://{data.resolve()}"), reference)


def _example_rows(test: pd.DataFrame, use_case: Any, model: ScoringModel) -> pd.DataFrame:
    """Return one positive and one negative test row: a score that is not 0 proves more; of a regression, two rows."""
    if use_case.problem.kind == "regression":
        return model.asked_of(test.drop_duplicates(use_case.problem.target)[:2])
    positive = test[use_case.problem.target] == use_case.problem.positive
    both = test.assign(positive=positive).drop_duplicates("positive").sort_values("positive", ascending=False)
    return model.asked_of(both)


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """Return a row as JSON knows it, every digit kept."""
    items = {str(name): value.item() if hasattr(value, "item") else value for name, value in row.items()}
    return {name: None if value != value else value for name, value in items.items()}  # noqa: PLR0124 - NaN


def _requirements() -> list[str]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return found
