"""The tab of a run: behind Airflow's authorisation, for runs that exist, polite where there is nothing, no way out."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from stepzero.adapters.pages import page
from stepzero.adapters.store import Store
from stepzero.spec.plan import run_folder
from stepzero_airflow.runs import watch_run
from stepzero_airflow.views import dossier as view

RUN = "manual__2026-11-26T10:00:00+00:00"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}")


def _plan(store: Store, use_case: str, run: str, dag: str | None) -> None:
    links = {"airflow": f"http://127.0.0.1:8080/dags/{dag}/runs/{quote(run, safe='')}"} if dag else {}
    store.write_json(f"{run_folder(use_case, run)}/plan.json", {"links": links})


def _result(store: Store, use_case: str, run: str, stage: str, output: str, content: str) -> None:
    store.write_text(f"results/{stage}.html", content)
    store.write_json(f"results/{stage}.json", {"outputs": {output: {"uri": f"results/{stage}.html"}}})
    pointer = f"{run_folder(use_case, run)}/stages/{stage}/result.json"
    store.write_json(pointer, {"result": {"uri": f"results/{stage}.json"}})


def test_the_most_telling_page_is_shown(store: Store) -> None:
    _plan(store, "cards", RUN, "cards")
    assert view.stored_page(store, "cards", RUN) is None
    for stage, output in (("quality_gate", "report"), ("register", "dossier_page"), ("approve", "dossier_page")):
        _result(store, "cards", RUN, stage, output, stage)
        assert view.stored_page(store, "cards", RUN) == stage.encode()


def test_of_several_tables_the_refused_one_is_shown(store: Store) -> None:
    _plan(store, "claims", RUN, "claims")
    for table, outcome in (("claims", "PASS"), ("customers", "FAIL")):
        store.write_text(f"results/{table}.html", f"report of {table}")
        store.write_json(f"results/{table}.json", {"outputs": {"report": {"uri": f"results/{table}.html"}}})
        pointer = {"result": {"uri": f"results/{table}.json", "outcome": outcome}}
        store.write_json(f"{run_folder('claims', RUN)}/stages/quality_gate/{table}.json", pointer)
    assert view.stored_page(store, "claims", RUN) == b"report of customers"


def test_a_run_is_found_for_its_own_dag_only(store: Store) -> None:
    """Whoever may see one DAG must not read another's run through it."""
    _plan(store, "cards", RUN, "cards")
    _plan(store, "parcels", "manual__1", "late_parcels")
    _plan(store, "own", "manual__2", None)
    assert view.use_case_of(store, "cards", RUN) == "cards"
    assert view.use_case_of(store, "late_parcels", "manual__1") == "parcels"
    assert view.use_case_of(store, "cards", "manual__1") is None
    assert view.use_case_of(store, "parcels", "manual__1") is None
    assert view.use_case_of(store, "own", "manual__2") == "own"
    assert view.use_case_of(store, "cards", "manual__2") is None
    assert view.use_case_of(store, "late_parcels", RUN) is None


@pytest.mark.parametrize("bad", ["..", "../../etc", "a/b", "a\\b", "%2e%2e%2f", "a b", "", "<b>"])
def test_ids_that_lead_elsewhere_are_none(bad: str) -> None:
    assert not re.match(view.RUN_ID, bad) or bad == ".."
    folder = run_folder("cards", bad)
    assert folder.startswith("runs/cards/")
    assert ".." not in folder.split("/")[:-1]


