"""Ports for services that a benchmark starts."""

from __future__ import annotations

import json
import socket
from pathlib import Path

SERVICES = ("AIRFLOW", "MLFLOW", "ENDPOINT", "ABALONE_AGE", "AUTO_CLAIMS_FRAUD")
"""What `up` starts and listens: ``STEPZERO_NAME_PORT`` moves each."""


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kept_ports(file: Path) -> dict[str, int]:
    """Return a port of each service: those that the file knows, and free ones for the others, which it then knows."""
    known = json.loads(file.read_text()) if file.is_file() else {}
    ports = {name: known.get(name) or free_port() for name in SERVICES}
    file.write_text(json.dumps(ports))
    return ports


def port_variables(ports: dict[str, int]) -> dict[str, str]:
    """Return the environment variables that move every service to these ports."""
    return {f"STEPZERO_{name}_PORT": str(port) for name, port in ports.items()}
