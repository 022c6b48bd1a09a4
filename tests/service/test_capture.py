"""Capture of a real endpoint: a graceful stop loses nothing, a kill no more than what was not yet written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pandas as pd
import pytest

from stepzero.adapters.captured import ID, REFUSED, SCORE, STATUS, read_captured
from stepzero.spec.environment import Capture, Endpoint
from support.champions import World, write_environment
from support.stack import free_port, wait_for

pytestmark = [
    pytest.mark.service,
    # Importing mlflow.pyfunc warns of type hints in MLflow's own models.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

Start = Callable[..., "subprocess.Popen[bytes]"]
ROW = {"V1": 1.25, "Amount": 99.5}


class Traffic:
    """An endpoint that captures, started as often as a test asks."""

    def __init__(self, world: World, folder: Path, launch: Start, *, flush_seconds: float) -> None:
        self.world, self.launch, self.began, self.folder = world, launch, datetime.now(UTC), folder
        self.uri = f"http://127.0.0.1:{free_port()}"
        self.flush_after(flush_seconds)
        self.process = self.start()
        approved = world.champion("first", ["V1", "Amount"])
        world.stage("deploy", world.plan("first"), {"approved": approved})

    def flush_after(self, seconds: float) -> None:
        """Write the environment file that the next start reads."""
        self.world.endpoint = Endpoint(uri=self.uri, ready_seconds=60, capture=Capture(flush_seconds=seconds))
        self.variables = write_environment(self.folder / "project", self.world, self.world.endpoint)

    def start(self) -> subprocess.Popen[bytes]:
        port = self.world.endpoint.uri.rpartition(":")[2]
        self.process = self.launch(self.variables, "--use-case", self.world.name, "--port", port)
        wait_for("the endpoint", self.answers, seconds=60, every=0.1)
        return self.process

    def serves(self) -> None:
        wait_for("a version", lambda: self._status() == 200, seconds=60, every=0.1)

    def answers(self) -> bool:
        return self._status() in {200, 503}

    def _status(self) -> int:
        try:
            return httpx.get(f"{self.world.endpoint.uri}/ping", timeout=2).status_code
        except httpx.HTTPError:
            return 0

    def ask(self, name: str) -> str:
        url, headers = f"{self.world.endpoint.uri}/invocations", {"X-Request-Id": name}
        answer = httpx.post(url, json={"instances": [ROW]}, headers=headers, timeout=20)
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Stepzero-Request"] == name
        return f"{name}.0"

    def captured(self) -> pd.DataFrame:
        store, now = self.world.store, datetime.now(UTC)
        return read_captured(store, self.world.name, self.began, now + timedelta(hours=1))

    def ids(self) -> set[str]:
        return set(self.captured()[ID])


def test_a_kill_loses_only_what_was_not_yet_written_and_a_graceful_stop_nothing(
    world: World, tmp_path: Path, endpoint_process: Start
) -> None:
    traffic = Traffic(world, tmp_path, endpoint_process, flush_seconds=0.5)
    before = {traffic.ask(f"before{number}") for number in range(20)}
    wait_for("a flush", lambda: before <= traffic.ids(), seconds=60, every=0.1)
    last = {traffic.ask(f"last{number}") for number in range(20)}
    traffic.process.kill()
    traffic.process.wait(timeout=30)
    written = traffic.ids()
    assert before <= written <= before | last

    traffic.flush_after(3600)
    traffic.start()
    traffic.serves()
    with ThreadPoolExecutor(8) as pool:
        asked = set(pool.map(traffic.ask, [f"n{number}" for number in range(200)]))
    refused = httpx.post(f"{world.endpoint.uri}/invocations", json={"instances": [{"V1": None, "Amount": 1}]})
    assert refused.status_code == 422
    told = httpx.get(f"{world.endpoint.uri}/version").json()["captured"]
    assert told == {"requests": 201, "rows": 201, "written": 0, "dropped": 0, "waiting": 201}
    assert traffic.ids() == written, "not yet"
    traffic.process.terminate()
    assert traffic.process.wait(timeout=30) == 0
    rows = traffic.captured()
    assert rows[ID].is_unique, "no row twice"
    assert set(rows.loc[rows[STATUS] == 200, ID]) == asked | written, "and the prediction of the deployment is none"
    assert rows[REFUSED].dropna().iloc[0].startswith("row 0 field V1: got nothing")
    assert rows[SCORE].nunique() == 1
    assert (rows.loc[rows[STATUS] == 200, "Amount"] == 99.5).all()
