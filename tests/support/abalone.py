"""Abalones, real or made up, prepared without Spark, and the learning stages on them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.store import Store
from stepzero.core.stages import StageResult
from stepzero.generators.abalone import COLUMNS, generate
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_use_case
from stepzero.spec.use_case import UseCase
from support.cards import Bench, as_input

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "abalone"
REAL = FOLDER / "abalone_libsvm.csv"
SEXES = {1: "M", 2: "F", 3: "I"}


def real_abalones() -> pd.DataFrame:
    """Return the real rows, read independently of the product, or skip the test."""
    if not REAL.is_file():
        pytest.skip(f"the real abalones are not at {REAL}")
    rows = []
    for line in REAL.read_text().splitlines():
        label, *pairs = line.split()
        assert [pair.partition(":")[0] for pair in pairs] == [str(number) for number in range(1, 9)]
        rows.append([float(label), *(float(pair.partition(":")[2]) for pair in pairs)])
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype({"Rings": int, "Sex": int})


def abalones(**sections: Any) -> UseCase:
    """Return the shipped use case with some sections replaced."""
    data = load_use_case("abalone_age").model_dump(mode="json", by_alias=True)
    for name, section in sections.items():
        data[name] = {**data[name], **section} if isinstance(section, dict) and data.get(name) else section
    return UseCase.model_validate(data)


def prepared(frame: pd.DataFrame, folds: int = 5) -> dict[str, pd.DataFrame]:
    """Return the parts as the prepare stage writes them: letters for sexes, row ids, folds, sorted."""
    rows = frame.assign(Sex=frame["Sex"].map(SEXES))
    rows["_row_id"] = [hashlib.sha256(repr(row).encode()).hexdigest() for row in frame.itertuples(index=False)]
    rows = rows.sort_values("_row_id").reset_index(drop=True)
    unit = rows["_row_id"].str[:8].map(lambda text: int(text, 16) / 16**8).to_numpy()
    side = np.where(unit < 0.15, "test", np.where(unit < 0.3, "validation", "train"))
    parts = {name: rows[side == name].reset_index(drop=True) for name in ("train", "validation", "test")}
    parts["train"]["_fold"] = (np.arange(len(parts["train"])) % folds).astype(np.int32)
    return parts


class AbaloneBench(Bench):
    """Runs learning stages on abalones one after the other in a store of its own."""

    def __init__(self, folder: Path, frame: pd.DataFrame | None = None, **sections: Any) -> None:
        self.store = Store(f"file://{folder}")
        self.use_case = abalones(**sections)
        parts = prepared(generate(rows=1_200) if frame is None else frame)
        outputs = {
            name: write_frame(self.store, f"prepared/{name}", rows, producer="prepare") for name, rows in parts.items()
        }
        values = {name: {"all": len(rows)} for name, rows in parts.items()}
        self.prepared = as_input("prepare", StageResult(outputs=outputs, values=values))
        self.runs = 0
        self.environment = Environment(name="test", store=f"file://{folder}")
        self.plan: Any = None
        self.shared: str | None = None

    def tune_all(self) -> list[StageResult]:
        """Tune every declared model."""
        assert self.use_case.train is not None
        resampled = self.resample("none")
        return [self.tune("none", model, resampled) for model in self.use_case.train.models]
