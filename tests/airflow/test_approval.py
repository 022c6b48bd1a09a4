"""What a person reads before deciding: nothing that came from data is Markdown, and the right people are asked."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from stepzero.core.errors import ServiceError
from stepzero_airflow.hooks.airflow_api import AirflowApi
from stepzero_airflow.operators.approval import approval_body, plain, reason_form, supersede_older

EVIL = "[click](javascript:alert(1)) | <img src=x> **now**\n# Approved"


def test_data_are_no_markdown() -> None:
    told = {"summary": f"batch {EVIL}"}
    values = {
        "version": "3",
        "winner": {"model": "xgboost", "sampler": "none", "metrics": {EVIL: 0.5}},
        "gates": {EVIL: EVIL},
        "champion": None,
    }
    body = approval_body(told, values, {"airflow": "http://127.0.0.1/dags/d/runs/r"})
    assert "](javascript" not in body
    assert "<img" not in body.replace("\\<img", "")
    assert "\n# Approved" not in body
    assert plain(EVIL) in body
    assert "[This run](http://127.0.0.1/dags/d/runs/r)" in body, "our own links are links"


def test_the_form_has_no_bounds_and_says_when_a_reason_is_needed() -> None:
    for required in (False, True):
        (reason,) = reason_form(required=required).values()
        assert reason.resolve() is None
        assert not {"minLength", "maxLength", "pattern"} & set(reason.schema)
    assert "An approval needs one." in str(reason.description)


def test_those_are_asked_whom_the_environment_names(
    airflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    from support.stack import ROOT

    environment = tmp_path / "strict.yaml"
    environment.write_text("name: strict\nstore: file:///x\napprovers: {users: [grace], not_the_author: true}\n")
    monkeypatch.setenv("STEPZERO_ENVIRONMENT", str(environment))
    person: Any = (
        DagBag(str(ROOT / "dags" / "auto_claims_fraud.py")).dags["auto_claims_fraud"].task_dict["approve.person"]
    )
    assert [user["id"] for user in person.assigned_users] == ["grace"]


class Server:
    """Airflow's API with one approval that waits, and what it says to whoever answers it."""

    def __init__(self, status: HTTPStatus) -> None:
        task = {"dag_id": "cards", "dag_run_id": "older", "task_id": "approve.person", "map_index": -1}
        task |= {"state": "awaiting_input", "run_after": "2026-01-01T02:00:00+00:00"}
        self.waiting = {"hitl_details": [{"task_instance": task, "created_at": "2026-01-01T03:00:00+00:00"}]}
        self.status = status

    def request(self, method: str, address: str, **_: Any) -> httpx.Response:
        if address.endswith("/auth/token"):
            return httpx.Response(201, json={"access_token": "token"})
        if method == "GET":
            return httpx.Response(200, json=self.waiting)
        return httpx.Response(self.status, json={"detail": "User=admin (id=admin) is not a respondent for the task."})


def supersede(status: HTTPStatus, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Let a newer run end the waiting of the older one; return what it ended, and what it said."""
    monkeypatch.setattr(httpx, "request", Server(status).request)
    told: list[str] = []
    log = SimpleNamespace(info=lambda form, *values: told.append(form % values))
    ti = SimpleNamespace(dag_id="cards", run_id="newer", task=SimpleNamespace(log=log))
    context: Any = {"ti": ti, "dag_run": SimpleNamespace(run_after=datetime(2026, 1, 2, 2, tzinfo=UTC))}
    return supersede_older(AirflowApi("http://airflow", "admin", "secret"), context, "approve.person", "4"), told


def test_an_older_run_that_our_user_may_not_answer_goes_on_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow lets only those answer whom `approvers.users` names; what they say too late, the stage refuses."""
    assert supersede(HTTPStatus.OK, monkeypatch)[0] == ["older"]
    ended, told = supersede(HTTPStatus.FORBIDDEN, monkeypatch)
    assert ended == []
    assert told == ["run older was answered by somebody else, or goes on waiting for those who may answer it"]
    with pytest.raises(ServiceError, match="got 400"):
        supersede(HTTPStatus.BAD_REQUEST, monkeypatch)
