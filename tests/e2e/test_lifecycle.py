"""From a landed file to a served champion, through real services; in the order in which a user meets it."""

from __future__ import annotations

import csv
import json
import platform
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from support.browser import CHROMIUM
from support.left_behind import LeftBehind
from support.stack import Stack, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
DAG = "credit_card_fraud"
SMALL = ("--sampler", "none", "--sampler", "random_under", "--model", "decision_tree", "--model", "xgboost")


def test_first_run_serves_a_champion(first_run: dict[str, Any]) -> None:
    assert first_run["outcome"] == "deployed"
    assert first_run["verdict"].startswith("PASS")
    champion = first_run["champion"]
    assert champion["version"] == "1"
    assert 0 < champion["threshold"] < 1
    assert champion["metrics"]["average_precision"] > 0.5
    assert {"airflow", "mlflow", "dossier", "endpoint"} <= set(first_run["links"])


def test_a_person_sees_stages_table_threshold_and_links(stack: Stack, first_run: dict[str, Any]) -> None:
    said = "\n".join(first_run["said"])
    for stage in ("arrival.plan", "quality_gate", "prepare", "train.evaluate", "deploy"):
        assert re.search(rf"^ *[\d.]+ s  {re.escape(stage)}: success", said, re.MULTILINE), said
    assert re.search(r"resampler +model +F1 +precision +recall +ROC AUC +average precision", said)
    champion = first_run["champion"]
    assert f"champion: version 1, {champion['model']} on rows resampled by {champion['sampler']}" in said
    assert re.search(r"threshold 0\.\d+", said)
    for name, link in first_run["links"].items():
        assert f"{name}: {link}" in said


PICTURES = {
    "exploration": {"class_balance", "distributions", "correlation", "target_correlation", "outliers", "scores"},
    "evaluation": {"table", "precision_recall", "roc", "calibration", "threshold", "confusion", "tree", "shap_global",
                   "shap_local"},
    "quality": {"quality"},
    "watch": {"power"},
}  # fmt: skip


def test_mlflow_holds_pictures_pages_and_every_trial(stack: Stack, first_run: dict[str, Any]) -> None:
    (parent,) = stack.mlflow_runs(f"tags.`stepzero.run` = '{first_run['run']}'")
    run = parent["info"]["run_id"]
    kept = stack.artifacts(run)
    assert {f"{folder}/{name}.png" for folder, names in PICTURES.items() for name in names} <= kept
    assert {"quality/quality.html", "dossier/dossier.html", "dossier/dossier.json", "evaluation/table.json"} <= kept
    page = httpx.get(f"{stack.mlflow_url}/get-artifact", params={"run_id": run, "path": "quality/quality.html"})
    assert "PASS" in page.raise_for_status().text
    trials = stack.mlflow_runs(f"tags.`mlflow.parentRunId` = '{run}'")
    tags = [{tag["key"]: tag["value"] for tag in trial["data"]["tags"]} for trial in trials]
    assert len({tag["stepzero.key"] for tag in tags}) == len(trials)
    assert {tag["architecture"] for tag in tags} == {platform.machine()}
    fitted = {tag["stepzero.key"] for tag in tags if "shares_fit_of" not in tag}
    assert fitted.issuperset(tag["shares_fit_of"] for tag in tags if "shares_fit_of" in tag)
    assert len({(tag["sampler"], tag["model"]) for tag in tags}) == 20
    for trial, tag in zip(trials, tags, strict=True):
        assert trial["info"]["status"] == "FINISHED"
        metrics = {metric["key"]: metric["value"] for metric in trial["data"]["metrics"]}
        scores = [metrics.pop(f"fold_{number}.average_precision") for number in range(5)]
        assert metrics["average_precision"] == pytest.approx(sum(scores) / 5)
        assert {"seconds", "cpu_seconds"} <= set(metrics)
        if tag["stepzero.key"] in fitted:
            assert metrics["peak_memory_mb"] > 0
            assert tag["cost"].startswith("not stated: the environment file names no machine")


def test_gate_tells_its_verdict_in_the_log_of_its_task(stack: Stack, first_run: dict[str, Any]) -> None:
    path = f"/dags/credit_card_fraud/dagRuns/{first_run['run']}/taskInstances/quality_gate/logs/1"
    log = json.dumps(stack.airflow("GET", path))
    for words in ("PASS: batch", "12000 rows, 0 quarantined", "every row complies", "no null"):
        assert words in log, log[-4000:]


