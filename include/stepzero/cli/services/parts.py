"""What runs: one part per process tree that the supervisor keeps alive."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stepzero.cli.services.airflow import airflow_variables
from stepzero.cli.services.credentials import Credentials
from stepzero.core.loopback import LOOPBACK
from stepzero.launchers.fork_protocol import socket_path
from stepzero.launchers.runtime import s3_variables
from stepzero.spec.environment import Environment
from stepzero.spec.load import home_folder, include_folder


@dataclass(frozen=True)
class Part:
    """One supervised process: how it starts and how its health is asked.

    Attributes:
        name: Its name in `status`, in log files and in the ``STEPZERO_SERVICE`` mark of its processes.
        command: Argument list.
        variables: Environment variables over those of whoever called `up`.
        address: Address that people open; None where nothing listens.
        health: ``airflow:FIELD``, ``http:URL`` (200), ``answers:URL`` (any answer), ``file:PATH``, ``runs`` (its
            process is there), or ``once``.
        after: A part of kind ``once`` that must have ended well before.
        done_file: For ``once``: written with `done_text` after success; where it says so already, nothing is run.
        required: Whether `up` fails when this part does not become healthy.
        port_variable: Environment variable that moves the port.
    """

    name: str
    command: list[str]
    health: str
    variables: dict[str, str] = field(default_factory=dict)
    address: str | None = None
    after: str | None = None
    done_file: str | None = None
    done_text: str = ""
    required: bool = True
    port_variable: str | None = None

    @property
    def port(self) -> int | None:
        """Return the port that this part listens on."""
        return urlsplit(self.address).port if self.address else None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def parts_of(environment: Environment) -> list[Part]:
    """Return everything that this environment runs on this machine; what has another host is not ours.

    Makes the secrets and folders that they are started with.
    """
    credentials = Credentials(home_folder())
    credentials.ensure(environment)
    _make_folders(environment)
    # What finds S3 goes to every service by its environment, as Airflow's keys do.
    common = _common_variables() | s3_variables(environment)
    local, folder = is_local(environment.airflow.uri), home_folder() / "airflow"
    return _parts(environment, common, airflow_variables(environment, credentials, folder) if local else {})


def shown_parts(environment: Environment) -> list[Part]:
    """Return the same parts to look at: without variables nothing is started by them, and nothing is made."""
    return _parts(environment, {}, {})


def _parts(environment: Environment, common: dict[str, str], airflow: dict[str, str]) -> list[Part]:
    parts = [*_object_store(environment, common), *_mlflow(environment, common)]
    parts += _airflow(environment, {**common, **airflow})
    parts.append(_preload(common))
    parts += _endpoints(environment, common)
    if is_local(environment.airflow.uri):
        parts.append(_endpoint_host(common))
    return parts


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the argument list that runs a module in this environment, without the current folder on its path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def is_local(uri: str) -> bool:
    """Tell whether an address is this machine's loopback."""
    return urlsplit(uri).hostname in LOOPBACK


