"""Asking the services how they are."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Callable
from typing import Any

import httpx

from stepzero.cli.services.parts import Part

_TIMEOUT = httpx.Timeout(3.0)
_AIRFLOW_BEATS = {
    "scheduler": "latest_scheduler_heartbeat",
    "triggerer": "latest_triggerer_heartbeat",
    "dag_processor": "latest_dag_processor_heartbeat",
}


class HealthProbe:
    """Ask every part once per look; Airflow's four are answered by one request.

    Args:
        parts: What runs.
        states: The supervisor's state of each part.
    """

    def __init__(self, parts: list[Part], states: dict[str, dict[str, Any]]) -> None:
        self.states = states
        self._airflow: dict[str, Any] | None = None
        self._airflow_address = next((part.address for part in parts if part.name == "airflow-api-server"), None)

    def is_healthy(self, part: Part) -> bool:
        """Tell whether one part does its work."""
        state = self.states.get(part.name, {})
        if part.health == "once":
            return state.get("state") == "done"
        if state.get("state") != "running":
            return False
        kind, _, rest = part.health.partition(":")
        if kind == "airflow":
            return self._airflow_field(rest, float(state["started"]))
        asked: dict[str, Callable[[str], bool]] = {
            "http": lambda url: _answer(url) == httpx.codes.OK,
            "answers": lambda url: _answer(url) is not None,
            "socket": _accepts,
        }
        return kind not in asked or asked[kind](rest)

    def _airflow_field(self, field: str, started: float) -> bool:
        if self._airflow is None:
            self._airflow = _airflow_health(self._airflow_address)
        answer = self._airflow.get(field) or {}
        if answer.get("status") != "healthy":
            return False
        # A heartbeat of the process before this one still counts as healthy for Airflow.
        beat = answer.get(_AIRFLOW_BEATS.get(field, ""))
        return beat is None or dt.datetime.fromisoformat(beat).timestamp() >= started


def _airflow_health(address: str | None) -> dict[str, Any]:
    if address is None:
        return {}
    try:
        answer = httpx.get(f"{address.rstrip('/')}/api/v2/monitor/health", timeout=_TIMEOUT).json()
    except (httpx.HTTPError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _answer(url: str) -> int | None:
    try:
        return httpx.get(url, timeout=_TIMEOUT).status_code
    except httpx.HTTPError:
        return None


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(path)
        except OSError:
            return False
    return True
