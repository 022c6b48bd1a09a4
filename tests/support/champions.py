"""A use case far enough along to register, approve and deploy: small real models, everything else real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.cli.services.credentials import Credentials
from stepzero.core.references import Reference, ResultReference
from stepzero.core.stages import StageInput, StageResult, find_stage, load_stage
from stepzero.core.verdict import Outcome, Verdict
from stepzero.learning.group_thresholds import GroupThresholds
from stepzero.learning.model import ScoringModel, save_model
from stepzero.learning.transform import Transformer
from stepzero.spec.data import Pipeline
from stepzero.spec.environment import Approvers, Endpoint, Environment, Signing
from stepzero.spec.environment import Tracking as TrackingSettings
from stepzero.spec.load import validate
from stepzero.spec.plan import Batch, Plan
from stepzero.spec.use_case import UseCase
from stepzero.spec.view import View
from support.stack import ROOT

FEATURES = {"V1": "double", "Amount": "double"}


def make_use_case(name: str, **sections: Any) -> UseCase:
    data = {
        "name": name,
        "title": "A test",
        "problem": {"kind": "classification", "target": "Class", "positive": 1},
        "source": {
            "format": "csv",
            "prefix": f"landing/{name}/",
            "columns": {"V1": "double", "Amount": "double", "Class": "int"},
        },
        "weight": {"base_rate": "5%"},
        "train": {"models": {"logistic_regression": {"C": [1.0]}}},
        "evaluate": {"bootstrap": 100},
        **sections,
    }
    return validate(data, UseCase)


def make_keys(folder: Path) -> Signing:
    """Return a pair of keys in a folder, as `up` makes them."""
    signing = Signing(private_key_file=str(folder / "key"), public_key_file=str(folder / "key.pub"))
    Credentials(folder).ensure_keys(signing)
    return signing


def fit_model(rows: pd.DataFrame, features: list[str], *, threshold: float = 0.4) -> ScoringModel:
    """Fit a small real model that looks at some of the features only."""
    frame = rows[list(FEATURES)].copy()
    blind = [name for name in FEATURES if name not in features]
    frame[blind] = 0.0
    transformer = Transformer.from_spec(Pipeline()).fit(frame)
    estimator = LogisticRegression().fit(transformer.transform(frame), rows["Class"])
    return ScoringModel(features=FEATURES, transformer=transformer, estimator=estimator, threshold=threshold)


@dataclass
class World:
    """One use case with its store, its registry and its runs."""

    name: str
    store: Store
    tracking_uri: str
    rows: pd.DataFrame
    endpoint: Endpoint | None = None
    approval: str = "rule"
    tries: int = field(default=0)
    signing: Signing | None = None
    approvers: Approvers = field(default_factory=Approvers)
    sections: dict[str, Any] = field(default_factory=dict)

    @property
    def use_case(self) -> UseCase:
        return make_use_case(self.name, **self.sections)

    @property
    def environment(self) -> Environment:
        endpoints = {self.name: self.endpoint} if self.endpoint else {}
        return Environment(
            name="local",
            store=self.store.root,
            tracking=TrackingSettings(uri=self.tracking_uri),
            endpoints=endpoints,
            signing=self.signing,
            approvers=self.approvers,
        )

    def plan(self, run: str, champion: Any = "look", author: str = "") -> Plan:
        """Plan a run now, with the champion of this moment."""
        workspace = Workspace(store=self.store, environment=self.environment, plan=None, folder="x", stage="x")  # type: ignore[arg-type]
        return Plan(
            run=run,
            use_case=self.use_case,
            environment="local",
            batch=Batch(partition="p", digest="d" * 32, files=()),
            champion=workspace.tracking.champion(self.name) if champion == "look" else champion,
            as_of="2026-11-21T02:00:00+00:00",
            approval=self.approval,  # type: ignore[arg-type]
            author=author,
            links={"airflow": f"http://127.0.0.1:8080/dags/{self.name}/runs/{run}"},
        )

    def stage(
        self, stage: str, plan: Plan, inputs: dict[str, StageInput], parameters: dict[str, str] | None = None
    ) -> StageInput:
        """Run a stage as the executor does, without key and reuse, and return it as the next stage's input."""
        self.tries += 1
        info = find_stage(stage)
        workspace = Workspace(
            store=self.store,
            environment=self.environment,
            plan=View(plan, info.plan, always=("run", "folder", "as_of", "ledger")),  # type: ignore[arg-type]
            folder=f"results/{self.name}/{stage}/key/tries/{self.tries}",
            stage=stage,
            parameters=parameters or {},
        )
        result = load_stage(info)(View(plan.use_case, info.sections, always=("name",)), inputs, workspace)
        json.dumps(result.values, allow_nan=False)
        return as_input(stage, result)

    def evaluated(
        self,
        features: list[str],
        *,
        train: slice = slice(0, 300),
        threshold: float = 0.4,
        groups: GroupThresholds | None = None,
    ) -> dict[str, Any]:
        """Return what prepare and evaluate would have left behind: the inputs of register."""
        self.tries += 1
        folder = f"results/{self.name}/made/{self.tries}"
        model = fit_model(self.rows.iloc[train], features, threshold=threshold).replaced(groups=groups)
        sides = {"train": self.rows.iloc[train], "test": self.rows.iloc[300:]}
        prepared = as_input(
            "prepare",
            StageResult(
                outputs={
                    side: write_frame(self.store, f"{folder}/{side}", rows, producer="prepare")
                    for side, rows in sides.items()
                }
            ),
        )
        evaluated = {
            "model": save_model(self.store, f"{folder}/model", model, producer="evaluate"),
            "training_rows": write_frame(
                self.store, f"{folder}/training_rows", self.rows.iloc[train][["_row_id"]], producer="evaluate"
            ),
        }
        winner = {
            "sampler": "none",
            "model": "logistic_regression",
            "parameters": {"C": 1.0},
            "threshold": threshold,
            "metrics": {"average_precision": {"value": 0.8, "low": 0.7, "high": 0.9}},
            **({"groups": groups.to_json()} if groups else {}),
        }
        passed = Verdict(outcome=Outcome.PASS, subject="all gates passed")
        return {
            "prepared": prepared,
            "baseline": self.stage("baseline", self.plan("baseline", None), {"prepared": prepared}),
            "evaluated": as_input(
                "evaluate", StageResult(outputs=evaluated, values={"winner": winner}, verdict=passed)
            ),
        }

    def champion(self, run: str, features: list[str], **arguments: Any) -> StageInput:
        """Bring a model all the way to the alias `champion`."""
        plan = self.plan(run)
        registered = self.stage("register", plan, self.evaluated(features, **arguments))
        return self.stage("approve", plan, {"registered": registered}, {"decision": "rule"})


