"""What `run` writes for machines, with an Airflow that is played."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from stepzero.cli import run as command
from stepzero.cli.main import app
from stepzero.cli.services.processes import MARK


class Airflow:
    """An Airflow whose run is over at once."""

    def wait_for_dag(self, dag: str, say: Any) -> None:
        pass

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        return "r1"

    def run(self, dag: str, run: str) -> dict[str, str]:
        return {"state": "success"}

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        return []

    def link(self, dag: str, run: str) -> str:
        return f"http://airflow/{dag}/{run}"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this home, as a service is one."""
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    monkeypatch.setattr(command, "_services", lambda _: Airflow())
    monkeypatch.setattr(command, "_land", lambda *_: ["landing/abalone_age/a.csv"])
    with subprocess.Popen(["sleep", "60"], env=os.environ | {MARK: "mlflow"}) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(("more", "outcome"), [([], "not started"), (["--no-watch"], "started")])
def test_the_last_line_is_json_also_where_the_services_are_stopped(
    service: subprocess.Popen[bytes], more: list[str], outcome: str
) -> None:
    done = CliRunner().invoke(app, ["run", "--use-case", "abalone_age", "--json", "--down", *more])
    said = json.loads(done.stdout.splitlines()[-1])
    assert said.pop("seconds") >= 0
    assert said == {
        "use_case": "abalone_age", "run": "r1", "outcome": outcome, "verdict": "", "champion": None,
        "batch": "a.csv", "links": {"airflow": "http://airflow/abalone_age/r1"},
    }  # fmt: skip
    assert done.stderr == "stopping 1 processes\n"
    assert not psutil.pid_exists(service.pid)
