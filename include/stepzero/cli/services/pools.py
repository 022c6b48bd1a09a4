"""Airflow pools of the environment: a task in a pool that is missing is never scheduled."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import httpx

from stepzero.cli.services.credentials import ADMINISTRATOR, Credentials
from stepzero.core.errors import ServiceError, bare
from stepzero.spec.environment import Environment

TRIES, PAUSE_SECONDS = 6, 2.0
"""Right after the start all parts of Airflow write to one SQLite file; a request that finds it locked ends with 500,
or on a busy machine with no answer in time."""


def ensure_pools(environment: Environment, credentials: Credentials) -> None:
    """Create or correct every pool that the environment names.

    Raises:
        ServiceError: Airflow's API refuses or does not answer.
    """
    if not environment.pools:
        return
    base = environment.airflow.uri.rstrip("/")
    try:
        _put_all(base, environment, credentials)
    except httpx.HTTPError as error:
        raise ServiceError(
            f"Airflow pools at {base}",
            value=bare(error),
            allowed="an API server that creates pools",
            action="bin/stepzero status, then bin/stepzero up",
        ) from error


def _put_all(base: str, environment: Environment, credentials: Credentials) -> None:
    with httpx.Client(base_url=base, timeout=30, trust_env=False) as client:
        client.headers["Authorization"] = f"Bearer {_token(client, credentials)}"
        for name, pool in environment.pools.items():
            body = {"slots": pool.slots, "description": pool.description, "include_deferred": False}
            _put(client, name, body)


def _token(client: httpx.Client, credentials: Credentials) -> str:
    user = {"username": ADMINISTRATOR, "password": credentials.administrator_password}
    answer = _patiently(lambda: client.post("/auth/token", json=user))
    return str(answer.raise_for_status().json()["access_token"])


def _put(client: httpx.Client, name: str, body: dict[str, Any]) -> None:
    answer = _patiently(lambda: client.post("/api/v2/pools", json={"name": name, **body}))
    if answer.status_code == httpx.codes.CONFLICT:  # also where the answer to a request that worked came too late
        answer = _patiently(lambda: client.patch(f"/api/v2/pools/{name}", json={"pool": name, **body}))
    answer.raise_for_status()


def _patiently(send: Callable[[], httpx.Response]) -> httpx.Response:
    for _ in range(TRIES - 1):
        with contextlib.suppress(httpx.TransportError):
            answer = send()
            if not answer.is_server_error:
                return answer
        time.sleep(PAUSE_SECONDS)
    return send()
