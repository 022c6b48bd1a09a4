"""What the command line asks of Airflow's REST API."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from stepzero.cli.services.credentials import ADMINISTRATOR, Credentials
from stepzero.core.errors import InputError, ServiceError, bare
from stepzero.spec.load import home_folder

if TYPE_CHECKING:
    from stepzero.spec.environment import Environment

WAIT_FOR_DAG_SECONDS = 180.0
TRIES = 4
"""How often a busy server is asked that lets a question wait for too long."""
ENDED = frozenset({"success", "failed"})


class AirflowApi:
    """A logged-in client of one Airflow.

    Args:
        uri: Address of the API server.
        user: Who logs in.
        password: Their password.
        base: Address that links begin with, where it differs from `uri`.
    """

    def __init__(self, uri: str, user: str, password: str, *, base: str | None = None) -> None:
        self.uri, self.base = uri.rstrip("/"), base or uri.rstrip("/")
        self._user, self._password = user, password
        self._client = httpx.Client(base_url=self.uri, timeout=30, trust_env=False)

    def wait_for_dag(self, dag: str, say: Callable[[str], None]) -> None:
        """Wait until a DAG was parsed, and let it run.

        Raises:
            InputError: Its file cannot be imported, or there is none.
        """
        deadline, told = time.monotonic() + WAIT_FOR_DAG_SECONDS, False
        while True:
            found = self.ask("GET", f"/dags/{dag}", missing_is_none=True)
            if found and found.get("has_import_errors") is not True:
                break
            broken = self.import_error(dag)
            if broken is not None:
                raise broken
            if time.monotonic() > deadline:
                raise _no_dag(dag, self.uri)
            if not told:
                say(f"waiting for Airflow to read the DAG {dag}")
                told = True
            time.sleep(1)
        if found["is_paused"]:
            self.ask("PATCH", f"/dags/{dag}", json={"is_paused": False})

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        """Start a run and return its id.

        Raises:
            InputError: The form refuses a value.
        """
        return str(self.ask("POST", f"/dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf})["dag_run_id"])

    def run(self, dag: str, run: str) -> dict[str, Any]:
        """Return a run: state, note and times."""
        return dict(self.ask("GET", f"/dags/{dag}/dagRuns/{run}"))

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances?limit=1000"
        return list(self.ask("GET", path)["task_instances"])

    def unfinished(self, dag: str) -> list[str]:
        """Return the ids of a DAG's runs that have not ended; none where Airflow does not know the DAG."""
        path, found = f"/dags/{dag}/dagRuns?state=running&state=queued&limit=100", list[str]()
        while page := (self.ask("GET", f"{path}&offset={len(found)}", missing_is_none=True) or {}).get("dag_runs"):
            found += [str(run["dag_run_id"]) for run in page]
        return found

    def link(self, dag: str, run: str, task: str = "") -> str:
        """Return the page of a run, or of one of its tasks."""
        page = f"{self.base}/dags/{dag}/runs/{quote(run)}"
        return f"{page}/tasks/{task}" if task else page

    def import_error(self, dag: str) -> InputError | None:
        """Return why the DAG's file cannot be read now: until it can, Airflow starts none of its tasks."""
        for error in self.ask("GET", "/importErrors")["import_errors"]:
            if Path(error["filename"]).stem == dag:
                return InputError(
                    f"DAG file {error['filename']}",
                    value=bare(error["stack_trace"].strip().splitlines()[-1]),
                    allowed="a file that Airflow can import",
                    action="correct it, then run again",
                )
        return None

    def ask(self, method: str, path: str, *, missing_is_none: bool = False, **arguments: Any) -> Any:
        """Ask anything below ``/api/v2`` and return the JSON.

        Raises:
            InputError: Airflow refuses.
            ServiceError: Airflow does not answer.
        """
        answer = self._answer(method, path, arguments)
        if answer.status_code == httpx.codes.NOT_FOUND and missing_is_none:
            return None
        if answer.is_client_error:
            raise _refused(self.uri, path, answer)
        if answer.is_error:
            raise _failed(self.uri, path, answer)
        return answer.json()

    def _answer(self, method: str, path: str, arguments: dict[str, Any]) -> httpx.Response:
        """Return the answer; a server that is only slow is asked again where that changes nothing."""
        tries = TRIES if method == "GET" else 1
        while True:
            tries -= 1
            try:
                return self._authorised(method, path, arguments)
            except httpx.HTTPError as error:
                if tries and isinstance(error, httpx.TimeoutException):
                    continue
                raise _silent(self.uri, error) from error

    def _authorised(self, method: str, path: str, arguments: dict[str, Any]) -> httpx.Response:
        if "Authorization" not in self._client.headers:
            self._log_in()
        answer = self._client.request(method, f"/api/v2{path}", **arguments)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            self._log_in()
            answer = self._client.request(method, f"/api/v2{path}", **arguments)
        return answer

    def _log_in(self) -> None:
        answer = self._client.post("/auth/token", json={"username": self._user, "password": self._password})
        if answer.is_error:
            raise _refused(self.uri, "/auth/token", answer)
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def connect(environment: Environment) -> AirflowApi:
    """Return a client of the environment's Airflow, as the administrator whom this machine made."""
    password = Credentials(home_folder()).administrator_password
    return AirflowApi(environment.airflow.uri, ADMINISTRATOR, password, base=environment.airflow.base)


def _no_dag(dag: str, uri: str) -> InputError:
    return InputError(
        f"DAG {dag} in Airflow at {uri}",
        value=bare(f"not there after {WAIT_FOR_DAG_SECONDS:.0f} s"),
        allowed="a DAG of the use case's name in the dags folder",
        action=f"add dags/{dag}.py, or read the dag-processor's log (bin/stepzero status)",
    )


def _refused(uri: str, path: str, answer: httpx.Response) -> InputError:
    return InputError(
        f"request to Airflow at {uri}{path}",
        value=bare(_told(answer)),
        allowed="values that the trigger form takes, and a user who may",
        action="correct the option that is named",
    )


def _failed(uri: str, path: str, answer: httpx.Response) -> ServiceError:
    return ServiceError(
        f"request to Airflow at {uri}{path}",
        value=bare(_told(answer)),
        allowed="an API server that can answer",
        action="try again in a moment; if it stays, read logs/airflow-api-server.log in the home folder",
    )


def _told(answer: httpx.Response) -> str:
    """Return status and reason of an answer, as far as it tells one."""
    try:
        detail = answer.json().get("detail", answer.text)
    except (ValueError, AttributeError):
        detail = answer.text
    return f"HTTP {answer.status_code}: {str(detail)[:300]}"


def _silent(uri: str, error: httpx.HTTPError) -> ServiceError:
    return ServiceError(
        f"Airflow at {uri}",
        value=bare(f"no answer ({error})"),
        allowed="a running API server",
        action="bin/stepzero status, then bin/stepzero up",
    )
