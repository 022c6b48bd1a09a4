"""Models that answer through ephemeral endpoints, well or badly, and the stages around them run one by one.

Estimators live here by name, so that the endpoint's own process can load them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil

from stepzero.adapters.datasets import read_frame, write_frame
from stepzero.adapters.leases import leased_names
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageInput, StageResult, find_stage, load_stage
from stepzero.generators.abalone import generate
from stepzero.learning.model import ScoringModel, save_model
from stepzero.learning.transform import Transformer
from stepzero.spec.data import Pipeline
from stepzero.spec.environment import Environment
from stepzero.spec.plan import Batch, Plan
from stepzero.spec.use_case import UseCase
from stepzero.spec.view import View
from support.abalone import abalones, prepared
from support.rivals_launcher import GIVEN, as_json
from support.scripted import SCRIPT
from support.stack import ROOT, wait_for

FEATURES = {"Length": "double", "ShellWeight": "double", "ShuckedWeight": "double", "WholeWeight": "double"}


class Line:
    """Predict by a line through the shell's weight: a regressor as plain as can be."""

    _estimator_type = "regressor"

    def __init__(self, slope: float = 20.0) -> None:
        self.slope = slope

    def predict(self, rows: Any) -> Any:
        return 5.0 + self.slope * np.asarray(rows)[:, 1]


class Broken(Line):
    """Fail at every prediction."""

    def predict(self, rows: Any) -> Any:
        raise RuntimeError("out of luck")


class Stuck(Line):
    """Never finish loading."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        import threading

        threading.Event().wait()


class Dying(Line):
    """End its process while loading."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        os._exit(3)


class Hungry(Line):
    """Touch more memory than is allowed, and keep it."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        import threading

        self.kept = bytearray(b"x") * (700 * 2**20)
        threading.Event().wait()


class Moody(Line):
    """Answer otherwise in the endpoint than where it was made."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.slope = state["slope"] + (1.0 if os.environ.get("OPENBLAS_NUM_THREADS") == "1" else 0.0)


