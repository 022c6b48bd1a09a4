"""The gate alone in a running Airflow: a DAG file and a `quality` section of somebody else; Spark and Deequ judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from stepzero.adapters.datasets import read_frame
from stepzero.adapters.store import Store
from stepzero.cli.run_results import RunResults
from stepzero.core.references import ResultReference
from stepzero.execution.results import read_input
from support.stack import BUNDLES, Stack, wait_for

if TYPE_CHECKING:
    from stepzero.core.stages import StageInput

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
NAME = "orders"
ROWS = [f"{number},{number}.5" for number in range(1, 99)] + [",7.0", "100,-3.0"]


@pytest.fixture(scope="module")
def run(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A hundred orders judged, of which two are bad, and the shop's own task after that."""
    file = tmp_path_factory.mktemp("orders") / "orders.csv"
    file.write_text("\n".join(["order_id,amount", *ROWS, ""]), encoding="utf-8")
    wait_for("the shop's DAG", lambda: _is_there(stack))
    run = stack.trigger(NAME, file=f"file://{file}")
    assert wait_for("the shop's run", lambda: stack.ended(run, NAME)) == "success"
    return run


def _is_there(stack: Stack) -> bool:
    try:
        return bool(stack.airflow("GET", f"/dags/{NAME}"))
    except httpx.HTTPStatusError:
        return False


def _judged(stack: Stack, run: str) -> tuple[Store, StageInput]:
    store = Store(f"file://{stack.home}/store")
    pointer = RunResults(store, NAME, run).pointer("quality_gate")
    return store, read_input(store, ResultReference.from_json(pointer["result"]))


def test_the_gate_alone_sets_bad_rows_aside_and_the_next_task_hears_of_it(stack: Stack, run: str) -> None:
    store, judged = _judged(stack, run)
    assert judged.verdict is not None
    assert judged.verdict.outcome == "QUARANTINE"
    assert judged.values.items() >= {"rows": 100, "accepted": 98, "quarantined": 2}.items()
    aside = read_frame(store, judged.output("quarantined")).sort_values("amount")
    assert [list(reasons) for reasons in aside["_reasons"]] == [
        ["between of amount: at least 0"],
        ["complete of order_id: no null"],
    ]
    assert sorted(read_frame(store, judged.output("accepted"))["order_id"]) == list(range(1, 99))
    told = f"/dags/{NAME}/dagRuns/{run}/taskInstances/ship/xcomEntries/return_value"
    assert stack.airflow("GET", told)["value"] == judged.verdict.sentence()


def test_the_gate_alone_needs_nothing_but_a_quality_section(stack: Stack, run: str) -> None:
    declared: dict[str, Any] = yaml.safe_load((BUNDLES["gate-alone"] / "orders.yaml").read_text(encoding="utf-8"))
    assert set(declared) == {"name", "quality"}
    assert {task["task_id"]: task["state"] for task in stack.tasks(run, NAME)} == {
        "quality_gate": "success",
        "ship": "success",
    }
    store, judged = _judged(stack, run)
    assert {end.name for end in RunResults(store, NAME, run).ends} == {"plan", "quality_gate"}
    (shown,) = stack.mlflow_runs(f"tags.`stepzero.run` = '{run}'", NAME)
    assert {"quality/quality.html", "quality/quality.png"} <= stack.artifacts(shown["info"]["run_id"])
    assert store.read_json(judged.output("metrics").uri)["size"] == 100, "Deequ measured"
