"""A launcher for runs in which only the endpoints are real: other stages are played, or hand on what a test gave.

What a test gives lies in the store as ``given.json``: stage, or stage and label → outputs and values of its result.
A task that ``held.json`` names waits until that file is gone; ``holding.json`` says which process it is.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import DONE, VERDICT_NO, StepzeroError
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageResult, find_stage, load_stage
from stepzero.execution.execute import pointer_uri, read_plan
from stepzero.execution.results import read_input
from stepzero.launchers.base import Finished, LogLine
from stepzero.spec.environment import StageResources
from stepzero.spec.load import load_environment
from stepzero.spec.view import View
from support import scripted

GIVEN, HELD, HOLDING = "given.json", "held.json", "holding.json"
REAL = ("lease_endpoint", "create_endpoint", "ask_endpoint", "remove_endpoint", "compare_endpoints")


def launch(resources: StageResources, argv: Sequence[str], env: Mapping[str, str], log_line: LogLine) -> Finished:
    """Run endpoint stages, hand on what was given, and play the rest."""
    stage, options = argv[0], dict(zip(argv[1::2], argv[2::2], strict=True))
    store = Store(load_environment().store)
    given = store.read_json(GIVEN)
    label = options.get("--label", "")
    told = given.get(f"{stage} {label}".strip())
    if stage not in REAL and told is None:
        return scripted.launch(resources, argv, env, log_line)
    pointer = pointer_uri(options["--use-case"], options["--run"], stage, label)
    try:
        _wait_while_held(store, f"{stage} {label}")
        result = told if stage not in REAL else _real(store, stage, options)
    except StepzeroError as error:
        log_line(f"ERROR {error}")
        store.write_json(f"{pointer.removesuffix('.json')}.error-{options['--attempt']}.json", error.to_json())
        return Finished(status=error.exit_status)
    verdict = result.get("verdict")
    outcome = verdict["outcome"] if verdict else None
    uri = f"results/{stage}-{label or 'all'}-{options['--attempt']}.json"
    store.write_json(uri, {"outputs": {}, "values": {}, "verdict": None, "records": [], **result})
    reference = ResultReference(stage=stage, uri=uri, digest=uri, outcome=outcome, summary=result.get("summary", ""))
    store.write_json(pointer, {"result": reference.to_json()})
    return Finished(status=VERDICT_NO if outcome == "FAIL" else DONE)


def _wait_while_held(store: Store, task: str) -> None:
    """Stand still where a test wants to do something to this very task."""
    if store.exists(HELD) and store.read_json(HELD)["task"] == task:
        store.write_json(HOLDING, {"task": task, "pid": os.getpid()})
        while store.exists(HELD):
            time.sleep(0.1)


def _real(store: Store, stage: str, options: Mapping[str, str]) -> dict[str, Any]:
    plan, info = read_plan(store, options["--use-case"], options["--run"]), find_stage(stage)
    parameters = json.loads(options.get("--parameters", "{}"))
    workspace = Workspace(
        store=store,
        environment=load_environment(),
        plan=View(plan, info.plan, always=("run", "folder", "as_of")),  # type: ignore[arg-type]
        folder=f"results/{stage}/tries/{options['--attempt']}",
        stage=stage,
        parameters=parameters,
    )
    inputs = {name: _input(store, value) for name, value in json.loads(options.get("--inputs", "{}")).items()}
    view = View(plan.use_case, info.sections, always=("name",), parameters=parameters)
    return as_json(load_stage(info)(view, inputs, workspace))


def as_json(result: StageResult) -> dict[str, Any]:
    """Return as much of a result as later stages and operators read."""
    return {
        "outputs": {name: reference.to_json() for name, reference in result.outputs.items()},
        "values": result.values,
        "verdict": result.verdict.to_json() if result.verdict else None,
        "summary": result.summary,
    }


def _input(store: Store, value: Any) -> Any:
    if isinstance(value, list):
        return [read_input(store, ResultReference.from_json(one)) for one in value]
    return read_input(store, ResultReference.from_json(value))
