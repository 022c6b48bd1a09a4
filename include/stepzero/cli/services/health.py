"""Asking the services how they are."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from stepzero.cli.services.heartbeats import AIRFLOW_BEATS, airflow_health
from stepzero.cli.services.parts import Part

_TRIES = 2


class HealthProbe:
    """Ask every part once per look, and again where the answer is late; Airflow's four are answered by one request.

    Args:
        parts: What runs.
        states: The supervisor's state of each part.
        seconds: How long an answer may take: on a busy machine one takes longer now and then, seldom two.
    """

    def __init__(self, parts: list[Part], states: dict[str, dict[str, Any]], *, seconds: float = 3.0) -> None:
        self.states, self.seconds = states, seconds
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
            "http": lambda url: self._answer(url) == httpx.codes.OK,
            "answers": lambda url: self._answer(url) is not None,
            "file": lambda path: _is_newer(Path(path), float(state["started"])),
        }
        return kind not in asked or asked[kind](rest)

    def _airflow_field(self, field: str, started: float) -> bool:
        if self._airflow is None:
            self._airflow = self._ask_airflow(self._airflow_address) if self._airflow_address else {}
        answer = self._airflow.get(field) or {}
        if answer.get("status") != "healthy":
            return False
        # A heartbeat of the process before this one still counts as healthy for Airflow.
        beat = answer.get(AIRFLOW_BEATS.get(field, ""))
        return beat is None or dt.datetime.fromisoformat(beat).timestamp() >= started

    def _ask_airflow(self, address: str) -> dict[str, Any]:
        return airflow_health(address, self.seconds) or airflow_health(address, self.seconds)

    def _answer(self, url: str) -> int | None:
        for _ in range(_TRIES):
            try:
                return _client().get(url, timeout=self.seconds).status_code
            except httpx.TimeoutException:
                continue
            except httpx.HTTPError:
                break
        return None


@functools.cache
def _client() -> httpx.Client:
    """Return one client for all looks; a proxy from the environment is not for loopback."""
    return httpx.Client(trust_env=False)


def _is_newer(path: Path, moment: float) -> bool:
    """Tell whether a file is there that was made after a moment, so not left by the process before."""
    try:
        return path.stat().st_mtime >= moment - 1
    except FileNotFoundError:
        return False
