"""A team's project outside the tree, with a model, metric, rule, stage, launcher and DAG of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stepzero.adapters.store import Store
from stepzero.core.references import Reference, ResultReference
from stepzero.execution.execute import pointer_uri
from stepzero.execution.results import read_input
from stepzero.launchers.base import find_launcher
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_environment
from support.stack import free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]
PROJECT = Path(__file__).parent / "outside_project"
USE_CASE, RUN = "late_parcels", "by_hand"

pytestmark = [pytest.mark.e2e, pytest.mark.spark]


class Project:
    """Launches stages as the Airflow operator does: find the launcher, start the command, read the pointer."""

    def __init__(self, home: Path, environment: Environment) -> None:
        self.home, self.environment, self.store = home, environment, Store(environment.store)
        self.log: list[str] = []
        self.count = 0

    def stage(self, name: str, label: str = "", expect: int = 0, run: str = RUN, **arguments: Any) -> dict[str, Any]:
        """Run a stage and return what its pointer says."""
        self.count += 1
        words = [name, "--use-case", USE_CASE, "--run", run, "--attempt", str(self.count)]
        words += ["--label", label] if label else []
        for option, value in arguments.items():
            words += [f"--{option.replace('_', '-')}", value if isinstance(value, str) else json.dumps(value)]
        resources = self.environment.resources(name)
        before = len(self.log)
        done = find_launcher(resources.launcher)(resources, words, {}, self.log.append)
        assert done.status == expect, "\n".join(self.log[before:][-60:])
        pointer: dict[str, Any] = self.store.read_json(pointer_uri(USE_CASE, run, name, label))
        return pointer

    def read(self, pointer: dict[str, Any]) -> Any:
        """Return what the next stage would see."""
        return read_input(self.store, ResultReference.from_json(pointer["result"]))


@pytest.fixture(scope="module")
def mlflow_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A team's own MLflow server."""
    home, port = tmp_path_factory.mktemp("mlflow"), str(free_port())
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "files")]
    variables = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (home / "log").open("w") as log:
        # In our process group: who ends us, ends it.
        server = psutil.Popen(words, cwd=home, env=variables, stdout=log, stderr=log)
    try:
        wait_for("MLflow", lambda: _answers(int(port)), seconds=180)
        yield port
    finally:
        family = [*server.children(recursive=True), server]
        for process in family:
            process.terminate()
        psutil.wait_procs(family, timeout=30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, mlflow_port: str) -> Iterator[Project]:
    home = tmp_path_factory.mktemp("outside")
    cache = Path(os.environ.get("STEPZERO_HOME") or ROOT / ".stepzero") / "cache"
    if cache.is_dir():
        (home / "cache").symlink_to(cache)
    paths = [str(PROJECT / "include"), *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)]
    paths += [str(ROOT / "include"), str(ROOT / "plugins")]  # from the wheels: nothing of ours is there
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPZERO_MLFLOW_PORT", mlflow_port)
        patch.setenv("STEPZERO_HOME", str(home))
        patch.setenv("STEPZERO_INCLUDE", str(PROJECT / "include"))
        patch.setenv("STEPZERO_ENVIRONMENT", "project")
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.syspath_prepend(str(PROJECT / "include"))
        yield Project(home, load_environment())


@pytest.fixture(scope="module")
def prepared(project: Project) -> dict[str, Any]:
    """Land parcels, one of them impossible, and take them through the gate and preparation."""
    from parcels.data import parcels

    frame = parcels()
    frame.loc[5, "distance_km"] = 4000.0
    with project.store.open("landing/late_parcels/parcels.csv", "wb") as file:
        frame.to_csv(file, index=False)
    project.stage("plan", as_of="2026-03-01T04:00:00+00:00")
    checked = project.stage("quality_gate")
    project.checked = checked
    return project.stage("prepare", inputs={"checked": checked["result"]})


def test_rule_of_theirs_puts_a_row_aside(project: Project, prepared: dict[str, Any]) -> None:
    gate = project.read(project.checked)
    assert gate.verdict.outcome == "QUARANTINE"
    assert "parcels.rules:within_reach" in gate.verdict.sentence()
    assert (gate.values["rows"], gate.values["accepted"], gate.values["quarantined"]) == (3000, 2999, 1)


