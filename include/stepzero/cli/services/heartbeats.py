"""Heartbeats of Airflow's processes: one that hangs does not end by itself, and nobody would start it again."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

AIRFLOW_BEATS = {
    "scheduler": "latest_scheduler_heartbeat",
    "triggerer": "latest_triggerer_heartbeat",
    "dag_processor": "latest_dag_processor_heartbeat",
}
_EVERY_SECONDS = 30.0
_SILENCE_SECONDS = 300.0
_LOOKS = 2
"""So many in a row: a machine that wakes up finds every heartbeat old at first."""


class Heartbeats:
    """Ask the API server now and then how long ago the other processes of Airflow gave a sign of life.

    Args:
        parts: What runs, as `Part.to_json` writes it.
        every: Seconds between two looks.
        silence: Seconds without a heartbeat, in which a busy machine would have found time for one.
    """

    def __init__(
        self, parts: Iterable[Mapping[str, Any]], *, every: float = _EVERY_SECONDS, silence: float = _SILENCE_SECONDS
    ) -> None:
        self.every, self.silence = every, silence
        self._fields: dict[str, str] = {}
        self._address = ""
        for part in parts:
            kind, _, field = str(part["health"]).partition(":")
            if kind == "airflow" and field in AIRFLOW_BEATS:
                self._fields[part["name"]] = field
            elif kind == "airflow":
                self._address = str(part["address"] or "")
        self._due = time.monotonic() + silence
        self._late = Counter[str]()

    def silent(self, started: Mapping[str, float]) -> dict[str, float]:
        """Return the parts that hang, with the seconds since their last heartbeat; none between two looks.

        A server that does not answer says nothing of the others.

        Args:
            started: Of each part that runs, when it was started, in seconds since 1970.
        """
        if not self._address or time.monotonic() < self._due:
            return {}
        self._due = time.monotonic() + self.every
        answer, now = airflow_health(self._address), time.time()
        found = {}
        for name, field in self._fields.items():
            beat = (answer.get(field) or {}).get(AIRFLOW_BEATS[field])
            since = now - max(started.get(name, now), _moment(beat)) if beat else 0.0
            self._late[name] = self._late[name] + 1 if since > self.silence else 0
            if self._late[name] >= _LOOKS:
                self._late[name], found[name] = 0, since
        return found


def _moment(beat: str) -> float:
    return dt.datetime.fromisoformat(beat).timestamp()


def airflow_health(address: str, seconds: float = 3.0) -> dict[str, Any]:
    """Return what Airflow says of its processes; a proxy from the environment is not for loopback."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{address.rstrip('/')}/api/v2/monitor/health", timeout=seconds) as answer:
            told = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