def as_input(stage: str, result: StageResult) -> StageInput:
    reference = ResultReference(stage=stage, uri=f"results/{stage}.json", digest="0" * 32)
    return StageInput(reference=reference, outputs=result.outputs, values=result.values, verdict=result.verdict)


def person(option: str, reason: str | None = "looks right", name: str = "Ada") -> dict[str, str]:
    """Return the parameter that an answered approval task hands on."""
    answer = {
        "chosen_options": [option],
        "params_input": {"reason": reason},
        "responded_at": "2026-11-21T09:30:00+00:00",
        "responded_by_user": {"id": "ada", "name": name},
    }
    return {"decision": json.dumps(answer)}


def scores_of(world: World, reference: Reference, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    from stepzero.learning.model import load_model

    return load_model(world.store, reference).score(rows)


def launch_endpoint(log: Path, variables: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    """Start `stepzero serve` as a process of its own."""
    paths = f"{ROOT / 'include'}{os.pathsep}{ROOT / 'plugins'}"
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "stepzero.cli.main", "serve", *arguments],
            env={**os.environ, "PYTHONPATH": paths, **variables},
            stdout=stream,
            stderr=stream,
        )


def write_environment(folder: Path, world: World, endpoint: Endpoint) -> dict[str, str]:
    """Write environment and use-case files, and return the variables by which a process finds them."""
    import yaml

    tracking = TrackingSettings(uri=world.tracking_uri)
    places = {"store": world.store.root, "tracking": tracking}
    environment = {**places, "endpoints": {world.name: endpoint}, "signing": world.signing}
    for kind, name, data in (
        ("environments", "local", {"name": "local", **environment}),
        ("usecases", world.name, world.use_case.model_dump(mode="json", by_alias=True)),
    ):
        path = folder / kind / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(json.loads(json.dumps(data, default=lambda model: model.model_dump()))))
    return {"STEPZERO_INCLUDE": str(folder), "STEPZERO_HOME": str(folder), "STEPZERO_ENVIRONMENT": "local"}
