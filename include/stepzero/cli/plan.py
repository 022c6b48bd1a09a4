"""`stepzero plan`: what a run would freeze, printed and not written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from stepzero.adapters.store import Store
from stepzero.core.errors import ServiceError
from stepzero.execution.first import find_champion, plan_values, summary
from stepzero.execution.planning import PlanRequest, make_plan
from stepzero.spec.load import load_environment


def plan(
    use_case: Annotated[str, typer.Argument(help="Name of a file in include/usecases.")] = "credit_card_fraud",
    *,
    batch: Annotated[
        str | None,
        typer.Option(
            help="Landed file or partition; what no run has judged if absent, or else what was accepted last."
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Declared recipe to learn by.")] = None,
    sampler: Annotated[list[str] | None, typer.Option(help="Resampler to try; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Declared model to try; may be repeated.")] = None,
    window: Annotated[str, typer.Option(help="declared, or batch for this batch alone.")] = "declared",
    as_json: Annotated[bool, typer.Option("--json", help="Write the whole plan as JSON.")] = False,
) -> None:
    """Print the plan that a run started now would freeze."""
    environment = load_environment()
    form = {"batch": batch, "recipe": recipe, "samplers": sampler, "models": model, "window": window}
    request = PlanRequest(
        use_case=use_case,
        run="not-started",
        as_of=datetime.now(UTC).isoformat(),
        form={name: value for name, value in form.items() if value},
    )
    made = make_plan(request, Store(environment.store), environment, _champion(use_case, environment))
    if as_json:
        typer.echo(json.dumps(made.model_dump(mode="json", by_alias=True)))
        return
    typer.echo(summary(made))
    for cell in plan_values(made)["cells"]:
        typer.echo(f"  {cell['sampler']} × {cell['model']}")


def _champion(use_case: str, environment: Any) -> Any:
    from stepzero.adapters.tracking import Tracking

    try:
        return find_champion(use_case, Tracking(environment.tracking))
    except ServiceError as error:
        typer.echo(f"champion not known: {error}", err=True)
        return None
