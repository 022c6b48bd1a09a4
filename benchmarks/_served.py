"""A version that serves, made without a run: a store with model, evidence, desired state and published features."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import xgboost
import yaml

from stepzero.adapters.datasets import write_file, write_frame
from stepzero.adapters.registry_records import (
    DesiredState,
    Evidence,
    Registration,
    desired_uri,
    note_evidence,
    note_registration,
)
from stepzero.adapters.store import Store, dump_json
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageInput, StageResult
from stepzero.learning.model import ScoringModel, save_model
from stepzero.learning.transform import Transformer
from stepzero.spec.environment import Environment
from stepzero.spec.features import FeatureGroup
from stepzero.spec.plan import Champion
from stepzero.spec.serve import Lookup, ServedGroup
from stepzero.stages.features import ingest_features
from stepzero.stages.features_publish import publish_features

NAME, RECORD = "benchmark", "record"
INCLUDE = Path(__file__).parents[1] / "include"


def make_rows(columns: int, count: int = 5_000) -> tuple[pd.DataFrame, pd.Series[int]]:
    """Return rows of numbers, learnable but not trivially so."""
    generator = np.random.default_rng(5)
    frame = pd.DataFrame(
        generator.normal(size=(count, columns)), columns=[f"x{number:02d}" for number in range(columns)]
    )
    signal = frame.iloc[:, :5].sum(axis=1) + generator.normal(size=count)
    return frame, (signal > 2.5).astype(int)


def fit(frame: pd.DataFrame, target: pd.Series[int]) -> xgboost.XGBClassifier:
    """Return the model that all are asked for: a hundred trees of depth three."""
    return xgboost.XGBClassifier(n_estimators=100, max_depth=3, learning_rate=0.2, n_jobs=1).fit(
        frame.to_numpy(), target
    )


def make_store(folder: Path, frame: pd.DataFrame, estimator: Any) -> Store:
    """Return a store in which the model is the desired version and all features are published, in two groups."""
    store = Store(f"file://{folder / 'store'}")
    features = dict.fromkeys(map(str, frame.columns), "double")
    model = ScoringModel(features=features, transformer=Transformer().fit(frame), estimator=estimator, threshold=0.5)
    reference = save_model(store, "made/model", model, producer="benchmark")
    example = write_file(
        store, "made/example.json", dump_json({"instances": frame.head(2).to_dict("records")}).encode()
    )
    evidence = approve(store, reference.to_json(), example.to_json(), threshold=0.5)
    groups = {name: ServedGroup() for name in _publish(store, frame)}
    desired = DesiredState(
        use_case=NAME,
        version="1",
        model=reference.to_json(),
        threshold=0.5,
        example=example.to_json(),
        evidence_digest=evidence.digest,
        lookup=Lookup(record_id=RECORD, groups=groups),
        explain=True,
    )
    store.write_json(desired_uri(NAME), desired.model_dump(mode="json"))
    return store


def approve(
    store: Store, model: dict[str, Any], example: dict[str, Any], *, threshold: float | None, version: str = "1"
) -> Evidence:
    """Register a version and note that it was approved."""
    common: dict[str, Any] = {"use_case": NAME, "version": version, "threshold": threshold}
    note_registration(store, Registration(**common, model=model, training_rows={}, example=example, run="benchmark"))
    decided: dict[str, Any] = {
        "by": "benchmark",
        "when": "",
        "why": "it is measured",
        "how": "rule",
        "run": "benchmark",
    }
    previous: Champion | None = None
    note_evidence(
        store, Evidence(**common, model_digest=model["digest"], approved=True, gates={}, previous=previous, **decided)
    )
    return Evidence.model_validate(store.read_json(f"registry/{NAME}/{version}/evidence.json"))


def _publish(store: Store, frame: pd.DataFrame) -> list[str]:
    """Publish half of the columns in each of two groups, through the stages."""
    group = FeatureGroup(record_id=RECORD, event_time="event", known_time="known")
    half = frame.shape[1] // 2
    parts = {"first": frame.iloc[:, :half], "second": frame.iloc[:, half:]}
    features = SimpleNamespace(groups=dict.fromkeys(parts, group))
    use_case: Any = SimpleNamespace(name=NAME, features=features, problem=None)
    inputs = {}
    for name, part in parts.items():
        rows = write_frame(store, f"made/{name}", part.rename_axis(RECORD).reset_index(), producer="benchmark")
        prepared = _input(StageResult(outputs={"accepted": rows}))
        inputs[name] = _input(ingest_features(use_case, {"prepared": prepared}, _workspace(store, name, group=name)))
    publish_features(use_case, inputs, _workspace(store, "published"))
    return list(parts)


def _workspace(store: Store, folder: str, **parameters: str) -> Workspace:
    plan: Any = SimpleNamespace(as_of=pd.Timestamp.now(tz="UTC").isoformat())
    environment = Environment(name="local", store=store.root)
    return Workspace(
        store=store,
        environment=environment,
        plan=plan,
        folder=f"made/results/{folder}",
        stage="benchmark",
        parameters=parameters,
    )


def _input(result: StageResult) -> StageInput:
    reference = ResultReference(stage="benchmark", uri="", digest="0" * 32)
    return StageInput(reference=reference, outputs=result.outputs, values=result.values, verdict=None)


def write_project(folder: Path, store: Store) -> dict[str, str]:
    """Write environment and use case, and return the variables by which `stepzero serve` finds them."""
    parts = {"environments/local": {"name": "local", "store": store.root}, f"usecases/{NAME}": {"name": NAME}}
    for name, data in parts.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(json.loads(json.dumps(data))), encoding="utf-8")
    return {"STEPZERO_INCLUDE": str(folder), "STEPZERO_HOME": str(folder), "STEPZERO_ENVIRONMENT": "local"}


@contextmanager
def running(command: list[str], url: str, log: Path, variables: dict[str, str]) -> Iterator[psutil.Process]:
    """Run a server on the first core of this machine until it is measured."""
    environment = {**os.environ, "PYTHONPATH": str(INCLUDE), **variables}
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])  # a child inherits it, with all its threads
    try:
        with log.open("wb") as stream:
            process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True)
        os.sched_setaffinity(0, cores[1:] or cores)
        _wait(f"{url}/ping", process, log)
        yield psutil.Process(process.pid)
    finally:
        os.sched_setaffinity(0, cores)
        if process.poll() is None:
            for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                one.terminate()
        process.wait(timeout=30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    msg = f"{url} does not answer: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}"
    raise RuntimeError(msg)


def memory(process: psutil.Process) -> float:
    """Return what a server and its children hold in memory, in megabytes."""
    return float(sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 1e6)


def python(*arguments: str) -> list[str]:
    """Return a command of this Python."""
    return [sys.executable, *arguments]
