"""`up`, `down`, `status` with the real services: Airflow's four, MLflow, the preloaded server, the endpoint."""

from __future__ import annotations

import json
import socket
import stat
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support.stack import Stack, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
SERVICES = {
    "mlflow",
    "airflow-api-server",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "preload",
    "endpoint-credit_card_fraud",
    "endpoint-abalone_age",
    "endpoint-auto_claims_fraud",
    "endpoint-host",
}


def status(stack: Stack) -> dict[str, dict[str, Any]]:
    done = stack.command("status", "--json", expect=None)
    return {row["name"]: row for row in json.loads(done.stdout)["services"]}


def test_every_service_is_healthy(stack: Stack) -> None:
    assert set(status(stack)) == SERVICES
    # On a busy machine Airflow's answer about its parts may once come too late.
    wait_for("healthy services", lambda: {row["state"] for row in status(stack).values()} == {"healthy"})
    wait_for("a status of 0", lambda: stack.command("status", expect=None).returncode == 0)
    health = httpx.get(f"{stack.airflow_url}/api/v2/monitor/health", timeout=30).json()
    assert {name: part["status"] for name, part in health.items()} == dict.fromkeys(
        ("metadatabase", "scheduler", "triggerer", "dag_processor"), "healthy"
    )


def test_second_up_changes_nothing_and_is_quick(stack: Stack) -> None:
    before = {name: row["pid"] for name, row in status(stack).items()}
    began = time.monotonic()
    stack.command("up")
    assert time.monotonic() - began < 10
    assert {name: row["pid"] for name, row in status(stack).items()} == before


def test_nothing_listens_beyond_loopback(stack: Stack) -> None:
    addresses = set()
    for process in stack.processes():
        try:
            connections = process.net_connections(kind="inet")
        except psutil.NoSuchProcess:
            continue
        addresses |= {each.laddr for each in connections if each.status == psutil.CONN_LISTEN}
    assert {address.port for address in addresses} >= set(stack.ports.values())
    assert {address.ip for address in addresses} <= {"127.0.0.1", "::1"}


def test_pools_of_the_environment_are_there(stack: Stack) -> None:
    pools = {pool["name"]: pool["slots"] for pool in stack.airflow("GET", "/pools")["pools"]}
    assert pools["graviton"] == 2
    assert pools["spark"] == 1


def test_secrets_are_for_their_owner_alone(stack: Stack) -> None:
    files = [*(stack.home / "secrets").iterdir(), stack.home / "run" / "services.json"]
    assert {"airflow_passwords.json", "airflow_jwt_secret", "endpoint_token"} <= {path.name for path in files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert len((stack.home / "secrets" / "airflow_jwt_secret").read_bytes()) >= 64


def test_only_who_knows_the_password_gets_in(stack: Stack) -> None:
    assert stack.token()
    wrong = httpx.post(f"{stack.airflow_url}/auth/token", json={"username": "admin", "password": "admin"}, timeout=30)
    assert wrong.status_code == httpx.codes.UNAUTHORIZED


def test_killed_scheduler_comes_back_without_its_old_workers(stack: Stack) -> None:
    before = status(stack)["airflow-scheduler"]
    killed = before["pid"]
    old = {process.pid for process in psutil.Process(killed).children(recursive=True)} | {killed}
    psutil.Process(killed).kill()

    def back() -> bool:
        row = status(stack)["airflow-scheduler"]
        return row["state"] == "healthy" and row["restarts"] == before["restarts"] + 1

    wait_for("the scheduler to come back", back, seconds=90)
    assert not old & {process.pid for process in stack.processes()}


def test_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    other = Stack(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", other.ports["AIRFLOW"]))
        taken.listen()
        done = other.command("up", expect=1)
    assert f"port {other.ports['AIRFLOW']} of airflow-api-server: got taken by process" in done.stderr
    assert "choose another port with STEPZERO_AIRFLOW_PORT=N" in done.stderr
    assert other.processes() == []
