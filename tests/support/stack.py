"""The whole product, running: one set of services for all end-to-end and browser tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
REAL_DATA = ROOT.parent / "shared" / "data"
BUNDLES = {"dags-folder": ROOT / "dags", "gate-alone": ROOT / "tests" / "e2e" / "gate_alone"}
"""Where this Airflow finds DAG files: ours, and somebody else's who takes the gate alone."""
Found = TypeVar("Found")


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, look: Callable[[], Found | None], *, seconds: float = 180, every: float = 0.5) -> Found:
    """Return what `look` finds, asking again until the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(every)
    msg = f"waited {seconds} s in vain for {what}"
    raise AssertionError(msg)


class Stack:
    """Services under a home of their own, on free ports."""

    def __init__(self, home: Path) -> None:
        self.home = home
        names = ("AIRFLOW", "MLFLOW", "ENDPOINT", "ABALONE_AGE", "AUTO_CLAIMS_FRAUD")
        self.ports = {name: free_port() for name in names}
        ports = {f"STEPZERO_{name}_PORT": str(port) for name, port in self.ports.items()}
        cache = Path(os.environ.get("STEPZERO_HOME") or ROOT / ".stepzero") / "cache"
        paths = f"{ROOT / 'include'}{os.pathsep}{ROOT / 'plugins'}"
        self.environment = {**os.environ, **ports, "STEPZERO_HOME": str(home), "PYTHONPATH": paths}
        local = "airflow.dag_processing.bundles.local.LocalDagBundle"
        bundles = [{"name": name, "classpath": local, "kwargs": {"path": str(at)}} for name, at in BUNDLES.items()]
        self.environment["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(bundles)
        # No DAG file changes while tests run: parsing each anew every minute takes a twelfth of a processor.
        self.environment["AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL"] = "3600"
        # Runs that wait are looked at in every loop: the processor is worth more to the tests beside it.
        self.environment["AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME"] = "1"
        self._token = ""
        home.mkdir(parents=True, exist_ok=True)
        if cache.is_dir() and not (home / "cache").exists():
            (home / "cache").symlink_to(cache)

    @property
    def airflow_url(self) -> str:
        """Address of the Airflow API server."""
        return f"http://127.0.0.1:{self.ports['AIRFLOW']}"

    @property
    def mlflow_url(self) -> str:
        """Address of the MLflow server."""
        return f"http://127.0.0.1:{self.ports['MLFLOW']}"

    @property
    def endpoint_url(self) -> str:
        """Address of the scoring service."""
        return f"http://127.0.0.1:{self.ports['ENDPOINT']}"

    def command(
        self, *arguments: str, expect: int | None = 0, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a `stepzero` command as a user would; check its exit status."""
        done = subprocess.run(
            [sys.executable, "-m", "stepzero.cli.main", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if expect is not None:
            assert done.returncode == expect, (
                f"{arguments}: {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
            )
        return done

    def run(self, *arguments: str, expect: int | None = 0, timeout: float = 600) -> dict[str, Any]:
        """Run the main job with `--json`; return its last line, and what it said before. None expects any verdict."""
        done = self.command("run", "--json", *arguments, expect=expect, timeout=timeout)
        lines = done.stdout.strip().splitlines()
        result: dict[str, Any] = json.loads(lines[-1])
        return result | {"said": lines[:-1]}

    def token(self) -> str:
        """Return a bearer token of Airflow's administrator, asked for once: tests ask Airflow hundreds of times."""
        if not self._token:
            password = json.loads(next((self.home / "secrets").glob("*airflow*password*")).read_text())
            user = {"username": "admin", "password": password["admin"]}
            answer = httpx.post(f"{self.airflow_url}/auth/token", json=user, timeout=30)
            self._token = str(answer.raise_for_status().json()["access_token"])
        return self._token

    def airflow(self, method: str, path: str, **arguments: Any) -> Any:
        """Ask Airflow's REST API."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        answer = httpx.request(method, f"{self.airflow_url}/api/v2{path}", headers=headers, timeout=60, **arguments)
        return answer.raise_for_status().json()

    def trigger(self, dag: str, **form: Any) -> str:
        """Start a run by hand; return its id."""
        run = self.airflow("POST", f"/dags/{dag}/dagRuns", json={"logical_date": None, "conf": form})
        return str(run["dag_run_id"])

    def ended(self, run: str, dag: str = "credit_card_fraud") -> str | None:
        """Return how a run ended; None while it goes on."""
        state = self.airflow("GET", f"/dags/{dag}/dagRuns/{run}")["state"]
        return str(state) if state in {"success", "failed"} else None

    def mlflow(self, method: str, path: str, **arguments: Any) -> Any:
        """Ask MLflow's REST API."""
        answer = httpx.request(method, f"{self.mlflow_url}/api/2.0/mlflow{path}", timeout=30, **arguments)
        return answer.raise_for_status().json()

    def mlflow_runs(self, condition: str, use_case: str = "credit_card_fraud") -> list[dict[str, Any]]:
        """Return the runs of a use case that satisfy a condition."""
        experiment = self.mlflow("GET", "/experiments/get-by-name", params={"experiment_name": use_case})
        body = {"experiment_ids": [experiment["experiment"]["experiment_id"]], "filter": condition, "max_results": 1000}
        found = self.mlflow("POST", "/runs/search", json=body)
        assert not found.get("next_page_token"), "there are more than one page of runs"
        return list(found.get("runs", []))

    def artifacts(self, run: str, folder: str = "") -> set[str]:
        """Return the paths of all files of a run in MLflow."""
        found = self.mlflow("GET", "/artifacts/list", params={"run_id": run, "path": folder}).get("files", [])
        deeper = [self.artifacts(run, file["path"]) for file in found if file["is_dir"]]
        return {file["path"] for file in found if not file["is_dir"]}.union(*deeper)

    def tasks(self, run: str, dag: str = "credit_card_fraud") -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances?limit=1000"
        return list(self.airflow("GET", path)["task_instances"])

    def processes(self) -> list[psutil.Process]:
        """Return every process that belongs to this home."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("STEPZERO_HOME") == str(self.home) and process.pid != os.getpid():
                    found.append(process)
            except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    def kill(self, *words: str) -> int | None:
        """Kill -9 the first process of this home whose command line has all the words."""
        for process in self.processes():
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if all(word in line for word in words):
                process.kill()
                return process.pid
        return None


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start everything once; stop it at the end and leave no process."""
    running = Stack(tmp_path_factory.mktemp("stack"))
    running.command("up", timeout=300)
    yield running
    running.command("down", timeout=120)


@pytest.fixture(scope="session")
def first_run(stack: Stack) -> dict[str, Any]:
    """The main job on generated data: what `bin/run` does on a new machine."""
    return stack.run(timeout=900)


@pytest.fixture(scope="session")
def package_index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where the package index does not answer for the smallest of our locks."""
    from stepzero.cli.lock import _uv
    from stepzero.core.errors import ServiceError

    command = ["install", "--dry-run", "--quiet", "--require-hashes", "--no-cache", "-r", "requirements/bootstrap.txt"]
    try:
        _uv(ROOT, [*command, "--target", str(tmp_path_factory.mktemp("empty"))])
    except ServiceError as error:
        pytest.skip(f"NOT RUN: the locks cannot be checked: {error}")
