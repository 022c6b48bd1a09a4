"""What a person sees: the graph, the trigger form, the run's note and the run in MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, expect

from support.stack import Stack, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500)]


def run_page(stack: Stack, run: str) -> str:
    return f"{stack.airflow_url}/dags/credit_card_fraud/runs/{quote(run, safe='')}"


def test_graph_has_at_most_nine_short_nodes(
    stack: Stack, first_run: dict[str, Any], page: Page, pictures: Path
) -> None:
    page.goto(run_page(stack, first_run["run"]))
    nodes = page.locator(".react-flow__node")
    expect(nodes.first).to_be_visible(timeout=60_000)
    page.wait_for_timeout(2_000)
    page.screenshot(path=pictures / "graph.png")
    names = [str(node.get_attribute("data-id")) for node in nodes.all()]
    top = [name for name in names if "." not in name and not name.startswith("edge")]
    assert 5 <= len(top) <= 9, top
    assert all(len(name) <= 20 for name in top), top


def test_graph_of_a_comparison_shows_its_branches_and_removals(stack: Stack, page: Page, pictures: Path) -> None:
    page.goto(f"{stack.airflow_url}/dags/abalone_age")
    expect(page.locator(".react-flow__node").first).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Expand all task groups").first.click()
    for model in ("xgboost", "least_absolute_deviations", "random_forest", "nearest_neighbours"):
        for step in ("lease", "create", "ask", "remove"):
            node = page.locator(f".react-flow__node[data-id='compare.{model}.{step}']")
            expect(node).to_be_attached(timeout=20_000)
    page.screenshot(path=pictures / "graph_comparison.png")


def test_trigger_form_explains_bounds_and_changes_the_run(
    stack: Stack, first_run: dict[str, Any], page: Page, pictures: Path
) -> None:
    page.goto(f"{stack.airflow_url}/dags/credit_card_fraud")
    page.get_by_test_id("trigger-dag-button").first.click()
    dialog = page.locator("[role=dialog][aria-modal=true]")
    expect(dialog.locator("#element_samplers")).to_be_visible(timeout=60_000)
    page.screenshot(path=pictures / "trigger_form.png")
    parameters = stack.airflow("GET", "/dags/credit_card_fraud/details")["params"]
    text = dialog.inner_text()
    for section in ("More", "Reproduce"):  # opening one closes the other
        dialog.get_by_role("button", name=section, exact=True).click()
        expect(dialog.get_by_role("button", name=section, exact=True)).to_have_attribute("aria-expanded", "true")
        page.wait_for_timeout(500)
        text += dialog.inner_text()
    for name, parameter in parameters.items():
        assert parameter["schema"]["title"] in text, name
        assert parameter["description"] in text, name
    folds = dialog.get_by_role("spinbutton", name="Folds")
    folds.fill("99")
    folds.blur()
    expect(folds).to_have_value("10")
    folds.fill("3")
    folds.blur()
    with page.expect_response(lambda one: one.url.endswith("/dagRuns") and one.request.method == "POST") as answered:
        page.get_by_test_id("trigger-dag-submit").click()
    run = answered.value.json()["dag_run_id"]
    plan = wait_for("the plan", lambda: _plan(stack, run), seconds=120)
    stack.airflow("PATCH", f"/dags/credit_card_fraud/dagRuns/{run}", json={"state": "failed"})
    assert plan["use_case"]["train"]["folds"] == 3


def _plan(stack: Stack, run: str) -> dict[str, Any] | None:
    plans = [
        json.loads(path.read_text()) for path in (stack.home / "store" / "runs").glob("credit_card_fraud/*/plan.json")
    ]
    return next((plan for plan in plans if plan["run"] == run), None)


def test_note_tells_the_outcome(stack: Stack, first_run: dict[str, Any], page: Page) -> None:
    page.goto(run_page(stack, first_run["run"]))
    expect(page.get_by_text("Deployed", exact=False).first).to_be_visible(timeout=60_000)


def test_mlflow_run_has_metrics_and_pictures(
    stack: Stack, first_run: dict[str, Any], page: Page, pictures: Path
) -> None:
    page.goto(first_run["links"]["mlflow"])
    expect(page.get_by_text("average_precision", exact=False).first).to_be_visible(timeout=90_000)
    page.screenshot(path=pictures / "mlflow_run.png", full_page=True)
    expect(page.get_by_role("link", name="Airflow", exact=False).first).to_be_visible()


def test_dossier_is_a_tab_of_the_run_light_dark_and_on_a_phone(
    stack: Stack, first_run: dict[str, Any], page: Page, pictures: Path
) -> None:
    address = f"{stack.airflow_url}/stepzero/dossier/credit_card_fraud/{quote(first_run['run'], safe='')}"
    assert httpx.get(address, timeout=30).status_code == 401
    page.add_init_script("if (!localStorage.getItem('theme')) localStorage.setItem('theme', 'dark')")
    page.goto(f"{run_page(stack, first_run['run'])}/plugin/dossier")
    frame = page.frame_locator("iframe[title=Dossier]")
    expect(frame.get_by_role("heading", level=1)).to_contain_text("Credit card fraud: version 1", timeout=60_000)
    expect(frame.get_by_role("heading", name="Why it decides as it does")).to_be_visible()
    expect(frame.locator("html")).to_have_class("dark")
    page.screenshot(path=pictures / "dossier_dark.png")
    page.evaluate("document.documentElement.classList.remove('dark')")
    expect(frame.locator("html")).to_have_class("light")
    page.screenshot(path=pictures / "dossier_light.png")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.screenshot(path=pictures / "dossier_phone.png")
