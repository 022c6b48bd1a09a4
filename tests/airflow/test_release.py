"""The Dag that lets quarantined rows go: its form, and a run of it with the real stage."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from stepzero.core.errors import InputError, SpecError
from stepzero_airflow.operators.release import ReleaseOperator, asked_form
from support import quarantine
from support.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from stepzero.adapters.store import Store


@pytest.fixture
def store(environment: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A project of its own with the use case toy, one batch in quarantine, and the real stage in a child process."""
    usecases = tmp_path / "include" / "usecases"
    usecases.mkdir(parents=True)
    (usecases / "toy.yaml").write_text(quarantine.USE_CASE, encoding="utf-8")
    monkeypatch.setenv("STEPZERO_INCLUDE", str(tmp_path / "include"))
    path = tmp_path / "scripted.yaml"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["stages"]["release"] = {"launcher": "process", "retries": 2, "retry_delay_seconds": 0}
    path.write_text(json.dumps(settings), encoding="utf-8")
    return environment


def go(**form: Any) -> Any:
    return DagBag(str(ROOT / "dags" / "quarantine_release.py")).dags["quarantine_release"].test(run_conf=form)


def test_form_shows_the_main_fields_and_begins_with_a_dry_run(airflow_database: Path) -> None:
    dag = DagBag(str(ROOT / "dags" / "quarantine_release.py")).dags["quarantine_release"]
    fields = {name: dag.params.get_param(name).schema for name in dag.params}
    sections = {name: schema.get("section") for name, schema in fields.items()}
    assert [name for name, section in sections.items() if section is None] == [
        "use_case",
        "batch",
        "why",
        "dry_run",
        "corrections",
    ]
    assert all(schema["title"] and dag.params.get_param(name).description for name, schema in fields.items())
    assert dag.params["dry_run"] is True
    owners = fields["use_case"]["enum"]
    assert {"credit_card_fraud", "auto_claims_fraud.claims", "auto_claims_fraud.customers"} <= set(owners)
    assert "auto_claims_fraud" not in owners, "its batches are those of its tables"
    assert [task.task_id for task in dag.tasks] == ["release"]
    assert dag.tasks[0].pool == "spark"


def test_a_run_releases_and_knows_who_asked(
    airflow_database: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_STEPZERO_AIRFLOW")  # there is no API server to write the note
    entry = quarantine.judged(store)
    form = {"use_case": "toy", "batch": "2026-11-21", "reasons": ["between of amount", ""]}
    assert go(**form, dry_run=True).state == "success"
    assert quarantine.check_balance(store, entry) == set(), "a dry run lets nothing go"
    assert go(**form, dry_run=False, why="seen by the bank").state == "success"
    assert len(quarantine.check_balance(store, entry)) == 4
    (release,) = quarantine.releases_of(store, quarantine.NAME, entry)
    assert (release.by, release.why) == ("dag_test", "seen by the bank")


def test_what_the_form_cannot_check_is_told(store: Store) -> None:
    form = {"use_case": "toy", "batch": "2026-11-21", "dry_run": False}
    with pytest.raises(InputError, match=r"release\.why: got nothing\. .* Do: say `why`, or make a dry run"):
        asked_form(form, "anna")
    with pytest.raises(InputError, match=r"release\.by: got nothing"):
        asked_form(form | {"why": "x"}, "")
    with pytest.raises(SpecError, match="batch"):
        asked_form({"batch": ""}, "anna")


def test_a_table_is_told_apart_from_its_use_case(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[Any] = []
    monkeypatch.setattr(ReleaseOperator, "launch", lambda *given: launched.append(given[1:]) or {"summary": "done"})
    monkeypatch.setattr(ReleaseOperator, "_note", lambda *_: None)
    operator = ReleaseOperator(task_id="release")
    run = SimpleNamespace(
        triggering_user_name="anna", run_id="r1", run_type="manual", run_after=datetime(2026, 11, 21, tzinfo=UTC)
    )
    params = {"use_case": "auto_claims_fraud.claims", "batch": "2026-11-21", "dry_run": True}
    operator.perform({"params": params, "dag_run": run, "dag": SimpleNamespace(dag_id="quarantine_release")})  # type: ignore[typeddict-item]
    ((_, _, extra),) = launched
    assert (operator.use_case, operator.parameters["table"]) == ("auto_claims_fraud", "claims")
    assert json.loads(extra[extra.index("--form") + 1]) == {"batch": "2026-11-21", "table": "claims"}