def _common_variables() -> dict[str, str]:
    return {
        "STEPZERO_HOME": str(home_folder()),
        "STEPZERO_INCLUDE": str(include_folder()),
        "PYTHONPATH": _python_path(),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        # Airflow renames its processes over their environment; we find them by it.
        "SPT_NOENV": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _python_path() -> str:
    """Return where services find our packages, then those of whoever called `up`; Airflow itself adds our plugins."""
    ours = [str(include_folder()), str(include_folder().parent / "plugins")]
    # Services run in a folder of their own.
    told = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    yours = [path for path in told if path not in ours]
    return os.pathsep.join([ours[0], *yours])


def _make_folders(environment: Environment) -> None:
    """Make the folders of databases; where Airflow's is gone, it is migrated again."""
    for name, uri in (("mlflow", environment.tracking.uri), ("airflow", environment.airflow.uri)):
        if is_local(uri):
            (home_folder() / name).mkdir(parents=True, exist_ok=True)
    if not (home_folder() / "airflow" / "airflow.db").exists():
        (home_folder() / "airflow" / "migrated").unlink(missing_ok=True)


def _object_store(environment: Environment, common: dict[str, str]) -> list[Part]:
    if environment.s3 is None or environment.s3.server != "swift" or not is_local(environment.s3.endpoint):
        return []
    from stepzero.cli.services.swift import SERVERS, Swift

    swift = Swift(home_folder(), environment.s3)
    parts = [
        Part(f"swift-{name}", swift.command(name), f"answers:{swift.health(name)}", common, address=swift.address(name))
        for name in SERVERS
    ]
    return [*parts[:-1], replace(parts[-1], port_variable="STEPZERO_S3_PORT")]


def _mlflow(environment: Environment, common: dict[str, str]) -> list[Part]:
    uri = environment.tracking.uri
    if not is_local(uri):
        return []
    folder = home_folder() / "mlflow"
    command = module_command("mlflow", "server", "--host", "127.0.0.1", "--port", str(urlsplit(uri).port or 5000))
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"]
    command += ["--artifacts-destination", (folder / "artifacts").as_uri()]
    variables = {**common, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    health = f"http:{uri.rstrip('/')}/health"
    return [Part("mlflow", command, health, variables, address=uri, port_variable="STEPZERO_MLFLOW_PORT")]


def _airflow(environment: Environment, variables: dict[str, str]) -> list[Part]:
    uri = environment.airflow.uri
    if not is_local(uri):
        return []
    folder = home_folder() / "airflow"
    migrate = Part(
        "airflow-migrate",
        module_command("airflow", "db", "migrate"),
        "once",
        variables,
        done_file=str(folder / "migrated"),
        done_text=importlib.metadata.version("apache-airflow-core"),
    )
    listen = ["--host", "127.0.0.1", "--port", str(urlsplit(uri).port or 8080), "--workers", "1"]
    api = Part(
        "airflow-api-server",
        module_command("airflow", "api-server", *listen),
        "airflow:metadatabase",
        variables,
        address=uri,
        after=migrate.name,
        port_variable="STEPZERO_AIRFLOW_PORT",
    )
    # The log servers of scheduler and triggerer listen on all interfaces; the API server reads the same folder.
    rest = {
        "scheduler": ["scheduler", "--skip-serve-logs"],
        "dag_processor": ["dag-processor"],
        "triggerer": ["triggerer", "--skip-serve-logs"],
    }
    others = [
        Part(f"airflow-{words[0]}", _airflow_command(words), f"airflow:{key}", variables, after=migrate.name)
        for key, words in rest.items()
    ]
    return [migrate, api, *others]


def _airflow_command(words: list[str]) -> list[str]:
    """Return Airflow's command; what forks for each task or file has loaded before what DAG files import."""
    if words[0] == "triggerer":
        return module_command("airflow", *words)
    # Airflow puts our plugins on the path as it loads.
    return [sys.executable, "-P", "-c", "import airflow; from stepzero_airflow.forks import main; main()", *words]


def _preload(common: dict[str, str]) -> Part:
    command = module_command("stepzero.cli.main", "preload")
    return Part("preload", command, f"file:{socket_path()}", common, required=False)


def _endpoints(environment: Environment, common: dict[str, str]) -> list[Part]:
    parts = []
    for use_case, endpoint in environment.endpoints.items():
        if is_local(endpoint.uri):
            port = str(urlsplit(endpoint.uri).port or 8090)
            command = module_command("stepzero.cli.main", "serve", "--use-case", use_case, "--port", port)
            health = f"answers:{endpoint.uri.rstrip('/')}/ping"
            first = use_case == "credit_card_fraud"
            variable = "STEPZERO_ENDPOINT_PORT" if first else f"STEPZERO_{use_case.upper()}_PORT"
            name = f"endpoint-{use_case}"
            parts.append(Part(name, command, health, common, address=endpoint.uri, port_variable=variable))
    return parts


def _endpoint_host(common: dict[str, str]) -> Part:
    """Return the host of ephemeral endpoints, one beside Airflow's tasks: a second one would fail the first one's.

    It is optional: only use cases that compare models through their endpoints need it.
    """
    return Part("endpoint-host", module_command("stepzero.cli.main", "endpoint-host"), "runs", common, required=False)


def log_file(name: str) -> Path:
    """Return where a part's output goes."""
    return home_folder() / "logs" / f"{name}.log"
