"""Running one stage: key, reuse, try, commit, publish. Clear, retry, kill and second runs go this one way."""

from __future__ import annotations

import json
import logging
import platform
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from stepzero.adapters.workspace import Workspace
from stepzero.core.digests import digest_sources, digest_text
from stepzero.core.errors import InputError, PromotionError, StageError, bare
from stepzero.core.keys import Key, make_key
from stepzero.core.references import Reference, ResultReference
from stepzero.core.stages import Reuse, StageInfo, StageInput, StageResult, find_stage, load_stage
from stepzero.core.verdict import Verdict
from stepzero.execution.judgement import enter_judgement, refuse_unread
from stepzero.execution.results import (
    commit_result,
    find_result,
    next_number,
    read_input,
    read_records,
    result_folder,
    result_json,
    write_pointers,
)
from stepzero.spec.base import is_dotted
from stepzero.spec.lock import lock_digest, program_version
from stepzero.spec.plan import Plan, run_folder
from stepzero.spec.view import View, field_path, part_of

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.spec.environment import Environment

log = logging.getLogger("stepzero")

Inputs = Mapping[str, ResultReference | list[ResultReference]]
GATE, DAYS = "quality_gate", "days"
"""The stage that judges a batch; the folder, and the input, of what it says about a window's earlier days."""
PROMOTING = ("register", "approve", "deploy")  # a backfill must not run them


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which stage to run, for which run, on what.

    ``label`` tells mapped tasks of one stage apart, for example ``smote.xgboost``; ``attempt``
    must differ from try to try.
    """

    stage: str
    use_case: str
    run: str
    attempt: str
    inputs: Inputs = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    day: str = ""
    """An earlier day of the run's window that the gate judges; empty for the run's own batch."""

    @property
    def pointer(self) -> str:
        """Return where the run notes its result of this stage."""
        if self.day:
            return pointer_uri(self.use_case, self.run, DAYS, self.day)
        return pointer_uri(self.use_case, self.run, self.stage, self.label)

    @property
    def error(self) -> str:
        """Return where this attempt notes its error."""
        return f"{self.pointer.removesuffix('.json')}.error-{self.attempt}.json"


def pointer_uri(use_case: str, run: str, stage: str, label: str = "") -> str:
    """Return where a run notes its result of a stage."""
    name = f"{stage.replace(':', '.')}/{label or 'result'}"
    return f"{run_folder(use_case, run)}/stages/{name}.json"


def execute(request: Request, store: Store, environment: Environment) -> ResultReference:
    """Run a stage, or find its result, and note it in the run.

    Raises:
        StepzeroError: What the stage raised, or the run has no plan.
    """
    task = _make_task(request, store, environment)
    for earlier in _earlier_days(task):
        _judge_day(earlier, store, environment)
    found = _find(task)
    why = _why(task, reused=found is not None)
    log.info("stage %s: %s", request.stage, why)
    reference = found or _compute(task)
    _finish(task, reference, why, reused=found is not None)
    return reference


def reuse(request: Request, store: Store, environment: Environment) -> ResultReference | None:
    """Do what `execute` does where a finished result can be reused; otherwise do nothing and return None.

    It lets a launcher ask before it starts what is expensive to start, such as Spark.
    """
    task = _make_task(request, store, environment)
    days = [reuse(earlier, store, environment) for earlier in _earlier_days(task)]
    found = _find(task) if None not in days else None
    if found is not None:
        why = _why(task, reused=True)
        log.info("stage %s: %s", request.stage, why)
        _finish(task, found, why, reused=True)
    return found


def _earlier_days(task: _Task) -> list[Request]:
    """Return one request for each earlier day of the window, which the gate judges by itself: days are in no order.

    Same key, same result: such a day is judged once, whichever run comes first.
    """
    request = task.request
    if request.stage != GATE or request.day:
        return []
    days = [batch.partition for batch in task.plan.days]
    return [replace(request, day=day, attempt=f"{request.attempt}-{day}") for day in days]


def _judge_day(request: Request, store: Store, environment: Environment) -> None:
    """Judge an earlier day; one whose files are no table is none of the window, as its own run said or will say."""
    try:
        execute(request, store, environment)
    except InputError as error:
        log.warning("day %s is left out of the window: %s", request.day, error)


def compute_again(request: Request, store: Store, environment: Environment) -> Again:
    """Run a stage without looking for a result; nothing is committed, noted or published.

    Give it a `ScratchStore`: what the stage writes should lie where nobody looks.
    """
    task = _make_task(request, store, environment)
    result = _run(task)
    content = json.loads(json.dumps(result_json(task.info.name, task.key, result)))
    return Again(result=content, key_parts=dict(task.key.parts), seconds=task.seconds["work"])


@dataclass(frozen=True, kw_only=True)
class Again:
    """A stage's result as it would have been committed."""

    result: dict[str, Any]
    key_parts: dict[str, str]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A request with all that it names, read."""

    request: Request
    plan: Plan
    info: StageInfo
    inputs: Mapping[str, StageInput | list[StageInput]]
    key: Key
    workspace: Workspace
    number: int
    """Under which this try commits: counted before it looks for a result, so that the first of two overlapping wins."""
    began: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    """Where the time went: ``imports``, ``work``; the rest is looking up, committing and publishing."""

    @property
    def store(self) -> Store:
        return self.workspace.store


def _make_task(request: Request, store: Store, environment: Environment) -> _Task:
    plan = read_plan(store, request.use_case, request.run)
    _may_promote(plan, request)
    info = find_stage(request.stage)
    inputs = {name: _read(store, reference) for name, reference in request.inputs.items()}
    if DAYS in info.plan and DAYS not in inputs:
        inputs[DAYS] = _judged_days(plan, store)
    plan = plan.part(request.day, request.parameters.get("table", ""))
    key = stage_key(info, plan, inputs, request)
    number = next_number(store, plan.use_case.name, info.name, key)
    folder = result_folder(plan.use_case.name, info.name, key)
    workspace = Workspace(
        store=store,
        environment=environment,
        plan=View(plan, info.plan, always=("run", "folder", "as_of", "ledger")),  # type: ignore[arg-type]
        folder=f"{folder}/tries/{request.attempt}",
        # Of its own for each number: what is computed again on purpose begins from nothing.
        shared=f"{folder}/work/{number:05d}",
        stage=info.name,
        parameters=dict(request.parameters),
        log=log,
    )
    return _Task(request=request, plan=plan, info=info, inputs=inputs, key=key, workspace=workspace, number=number)


def _may_promote(plan: Plan, request: Request) -> None:
    if request.stage in PROMOTING and not plan.promotes:
        raise PromotionError(
            f"stage {request.stage} of run {request.run}",
            value=bare("a backfill"),
            allowed="a run for the newest day: a backfill evaluates and never promotes",
            action="trigger a run by hand if this model should serve",
        )


def _judged_days(plan: Plan, store: Store) -> list[StageInput]:
    """Return what the gate said about the earlier days of the window, in their order."""
    uris = {batch.partition: pointer_uri(plan.use_case.name, plan.run, DAYS, batch.partition) for batch in plan.days}
    noted = {day: store.read_json(uri) for day, uri in uris.items() if store.exists(uri)}
    return [replace(read_input(store, ResultReference.from_json(one["result"])), day=day) for day, one in noted.items()]


def _find(task: _Task) -> ResultReference | None:
    if task.info.reuse is Reuse.NEVER:
        return None
    if task.info.name in task.plan.recompute and not task.store.exists(task.request.pointer):
        return None
    return find_result(task.store, task.plan.use_case.name, task.info.name, task.key)


def _finish(task: _Task, reference: ResultReference, why: str, *, reused: bool) -> None:
    _enter_judgement(reference, task)
    write_pointers(task.store, reference)
    if not task.request.day:
        _publish(reference, task.plan, task.workspace)
    _note(task, reference, why, reused=reused)


def _enter_judgement(reference: ResultReference, task: _Task) -> None:
    """Let a gate's result be what ledger and history say of the batch, computed or reused."""
    result = task.store.read_json(reference.uri)
    if result.get("history") is None:
        return
    verdict = Verdict.from_json(result["verdict"])
    outputs = {name: Reference.from_json(one) for name, one in result["outputs"].items()}
    of_window = bool(task.request.day)
    enter_judgement(task.store, task.plan, verdict, outputs, result["history"], of_window=of_window)


