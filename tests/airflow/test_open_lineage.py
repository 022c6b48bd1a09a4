"""What Airflow's OpenLineage provider gets to know of a stage, by its own extractor and its own client."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowException
from airflow.utils.state import TaskInstanceState

from stepzero.adapters.datasets import write_frame
from stepzero.core.errors import FAULT
from stepzero_airflow.open_lineage import data_set_name
from stepzero_airflow.operators.stage import StageOperator
from support.lineage import LineageServer, transport_to
from support.scripted import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stepzero.adapters.store import Store

NAME = "credit_card_fraud"
ACCEPTED = f"results/{NAME}/accepted"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LineageServer]:
    server = LineageServer()
    with transport_to(server, monkeypatch):
        yield server
    server.close()


def known_of(task: StageOperator, ti: Any, state: TaskInstanceState) -> Any:
    """Return what the provider extracts of a task that has run."""
    from airflow.providers.openlineage.extractors.manager import ExtractorManager

    run = SimpleNamespace(run_id="manual__1")
    return ExtractorManager().extract_metadata(dagrun=run, task=task, task_instance_state=state, task_instance=ti)


def operator(stage: str, **settings: Any) -> StageOperator:
    return StageOperator(task_id=stage, stage=stage, use_case=NAME, **settings)


def test_what_one_stage_wrote_is_what_the_next_one_read_even_if_that_fails(
    environment: Store, task_instance: Any, server: LineageServer
) -> None:
    from airflow.providers.openlineage.plugins.adapter import OpenLineageAdapter

    accepted = write_frame(environment, ACCEPTED, pd.DataFrame({"Time": [471108154711.0]}), producer="quality_gate")
    page = {"uri": f"results/{NAME}/report.html", "digest": "d", "kind": "file", "rows": None}
    script = {"quality_gate": {"outputs": {"accepted": accepted.to_json(), "report": page}}}
    environment.write_json(SCRIPT, script | {"prepare": {"status": FAULT}})
    context: Any = {"ti": task_instance, "run_id": "manual__1", "dag": SimpleNamespace(dag_id="d"), "params": {}}
    gate = operator("quality_gate")
    prepare = operator("prepare", inputs={"checked": gate.execute(context)})
    with pytest.raises(AirflowException):
        prepare.execute(context)
    written = known_of(gate, task_instance, TaskInstanceState.SUCCESS)
    read = known_of(prepare, task_instance, TaskInstanceState.FAILED)
    (output,), (given,) = written.outputs, read.inputs
    assert read.outputs == []
    expected = ("file", f"{environment.root.removeprefix('file://')}/{ACCEPTED}")
    assert (output.namespace, output.name) == (given.namespace, given.name) == expected
    OpenLineageAdapter().complete_task(
        run_id=str(uuid.uuid4()), job_name="d.quality_gate", end_time=datetime.now(UTC).isoformat(), task=written,
        run_facets={}, nominal_start_time=None, nominal_end_time=None, owners=[], job_description=None,
        job_description_type=None, tags=[],
    )  # fmt: skip
    (told,) = server.event("d.quality_gate", "COMPLETE")["outputs"]
    assert told["facets"]["version"]["datasetVersion"] == accepted.digest
    assert [(one["name"], one["type"]) for one in told["facets"]["schema"]["fields"]] == [("Time", "float64")]
    assert told["outputFacets"]["outputStatistics"]["rowCount"] == 1
    assert "471108154711" not in server.bodies[0], "no value of a row is told"


def test_a_task_that_launched_nothing_has_nothing_to_tell(task_instance: Any) -> None:
    assert operator("prepare").get_openlineage_facets_on_complete(task_instance) is None


def test_a_password_in_an_address_is_not_told() -> None:
    assert data_set_name("s3://key:password@bucket/stepzero", "results/a") == ("s3://bucket", "stepzero/results/a")
    assert data_set_name("file:///store", "file:///elsewhere/a.csv") == ("file", "/elsewhere/a.csv")
