"""Two champions behind a real endpoint: one is brought back with its reference; and what MLflow shows of a watch."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pandas as pd
import pytest
from typer.testing import CliRunner

from stepzero.adapters.tracking import Tracking
from stepzero.cli.app import app
from stepzero.core.references import ResultReference
from stepzero.execution.execute import Request, execute
from stepzero.execution.lineage import find_version, lineage
from stepzero.execution.planning import commit_plan
from stepzero.spec.environment import Capture, Endpoint
from stepzero.spec.plan import Watched
from support.champions import World, write_environment
from support.stack import free_port, wait_for

if TYPE_CHECKING:
    import subprocess

pytestmark = [
    pytest.mark.service,
    # Importing mlflow.pyfunc warns of type hints in MLflow's own models.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
MONITORS = ("data_quality", "data_drift", "prediction_drift", "model_quality", "attribution_drift")
TOKEN = "a-long-random-token"
SECTIONS: dict[str, Any] = {
    "weight": {"base_rate": "20%"},
    "monitors": {
        "window_hours": 1,
        "judged": {"at_least": 1, "of": 1},
        "false_alarms": {"draws": 60},
        "data_drift": {"multivariate": False},
        "attribution_drift": {"rows": 60},
    },
}


def watched_champion(world: World, run: str) -> None:
    """Bring a model with its reference all the way to the endpoint."""
    plan = world.plan(run).model_copy(update={"reason": f"{run} was asked for"})
    commit_plan(world.store, plan)
    inputs = world.evaluated(["V1", "Amount"])
    reference = world.stage("reference", plan, {name: inputs[name] for name in ("prepared", "evaluated")})
    registered = world.stage("register", plan, {**inputs, "reference": reference})
    approved = world.stage("approve", plan, {"registered": registered}, {"decision": "rule"})
    world.stage("deploy", plan, {"approved": approved})


def served_hour(world: World, rows: pd.DataFrame) -> datetime:
    """Ask the endpoint, and return the beginning of the hour in which it was asked."""
    body = json.dumps({"instances": rows[["V1", "Amount"]].to_dict(orient="records")})
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    assert world.endpoint is not None
    answer = httpx.post(f"{world.endpoint.uri}/invocations", content=body, headers=headers, timeout=20)
    assert len(answer.raise_for_status().json()["scores"]) == len(rows)
    folder = f"captured/{world.name}"
    wait_for("the captured rows", lambda: bool(world.store.list(folder)), seconds=30, every=0.1)
    return datetime.fromisoformat(world.store.list(folder)[0].split("/")[2] + ":00+00:00")


def watch(world: World, hour: datetime) -> dict[str, ResultReference]:
    """Run all stages of a watch as tasks do, and publish what they say."""
    end = hour + timedelta(hours=1)
    plan = world.plan("watch__one").model_copy(
        update={
            "purpose": "watch",
            "watched": Watched(start=hour.isoformat(), end=end.isoformat()),
            "as_of": end.isoformat(),
        }
    )
    commit_plan(world.store, plan)

    def run(stage: str, inputs: dict[str, ResultReference]) -> ResultReference:
        request = Request(stage=stage, use_case=world.name, run=plan.run, attempt="1", inputs=inputs, parameters={})
        return execute(request, world.store, world.environment)

    collected = run("collect_windows", {})
    seen = {name: run(f"watch_{name}", {"collected": collected}) for name in MONITORS}
    return {"collected": collected, **seen, "triage": run("triage", {"collected": collected, **seen})}


def test_a_rollback_brings_back_the_champion_its_reference_and_says_so(
    world: World, tracking: Tracking, tmp_path: Path, endpoint_process: Callable[..., subprocess.Popen[bytes]]
) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    world.sections = SECTIONS
    world.endpoint = Endpoint(
        uri=f"http://127.0.0.1:{free_port()}", token_file=str(token), ready_seconds=30, capture=Capture(flush_seconds=1)
    )
    variables = write_environment(tmp_path / "project", world, world.endpoint)
    port = world.endpoint.uri.rpartition(":")[2]
    endpoint_process(variables, "--use-case", world.name, "--port", port)
    first = world.rows
    watched_champion(world, "first")
    world.rows = first.assign(Amount=first["Amount"] + 300)
    watched_champion(world, "second")

    def ping() -> str:
        return str(httpx.get(f"{world.endpoint.uri}/ping", timeout=5).json()["version"])  # type: ignore[union-attr]

    assert ping() == "2"
    done = CliRunner().invoke(app, ["rollback", world.name, "--why", "the new one is slow"], env=variables)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == (
        f"version 1 serves at {world.endpoint.uri} again after version 2; it is watched against its own reference"
    )
    assert ping() == "1"
    told = lineage(find_version(world.store, "1", world.name))
    assert told["served"] == [
        "promoted, until version 2",
        f"brought back by {getpass.getuser()}: the new one is slow after version 2, serves now",
    ]
    assert told["reason"] == "first was asked for"
    assert tracking.client.get_model_version(world.name, "1").tags["stepzero.reason"] == told["reason"]
    other = lineage(find_version(world.store, "2", world.name))
    assert set(told["watched_against"]) == set(other["watched_against"]) >= {"reference", "scored", "attributions"}
    assert told["watched_against"]["reference"] != other["watched_against"]["reference"]

    # What is asked now is as version 1's rows were, and 300 below version 2's.
    seen = watch(world, served_hour(world, first))
    assert seen["data_drift"].summary.startswith("PASS: 2 features of ")
    assert "against those of version 1" in seen["data_drift"].summary
    assert seen["triage"].summary == "nothing: no monitor fired"
    shown(world, tracking, seen)


def shown(world: World, tracking: Tracking, seen: dict[str, ResultReference]) -> None:
    """Assert that MLflow has a page of every monitor, whatever it said, with pictures, and figures."""
    wanted = "tags.`stepzero.run` = 'watch__one'"
    (run,) = tracking.client.search_runs([tracking.experiment(world.name)], wanted)
    files = {file.path for file in tracking.client.list_artifacts(run.info.run_id, "watch")}
    assert files == {f"watch/{name}.html" for name in (*MONITORS, "triage")}
    assert seen["model_quality"].summary.startswith("NOT YET: ")
    pages = {}
    for path in files:
        asked = {"path": path, "run_uuid": run.info.run_id}
        answer = httpx.get(f"{world.tracking_uri}/get-artifact", params=asked, timeout=20)
        pages[path.removeprefix("watch/").removesuffix(".html")] = answer.raise_for_status().text
    for name in ("data_drift", "prediction_drift", "attribution_drift"):
        assert "data:image/png;base64," in pages[name], name
    assert "windows that it takes have ripe labels" in pages["model_quality"]
    for name in MONITORS:
        assert run.data.metrics[f"watch.{name}.fired"] == 0.0
        assert run.data.tags[f"watch.{name}.sentence"] == seen[name].summary[:4000]
    assert run.data.metrics["watch.data_quality.rows"] == len(world.rows)
    assert (run.data.metrics["watch.triage.nothing"], run.data.tags["watch.action"]) == (1.0, "nothing")