def read_plan(store: Store, use_case: str, run: str) -> Plan:
    """Return the plan of a run.

    Raises:
        StageError: The run has no plan.
    """
    uri = f"{run_folder(use_case, run)}/plan.json"
    if not store.exists(uri):
        raise StageError(
            f"plan of run {run} of {use_case}",
            value=bare("none"),
            allowed="a run that has a plan",
            action="run its first task, or name another run",
        )
    return Plan.model_validate(store.read_json(uri))


def stage_key(info: StageInfo, plan: Plan, inputs: Mapping[str, Any], request: Request) -> Key:
    """Return the key: everything that may change the stage's result, by name."""
    paths = [field_path(name, request.parameters) for name in info.sections]
    declared = plan.use_case.model_dump(mode="json", by_alias=True)
    sections = {".".join(path): part_of(declared, path) for path in paths}
    parts: dict[str, Any] = {"stage": info.target, "code": digest_sources(info.module), "lock": lock_digest()}
    # As text: the order of columns, of derived values and of a grid is part of what a section says.
    parts |= {f"section {name}": digest_text(json.dumps(value)) for name, value in sections.items()}
    parts |= {f"plan {name}": plan.model_dump(mode="json", by_alias=True)[name] for name in info.plan}
    parts |= {f"input {name}": _digests(value) for name, value in inputs.items()}
    parts |= {
        f"code of {name}": digest_sources(_module_of(name))
        for name in _dotted_names([sections, dict(request.parameters)])
    }
    parts |= {f"parameter {name}": value for name, value in request.parameters.items()}
    if info.architecture_matters:
        parts["architecture"] = platform.machine()
    parts |= {f"tool {name}": program_version(name) for name in info.tools}
    if info.reuse is not Reuse.CONTENT:
        parts["run"] = request.run
    return make_key(**parts)


