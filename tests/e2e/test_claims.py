"""Two tables to a governed model, through real services: gates, feature groups, bias, signed evidence, endpoint."""

from __future__ import annotations

import json
import math
from typing import Any

import httpx
import pytest

from support.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
NAME = "auto_claims_fraud"


@pytest.fixture(scope="module")
def claims_run(stack: Stack) -> dict[str, Any]:
    """The claims lifecycle on generated tables, with the quickest of its models."""
    return stack.run("--use-case", NAME, "--model", "logistic_regression", timeout=900)


def test_claims_and_customers_become_a_served_champion(stack: Stack, claims_run: dict[str, Any]) -> None:
    assert claims_run["outcome"] == "deployed"
    assert claims_run["verdict"].count("PASS: batch") == 2, "each table's gate has its say"
    assert claims_run["champion"]["version"] == "1"
    ping = httpx.get(f"{endpoint_of(stack)}/ping", timeout=10)
    assert ping.json()["version"] == "1"


def endpoint_of(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.ports['AUTO_CLAIMS_FRAUD']}"


def test_the_endpoint_predicts_and_explains_a_policy_by_its_id(stack: Stack, claims_run: dict[str, Any]) -> None:
    """From features that no caller sends: those that the run published, as the deployment itself has proved it."""
    deployed = json.loads(stack.command("results", claims_run["run"], "--json").stdout)["stages"]["deploy"]
    token = (stack.home / "secrets" / "endpoint_token").read_text(encoding="utf-8").strip()
    asked = {"instances": [{"policy_id": deployed["record"]}], "explain": True}
    address, shown = f"{endpoint_of(stack)}/invocations", {"Authorization": f"Bearer {token}"}
    told = httpx.post(address, json=asked, headers=shown, timeout=60).raise_for_status().json()
    assert told["scores"] == [deployed["prediction_by_id"]]
    assert told["decisions"] == [int(told["scores"][0] >= claims_run["champion"]["threshold"])]
    assert set(told["looked_up"][0]) == {"claims", "customers"}
    (one,) = told["explanations"]
    score = 1 / (1 + math.exp(-one["base"] - sum(one["contributions"].values())))
    assert score == pytest.approx(told["scores"][0], abs=1e-6)
    assert not {"customer_gender_female", "customer_gender_male"} & set(one["contributions"])


def test_the_evidence_is_signed_and_names_what_there_was_to_read(stack: Stack, claims_run: dict[str, Any]) -> None:
    evidence = json.loads((stack.home / "store" / "registry" / NAME / "1" / "evidence.json").read_text())
    assert evidence["run"] == claims_run["run"]
    assert evidence["signature"]["algorithm"] == "ed25519"
    assert set(evidence["documents"]) == {"dossier", "bias before", "bias after"}
    key = (stack.home / "secrets" / "approval_key").read_text().splitlines()[1]
    for uri in ("registry", "runs"):
        for path in (stack.home / "store" / uri).rglob("*.json"):
            assert key not in path.read_text(), path
    found = json.loads(stack.command("doctor", "--json", expect=None).stdout)
    champions = next(one for one in found["findings"] if one["check"] == "champions")
    assert (champions["state"], NAME in champions["found"]) == ("good", True)


def test_lineage_leads_from_the_model_to_both_files_and_back(stack: Stack, claims_run: dict[str, Any]) -> None:
    told = json.loads(stack.command("lineage", claims_run["run"], "--use-case", NAME, "--json").stdout)
    assert set(told["data"]["tables"]) == {"claims", "customers"}
    assert told["preparation"]["tables"]["customers"]["unseen"][0]["column"] == "customer_gender"
    (produced,) = [one for one in told["artefacts"] if one["association"] == "Produced"]
    assert (produced["kind"], produced["digest"]) == ("Model", told["model"])
    customers = told["data"]["tables"]["customers"]["batch"]["files"][0]
    back = json.loads(stack.command("lineage", customers["uri"], "--json").stdout)
    assert [(one["use_case"], one["version"]) for one in back["versions"]] == [(NAME, "1")]


def test_the_dossier_shows_bias_and_both_gates(stack: Stack, claims_run: dict[str, Any]) -> None:
    page = httpx.get(
        f"{stack.airflow_url}/stepzero/dossier/{NAME}/{claims_run['run']}",
        headers={"Authorization": f"Bearer {stack.token()}"},
        timeout=60,
    )
    assert page.status_code == 200
    for words in ("quality gate of claims", "quality gate of customers", "bias after training", "approved by the rule"):
        assert words in page.text, words