def test_stage_of_theirs_runs_and_is_reused(project: Project, prepared: dict[str, Any]) -> None:
    inputs = {"prepared": prepared["result"]}
    first = project.stage("parcels.stages:audit", inputs=inputs)
    result = project.read(first)
    assert result.values["worst"] == "coast"
    assert set(result.values["late"]) == {"north", "south", "coast"}
    again = project.stage("parcels.stages:audit", inputs=inputs)
    assert again["reused"]
    assert again["result"] == first["result"]


@pytest.fixture(scope="module")
def tuned(project: Project, prepared: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cell = {"sampler": "none"}
    resampled = project.stage("resample", "none", inputs={"prepared": prepared["result"]}, parameters=cell)
    inputs = {"prepared": prepared["result"], "resampled": resampled["result"]}
    found = {}
    for model in ("lightgbm", "logistic_regression"):
        name = f"none.{model}"
        found[name] = project.stage("tune", name, inputs=inputs, parameters=cell | {"model": model})
    return found


def test_model_and_metric_of_theirs_are_tuned_by_their_launcher(
    project: Project, tuned: dict[str, dict[str, Any]]
) -> None:
    result = project.read(tuned["none.lightgbm"])
    assert result.values["failed"] is None
    assert result.values["metric"] == "parcels.metrics:cost_of_late_parcels"
    assert set(result.values["parameters"]) == {"n_estimators", "num_leaves"}
    assert 0.1 < result.values["score"] < 2.0
    # Less is better: the best candidate is the cheapest.
    trials = project.read(tuned["none.logistic_regression"]).values
    scores = [trial["mean"] for trial in trials["trials"]]
    assert trials["score"] == min(scores)
    assert (project.home / "started.txt").read_text(encoding="utf-8").split() == ["tune", "tune"]


def test_winner_is_evaluated_and_its_model_scores_raw_rows(project: Project, tuned: dict[str, dict[str, Any]]) -> None:
    from parcels.data import parcels

    from stepzero.learning.model import load_model

    prepared = project.store.read_json(pointer_uri(USE_CASE, RUN, "prepare"))
    inputs = {"prepared": prepared["result"], "tuned": [cell["result"] for cell in tuned.values()]}
    result = project.read(project.stage("evaluate", inputs=inputs))
    assert result.verdict.outcome == "PASS", result.verdict.sentence()
    assert {(row["sampler"], row["model"]) for row in result.values["table"]} == {
        tuple(name.split(".")) for name in tuned
    }
    best = min(tuned, key=lambda name: project.read(tuned[name]).values["score"])
    winner = result.values["winner"]
    assert f"{winner['sampler']}.{winner['model']}" == best
    reference = result.outputs["model"]
    model = load_model(project.store, reference if isinstance(reference, Reference) else Reference(**reference))
    rows = parcels(rows=50, seed=9)[list(model.features)]
    assert ((model.score(rows) >= 0) & (model.score(rows) <= 1)).all()


def test_dag_of_theirs_loads_and_names_the_stage(project: Project) -> None:
    code = (
        "from airflow.dag_processing.dagbag import DagBag; import json, sys\n"
        f"bag = DagBag(dag_folder={str(PROJECT / 'dags')!r})\n"
        "print(json.dumps([bag.import_errors, {name: list(dag.task_dict) for name, dag in bag.dags.items()}]))"
    )
    environment = {**os.environ, "AIRFLOW_HOME": str(project.home / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    words = [sys.executable, "-c", code]
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    errors, dags = json.loads(told.stdout.splitlines()[-1])
    assert not errors
    assert "audit" in dags["late_parcels"]
    assert "train.tune" in dags["late_parcels"]


def test_a_wrong_name_of_theirs_is_told(project: Project, tmp_path: Path) -> None:
    text = (PROJECT / "include" / "usecases" / "late_parcels.yaml").read_text(encoding="utf-8")
    wrong = tmp_path / "late_parcels.yaml"
    wrong.write_text(text.replace("class: lightgbm.LGBMClassifier", "class: lightgbm.LGBMClasifier"), encoding="utf-8")
    words = [sys.executable, "-m", "stepzero.cli.main", "check", str(wrong)]
    told = subprocess.run(words, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert told.returncode == 2, told.stdout + told.stderr
    assert "lightgbm.LGBMClasifier" in told.stdout + told.stderr