def _read(store: Store, reference: ResultReference | list[ResultReference]) -> StageInput | list[StageInput]:
    if isinstance(reference, list):
        return [read_input(store, one) for one in reference]
    return read_input(store, reference)


def _digests(value: StageInput | list[StageInput]) -> Any:
    return [one.reference.digest for one in value] if isinstance(value, list) else value.reference.digest


def _references(value: StageInput | list[StageInput]) -> Any:
    return [one.reference.to_json() for one in value] if isinstance(value, list) else value.reference.to_json()


def _dotted_names(value: Any) -> list[str]:
    if isinstance(value, dict):
        return sorted({name for key, item in value.items() for name in [*_dotted_names(key), *_dotted_names(item)]})
    if isinstance(value, list):
        return sorted({name for item in value for name in _dotted_names(item)})
    return [value] if isinstance(value, str) and is_dotted(value) else []


def _module_of(dotted: str) -> str:
    return dotted.partition(":")[0] if ":" in dotted else dotted.rpartition(".")[0]


def _run(task: _Task) -> StageResult:
    before = time.monotonic()
    run_stage = load_stage(task.info)
    started, used = time.monotonic(), time.process_time()
    view = View(task.plan.use_case, task.info.sections, always=("name",), parameters=task.workspace.parameters)
    result = run_stage(view, task.inputs, task.workspace)
    task.seconds.update(imports=round(started - before, 3), work=round(time.monotonic() - started, 3))
    task.seconds["cpu"] = round(time.process_time() - used, 3)
    return result


def _compute(task: _Task) -> ResultReference:
    try:
        result = _run(task)
    except InputError as error:
        refuse_unread(task.store, task.plan, error, of_window=bool(task.request.day))
        raise
    profile = {
        "wall_seconds": task.seconds["work"],
        "cpu_seconds": task.seconds.pop("cpu"),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "architecture": platform.machine(),
        "python": sys.version.split()[0],
    }
    extra = {"folder": task.workspace.folder, "profile": profile}
    use_case, stage = task.plan.use_case.name, task.info.name
    return commit_result(task.store, use_case, stage, task.key, result, extra, number=task.number)


def _publish(reference: ResultReference, plan: Plan, workspace: Workspace) -> None:
    """Show a committed result in the tracking server; trials once, the rest in every run."""
    store = workspace.store
    marker = f"{reference.uri.removesuffix('.json')}.published.json"
    records = read_records(store, reference)
    if store.exists(marker):
        records = [record for record in records if record.scope == "run"]
    if not records:
        return
    folder = store.read_json(reference.uri)["folder"]
    parent = workspace.tracking.publish(plan, workspace.stage, records, store, folder)
    store.create(marker, {"run_id": parent})


def _why(task: _Task, *, reused: bool) -> str:
    uri = _previous_uri(task.request)
    if reused:
        return "reused: nothing it depends on changed"
    if not task.store.exists(uri):
        return "computed: it never ran before"
    changes = task.key.changes(task.store.read_json(uri)["key_parts"])
    if not changes:
        return "computed: asked for, a file of its result is gone, or it always runs"
    return f"computed: changed since the last time: {', '.join(changes)}"


def _note(task: _Task, reference: ResultReference, why: str, *, reused: bool) -> None:
    request, parts = task.request, dict(task.key.parts)
    noted = {
        "result": reference.to_json(),
        "key": task.key.digest,
        "key_parts": parts,
        "reused": reused,
        "why": why,
        "attempt": request.attempt,
        "inputs": {name: _references(value) for name, value in task.inputs.items()},
        "parameters": dict(request.parameters),
        "links": _links(task),
        "seconds": task.seconds | {"total": round(time.monotonic() - task.began, 3)},
    }
    task.store.write_json(_previous_uri(request), {"key_parts": parts, "run": request.run})
    task.store.write_json(request.pointer, noted)


def _links(task: _Task) -> dict[str, str]:
    """Return the links that the run's plan noted, so that every task can show them."""
    uri = pointer_uri(task.request.use_case, task.request.run, "plan")
    noted = task.store.read_json(uri) if task.store.exists(uri) else {}
    return dict(noted.get("values", {}).get("links") or task.plan.links)


def _previous_uri(request: Request) -> str:
    stage = request.stage.replace(":", ".")
    return f"results/{request.use_case}/{stage}/previous/{request.day or request.label or 'result'}.json"
