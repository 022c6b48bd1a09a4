"""Small prepared tables of card payments, and stages run on them without an orchestrator."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageInput, StageResult
from stepzero.learning.table import Table, make_table
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_use_case
from stepzero.spec.use_case import UseCase

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "credit_card" / "creditcard_28k.csv.gz"
FOLDS = 3


def made_up_cards(rows: int = 1500, frauds: int = 90, seed: int = 3) -> pd.DataFrame:
    """Return generated rows."""
    return _made_up(rows, frauds, seed).copy()


@lru_cache(maxsize=8)
def _made_up(rows: int, frauds: int, seed: int) -> pd.DataFrame:
    from stepzero.generators.credit_card import generate

    return generate(rows=rows, seed=seed, frauds=frauds)


def real_cards(negatives: int = 3000, positives: int = 150) -> pd.DataFrame:
    """Return a slice of the real file, or skip the test."""
    if not REAL.is_file():
        pytest.skip(f"the real card payments are not at {REAL}")
    frame = _real()
    parts = [frame[frame["Class"] == 0][:negatives], frame[frame["Class"] == 1][:positives]]
    return pd.concat(parts)


@lru_cache(maxsize=1)
def _real() -> pd.DataFrame:
    return pd.read_csv(REAL).drop_duplicates()


def prepared(frame: pd.DataFrame, *, test: float = 0.25) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and test rows as the prepare stage writes them: row ids, folds, sorted."""
    rows = frame.copy()
    rows["_row_id"] = [hashlib.sha256(repr(row).encode()).hexdigest() for row in frame.itertuples(index=False)]
    rows = rows.sort_values("_row_id").reset_index(drop=True)
    rank = rows.groupby("Class").cumcount()
    held = rank < rows["Class"].map(rows["Class"].value_counts()) * test
    train = rows[~held].reset_index(drop=True)
    train["_fold"] = (train.groupby("Class").cumcount() % FOLDS).astype(np.int32)
    return train, rows[held].reset_index(drop=True)


def card_table(frame: pd.DataFrame | None = None, **sections: Any) -> Table:
    """Return training rows as a table."""
    use_case = cards(**sections)
    train, _ = prepared(made_up_cards() if frame is None else frame)
    assert use_case.problem is not None
    return make_table(train, use_case.problem, use_case.weight)


def cards(**sections: Any) -> UseCase:
    """Return the shipped use case without its recipes, which need not fit to the sections that are replaced."""
    data = load_use_case("credit_card_fraud").model_dump(mode="json", by_alias=True) | {"recipes": {}}
    for name, section in sections.items():
        data[name] = {**data[name], **section} if isinstance(section, dict) and data.get(name) else section
    return UseCase.model_validate(data)


class Bench:
    """Runs learning stages one after the other in a store of its own."""

    def __init__(self, folder: Path, frame: pd.DataFrame | None = None, **sections: Any) -> None:
        self.store = Store(f"file://{folder}")
        self.use_case = cards(**sections)
        train, test = prepared(made_up_cards() if frame is None else frame)
        outputs = {
            side: write_frame(self.store, f"prepared/{side}", rows, producer="prepare")
            for side, rows in (("train", train), ("test", test))
        }
        values = {"test": {str(k): int(v) for k, v in test["Class"].value_counts().items()}}
        self.prepared = as_input("prepare", StageResult(outputs=outputs, values=values))
        self.runs = 0
        self.environment = Environment(name="test", store="memory://test")
        self.plan: Any = None
        self.shared: str | None = None

    def run(self, stage: str, inputs: dict[str, Any], **parameters: str) -> StageResult:
        """Run a stage by name in a folder of its own."""
        from stepzero.core.stages import find_stage, load_stage
        from stepzero.spec.view import View

        self.runs += 1
        info = find_stage(stage)
        workspace = Workspace(
            store=self.store,
            environment=self.environment,
            plan=cast("Any", View(self.plan, info.plan)),
            folder=f"results/{stage}-{self.runs}",
            shared=self.shared,
            stage=stage,
            parameters=parameters,
        )
        view = View(self.use_case, info.sections, always=("name",), parameters=parameters)
        return load_stage(info)(view, {"prepared": self.prepared, **inputs}, workspace)

    def resample(self, sampler: str) -> StageResult:
        """Run the resample stage."""
        return self.run("resample", {}, sampler=sampler)

    def tune(self, sampler: str, model: str, resampled: StageResult | None = None) -> StageResult:
        """Run the tune stage, and the resample stage before it."""
        done = resampled or self.resample(sampler)
        return self.run("tune", {"resampled": as_input("resample", done)}, sampler=sampler, model=model)

    def evaluate(self, *tuned: StageResult) -> StageResult:
        """Run the evaluate stage."""
        return self.run("evaluate", {"tuned": [as_input("tune", one) for one in tuned]})


def as_input(stage: str, result: StageResult) -> StageInput:
    """Return a result as the next stage sees it."""
    reference = ResultReference(stage=stage, uri="", digest="")
    return StageInput(reference=reference, outputs=result.outputs, values=result.values, verdict=result.verdict)


def tuned_digests(folder: Path) -> list[str]:
    """Tune two small models on rows resampled by SMOTE; return the digests of all outputs."""
    models = {"random_forest": {"n_estimators": [3, 9]}, "xgboost": {"n_estimators": [5, 15]}}
    bench = Bench(folder, train={"folds": FOLDS, "models": models})
    resampled = bench.resample("smote")
    made = [bench.tune("smote", name, resampled) for name in models]
    return [output.digest for one in made for _, output in sorted(one.outputs.items())]
