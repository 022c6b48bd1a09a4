"""Small stages for tests of what runs stages: they count how often they computed, in a file outside the store."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, StageError, bare
from stepzero.core.references import ResultReference
from stepzero.core.stages import Record, Reuse, StageResult, stage
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.execution.execute import Request
from stepzero.spec.plan import Batch, BatchFile, Plan
from stepzero.spec.use_case import UseCase

COUNTER = "STEPZERO_TEST_COUNTER"


def _count(name: str) -> None:
    if os.environ.get(COUNTER):
        with Path(os.environ[COUNTER]).open("a", encoding="utf-8") as stream:
            stream.write(f"{name}\n")


@stage(sections=("quality",), plan=("batch",))
def write(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Write one file that depends on content only."""
    _count("write")
    limit = use_case.quality.quarantine_limit
    output = workspace.write_json("output.json", {"limit": limit, "batch": workspace.plan.batch.digest})
    return StageResult(outputs={"output": output}, values={"limit": limit}, summary="written")


NEWEST = "newest/toy.json"


@stage(sections=(), plan=("batch",))
def pointing(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Let others find the newest result."""
    _count("pointing")
    return StageResult(pointers={NEWEST: {"batch": workspace.plan.batch.digest}})


@stage(sections=("quality",), plan=("batch", "history"))
def measured(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Judge a batch as the gate does: b2 is ten times as large; the limit is the rule, and of 0 nothing passes."""
    _count("measured")
    digest, limit = workspace.plan.batch.digest, use_case.quality.quarantine_limit
    size = 10.0 if digest == "b2" else 1.0
    if digest == "bad" or not limit:
        return StageResult(verdict=Verdict(outcome=Outcome.FAIL, subject="toy batch"), history={"size": size})
    accepted = workspace.write_json("accepted.json", {"batch": digest, "limit": limit})
    verdict = Verdict(outcome=Outcome.PASS, subject="toy batch")
    return StageResult(outputs={"accepted": accepted}, verdict=verdict, history={"size": size})


@stage(sections=(), plan=("batch",))
def unreadable(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Find that files are no table: those of the batch, or of the one that the parameter names."""
    error = InputError("toy file", value=bare("a picture"), allowed="a table", action="land a table")
    error.batch = workspace.parameters.get("batch", workspace.plan.batch.digest)
    raise error


@stage(sections=())
def total(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Sum what earlier stages found."""
    _count("total")
    return StageResult(values={"total": sum(one.values["limit"] for one in inputs["parts"])})


@stage(sections=(), reuse=Reuse.NEVER)
def always(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Run every time."""
    _count("always")
    return StageResult(values={"same": 1})


@stage(sections=())
def slow(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Wait long enough for a test to come in between."""
    _count("slow")
    output = workspace.write_file("part.txt", "done")
    workspace.log.info("waiting")
    time.sleep(float(workspace.parameters.get("seconds", "0")))
    return StageResult(outputs={"part": output}, values={})


@stage(sections=())
def together(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """End only when two tries compute it."""
    _count("together")
    output = workspace.write_file("part.txt", "done")
    deadline = time.monotonic() + 60
    while Path(os.environ[COUNTER]).read_text().count("together") < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return StageResult(outputs={"part": output})


@stage(sections=())
def overtaken(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """End, if it is the first attempt, only when a test releases it: others come and go meanwhile."""
    _count("overtaken")
    output = workspace.write_file("part.txt", "done")
    release = Path(os.environ[COUNTER]).with_name("release")
    deadline = time.monotonic() + 30
    while workspace.folder.endswith("/tries/1") and not release.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return StageResult(outputs={"part": output})


@stage(sections=())
def refuse(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Say no."""
    reason = Reason(rule="size", column=None, observed="3", bound="at least 10")
    return StageResult(verdict=Verdict(outcome=Outcome.FAIL, subject="toy batch", reasons=(reason,)))


@stage(sections=())
def fail(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Fail with an error of ours."""
    raise StageError("toy stage", value=bare("three"), allowed="four", action="count again")


@stage(sections=())
def crash(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Fail as code fails."""
    return StageResult(values={"x": 1 / int(workspace.parameters.get("divisor", "0"))})


@stage(sections=())
def full(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Write more than a small disk holds."""
    for number in range(64):
        workspace.write_file(f"{number}.bin", b"0" * 1024**2)
    return StageResult()


@stage(sections=())
def tracked(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Have something to publish."""
    _count("tracked")
    return StageResult(records=(Record(parameters={"a": "1"}), Record(scope="trial", key="t", metrics={"m": 1.0})))


def make_plan(run: str = "r1", *, limit: float = 0.01, batch: str = "b1", recompute: tuple[str, ...] = ()) -> Plan:
    """Return the plan of a toy run."""
    file = BatchFile(uri="landing/toy/x.csv", digest=batch, bytes=3)
    return Plan(
        run=run,
        use_case=UseCase.model_validate({"name": "toy", "quality": {"quarantine_limit": limit}}),
        environment="local",
        batch=Batch(partition=batch, digest=batch, files=(file,)),
        as_of="2026-11-21T00:00:00+00:00",
        approval="rule",
        recompute=recompute,
    )


def write_plan(store: Store, plan: Plan) -> None:
    """Commit the plan of a toy run."""
    store.create(f"{plan.folder}/plan.json", plan.model_dump(mode="json", by_alias=True))


def request(
    name: str,
    run: str = "r1",
    *,
    attempt: str = "1",
    label: str = "",
    inputs: dict[str, Any] | None = None,
    **parameters: str,
) -> Request:
    """Return a request for a toy stage."""
    given: dict[str, ResultReference | list[ResultReference]] = inputs or {}
    return Request(
        stage=f"support.toy:{name}",
        use_case="toy",
        run=run,
        attempt=attempt,
        inputs=given,
        parameters=parameters,
        label=label,
    )
