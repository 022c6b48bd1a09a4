"""A launcher of our own, by dotted name: it plays stages by a script instead of running them.

What Airflow sees is real: arguments, pointers, results, errors and exit statuses as `stepzero stage` leaves them.
The plan is the real one, without the tracking server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stepzero.adapters.store import Store
from stepzero.core.digests import digest_json
from stepzero.core.errors import DONE, VERDICT_NO, StepzeroError
from stepzero.execution.first import plan_values
from stepzero.execution.planning import PlanRequest, commit_plan, make_plan
from stepzero.execution.watching import make_watch_plan
from stepzero.launchers.base import Finished, LogLine
from stepzero.spec.environment import StageResources
from stepzero.spec.load import load_environment, load_use_case
from stepzero.spec.plan import run_folder

SCRIPT, PLAYED = "script.json", "played.jsonl"
MLFLOW = "http://mlflow/#/experiments/1/runs/abc"
PEOPLE = "http://airflow.example"
"""Where people open Airflow; tasks reach it elsewhere."""


def scripted_environment(folder: Path, patch: pytest.MonkeyPatch) -> Store:
    """Make an environment whose stages are played; return its store."""
    settings = {
        "name": "scripted",
        "store": f"file://{folder}/store",
        "airflow": {"uri": f"http://127.0.0.1:{os.environ.get('STEPZERO_AIRFLOW_PORT', '8080')}", "link": PEOPLE},
        "approval": "rule",
        "stages": {"default": {"launcher": "support.scripted:launch", "retry_delay_seconds": 0, "retries": 2}},
    }
    path = folder / "scripted.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    patch.setenv("STEPZERO_ENVIRONMENT", str(path))
    patch.setenv("STEPZERO_HOME", str(folder))
    return Store(str(settings["store"]))


def launch(resources: StageResources, argv: Sequence[str], env: Mapping[str, str], log_line: LogLine) -> Finished:
    """Play one stage: ``{"stage": {"status": 10, "outcome": "FAIL", "summary": ..., "outputs": {}, "values": {}}}``."""
    store = Store(load_environment().store)
    options = dict(zip(argv[1::2], argv[2::2], strict=True))
    played = store.read_text(PLAYED) if store.exists(PLAYED) else ""
    store.write_text(PLAYED, played + json.dumps([argv[0], options]) + "\n")
    pointer = _pointer(argv[0], options)
    log_line(f"INFO playing {argv[0]}")
    try:
        if argv[0] == "plan" and options.get("--purpose") == "watch":
            store.write_json(pointer, _watch_plan(store, options))
            return Finished(status=DONE)
        if argv[0] == "plan":
            store.write_json(pointer, _plan(store, options))
            return Finished(status=DONE)
        return Finished(status=_play(store, argv[0], options, pointer))
    except StepzeroError as error:
        store.write_json(f"{pointer.removesuffix('.json')}.error-{options['--attempt']}.json", error.to_json())
        return Finished(status=error.exit_status)


def played(store: Store) -> list[tuple[str, dict[str, str]]]:
    """Return stage and options of all that was launched, in order."""
    return [(stage, options) for stage, options in map(json.loads, store.read_text(PLAYED).splitlines())]


def _plan(store: Store, options: Mapping[str, str]) -> dict[str, Any]:
    request = PlanRequest(
        use_case=options["--use-case"],
        run=options["--run"],
        as_of=options["--as-of"],
        partition=options.get("--partition"),
        uris=tuple(json.loads(options.get("--uris", "[]"))),
        form=json.loads(options.get("--form", "{}")),
        links=json.loads(options.get("--links", "{}")),
        promotes=json.loads(options.get("--promotes", "true")),
    )
    plan = commit_plan(store, make_plan(request, store, load_environment(), None))
    result = {"stage": "plan", "uri": f"{plan.folder}/plan.json", "digest": "0", "outcome": None, "summary": "frozen"}
    return {"result": result, "values": plan_values(plan) | {"links": {**plan.links, "mlflow": MLFLOW}}}


def _watch_plan(store: Store, options: Mapping[str, str]) -> dict[str, Any]:
    request = PlanRequest(
        use_case=options["--use-case"],
        run=options["--run"],
        as_of=options["--as-of"],
        form=json.loads(options.get("--form", "{}")),
        links=json.loads(options.get("--links", "{}")),
        promotes=json.loads(options.get("--promotes", "true")),
    )
    plan = commit_plan(store, make_watch_plan(request, load_environment(), None))
    result = {"stage": "plan", "uri": f"{plan.folder}/plan.json", "digest": "0", "outcome": None, "summary": "frozen"}
    return {"result": result, "values": {"links": {**plan.links, "mlflow": MLFLOW}}}


def _play(store: Store, stage: str, options: Mapping[str, str], pointer: str) -> int:
    script: dict[str, Any] = store.read_json(SCRIPT).get(stage, {}) if store.exists(SCRIPT) else {}
    status = int(script.get("status", DONE))
    if status not in {DONE, VERDICT_NO}:
        if script.get("error"):
            store.write_json(f"{pointer.removesuffix('.json')}.error-{options['--attempt']}.json", script["error"])
        return status
    outcome = script.get("outcome")
    summary = script.get("summary", f"{stage} done")
    verdict = {"outcome": outcome, "subject": summary, "reasons": [], "links": {}} if outcome else None
    written = {"outputs": script.get("outputs", {}), "values": script.get("values", {})}
    result = {**written, "verdict": verdict, "options": dict(options)}
    uri = f"results/{options['--use-case']}/{stage}/{digest_json([options, summary])}/result-00001.json"
    store.write_json(uri, result)
    told = {"stage": stage, "uri": uri, "digest": digest_json(result), "outcome": outcome, "summary": summary}
    store.write_json(pointer, {"result": told})
    return status


def _pointer(stage: str, options: Mapping[str, str]) -> str:
    name = options["--use-case"]
    use_case = load_use_case(name).name if name.endswith(".yaml") else name
    folder = f"{run_folder(use_case, options['--run'])}/stages/{stage.replace(':', '.')}"
    return f"{folder}/{options.get('--label', 'result')}.json"
