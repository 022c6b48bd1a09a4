"""`stepzero stage NAME`: one stage of one run, as Airflow runs it and as a person can repeat it."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

import stepzero.core.logs
from stepzero.adapters.store import Store
from stepzero.core.errors import (
    DONE,
    FAULT,
    NOT_REUSABLE,
    VERDICT_NO,
    WRONG_USE,
    InputError,
    StepzeroError,
    StoreFullError,
    bare,
    is_disk_full,
)
from stepzero.core.references import ResultReference
from stepzero.execution.execute import Inputs, Request, execute, reuse
from stepzero.spec.load import load_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepzero.spec.environment import Environment

log = logging.getLogger("stepzero")


def main(arguments: list[str]) -> int:
    """Run one stage and return the exit status."""
    stepzero.core.logs.configure()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        asked = _parser().parse_args(arguments)
        request = _request(asked)
        environment = load_environment()
        store = Store(environment.store)
    except StepzeroError as error:
        return _said(error)
    return _guarded(lambda: _run(asked, request, store, environment), request, store)


def stage(arguments: list[str]) -> None:
    """Run one stage of a run (what every Airflow task calls); `stepzero stage --help` tells more."""
    sys.exit(main(arguments))


def _run(asked: argparse.Namespace, request: Request, store: Store, environment: Environment) -> int:
    if request.stage == "plan" and asked.purpose == "watch":
        from stepzero.execution.watching import run_watch_plan

        log.info("%s", run_watch_plan(_plan_request(asked), request, store, environment).summary)
        return DONE
    if request.stage == "plan":
        from stepzero.execution.first import run_plan

        run_plan(_plan_request(asked), request, store, environment)
        return DONE
    if request.stage == "release":
        from stepzero.execution.releasing import plan_release

        plan_release(_plan_request(asked), store, environment)
    reference = (reuse if asked.only_reuse else execute)(request, store, environment)
    if reference is None:
        return NOT_REUSABLE
    log.info("%s", reference.summary or f"{request.stage} done")
    return VERDICT_NO if reference.outcome == "FAIL" else DONE


def _guarded(run: Callable[[], int], request: Request, store: Store) -> int:
    """Turn every error into a readable line, an error file in the store, and an exit status."""
    try:
        return run()
    except _Ended as ended:
        log.warning("ended by %s", signal.Signals(int(str(ended.code)) - 128).name)
        raise
    except StepzeroError as error:
        return _told(error, request, store)
    except Exception as error:
        if is_disk_full(error):
            log.debug("no space left", exc_info=True)
            return _told(_store_full(store), request, store)
        log.exception("stage %s failed unexpectedly", request.stage)
        _note_error(store, request, _unexpected(error))
        return FAULT


def _told(error: StepzeroError, request: Request, store: Store) -> int:
    _note_error(store, request, error.to_json())
    return _said(error)


def _said(error: StepzeroError) -> int:
    """Log the four parts, without the traceback that would bury them."""
    log.error("%s", error)
    return error.exit_status


def _note_error(store: Store, request: Request, error: dict[str, Any]) -> None:
    try:
        store.write_json(request.error, error)
    except StepzeroError as problem:
        log.warning("the error could not be written to the store: %s", problem)


def _unexpected(error: Exception) -> dict[str, Any]:
    message = f"{type(error).__name__}: {error}"[:2000]
    return {
        "kind": type(error).__name__,
        "what": "unexpected error",
        "value": message,
        "allowed": "no error",
        "action": "read the task's log; it ends with the traceback",
        "retry": False,
        "message": message,
    }


def _store_full(store: Store) -> StoreFullError:
    return StoreFullError(
        f"store {store.root}",
        value=bare("no space left"),
        allowed="free space under the store and the temporary folder",
        action="make room, then clear the task; nothing was lost",
    )


class _Ended(SystemExit):
    """The wish to end in order, so that temporary folders go; its code is 128 + the signal."""


def _terminate(number: int, frame: object) -> None:
    """Do nothing but raise: the signal may have come while a log line was being written."""
    del frame
    raise _Ended(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stepzero stage", description=stage.__doc__, exit_on_error=True)
    parser.add_argument("stage", help="a stage's name, or package.module:function; `stepzero stages` lists ours")
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--run", required=True, help="id of the run, as the orchestrator names it")
    parser.add_argument("--attempt", default="hand", help="must differ from try to try")
    parser.add_argument("--inputs", type=_json, default={}, help='JSON: {"name": result reference, or a list of them}')
    parser.add_argument("--parameters", type=_json, default={}, help="JSON: what a mapped task varies")
    parser.add_argument("--label", default="", help="tells mapped tasks of one stage apart")
    parser.add_argument("--only-reuse", action="store_true", help=f"compute nothing; {NOT_REUSABLE} if it would")
    plan = parser.add_argument_group("for `plan`, which makes the plan that all others read, and for `release`")
    plan.add_argument("--purpose", choices=["lifecycle", "watch"], default="lifecycle")
    plan.add_argument("--as-of", help="the run's time, ISO 8601")
    plan.add_argument("--partition")
    plan.add_argument("--uris", type=_json, default=[], help="JSON list: the landed files that the run is for")
    plan.add_argument("--promotes", type=_json, default=True, help="false for a backfill: evaluate, never promote")
    plan.add_argument("--author", default="", help="who started the run; empty for a schedule")
    plan.add_argument("--form", type=_json, default={}, help="JSON: what a person set for this run")
    plan.add_argument("--links", type=_json, default={}, help='JSON: {"airflow": address of the run}')
    return parser


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        msg = f"not JSON ({error}): {text[:80]!r}"
        raise argparse.ArgumentTypeError(msg) from error


def _request(asked: argparse.Namespace) -> Request:
    parameters = {str(name): str(value) for name, value in asked.parameters.items()}
    return Request(
        stage=asked.stage,
        use_case=_name_of(asked.use_case),
        run=asked.run,
        attempt=asked.attempt,
        inputs=_inputs(asked.inputs),
        parameters=parameters,
        label=asked.label,
    )


def _name_of(use_case: str) -> str:
    """Return the name under which a use case's runs are kept; `plan` may be given a file."""
    if not use_case.endswith((".yaml", ".yml")):
        return use_case
    from stepzero.spec.load import load_use_case

    return load_use_case(use_case).name


def _inputs(data: Any) -> Inputs:
    try:
        return {name: _input(value) for name, value in data.items()}
    except (AttributeError, TypeError) as error:
        raise WrongUseError(
            "stage --inputs",
            value=data,
            allowed='{"name": {"stage", "uri", "digest", "outcome", "summary"}}, or a list of such references',
            action="copy the command from the task's log",
        ) from error


def _input(value: Any) -> ResultReference | list[ResultReference]:
    if isinstance(value, list):
        return [ResultReference.from_json(one) for one in value]
    return ResultReference.from_json(value)


class WrongUseError(InputError):
    """Report a command that was given arguments it cannot use."""

    exit_status = WRONG_USE


def _plan_request(asked: argparse.Namespace) -> Any:
    from stepzero.execution.planning import PlanRequest

    if not asked.as_of:
        raise WrongUseError(
            f"stage {asked.stage} --as-of",
            value=bare("nothing"),
            allowed="the run's time in ISO 8601, for example 2026-11-21T02:00:00+00:00",
            action="add --as-of",
        )
    return PlanRequest(
        use_case=asked.use_case,
        run=asked.run,
        as_of=asked.as_of,
        partition=asked.partition,
        uris=tuple(asked.uris),
        form=asked.form,
        links=asked.links,
        promotes=bool(asked.promotes),
        author=asked.author,
    )
