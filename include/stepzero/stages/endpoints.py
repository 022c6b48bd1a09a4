"""Ephemeral endpoints in a run: reserve, create, ask, remove; one set of tasks for each model that is compared.

`lease_endpoint` only reserves a name, so that there is something to end whatever happens next; `remove_endpoint` ends
it. Where neither runs, the lease does: the endpoint host removes what has run out. On SageMaker, operators of Airflow
create and remove (`stepzero_airflow.operators.sagemaker`); what is reserved and asked is the same.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from stepzero.adapters.leases import Lease, Status, end_lease, lease_name, read_status, write_lease
from stepzero.core.digests import digest_text
from stepzero.core.errors import ServiceError, StageError, StoreError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Record, Reuse, StageInput, StageResult, stage
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.learning.columns import ENTITY
from stepzero.stages.endpoint_calls import Answers, ask_rows, over_http, show_rows

if TYPE_CHECKING:
    import pandas as pd

    from stepzero.adapters.workspace import Workspace

POLL_SECONDS = 0.2
SEEN_SECONDS = 30.0
"""Within so long a host that runs has seen a lease, or the end of one."""
TOLERANCE = 1e-9


@stage(sections=("compare.endpoint", "train.metric"), reuse=Reuse.NEVER)
def lease_endpoint(use_case: Any, inputs: dict[str, Any], workspace: Workspace) -> StageResult:
    """Reserve the endpoint of one model; a model that did not learn gets a verdict that says no."""
    model = workspace.parameters["model"]
    cells = [one for one in inputs["tuned"] if one.values["model"] == model]
    living = [one for one in cells if not one.values.get("failed")]
    if not living:
        return _none_to_serve(model, cells)
    chosen = _best(living, use_case.train.metric)
    lease = _lease(use_case, workspace, model)
    reference = chosen.output("model").to_json()
    named = {name: chosen.values[name] for name in ("sampler", "model", "parameters", "score")}
    values = {"name": lease.name, "reference": reference, **named}
    hosted = workspace.environment.sagemaker
    if hosted is None:
        write_lease(workspace.store, lease)
        return StageResult(values=values, summary=f"endpoint {lease.name} is reserved for {lease.seconds:g} s")
    values["lease"] = lease.model_copy(update={"model": reference, "seconds": hosted.lease_seconds}).model_dump()
    return StageResult(values=values, summary=f"endpoint {lease.name} is SageMaker's for {hosted.lease_seconds:g} s")


@stage(sections=("compare.endpoint",), reuse=Reuse.NEVER)
def create_endpoint(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Have the endpoint started, and wait until it is healthy.

    Raises:
        StageError: It failed, and why.
        ServiceError: No endpoint host runs.
    """
    leased = inputs["lease"].values
    lease = _lease(use_case, workspace, leased["model"])
    generation = digest_text(workspace.folder)[:12]
    write_lease(workspace.store, lease.model_copy(update={"model": leased["reference"], "generation": generation}))
    uri = _await_healthy(workspace, lease, generation)
    summary = f"endpoint {lease.name} is healthy at {uri}"
    return StageResult(values={"name": lease.name, "uri": uri, "model": leased["model"]}, summary=summary)