def test_one_script_is_let_through_and_it_is_ours() -> None:
    themed = view.themed(page("A page", "<script>alert(1)</script>"))
    assert b"http-equiv" not in themed
    scripts = re.findall(rb"<script>(.*?)</script>", themed, re.DOTALL)
    assert scripts == [view.SCRIPT.encode()]
    digest = base64.b64encode(hashlib.sha256(scripts[0]).digest()).decode()
    policy = view.HEADERS["Content-Security-Policy"]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_a_stored_page_is_served_as_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient

    from stepzero_airflow.views import access

    _plan(store, "cards", RUN, "cards")
    _result(store, "cards", RUN, "register", "dossier_page", page("Version 3", "<b>words</b>").decode())
    monkeypatch.setattr(access, "may_see_runs", lambda: lambda: None)
    monkeypatch.setattr(access, "run_exists", lambda dag_id, run_id: (dag_id, run_id) == ("cards", RUN))
    monkeypatch.setattr(view, "open_store", lambda _: store)
    client = TestClient(view.make_app())
    answer = client.get(f"/dossier/cards/{quote(RUN, safe='')}")
    assert answer.status_code == 200
    assert "Version 3" in answer.text
    assert "&lt;b&gt;words" in answer.text
    assert answer.headers["content-security-policy"] == view.HEADERS["Content-Security-Policy"]
    watched, decided = watch_run(RUN), page("Watch of cards", sentence="watch: no loss is seen").decode()
    monkeypatch.setattr(access, "run_exists", lambda dag_id, _: dag_id in {"cards", "cards_watch"})
    assert "of a watch, when the triage has decided" in client.get(f"/dossier/cards_watch/{quote(RUN, safe='')}").text
    link = f"http://127.0.0.1:8080/dags/cards_watch/runs/{quote(RUN, safe='')}"
    store.write_json(f"{run_folder('cards', watched)}/plan.json", {"links": {"airflow": link}})
    _result(store, "cards", watched, "triage", "page", decided)
    assert "watch: no loss is seen" in client.get(f"/dossier/cards_watch/{quote(RUN, safe='')}").text
    assert "Version 3" in client.get(f"/dossier/cards/{quote(RUN, safe='')}").text, "the same id, another Dag"
    assert "nothing to read" in client.get(f"/dossier/cards/{watched}").text, "no way round to another Dag's run"
    monkeypatch.setattr(access, "run_exists", lambda dag_id, run_id: (dag_id, run_id) == ("cards", RUN))
    assert client.get("/dossier/cards/other").status_code == 404
    assert client.get("/dossier/cards/%3Cscript%3E").status_code == 404
    assert client.post(f"/dossier/cards/{quote(RUN, safe='')}").status_code == 405


@pytest.fixture(scope="module")
def known_run(airflow_database: Path) -> str:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunType

    run = "manual__seen:1+0"
    with create_session(scoped=False) as session:
        now = datetime(2026, 11, 26, tzinfo=UTC)
        session.add(DagRun(dag_id="credit_card_fraud", run_id=run, run_type=DagRunType.MANUAL, run_after=now))
    return run


def _token(api_server: str, user: str) -> dict[str, str]:
    asked = {"username": user, "password": "secret"}
    answer = httpx.post(f"{api_server}/auth/token", json=asked, timeout=30, trust_env=False)
    return {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}


def test_airflow_decides_who_sees_it(api_server: str, known_run: str) -> None:
    address = f"{api_server}/stepzero/dossier/credit_card_fraud/{quote(known_run, safe='')}"
    anonymous = httpx.get(address, timeout=30, trust_env=False)
    assert anonymous.status_code == 401
    assert "Log in to Airflow first." in anonymous.text
    for user in ("viewer", "admin"):
        seen = httpx.get(address, headers=_token(api_server, user), timeout=30, trust_env=False)
        assert seen.status_code == 200
        assert "There is nothing to read about this run yet" in seen.text
        assert seen.headers["content-security-policy"] == view.HEADERS["Content-Security-Policy"]
        assert seen.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "credit_card_fraud/manual__unknown",
        "no_such_dag/manual__seen%3A1%2B0",
        "..%2f..%2fetc/passwd",
        "credit_card_fraud/..%2f..%2fplan.json",
        "credit_card_fraud/%3Cscript%3E",
    ],
)
def test_what_is_no_run_is_not_found_in_words(api_server: str, known_run: str, path: str) -> None:
    answer = httpx.get(
        f"{api_server}/stepzero/dossier/{path}", headers=_token(api_server, "viewer"), timeout=30, trust_env=False
    )
    assert answer.status_code == 404
    assert "<script>alert" not in answer.text
    assert "etc" not in answer.text
    assert "no such" in answer.text
