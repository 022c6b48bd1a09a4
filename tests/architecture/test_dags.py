"""DAG files are light and always the same: they are read again before every task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pyspark", "pydeequ", "pandas", "numpy", "scipy", "sklearn", "imblearn", "xgboost", "lightgbm", "shap")
MORE_PACKAGES = ("mlflow", "boto3", "feast", "matplotlib", "optuna", "pyarrow", "openlineage")
OURS = tuple(f"stepzero.{name}" for name in ("stages", "learning", "execution", "adapters", "cli", "serving"))
HEAVY = (*PACKAGES, *MORE_PACKAGES, *OURS)
READ = """
import hashlib, importlib.util, json, pathlib, sys, time
import airflow.sdk
from airflow.sdk import DAG
bare = began = time.process_time()
modules, seconds = [], []
paths = sorted(pathlib.Path(sys.argv[1]).glob("*.py"), key=lambda path: (path.name != "credit_card_fraud.py", path))
for number, path in enumerate(paths):
    spec = importlib.util.spec_from_file_location(f"dag_file_{number}", path)
    modules.append(importlib.util.module_from_spec(spec))
    spec.loader.exec_module(modules[-1])
    seconds.append(time.process_time() - began)
loaded = sorted(sys.modules)
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
dags = DagBag(sys.argv[1]).dags
texts = {name: json.dumps(DagSerialization.to_dict(dag), sort_keys=True) for name, dag in dags.items()}
digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
print(json.dumps({"share": seconds[0] / bare, "loaded": loaded, "digests": digests}))
"""


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What two fresh processes, with other hash seeds, make of the DAG files."""
    home = tmp_path_factory.mktemp("airflow")
    return [_read(str(seed), home) for seed in (1, 2)]


def _read(seed: str, home: Path) -> dict[str, object]:
    paths = os.pathsep.join(str(ROOT / name) for name in ("include", "plugins"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "STEPZERO"))}
    settings = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": paths}
    command = [sys.executable, "-c", READ, str(ROOT / "dags")]
    done = subprocess.run(
        command,
        env=clean | settings | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_parsing_a_file_takes_a_quarter_of_what_airflow_takes_to_be_imported(
    readings: list[dict[str, object]],
) -> None:
    """Half a second of our own where Airflow's takes two, in a process of its own, as Airflow parses each file."""
    assert min(float(str(reading["share"])) for reading in readings) < 0.25


def test_parsing_loads_nothing_heavy(readings: list[dict[str, object]]) -> None:
    loaded = readings[0]["loaded"]
    assert isinstance(loaded, list)
    assert [name for name in HEAVY if name in loaded] == []
    assert "stepzero.spec.load" in loaded


def test_every_dag_serialises_twice_to_the_same_bytes(readings: list[dict[str, object]]) -> None:
    assert readings[0]["digests"] == readings[1]["digests"]
    assert "credit_card_fraud" in str(readings[0]["digests"])
