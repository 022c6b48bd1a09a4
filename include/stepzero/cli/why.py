"""`stepzero why RUN STAGE` and `stepzero stages`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stepzero.adapters.store import Store
from stepzero.cli.run_results import RunResults, StageEnd, find_run
from stepzero.core.errors import InputError, SpecError, bare, did_you_mean
from stepzero.core.stages import STAGES, StageInfo, find_stage
from stepzero.spec.load import load_environment


def why(
    run: Annotated[str, typer.Argument(help="Id of a run, or latest.")],
    stage: Annotated[str, typer.Argument(help="Name of a stage.")],
    *,
    label: Annotated[str | None, typer.Option(help="Which mapped task, for example smote.xgboost.")] = None,
    use_case: Annotated[str | None, typer.Option(help="Needed where two use cases have a run of this id.")] = None,
    parts: Annotated[bool, typer.Option("--parts", help="Show the parts of the key, too.")] = False,
) -> None:
    """Say why a stage of a run was computed or reused."""
    store = Store(load_environment().store)
    found = RunResults(store, *find_run(store, run, use_case))
    for end in _chosen(found, stage, label):
        told = end.pointer.get("why") or f"failed: {end.error.get('message', 'no word of it')}"
        typer.echo(f"{end.name}: {told}")
        if parts:
            for name, part in sorted(end.pointer.get("key_parts", {}).items()):
                typer.echo(f"  {name}: {part}")


def stages() -> None:
    """List the stages, what each reads, and when a result is reused."""
    for name, target in STAGES.items():
        try:
            info = find_stage(name)
        except SpecError:
            typer.echo(f"{name}: {target} (not installed)")
            continue
        typer.echo(f"{name}: {_described(info)}")


def _described(info: StageInfo) -> str:
    reads = ", ".join([*info.sections, *(f"plan.{name}" for name in info.plan)]) or "nothing"
    return f"{info.target}; engine {info.engine}; reuse {info.reuse}; reads {reads}"


def _chosen(found: RunResults, stage: str, label: str | None) -> list[StageEnd]:
    ends: list[StageEnd] = [end for end in found.ends if end.stage == stage.replace(":", ".")]
    chosen = [end for end in ends if label is None or end.label == label]
    if chosen:
        return chosen
    known: Any = [end.label for end in ends] if ends else sorted({end.stage for end in found.ends})
    raise InputError(
        f"stage {stage}{' ' + label if label else ''} of run {found.run}",
        value=bare("not run"),
        allowed=did_you_mean(label if label and ends else stage, known),
        action="name a stage that began in this run",
    )
