"""What a person reads before deciding: nothing that came from data is Markdown, and the right people are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepzero_airflow.operators.approval import approval_body, plain, reason_form

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