class Rivals:
    """A run whose models were tuned already, and what comes after, stage by stage."""

    def __init__(self, folder: Path, store: str = "", **endpoint: Any) -> None:
        self.store = Store(store or f"file://{folder / 'store'}")
        self.use_case = three_models(**endpoint)
        self.environment = Environment(name="rivals", store=self.store.root)
        parts = prepared(generate(rows=1_200))
        outputs = {
            name: write_frame(self.store, f"prepared/{name}", rows, producer="x") for name, rows in parts.items()
        }
        self.prepared = as_input("prepare", StageResult(outputs=outputs))
        self.folder = folder
        self.tries = 0
        self.hosts: list[subprocess.Popen[bytes]] = []

    def tuned(self, name: str, estimator: Any) -> StageInput:
        """Return a tuned cell of one model."""
        transformer = Transformer.from_spec(Pipeline())
        frame = generate(rows=20)[list(FEATURES)]
        model = ScoringModel(features=FEATURES, transformer=transformer.fit(frame), estimator=estimator)
        reference = save_model(self.store, f"models/{name}-{type(estimator).__name__}", model, producer="tune")
        values = {"sampler": "none", "model": name, "parameters": {}, "score": 2.0, "failed": None}
        return as_input("tune", StageResult(outputs={"model": reference}, values=values))

    def fitted(self) -> Any:
        """Return a model that is good enough for the promotion gates of the shipped use case."""
        from sklearn.ensemble import RandomForestRegressor

        rows = read_frame(self.store, self.prepared.output("train"))
        forest = RandomForestRegressor(40, min_samples_leaf=4, random_state=7)
        return forest.fit(rows[list(FEATURES)].to_numpy(), rows["Rings"])

    def give(self, **estimators: Any) -> None:
        """Write down what a run's stages before the endpoints found; a text is why a model failed to learn."""
        outputs = {name: one.to_json() for name, one in self.prepared.outputs.items()}
        given: dict[str, Any] = {"prepare": {"outputs": outputs}}
        for name, estimator in estimators.items():
            if isinstance(estimator, str):
                failed = {"sampler": "none", "model": name, "failed": estimator}
                given[f"tune none.{name}"] = as_json(StageResult(values=failed))
            else:
                tuned = self.tuned(name, estimator)
                given[f"tune none.{name}"] = as_json(StageResult(outputs=tuned.outputs, values=tuned.values))
        outputs = {"training_rows": self.prepared.output("train").to_json()}
        given["evaluate"] = {"outputs": outputs, "values": {"sentinels": []}, "summary": "judged"}
        self.store.write_json(GIVEN, given)

    def give_whole_run(self, **estimators: Any) -> None:
        """Land a file, give what the stages before the endpoints found, and let those after them say yes."""
        self.give(**estimators)
        self.store.write_text("landing/abalone_age/a.libsvm", "9 1:1\n")
        values = {"version": "1", "champion": None, "winner": {}, "gates": {}, "links": {}}
        registered = {"outcome": "PASS", "summary": "abalone_age version 1 registered", "values": values}
        approved = {"outcome": "PASS", "summary": "version 1 was approved by the rule"}
        deployed = {"outcome": "PASS", "summary": "version 1 of abalone_age serves"}
        self.store.write_json(SCRIPT, {"register": registered, "approve": approved, "deploy": deployed})

    def stage(self, stage: str, inputs: dict[str, Any], **parameters: str) -> StageInput:
        """Run a stage as the executor does, without key and reuse."""
        self.tries += 1
        info = find_stage(stage)
        workspace = Workspace(
            store=self.store,
            environment=self.environment,
            plan=View(self.plan, info.plan, always=("run", "folder", "as_of")),  # type: ignore[arg-type]
            folder=f"results/{stage}/key/tries/{self.tries}",
            stage=stage,
            parameters=parameters,
        )
        result = load_stage(info)(View(self.use_case, info.sections, always=("name",)), inputs, workspace)
        json.dumps(result.values, allow_nan=False)
        return as_input(stage, result)

    def branch(self, tuned: StageInput) -> StageInput:
        """Do what one branch of the graph does, the removal whatever happens; return what was asked."""
        lease = self.lease(tuned)
        try:
            created = self.stage("create_endpoint", {"lease": lease})
            return self.stage("ask_endpoint", {"lease": lease, "created": created, "prepared": self.prepared})
        finally:
            self.stage("remove_endpoint", {"lease": lease})

    def lease(self, tuned: StageInput) -> StageInput:
        """Reserve the endpoint of one model."""
        return self.stage("lease_endpoint", {"tuned": [tuned]}, model=str(tuned.values["model"]))

    @property
    def plan(self) -> Plan:
        """The plan of the run."""
        return Plan(
            run="manual__1",
            use_case=self.use_case,
            environment="rivals",
            batch=Batch(partition="p", digest="d" * 32, files=()),
            as_of="2026-11-21T02:00:00+00:00",
            approval="rule",
        )

    def host(self, name: str = "host") -> subprocess.Popen[bytes]:
        """Start a real endpoint host."""
        path = self.folder / "rivals.yaml"
        path.write_text(json.dumps({"name": "rivals", "store": self.store.root}), encoding="utf-8")
        paths = os.pathsep.join(str(ROOT / part) for part in ("include", "tests"))
        variables = {**os.environ, "STEPZERO_ENVIRONMENT": str(path), "PYTHONPATH": paths}
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-P", "-m", "stepzero.cli.main", "endpoint-host"]
            self.hosts.append(subprocess.Popen(command, env=variables, stdout=log, stderr=log))
        wait_for("the host", lambda: "looks after" in (self.folder / f"{name}.log").read_text(), seconds=120, every=0.1)
        return self.hosts[-1]

    def end(self) -> None:
        """Leave no process behind, whatever became of the test."""
        for host in self.hosts:
            host.kill()
            host.wait(timeout=20)
        for process in self.endpoints():
            process.kill()

    def endpoints(self) -> list[psutil.Process]:
        """Return the processes of this store's endpoints."""
        found = []
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
            except psutil.Error:
                continue
            if "stepzero.serving.ephemeral" in line and self.store.root in line:
                found.append(process)
        return found

    def left(self) -> dict[str, Any]:
        """Return everything that is left of any endpoint: nothing, if all is well."""
        return {
            "processes": [process.pid for process in self.endpoints()],
            "leases": leased_names(self.store),
            "files": self.store.list("endpoints"),
        }

    def await_nothing(self) -> None:
        """Wait until the host has removed all."""
        nothing: dict[str, Any] = {"processes": [], "leases": [], "files": []}
        wait_for("nothing left", lambda: self.left() == nothing, seconds=30, every=0.1)


def three_models(**endpoint: Any) -> UseCase:
    """Return the shipped use case with three models and limits for their endpoints."""
    limits = {"memory": "1g", "seconds": 300, "healthy_seconds": 60, **endpoint}
    models: dict[str, Any] = {name: {} for name in ("xgboost", "random_forest", "nearest_neighbours")}
    compare = {"endpoint": limits, "tie": ["xgboost"]}
    return abalones(compare=compare, train={"models": models}, promote={"require": {}})


def as_input(stage: str, result: StageResult) -> StageInput:
    """Return a result as the next stage sees it."""
    outcome = str(result.verdict.outcome) if result.verdict else None
    reference = ResultReference(stage=stage, uri="", digest="", outcome=outcome)
    return StageInput(reference=reference, outputs=result.outputs, values=result.values, verdict=result.verdict)


def is_open(uri: str) -> bool:
    """Tell whether anybody listens at an address."""
    place = urlsplit(uri)
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((str(place.hostname), int(place.port or 0))) == 0
