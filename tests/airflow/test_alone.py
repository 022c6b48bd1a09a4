"""The gate alone, and a stage of one's own, in somebody's DAG; the example DAGs are documentation too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import pytest

from stepzero.adapters.datasets import write_frame
from stepzero.core.errors import SpecError
from stepzero.core.references import Reference
from support.lineage import LineageServer, listening
from support.scripted import SCRIPT, played, scripted_environment
from support.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.dag_processing.dagbag import DagBag

    from stepzero.adapters.store import Store

OWN = "support.own_stage:count_bytes"
SECRET = "471108154711"
"""A value of a landed row."""
ORDERS = "name: orders\nquality:\n  rules:\n    - {rule: complete, columns: [order_id]}\n"


@pytest.fixture(scope="module")
def bag(airflow_database: Path) -> DagBag:
    from airflow.dag_processing.dagbag import DagBag

    found = DagBag(str(ROOT / "tests" / "airflow" / "dags"))
    assert found.import_errors == {}
    return found


def test_gate_alone_is_one_task(bag: DagBag) -> None:
    dag = bag.dags["gate_alone"]
    (gate,) = dag.tasks
    assert gate.task_id == "quality_gate"
    assert gate.pool == "spark"
    assert gate.retries == 2


def test_gate_alone_freezes_and_judges(bag: DagBag, environment: Store, tmp_path: Path) -> None:
    ended = _judge(bag, environment, tmp_path, {})
    assert ended.state == "success"
    (first, planned), (second, judged) = played(environment)
    assert (first, second) == ("plan", "quality_gate")
    assert planned["--use-case"].endswith("orders.yaml")
    assert judged["--use-case"] == "orders"
    plan = environment.read_json(f"{_folder(environment)}/plan.json")
    assert [file["uri"] for file in plan["batch"]["files"]] == [f"file://{tmp_path}/orders.csv"]


def test_gate_alone_refuses(bag: DagBag, environment: Store, tmp_path: Path) -> None:
    refusal = {"quality_gate": {"status": 10, "outcome": "FAIL", "summary": "order_id is missing"}}
    assert _judge(bag, environment, tmp_path, refusal).state == "failed"


def _judge(bag: DagBag, environment: Store, tmp_path: Path, script: dict[str, Any]) -> Any:
    environment.write_json(SCRIPT, script)
    (tmp_path / "orders.csv").write_text("order_id\n1\n", encoding="utf-8")
    dag = bag.dags["gate_alone"]
    dag.task_dict["quality_gate"].uris = [f"file://{tmp_path}/orders.csv"]
    return dag.test()


def _folder(environment: Store) -> str:
    (plan,) = [uri for uri in environment.list("runs/orders") if uri.endswith("/plan.json")]
    return plan.removesuffix("/plan.json")


def test_gate_alone_needs_a_dataset(tmp_path: Path) -> None:
    from stepzero_airflow import use_case
    from stepzero_airflow.stages import await_batch, quality_gate

    (tmp_path / "orders.yaml").write_text(ORDERS, encoding="utf-8")
    orders = use_case(str(tmp_path / "orders.yaml"))
    with pytest.raises(SpecError, match=r"quality_gate of orders: got no dataset\. Allowed: file:///"):
        quality_gate(orders)
    with pytest.raises(SpecError, match="a source section, or tables, which say where files land"):
        await_batch(orders)


def test_dataset_may_be_a_folder_or_a_landing_prefix(environment: Store, tmp_path: Path) -> None:
    from stepzero.adapters.ledger import dataset_uris

    (tmp_path / "parts").mkdir()
    for name in ("part-1.parquet", "part-2.parquet", "_SUCCESS"):
        (tmp_path / "parts" / name).write_text("x", encoding="utf-8")
    environment.write_text("landing/orders/a.csv", "order_id\n1\n")
    folder = f"file://{tmp_path}/parts"
    assert dataset_uris(environment, folder) == [f"{folder}/part-1.parquet", f"{folder}/part-2.parquet"]
    assert dataset_uris(environment, "landing/orders/") == ["landing/orders/a.csv"]
    assert dataset_uris(environment, f"{folder}/part-1.parquet") == [f"{folder}/part-1.parquet"]


def test_plan_without_source_and_dataset_says_what_to_do(environment: Store, tmp_path: Path) -> None:
    from stepzero.execution.planning import PlanRequest, make_plan
    from stepzero.spec.load import load_environment

    (tmp_path / "orders.yaml").write_text(ORDERS, encoding="utf-8")
    request = PlanRequest(use_case=str(tmp_path / "orders.yaml"), run="r", as_of="2026-11-21T02:00:00+00:00")
    with pytest.raises(SpecError, match="a source section, or a dataset for the gate alone"):
        make_plan(request, environment, load_environment(), None)


def test_own_stage_stands_anywhere(bag: DagBag) -> None:
    dag = bag.dags["own_stage"]
    assert {task.task_id: task.upstream_task_ids for task in dag.tasks} == {
        "arrival.await_batch": set(),
        "arrival.plan": {"arrival.await_batch"},
        "count_bytes": {"arrival.plan"},
        "quality_gate": {"arrival.plan"},
        "count_again": {"quality_gate"},
        "report": {"count_bytes", "count_again"},
    }


class OwnRun(NamedTuple):
    """A run with stages of ours and of somebody else, to which a lineage server listens that refuses one task."""

    ended: Any
    store: Store
    lineage: LineageServer


@pytest.fixture(scope="module")
def own_run(bag: DagBag, tmp_path_factory: pytest.TempPathFactory) -> OwnRun:
    with pytest.MonkeyPatch.context() as patch, listening(patch) as lineage:
        patch.delenv("AIRFLOW_CONN_STEPZERO_AIRFLOW")
        store = scripted_environment(tmp_path_factory.mktemp("own"), patch)
        store.write_text("landing/credit_card_fraud/a.csv", f"Time\n{SECRET}\n")
        rows = pd.DataFrame({"Time": [float(SECRET)]})
        accepted = write_frame(store, "results/credit_card_fraud/accepted", rows, producer="quality_gate")
        page = Reference(uri="results/credit_card_fraud/report.html", digest="d", kind="file")
        gate = {"outputs": {"accepted": accepted.to_json(), "report": page.to_json()}}
        store.write_json(SCRIPT, {OWN: {"summary": "8 bytes landed"}, "quality_gate": gate})
        lineage.refuses = frozenset({"own_stage.count_bytes"})
        return OwnRun(bag.dags["own_stage"].test(), store, lineage)


def test_own_stage_runs_in_a_dag(own_run: OwnRun) -> None:
    assert own_run.ended.state == "success"
    launched = [stage for stage, _ in played(own_run.store)]
    assert launched.count(OWN) == 2
    report = dict(played(own_run.store))["report"]
    assert json.loads(report["--parameters"]) == {
        "outcome": "done",
        "sentence": "Done: 8 bytes landed",
        "status": "FINISHED",
    }


def test_lineage_server_hears_what_each_stage_read_and_wrote(own_run: OwnRun) -> None:
    told = {task: own_run.lineage.event(f"own_stage.{task}", "COMPLETE") for task in ("quality_gate", "count_again")}
    assert (
        own_run.lineage.event("own_stage.quality_gate", "START")["run"]["runId"]
        == (told["quality_gate"]["run"]["runId"])
    )
    (landed,), (accepted,) = told["quality_gate"]["inputs"], told["quality_gate"]["outputs"]
    store = own_run.store.root.removeprefix("file://")
    assert (landed["namespace"], landed["name"]) == ("file", f"{store}/landing/credit_card_fraud/a.csv")
    assert (accepted["namespace"], accepted["name"]) == ("file", f"{store}/results/credit_card_fraud/accepted")
    (read,) = told["count_again"]["inputs"]
    assert {part: read[part] for part in ("namespace", "name")} == {
        part: accepted[part] for part in ("namespace", "name")
    }, "what one stage wrote is what the next one read"
    assert read["facets"]["version"]["datasetVersion"] == accepted["facets"]["version"]["datasetVersion"]
    assert [(field["name"], field["type"]) for field in accepted["facets"]["schema"]["fields"]] == [("Time", "float64")]
    assert (
        accepted["outputFacets"]["outputStatistics"]["rowCount"],
        read["inputFacets"]["inputStatistics"]["rowCount"],
    ) == (1, 1)


def test_lineage_tells_no_value_of_a_row(own_run: OwnRun) -> None:
    assert own_run.store.read_text("landing/credit_card_fraud/a.csv").split() == ["Time", SECRET]
    assert [body for body in own_run.lineage.bodies if SECRET in body] == []


def test_lineage_server_that_refuses_fails_no_task(own_run: OwnRun) -> None:
    refused = own_run.lineage.event("own_stage.count_bytes", "COMPLETE")
    assert refused["job"]["name"] in own_run.lineage.refuses
    states = {ti.task_id: str(ti.state) for ti in own_run.ended.get_task_instances()}
    assert states["count_bytes"] == "success"
