"""What the command line does while Airflow's server is slow."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest

from stepzero.cli.airflow_api import TRIES, AirflowApi
from stepzero.core.errors import ServiceError


class Slow:
    """A server that lets the first requests of each kind wait for too long."""

    def __init__(self, silent: int) -> None:
        self.silent, self.asked = silent, Counter[str]()

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "token"})
        self.asked[request.method] += 1
        if self.asked[request.method] <= self.silent:
            raise httpx.ReadTimeout("timed out", request=request)
        return httpx.Response(200, json={"state": "running", "dag_run_id": "one"})


def api(server: Slow) -> AirflowApi:
    made = AirflowApi("http://airflow.invalid", "admin", "secret")
    made._client = httpx.Client(base_url=made.uri, transport=httpx.MockTransport(server.answer))
    return made


def test_a_slow_server_is_asked_again_where_that_changes_nothing() -> None:
    server = Slow(silent=TRIES - 1)
    assert api(server).run("abalone_age", "one")["state"] == "running"
    assert server.asked["GET"] == TRIES


def test_a_run_is_never_started_twice() -> None:
    server = Slow(silent=1)
    with pytest.raises(ServiceError, match=r"got no answer \(timed out\)"):
        api(server).trigger("abalone_age", {})
    assert server.asked["POST"] == 1


def test_a_server_that_stays_silent_is_given_up() -> None:
    server = Slow(silent=1_000)
    with pytest.raises(ServiceError) as silent:
        api(server).tasks("abalone_age", "one")
    assert server.asked["GET"] == TRIES
    assert str(silent.value) == (
        "Airflow at http://airflow.invalid: got no answer (timed out). Allowed: a running API server. Do: bin/stepzero "
        "status, then bin/stepzero up"
    )


def test_what_the_server_says_of_its_failure_is_told() -> None:
    made = api(Slow(silent=0))
    locked = httpx.Response(503, json={"detail": "Database is locked"})
    made._client = httpx.Client(base_url=made.uri, transport=httpx.MockTransport(lambda _: locked))
    made._client.headers["Authorization"] = "Bearer token"
    with pytest.raises(ServiceError) as failed:
        made.ask("POST", "/backfills", json={})
    assert str(failed.value) == (
        "request to Airflow at http://airflow.invalid/backfills: got HTTP 503: Database is locked. Allowed: an API "
        "server that can answer. Do: try again in a moment; if it stays, read logs/airflow-api-server.log in the home "
        "folder"
    )


def test_only_the_dags_own_file_is_told_as_broken() -> None:
    made = api(Slow(silent=0))
    broken = [
        {"filename": f"dags/{name}.py", "stack_trace": f"in {name}\nKeyError: x\n"} for name in ("cards_watch", "cards")
    ]
    found = {"import_errors": broken[:1]}
    made._client = httpx.Client(
        base_url=made.uri, transport=httpx.MockTransport(lambda _: httpx.Response(200, json=found))
    )
    made._client.headers["Authorization"] = "Bearer token"
    assert made.import_error("cards") is None
    found["import_errors"] = broken
    assert str(made.import_error("cards")) == (
        "DAG file dags/cards.py: got KeyError: x. Allowed: a file that Airflow can import. Do: correct it, then run "
        "again"
    )