def test_table_has_every_cell(stack: Stack, first_run: dict[str, Any]) -> None:
    table = json.loads(stack.command("results", first_run["run"], "--json").stdout)["table"]
    assert len(table) == 20
    for row in table:
        for metric in ("f1", "precision", "recall", "roc_auc", "average_precision"):
            interval = row[metric]
            assert interval["low"] <= interval["value"] <= interval["high"], row


def test_run_note_and_links_lead_both_ways(stack: Stack, first_run: dict[str, Any]) -> None:
    run = stack.airflow("GET", f"/dags/credit_card_fraud/dagRuns/{first_run['run']}")
    assert run["note"].startswith("Deployed") or "deployed" in run["note"]
    assert stack.mlflow_url in run["note"]
    mlflow_id = first_run["links"]["mlflow"].rpartition("/runs/")[2].partition("?")[0]
    found = httpx.get(f"{stack.mlflow_url}/api/2.0/mlflow/runs/get", params={"run_id": mlflow_id}, timeout=30)
    tags = {tag["key"]: tag["value"] for tag in found.raise_for_status().json()["run"]["data"]["tags"]}
    assert f"{stack.airflow_url}/dags/credit_card_fraud/runs/" in tags["mlflow.note.content"]


def test_endpoint_answers_with_the_champion(stack: Stack, first_run: dict[str, Any]) -> None:
    ping = httpx.get(f"{stack.endpoint_url}/ping", timeout=10)
    assert ping.status_code == 200
    assert ping.json()["version"] == first_run["champion"]["version"]
    address = f"{stack.endpoint_url}/invocations"
    assert httpx.post(address, json={"instances": []}, timeout=10).status_code == 401
    with (stack.home / "store" / "landing" / "credit_card_fraud" / first_run["batch"]).open(encoding="utf-8") as file:
        row = {name: float(value) for name, value in next(csv.DictReader(file)).items() if name != "Class"}
    token = (stack.home / "secrets" / "endpoint_token").read_text(encoding="utf-8").strip()
    asked = {"json": {"instances": [row]}, "headers": {"Authorization": f"Bearer {token}"}, "timeout": 30}
    answer = httpx.post(address, **asked).raise_for_status().json()
    assert answer["threshold"] == first_run["champion"]["threshold"]
    assert [score >= answer["threshold"] for score in answer["scores"]] == [bool(one) for one in answer["decisions"]]


def service_pids(stack: Stack) -> dict[str, int]:
    """Return the process of each service."""
    told = json.loads(stack.command("status", "--json").stdout)
    return {service["name"]: service["pid"] for service in told["services"]}


def test_second_run_reuses_everything(stack: Stack, first_run: dict[str, Any]) -> None:
    pids = service_pids(stack)
    second = stack.run()
    assert service_pids(stack) == pids
    assert second["champion"] == first_run["champion"]
    for stage in ("quality_gate", "prepare", "explore", "evaluate", "resample smote", "tune smote.xgboost"):
        name, *label = stage.split()
        told = stack.command("why", second["run"], name, *(word for one in label for word in ("--label", one))).stdout
        assert "reused" in told, (stage, told)
    versions = httpx.get(
        f"{stack.mlflow_url}/api/2.0/mlflow/model-versions/search",
        params={"filter": "name='credit_card_fraud'"},
        timeout=30,
    ).json()
    assert len(versions["model_versions"]) == 1


