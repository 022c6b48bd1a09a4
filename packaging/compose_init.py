"""What must be there before the services of docker-compose.yaml start; running it again changes nothing.

Secrets are made once and kept in the volume, readable by their owner only; the services read them from there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any
from urllib.parse import urlsplit

from stepzero.cli.services.credentials import ADMINISTRATOR, Credentials
from stepzero.spec.environment import Environment
from stepzero.spec.load import home_folder, load_environment


def main() -> None:
    """Make secrets, migrate the database, create pools and our connection, fetch what Spark needs."""
    environment = load_environment()
    credentials = Credentials(home_folder())
    credentials.ensure(environment)
    for made in (credentials.jwt_secret, credentials.session_key, credentials.fernet_key):
        if not made:
            msg = f"an empty secret in {credentials.folder}: remove the file"
            raise SystemExit(msg)
    (home_folder() / "mlflow").mkdir(exist_ok=True)
    _airflow("db", "migrate")
    _import(
        "pools", {name: pool.model_dump() | {"include_deferred": False} for name, pool in environment.pools.items()}
    )
    if environment.airflow.connection:
        _import("connections", {environment.airflow.connection: _connection(environment, credentials)}, "--overwrite")
    subprocess.run(["stepzero", "setup"], check=True)


def _connection(environment: Environment, credentials: Credentials) -> dict[str, Any]:
    """Return how tasks reach Airflow's own API."""
    address = urlsplit(environment.airflow.uri)
    return {
        "conn_type": "http",
        "schema": address.scheme,
        "host": address.hostname,
        "port": address.port,
        "login": ADMINISTRATOR,
        "password": credentials.administrator_password,
    }


def _import(kind: str, values: dict[str, Any], *words: str) -> None:
    """Let Airflow read values from a file that only we can read."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        _airflow(kind, "import", *words, file.name)


def _airflow(*words: str) -> None:
    """Run a command of Airflow's in this process: to import Airflow takes longer than any of them."""
    from airflow.__main__ import main as command

    sys.argv = ["airflow", *words]
    command()


if __name__ == "__main__":
    main()
