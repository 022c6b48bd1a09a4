"""What the benchmarks on card payments share: rows prepared in memory, and the learning stages on them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import Reference, ResultReference
from stepzero.core.stages import StageInput, StageResult, find_stage, load_stage
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_use_case
from stepzero.spec.use_case import UseCase
from stepzero.spec.view import View

if TYPE_CHECKING:
    from _kept import Kept

WHY = {
    "near_miss": "NearMiss keeps those ordinary payments that lie nearest to frauds, and none of the rest: some of "
    "what a model has never seen scores like a fraud, and at the true base rate the hard frauds drown in it.",
    "smote": "SMOTE puts rows between frauds that are neighbours: a single tree cuts boxes around them that reach "
    "among ordinary payments; many trees, each of other rows, average such boxes away.",
}
"""What is to be said of the rows that these samplers leave."""
DATA = Path(__file__).parents[2] / "shared" / "data" / "credit_card"


def prepare_rows(frame: pd.DataFrame, *, test: float = 0.2, folds: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and test rows as the prepare stage does: split and folds by hash, balanced by class."""
    rows = frame.copy()
    rows["_row_id"] = [hashlib.sha256(repr(row).encode()).hexdigest() for row in frame.itertuples(index=False)]
    rows = rows.sort_values("_row_id").reset_index(drop=True)
    held = rows.groupby("Class").cumcount() < rows["Class"].map(rows["Class"].value_counts()) * test
    train = rows[~held].reset_index(drop=True)
    train["_fold"] = (train.groupby("Class").cumcount() % folds).astype(np.int32)
    return train, rows[held].reset_index(drop=True)


class Stages:
    """The learning stages, one after the other, in a store of their own.

    With `kept` a stage that was done before, by the same calls in the same order, is not done again.
    """

    def __init__(
        self,
        folder: Path,
        train: pd.DataFrame,
        test: pd.DataFrame,
        /,
        *,
        models: Any,
        kept: Kept | None = None,
        **sections: Any,
    ) -> None:
        self.kept = kept
        self.store = Store(f"file://{folder}")
        data = load_use_case("credit_card_fraud").model_dump(mode="json", by_alias=True)
        data["train"] |= {"models": models, **sections.pop("train", {})}
        self.use_case = UseCase.model_validate({**data, **sections})
        sides = (("train", train), ("test", test))

        def write() -> StageResult:
            folder = f"rows/{uuid.uuid4().hex}"
            written = {
                name: write_frame(self.store, f"{folder}/{name}", rows, producer="prepare") for name, rows in sides
            }
            return StageResult(outputs=written)

        self.prepared = self._input("prepare", self._once("rows", write))
        self.runs, self.name, self.shared = 0, "", ""

    def count(self, test: pd.DataFrame) -> None:
        """Say what preparation counted on the held-out side: a sentinel compares it."""
        counts = {str(value): int(count) for value, count in test["Class"].value_counts().items()}
        self.prepared = replace(self.prepared, values={"test": counts})

    def save(self, resampled: StageResult) -> None:
        """Write down where everything is, so that other processes can go on from here."""
        outputs = {**self.prepared.outputs, **resampled.outputs}
        references = {name: one.to_json() for name, one in outputs.items()}
        use_case = self.use_case.model_dump(mode="json", by_alias=True)
        self.store.write_json("stages.json", {"use_case": use_case, "references": references})

    @classmethod
    def reopen(cls, root: str, *, name: str, shared: str) -> tuple[Stages, StageResult]:
        """Return what another process saved: the stages, and the resampled folds.

        Args:
            root: The store.
            name: Tells this process's tries from those of others.
            shared: Folder of the search that processes share.
        """
        stages = cls.__new__(cls)
        stages.store, stages.runs, stages.name, stages.shared = Store(root), 0, name, shared
        stages.kept = None
        saved = stages.store.read_json("stages.json")
        stages.use_case = UseCase.model_validate(saved["use_case"])
        outputs = {one: Reference.from_json(value) for one, value in saved["references"].items()}
        folds = StageResult(outputs={"folds": outputs.pop("folds")}, values={"failed": None})
        stages.prepared = cls._input("prepare", StageResult(outputs=outputs))
        return stages, folds

    def resample(self, sampler: str) -> StageResult:
        """Run the resample stage."""
        return self._run("resample", {}, sampler=sampler)

    def tune(self, sampler: str, model: str, resampled: StageResult | None = None) -> StageResult:
        """Run the tune stage, and the resample stage before it."""
        done = resampled or self.resample(sampler)
        return self._run("tune", {"resampled": self._input("resample", done)}, sampler=sampler, model=model)

    def evaluate(self, tuned: list[StageResult]) -> StageResult:
        """Run the evaluate stage."""
        return self._run("evaluate", {"tuned": [self._input("tune", one) for one in tuned]})

    def _run(self, stage: str, inputs: dict[str, Any], **parameters: str) -> StageResult:
        self.runs += 1
        part = " ".join([f"{self.runs:03d}", stage, *parameters.values()])
        return self._once(part, lambda: self._done(part, stage, inputs, parameters))

    def _once(self, part: str, work: Callable[[], StageResult]) -> StageResult:
        """Do a stage, or take what is kept of it."""
        if self.kept is None:
            return work()
        told = self.kept.get(part, lambda: _told(work()))
        outputs = {name: Reference.from_json(one) for name, one in told["outputs"].items()}
        return StageResult(outputs=outputs, values=told["values"], summary=told["summary"])

    def _done(self, part: str, stage: str, inputs: dict[str, Any], parameters: dict[str, str]) -> StageResult:
        info, again = find_stage(stage), f"-{uuid.uuid4().hex}" if self.kept else ""
        workspace = Workspace(
            store=self.store,
            environment=Environment(name="benchmark", store=self.store.root),
            plan=View(None, info.plan),  # type: ignore[arg-type]
            # A try that was ended half-way has left files: the next one has a folder of its own.
            folder=f"results/{stage}-{self.runs}{self.name}{again}",
            shared=self.shared or (f"work/{part.replace(' ', '-')}" if self.kept else None),
            stage=stage,
            parameters=parameters,
        )
        view = View(self.use_case, info.sections, always=("name",), parameters=parameters)
        return load_stage(info)(view, {"prepared": self.prepared, **inputs}, workspace)

    @staticmethod
    def _input(stage: str, result: StageResult) -> StageInput:
        reference = ResultReference(stage=stage, uri="", digest="")
        return StageInput(reference=reference, outputs=result.outputs, values=result.values, verdict=result.verdict)


def _told(result: StageResult) -> dict[str, Any]:
    outputs = {name: one.to_json() for name, one in result.outputs.items()}
    return {"outputs": outputs, "values": result.values, "summary": result.summary}