@pytest.fixture(scope="module")
def changed_run(stack: Stack, first_run: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run by another form, of a batch with a few bad rows; its version waits for a person."""
    some = tmp_path_factory.mktemp("some") / "some.csv"
    stack.command("data", "generate", "credit_card_fraud", "--bad", "negative_amount", "--output", str(some))
    run = str(stack.run("--data", str(some), *SMALL, "--approval", "person", "--no-watch")["run"])
    wait_for("an approval", lambda: _waiting(stack, run), seconds=400)
    return run


def test_form_changes_the_run(stack: Stack, changed_run: str) -> None:
    table = json.loads(stack.command("results", changed_run, "--json").stdout)["table"]
    assert sorted((row["sampler"], row["model"]) for row in table) == [
        ("none", "decision_tree"),
        ("none", "xgboost"),
        ("random_under", "decision_tree"),
        ("random_under", "xgboost"),
    ]


def test_bad_batch_stops_everything(stack: Stack, first_run: dict[str, Any], tmp_path: Any) -> None:
    bad = tmp_path / "bad.csv"
    stack.command("data", "generate", "credit_card_fraud", "--bad", "one_class", "--output", str(bad))
    failed = stack.run("--data", str(bad), expect=10)
    assert failed["outcome"] == "failed at the gate"
    assert failed["verdict"].startswith("FAIL")
    assert "Class" in failed["verdict"]
    states = {task["task_id"]: task["state"] for task in stack.tasks(failed["run"])}
    after = {
        name: state for name, state in states.items() if name.startswith(("prepare", "train", "register", "deploy"))
    }
    assert set(after.values()) <= {"upstream_failed", "skipped"}, after
    assert stack.airflow("GET", f"/dags/credit_card_fraud/dagRuns/{failed['run']}")["state"] == "failed"


def test_few_bad_rows_are_quarantined_and_counted(stack: Stack, changed_run: str) -> None:
    values = json.loads(stack.command("results", changed_run, "--json").stdout)["stages"]["quality_gate"]
    assert values["rows"] == values["accepted"] + values["quarantined"]
    assert values["quarantined"] > 0
    gate = [task for task in stack.tasks(changed_run) if task["task_id"] == "quality_gate"]
    assert [task["state"] for task in gate] == ["success"]


def _waiting(stack: Stack, run: str) -> list[dict[str, Any]]:
    return [task for task in stack.tasks(run) if task["state"] == "awaiting_input"]


def test_person_approves_the_newer_and_the_older_is_superseded(
    stack: Stack, first_run: dict[str, Any], changed_run: str, request: pytest.FixtureRequest
) -> None:
    """Where there is a Chromium the person answers on Airflow's page, reading what it says; else as that page would."""
    form = {
        "window": "batch",
        "approval": "person",
        "samplers": ["none"],
        "models": ["xgboost"],
        "batch": first_run["batch"],
    }
    older = changed_run
    newer = stack.trigger(DAG, **form, seed=12)
    wait_for("the newer approval", lambda: _waiting(stack, newer), seconds=240)
    wait_for("the older run to end", lambda: stack.ended(older), seconds=120)
    assert "superseded" in stack.airflow("GET", f"/dags/credit_card_fraud/dagRuns/{older}")["note"].lower()
    before = httpx.get(f"{stack.endpoint_url}/ping", timeout=10).json()["version"]
    time.sleep(3)  # Airflow marks a task failed that is answered within a moment of parking
    task = _waiting(stack, newer)[0]
    if CHROMIUM:
        _answer_on_the_page(stack, request.getfixturevalue("page"), request.getfixturevalue("pictures"), newer)
    else:
        path = f"/dags/credit_card_fraud/dagRuns/{newer}/taskInstances/{task['task_id']}/{task['map_index']}"
        answer = {"chosen_options": ["Approve"], "params_input": {"reason": "looks right"}}
        stack.airflow("PATCH", f"{path}/hitlDetails", json=answer)
    assert wait_for("the newer run to end", lambda: stack.ended(newer), seconds=240) == "success"
    after = httpx.get(f"{stack.endpoint_url}/ping", timeout=10).json()["version"]
    assert int(after) > int(before)
    evidence = json.loads(
        (stack.home / "store" / "registry" / "credit_card_fraud" / after / "evidence.json").read_text()
    )
    assert (evidence["approved"], evidence["by"], evidence["why"]) == (True, "admin", "looks right")


def _answer_on_the_page(stack: Stack, page: Page, pictures: Path, run: str) -> None:
    from playwright.sync_api import expect

    task = f"{stack.airflow_url}/dags/credit_card_fraud/runs/{quote(run, safe='')}/tasks/approve.person"
    page.goto(f"{task}/required_actions")
    approve = page.get_by_test_id("hitl-option-Approve")
    expect(approve).to_be_visible(timeout=60_000)
    for words in ("Champion now", "average precision", "Dossier: all that is known of this version"):
        expect(page.get_by_text(words, exact=False).first).to_be_visible()
    page.locator("#element_reason").fill("looks right")
    page.screenshot(path=pictures / "approval.png")
    with page.expect_response(lambda one: "hitlDetails" in one.url and one.request.method == "PATCH") as answered:
        approve.click()
    assert answered.value.ok


def _running(stack: Stack, run: str) -> set[str]:
    return {task["task_id"] for task in stack.tasks(run) if task["state"] == "running"}


RECOMPUTED = ["quality_gate", "prepare", "resample", "tune", "evaluate"]


def test_killed_anywhere_the_result_is_the_same_and_nothing_is_there_twice(
    stack: Stack, first_run: dict[str, Any]
) -> None:
    """Kill -9 the gate's JVM, MLflow, a training child and the scheduler in a run that computes everything again.

    Then clear tasks of it that leave something behind: all are reused.
    """
    form = {
        "window": "batch",
        "batch": first_run["batch"],
        "samplers": ["none", "random_under"],
        "models": ["decision_tree", "xgboost"],
    }
    calm = stack.trigger(DAG, **form)
    assert wait_for("the calm run", lambda: stack.ended(calm), seconds=300) == "success"
    ledger = LeftBehind(stack, calm).names()["ledger entries"]
    shaken = stack.trigger(DAG, **form, recompute=RECOMPUTED)
    wait_for("the Spark JVM", lambda: stack.kill("java", "quality_gate"), seconds=120, every=0.2)
    wait_for("preparation", lambda: "prepare" in _running(stack, shaken), seconds=240)
    assert stack.kill("mlflow", "server") is not None
    wait_for("a training child", lambda: stack.kill("tune"), seconds=240, every=0.1)
    wait_for("the scheduler", lambda: stack.kill("airflow", "scheduler"), seconds=30)
    assert wait_for("the shaken run", lambda: stack.ended(shaken), seconds=600) == "success"
    tables = [json.loads(stack.command("results", run, "--json").stdout)["table"] for run in (calm, shaken)]
    assert tables[0] == tables[1]
    left = LeftBehind(stack, shaken)
    assert not any(left.twice().values()), left.twice()
    assert left.rows() == LeftBehind(stack, calm).rows()
    assert left.names()["ledger entries"] == ledger, "the same rows were accepted again, and are one entry"
    assert f"run {shaken}" in left.names()["MLflow runs"]
    assert left.trials() == left.computed_trials() > 0
    _clear_and_find_nothing_new(stack, shaken, left)


def _clear_and_find_nothing_new(stack: Stack, run: str, left: LeftBehind) -> None:
    cleared = ["quality_gate", "prepare", "train.tune", "register"]
    asked = {"dag_run_id": run, "task_ids": cleared, "only_failed": False, "dry_run": False}
    before = _tries(stack, run)
    stack.airflow("POST", f"/dags/{DAG}/clearTaskInstances", json=asked)
    assert wait_for("the cleared run", lambda: stack.ended(run), seconds=400) == "success"
    after = _tries(stack, run)
    assert {task for (task, number) in after if after[task, number] > before.get((task, number), 0)} == set(cleared)
    now = LeftBehind(stack, run)
    assert set(now.reused("quality_gate", "prepare", "tune", "register").values()) == {True}
    assert now.names() == left.names()


def _tries(stack: Stack, run: str) -> dict[tuple[str, int], int]:
    return {(one["task_id"], one["map_index"]): one["try_number"] for one in stack.tasks(run)}


def test_sweep_ends_what_a_killed_client_left_and_nothing_else(stack: Stack, first_run: dict[str, Any]) -> None:
    experiment = httpx.get(
        f"{stack.mlflow_url}/api/2.0/mlflow/experiments/get-by-name",
        params={"experiment_name": "credit_card_fraud"},
        timeout=30,
    ).json()["experiment"]["experiment_id"]
    body = {"experiment_id": experiment, "start_time": 1, "run_name": "lost"}
    lost = httpx.post(f"{stack.mlflow_url}/api/2.0/mlflow/runs/create", json=body, timeout=30).json()["run"]["info"]
    assert "credit_card_fraud: 1 ended" in stack.command("sweep").stdout
    found = httpx.get(f"{stack.mlflow_url}/api/2.0/mlflow/runs/get", params={"run_id": lost["run_id"]}, timeout=30)
    assert found.json()["run"]["info"]["status"] == "KILLED"
    assert "credit_card_fraud: 0 ended" in stack.command("sweep").stdout


def test_down_leaves_nothing_and_up_brings_the_history_back(stack: Stack, first_run: dict[str, Any]) -> None:
    path = "/dags/credit_card_fraud/dagRuns?limit=100"

    def history() -> tuple[dict[str, str], set[str]]:
        runs = {run["dag_run_id"]: run["state"] for run in stack.airflow("GET", path)["dag_runs"]}
        return runs, {run["info"]["run_id"] for run in stack.mlflow_runs("")}

    before = history()
    # A supervisor that was killed cannot tidy up: `down` must find everything by itself.
    assert stack.kill("stepzero.cli.services.supervisor")
    stack.command("down", timeout=120)
    assert stack.processes() == []
    assert stack.command("status", expect=1).returncode == 1
    stack.command("up", timeout=400)
    assert history() == before
    ping = wait_for("the endpoint", lambda: httpx.get(f"{stack.endpoint_url}/ping", timeout=10).json().get("version"))
    assert ping
