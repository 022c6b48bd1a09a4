"""Airflow's own REST API, for the two things that a task may not do otherwise: write a note, answer an approval."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stepzero.core.errors import ServiceError, bare

if TYPE_CHECKING:
    import httpx
    from airflow.sdk import Connection

    from stepzero.spec.environment import Environment

log = logging.getLogger(__name__)
_SECONDS = 30
_NOT_OURS = frozenset({HTTPStatus.CONFLICT, HTTPStatus.FORBIDDEN})
"""What Airflow says of an approval that is answered already, or that asks others than our user, be it an admin."""


@dataclass
class AirflowApi:
    """A client of one API server, logged in at first use."""

    base: str
    login: str
    password: str = field(repr=False)
    _token: str | None = field(default=None, repr=False)

    def set_note(self, dag_id: str, run_id: str, note: str) -> None:
        """Write the note of a run (Markdown); the same note again changes nothing."""
        self._ask("PATCH", f"{_run(dag_id, run_id)}?update_mask=note", {"note": note})

    def waiting_approvals(self, dag_id: str, task_id: str) -> list[dict[str, Any]]:
        """Return the approvals of a DAG's task that nobody has answered, of all runs."""
        query = f"response_received=false&task_id={quote(task_id)}&limit=100"
        found = self._ask("GET", f"{_run(dag_id, '~')}/hitlDetails?{query}")["hitl_details"]
        return [one for one in found if one["task_instance"]["state"] == "awaiting_input"]

    def answer(self, task_instance: dict[str, Any], option: str, reason: str) -> bool:
        """Answer an approval; return False where somebody was faster, or where only others may answer."""
        path = _run(task_instance["dag_id"], task_instance["dag_run_id"])
        path += f"/taskInstances/{quote(task_instance['task_id'], safe='')}/{task_instance['map_index']}/hitlDetails"
        body = {"chosen_options": [option], "params_input": {"reason": reason}}
        return self._ask("PATCH", path, body, or_none=_NOT_OURS) is not None

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, or_none: frozenset[int] = frozenset()
    ) -> Any:
        if self._token is None:
            user = {"username": self.login, "password": self.password}
            self._token = str(self._send("POST", "/auth/token", user, {}).json()["access_token"])
        answer = self._send(method, f"/api/v2{path}", body, {"Authorization": f"Bearer {self._token}"}, or_none)
        return None if answer.status_code in or_none else answer.json()

    def _send(
        self, method: str, path: str, body: Any, headers: dict[str, str], accepted: frozenset[int] = frozenset()
    ) -> httpx.Response:
        """Send one request.

        Raises:
            ServiceError: The server does not answer, or refuses.
        """
        import httpx

        try:
            answer = httpx.request(
                method, f"{self.base}{path}", json=body, headers=headers, timeout=_SECONDS, trust_env=False
            )
        except httpx.HTTPError as error:
            raise _unreachable(self.base, str(error) or type(error).__name__) from error
        if answer.is_error and answer.status_code not in accepted:
            raise _unreachable(f"{self.base}{path}", f"{answer.status_code} {answer.text[:150]}")
        return answer


def _unreachable(address: str, said: str) -> ServiceError:
    return ServiceError(
        f"Airflow API server {address}",
        value=bare(said),
        allowed="an answer",
        action="check that it runs, and the user of the environment's Airflow connection; then clear the task",
    )


def airflow_api(environment: Environment) -> AirflowApi | None:
    """Return the client that the environment's connection describes, or None where there is none."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    name = environment.airflow.connection
    if name is None:
        log.info("the environment names no Airflow connection: no note is written, no approval superseded")
        return None
    try:
        connection = Connection.get(name)
    except AirflowNotFoundException:
        log.warning("there is no Airflow connection %s: no note is written, no approval superseded", name)
        return None
    return AirflowApi(
        base=_address(connection) or environment.airflow.uri.rstrip("/"),
        login=connection.login or "",
        password=connection.password or "",
    )


def _address(connection: Connection) -> str:
    """Return the address that a connection holds, however it was written down."""
    host = (connection.host or "").rstrip("/")
    if not host or "://" in host:
        return host
    scheme = connection.schema or (connection.conn_type if connection.conn_type in {"http", "https"} else "http")
    port = f":{connection.port}" if connection.port else ""
    return f"{scheme}://{host}{port}"


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id, safe='~')}/dagRuns/{quote(run_id, safe='~')}"
