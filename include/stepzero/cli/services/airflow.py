"""Airflow's settings on one machine, all by environment variables."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from stepzero.cli.services.credentials import ADMINISTRATOR, Credentials
from stepzero.launchers.runtime import s3_variables
from stepzero.spec.environment import Environment
from stepzero.spec.load import include_folder

_SIMPLE_AUTH = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"


def airflow_variables(environment: Environment, credentials: Credentials, folder: Path) -> dict[str, str]:
    """Return every setting; those of `_defaults` give way to variables that the user has set."""
    settings = (
        _places(environment, folder)
        | _secrets(credentials)
        | {name: os.environ.get(f"AIRFLOW__{name}", value) for name, value in _defaults().items()}
    )
    variables = {f"AIRFLOW__{name}": value for name, value in settings.items()}
    variables["AIRFLOW_HOME"] = str(folder)
    if environment.s3:
        variables["AIRFLOW_CONN_AWS_DEFAULT"] = _s3_connection(environment)
    if environment.airflow.connection:
        variables[f"AIRFLOW_CONN_{environment.airflow.connection.upper()}"] = _connection(environment, credentials)
    return variables


def _places(environment: Environment, folder: Path) -> dict[str, str]:
    project, uri = include_folder().parent, environment.airflow.uri.rstrip("/")
    return {
        "CORE__DAGS_FOLDER": str(project / "dags"),
        "CORE__PLUGINS_FOLDER": str(project / "plugins"),
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTION_API_SERVER_URL": f"{uri}/execution/",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(folder / "bundles"),
        "LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        "API__BASE_URL": uri,
        "API__INSTANCE_NAME": "Stepzero",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def _secrets(credentials: Credentials) -> dict[str, str]:
    return {
        "CORE__AUTH_MANAGER": _SIMPLE_AUTH,
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMINISTRATOR}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(credentials.passwords_file),
        "CORE__FERNET_KEY": credentials.fernet_key,
        "API_AUTH__JWT_SECRET": credentials.jwt_secret,
        "API__SECRET_KEY": credentials.session_key,
    }


def _defaults() -> dict[str, str]:
    """Return what is tuned for one machine: short waits between tasks, quick discovery of what died."""
    return {
        "CORE__PARALLELISM": str(min(8, max(4, 2 * (os.cpu_count() or 1)))),
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        # A task whose process was killed is found after this long and tried again.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        # Tasks of a scheduler that was killed are taken over after this long.
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        # A file that changed is parsed at once; one that did not is parsed again only to see what it imports.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
    }


def _s3_connection(environment: Environment) -> str:
    """Return the connection that the Amazon provider's hooks and triggers take by themselves."""
    found = s3_variables(environment)
    extra = {
        "endpoint_url": found["AWS_ENDPOINT_URL"],
        "region_name": found["AWS_DEFAULT_REGION"],
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }
    keys = {"login": found.get("AWS_ACCESS_KEY_ID"), "password": found.get("AWS_SECRET_ACCESS_KEY")}
    return json.dumps({"conn_type": "aws", **{name: key for name, key in keys.items() if key}, "extra": extra})


def _connection(environment: Environment, credentials: Credentials) -> str:
    address = urlsplit(environment.airflow.uri)
    return json.dumps(
        {
            "conn_type": "http",
            "schema": address.scheme,
            "host": address.hostname,
            "port": address.port or 8080,
            "login": ADMINISTRATOR,
            "password": credentials.administrator_password,
        }
    )
