"""Links are for people: where they open a server somewhere else than we ask it, links say where."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepzero.cli.airflow_api import connect
from stepzero.cli.services.credentials import Credentials
from stepzero.spec.load import load_environment


def test_links_of_a_run_in_the_containers_open_on_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    monkeypatch.setenv("STEPZERO_AIRFLOW_PORT", "18080")
    environment = load_environment("compose")
    Credentials(tmp_path).ensure(environment)
    api = connect(environment)
    assert api.uri == "http://airflow-apiserver:8080", "asked by the service's name"
    assert (
        api.link("abalone_age", "manual__1", "tune")
        == "http://localhost:18080/dags/abalone_age/runs/manual__1/tasks/tune"
    )
    local = load_environment("local")
    assert connect(local).link("d", "r") == "http://127.0.0.1:18080/dags/d/runs/r"