@stage(sections=("problem", "compare.shown", "train.seed"), reuse=Reuse.NEVER)
def ask_endpoint(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Predict every test row through the endpoint, and show a few to the reader.

    Raises:
        ServiceError: It does not answer, or not with a number a row.
        StageError: It answers other numbers than the model itself.
    """
    from stepzero.learning.model import load_model

    leased = inputs["lease"].values
    test = workspace.read_frame(inputs["prepared"].output("test"))
    model = load_model(workspace.store, Reference.from_json(leased["reference"]))
    answers = _ask(use_case, inputs, workspace, test[list(model.features)])
    _must_equal(answers, model.score(test), leased["name"])
    kept = [name for name in ("_row_id", ENTITY, use_case.problem.target) if name in test]
    rows = test[kept].assign(predicted=answers.scores)
    shown = show_rows(rows, use_case.problem.target, use_case.compare.shown, use_case.train.seed)
    for one in shown:
        workspace.log.info("%s predicted %.2f where %g is true", leased["model"], one["predicted"], one["truth"])
    workspace.log.info("%d rows in %d requests, median %.1f ms", len(rows), answers.requests, answers.median_ms)
    named = {name: leased[name] for name in ("sampler", "model", "parameters", "score", "reference")}
    summary = f"{leased['model']} predicted {len(rows)} test rows through {leased['name']}"
    return StageResult(
        outputs={"predictions": workspace.write_frame("predictions", rows)},
        values={**named, "shown": shown, "rows": len(rows)},
        summary=summary,
        records=(Record(metrics={f"endpoint.{leased['model']}.median_ms": round(answers.median_ms, 3)}),),
    )


@stage(sections=(), reuse=Reuse.NEVER)
def remove_endpoint(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """End the lease, and wait until nothing is left of the endpoint.

    Raises:
        ServiceError: It is still there; the host removes it later, when the lease has run out at the latest.
    """
    del use_case
    name = str(inputs["lease"].values["name"])
    end_lease(workspace.store, name)
    deadline = time.monotonic() + SEEN_SECONDS
    said: Status | None = Status(state="reserved", since=0.0)
    while (said := _said(workspace, name, said)) is not None:
        if time.monotonic() > deadline:
            raise ServiceError(
                f"endpoint {name}",
                value=bare(f"still there {SEEN_SECONDS:g} s after its lease was ended"),
                allowed="an endpoint host that removes it",
                action="start it (`bin/stepzero up`), then clear the task",
            )
        time.sleep(POLL_SECONDS)
    return StageResult(values={"name": name, "left": []}, summary=f"endpoint {name} is removed; nothing of it is left")


def _ask(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace, rows: pd.DataFrame) -> Answers:
    """Ask where the endpoint is: at the address that its host told, or through SageMaker."""
    if workspace.environment.sagemaker is not None:
        from stepzero.adapters.sagemaker import HostedEndpoint

        hosted = HostedEndpoint(inputs["lease"].values["name"])
        return ask_rows(hosted.post, hosted.name, rows)
    uri = f"{inputs['created'].values['uri']}/invocations"
    declared = workspace.environment.endpoints.get(use_case.name)
    with over_http(uri, declared.token_file if declared else None) as post:
        return ask_rows(post, uri, rows)


def _lease(use_case: Any, workspace: Workspace, model: str) -> Lease:
    granted = use_case.compare.endpoint
    return Lease(
        name=lease_name(use_case.name, model, workspace.plan.run),
        use_case=use_case.name,
        run=workspace.plan.run,
        memory_mb=granted.megabytes,
        seconds=granted.seconds,
        healthy_seconds=granted.healthy_seconds,
    )


def _none_to_serve(model: str, cells: list[StageInput]) -> StageResult:
    """Say no, so that what follows for this model is skipped and the others go on."""
    told = str(cells[0].values["failed"]) if cells else "not among the models of this run"
    reason = Reason(rule="trained", column=None, observed=told[:300], bound="a model that learned")
    verdict = Verdict(outcome=Outcome.FAIL, subject=f"{model} has no endpoint", reasons=(reason,))
    return StageResult(values={"model": model}, verdict=verdict, summary=verdict.sentence())


def _best(living: list[StageInput], metric: str) -> StageInput:
    from stepzero.learning.metrics import make_metric

    judge = make_metric(metric)
    return max(living, key=lambda one: judge.gain(float(one.values["score"])))


def _await_healthy(workspace: Workspace, lease: Lease, generation: str) -> str:
    """Wait for the host's word; it fails what is too slow, so that only a missing host is waited for in vain."""
    began, was_seen = time.monotonic(), False
    status: Status | None = None
    while True:
        status = _said(workspace, lease.name, status)
        seen = status is not None and status.generation == generation
        if was_seen and status is None:
            raise StageError(
                f"endpoint {lease.name}",
                value=bare("removed"),
                allowed=f"an endpoint that is healthy while its lease lasts ({lease.seconds:g} s)",
                action="raise compare.endpoint.seconds, then clear the task",
            )
        was_seen |= seen
        if seen and status and status.state == "failed":
            raise StageError(
                f"endpoint {lease.name}",
                value=bare(status.problem),
                allowed=f"an endpoint that is healthy within {lease.healthy_seconds:g} s",
                action="read the log of the endpoint host, then clear the task",
            )
        if seen and status and status.state == "healthy" and status.uri:
            return status.uri
        waited = time.monotonic() - began
        if waited > SEEN_SECONDS + (lease.healthy_seconds if seen else 0):
            raise ServiceError(
                f"endpoint {lease.name}",
                value=bare(f"{status.state if status else 'not seen'} after {waited:.0f} s"),
                allowed="an endpoint host that looks after its lease",
                action="start it (`bin/stepzero up`), then clear the task",
            )
        time.sleep(POLL_SECONDS)


def _said(workspace: Workspace, name: str, last: Status | None) -> Status | None:
    """Return what the host says; where the store is in trouble, what it said last: whoever waits goes on waiting."""
    try:
        return read_status(workspace.store, name)
    except StoreError as error:
        workspace.log.warning("%s", error)
        return last


def _must_equal(answers: Answers, expected: Any, name: str) -> None:
    pairs = zip(answers.scores, expected, strict=True)
    other = sum(not math.isclose(one, two, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for one, two in pairs)
    if other:
        raise StageError(
            f"predictions of endpoint {name}",
            value=bare(f"{other} of {len(answers.scores)} differ from the model's own"),
            allowed=f"the model's own, within {TOLERANCE:g}",
            action="the endpoint runs other code or packages: restart the endpoint host (`bin/stepzero down`, `up`)",
        )
