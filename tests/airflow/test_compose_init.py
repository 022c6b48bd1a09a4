"""The init container of docker-compose.yaml, run on this machine."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
INTERPOLATED = re.compile(r"\$\{\w+:-([^}]*)\}")
"""What compose replaces by the default where the variable is not set."""


@pytest.mark.airflow
def test_init_makes_secrets_database_pools_and_connection_twice(tmp_path: Path) -> None:
    """Run the init container's command on this machine, with the compose file's own settings."""
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
    home = tmp_path / "stepzero"
    shim = tmp_path / "bin" / "stepzero"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")  # the Deequ jar is another test's
    shim.chmod(0o755)
    settings = compose["services"]["airflow-init"]["environment"]
    told = {name: INTERPOLATED.sub(r"\1", str(value)) for name, value in settings.items()}
    variables = {name: value.replace("/stepzero/", f"{home}/") for name, value in told.items()}
    paths = {"STEPZERO_HOME": str(home), "PATH": f"{shim.parent}:{BIN}:{os.environ['PATH']}"}
    paths |= {"STEPZERO_INCLUDE": str(ROOT / "include"), "PYTHONPATH": str(ROOT / "include")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment |= variables | paths
    for _ in range(2):
        init = [sys.executable, str(ROOT / "packaging" / "compose_init.py")]
        done = subprocess.run(init, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    read = "from airflow.configuration import conf; print(conf.get('api_auth', 'jwt_secret'))"
    asked = subprocess.run(
        [sys.executable, "-c", read],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (home / "secrets" / "airflow_jwt_secret").read_text() in asked.stdout
    with sqlite3.connect(home / "airflow" / "airflow.db") as database:
        pools = dict(database.execute("select pool, slots from slot_pool"))
        connections = [row[0] for row in database.execute("select conn_id from connection")]
    assert pools.items() >= {"graviton": 2, "spark": 1}.items()
    assert connections == ["stepzero_airflow"]
    assert {path.stat().st_mode & 0o777 for path in (home / "secrets").iterdir()} == {0o600}
