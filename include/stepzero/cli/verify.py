"""`stepzero verify RUN`: run its stages again, and compare to the last bit."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from stepzero.adapters.store import Store
from stepzero.cli.run_results import find_run
from stepzero.core.errors import DONE, VERDICT_NO
from stepzero.execution.verification import SAME, Check, verify_run
from stepzero.spec.load import load_environment

_MARKS = {"same": "=", "differs": "≠", "failed": "!", "not run": "-"}


def verify(
    run: Annotated[str, typer.Argument(help="Id of a run, or latest.")] = "latest",
    *,
    stage: Annotated[list[str] | None, typer.Option(help="Only this stage; may be repeated.")] = None,
    use_case: Annotated[str | None, typer.Option(help="Needed where two use cases have a run of this id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for machines.")] = False,
) -> None:
    """Run a run's stages again, without effects, and compare results, models and predictions to the last bit."""
    environment = load_environment()
    store = Store(environment.store)
    name, found = find_run(store, run, use_case)
    say = (lambda _: None) if as_json else _say
    checks = verify_run(store, environment, name, found, stages=tuple(stage or ()), progress=say)
    good = all(check.good for check in checks)
    if as_json:
        told = {"use_case": name, "run": found, "reproducible": good, "stages": [check.to_json() for check in checks]}
        typer.echo(json.dumps(told))
    else:
        typer.echo(f"{name} {found}: {_sentence(checks)}")
    raise typer.Exit(DONE if good else VERDICT_NO)


def _say(check: Check) -> None:
    seconds = f" ({check.seconds:.1f} s)" if check.seconds else ""
    typer.echo(f"{_MARKS[check.outcome]} {check.stage}: {check.outcome}{seconds}")
    for line in (*check.differences, *check.why):
        typer.echo(f"    {line}")


def _sentence(checks: list[Check]) -> str:
    same, bad = sum(check.outcome == SAME for check in checks), [check.stage for check in checks if not check.good]
    if bad:
        return f"not reproduced: {', '.join(bad)}; {same} stages gave the same to the last bit"
    return f"reproduced: all {same} stages that can be run again gave the same to the last bit"
