"""Histories of feature groups for tests: small ones by hand, random ones with an oracle, and runs of the stages."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd

from stepzero.adapters.datasets import read_frame, write_frame
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import Reference
from stepzero.core.stages import StageInput, StageResult, find_stage, load_stage
from stepzero.spec.features import FeatureGroup
from stepzero.spec.load import validate
from stepzero.spec.use_case import UseCase
from stepzero.spec.view import View
from support.cards import as_input

GROUP = FeatureGroup(record_id="policy", event_time="event", known_time="known")
DAY = 86_400
DAYS = ["2026-01-01T02:00:00+00:00", "2026-01-02T02:00:00+00:00", "2026-01-03T02:00:00+00:00"]
VALUES = ["amount", "flag", "value", "word"]


def history_of(versions: list[tuple[int, int, int, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(versions, columns=["policy", "event", "known", "value"], dtype="int64")
    return frame.assign(event=frame["event"] * DAY, known=frame["known"] * DAY)


def rows_of(asked: list[tuple[int, int]]) -> pd.DataFrame:
    return pd.DataFrame({"policy": [one[0] for one in asked], "moment": [one[1] * DAY for one in asked]})


def random_history(records: int, seed: int) -> pd.DataFrame:
    """Return up to nine versions a record: late corrections, ties in either time or both, repeats, missing values."""
    generator = np.random.default_rng(seed)
    policy = np.repeat(np.arange(records), generator.integers(0, 10, records))
    count = len(policy)
    frame = pd.DataFrame(
        {
            "policy": policy,
            "event": generator.integers(0, 6, count) * DAY,
            "known": generator.integers(0, 6, count) * DAY,
            "value": generator.integers(0, 3, count),
            "amount": generator.choice([0.5, 1.25, np.nan], count),
            "flag": generator.random(count) < 0.5,
            "word": generator.choice(np.array(["Ärger", "a", "Z", None], dtype=object), count),
        }
    )
    again = frame.sample(frac=0.2, random_state=seed)
    return pd.concat([frame, again]).sample(frac=1, random_state=seed).reset_index(drop=True)


def random_rows(records: int, seed: int) -> pd.DataFrame:
    """Return four rows a record at random moments, some before anything and some of records that nobody knows."""
    generator = np.random.default_rng(seed + 1)
    policy = np.repeat(np.arange(records + 5), 4)
    moment = generator.integers(-1, 8, len(policy)) * DAY
    rows = pd.DataFrame({"policy": policy, "moment": moment, "row": np.arange(len(policy))})
    return rows.sample(frac=1, random_state=seed).reset_index(drop=True)


def expected(history: pd.DataFrame, rows: pd.DataFrame) -> list[tuple[Any, ...] | None]:
    """Look every row up as the definition says it, one version after the other."""
    told: dict[int, list[dict[str, Any]]] = {}
    for version in history.to_dict("records"):
        told.setdefault(version["policy"], []).append({str(name): value for name, value in version.items()})
    found: list[tuple[Any, ...] | None] = []
    for policy, moment in zip(rows["policy"], rows["moment"], strict=True):
        seen = [one for one in told.get(policy, []) if one["event"] <= moment and one["known"] <= moment]
        newest = max(
            seen, key=lambda one: (one["event"], one["known"], [order(one[name]) for name in VALUES]), default=None
        )
        found.append(None if newest is None else plain(newest))
    return found


def order(value: Any) -> tuple[bool, Any]:
    return (False, 0) if pd.isna(value) else (True, value)


def plain(row: Any) -> tuple[Any, ...]:
    return tuple(None if pd.isna(row[name]) else row[name] for name in VALUES)


def use_case_of(**features: Any) -> UseCase:
    def source(**columns: str) -> dict[str, Any]:
        return {"source": {"format": "csv", "prefix": "landing/x/", "columns": columns}}

    data = {
        "name": "toy",
        "problem": {"kind": "classification", "target": "label", "positive": 1},
        "tables": {
            "claims": source(policy="int", when="double", label="int"),
            "customers": source(policy="int", age="int"),
        },
        "features": {
            "rows": "claims",
            "groups": {
                "claims": {"record_id": "policy", "event_time": "when", "known_time": "known"},
                "customers": {"record_id": "policy", "event_time": "event", "known_time": "known"},
            },
            **features,
        },
    }
    return validate(data, UseCase)


class Runs:
    """Runs of the feature stages, one day after the other."""

    def __init__(self, folder: Path, use_case: UseCase, spark: Any = None) -> None:
        self.store, self.use_case, self.count, self.spark = Store(f"file://{folder}"), use_case, 0, spark
        self.environment: Any = None
        # Another one on the same store writes elsewhere, as another try of a stage does.
        self.folder = uuid.uuid4().hex

    def stage(self, name: str, inputs: dict[str, StageInput], as_of: str = "", **parameters: str) -> StageInput:
        self.count += 1
        info = find_stage(name)
        workspace = Workspace(
            store=self.store,
            environment=self.environment,
            plan=cast("Any", SimpleNamespace(as_of=as_of)),
            folder=f"results/{self.folder}/{name}-{self.count}",
            stage=name,
            parameters=parameters,
        )
        workspace.__dict__["spark"] = self.spark
        view = View(self.use_case, info.sections, always=("name",), parameters=parameters)
        return as_input(name, load_stage(info)(view, inputs, workspace))

    def ingest(self, group: str, frame: pd.DataFrame, as_of: str) -> StageInput:
        self.count += 1
        rows = write_frame(self.store, f"made/{self.folder}/{self.count}", frame, producer="test")
        prepared = as_input("prepare_table", StageResult(outputs={"accepted": rows}))
        return self.stage("ingest_features", {"prepared": prepared}, as_of, group=group)

    def read(self, reference: Reference) -> pd.DataFrame:
        return read_frame(self.store, reference)

    def join(self, claims: StageInput, customers: StageInput, stage: str = "join_features") -> pd.DataFrame:
        done = self.stage(stage, {"claims": claims, "customers": customers})
        return read_frame(self.store, done.output("accepted"))
