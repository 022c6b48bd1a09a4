"""A real MLflow server, shared by all tests of this folder, and a small world to register models in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.store import Store
from stepzero.adapters.tracking import Tracking
from stepzero.spec.environment import Tracking as TrackingSettings
from support.champions import World, launch_endpoint, make_keys
from support.stack import free_port, wait_for


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start MLflow as the product does: SQLite, one worker, no job execution."""
    home, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "files")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for("MLflow", lambda: _is_up(f"{url}/health"), seconds=120, every=0.2)
        yield url
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(f"file://{tmp_path / 'store'}")


@pytest.fixture
def tracking(mlflow_url: str) -> Tracking:
    """The way to the shared server."""
    return Tracking(TrackingSettings(uri=mlflow_url))


@pytest.fixture(scope="session")
def rows() -> pd.DataFrame:
    """Six hundred rows of which a fifth is positive, learnable but not trivially so."""
    generator = np.random.default_rng(5)
    target = (generator.random(600) < 0.2).astype(int)
    frame = pd.DataFrame({"V1": generator.normal(target * 1.5), "Amount": generator.gamma(2.0 + target, 40.0)})
    ids = [f"{number:064x}" for number in range(600)]
    return frame.assign(Class=target, _row_id=ids)


@pytest.fixture
def world(store: Store, mlflow_url: str, rows: pd.DataFrame, request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A use case of its own for each test, so that tests share the server without meeting."""
    name = f"t{abs(hash(request.node.nodeid)) % 10**10}"
    return World(name=name, store=store, tracking_uri=mlflow_url, rows=rows, signing=make_keys(tmp_path))


@pytest.fixture(scope="session")
def make_world(mlflow_url: str, rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """Make a use case that several tests share: they only read, or put back what they change."""

    def make(name: str) -> World:
        folder = tmp_path_factory.mktemp(name)
        store = Store(f"file://{folder / 'store'}")
        return World(name=name, store=store, tracking_uri=mlflow_url, rows=rows, signing=make_keys(folder))

    return make


@pytest.fixture
def endpoint_process(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `stepzero serve` processes; they end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(variables: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
        started.append(launch_endpoint(tmp_path / f"serve-{len(started)}.log", variables, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(timeout=20)
