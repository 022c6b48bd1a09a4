"""`stepzero sweep`: end runs of the tracking server whose client was killed and will not come back."""

from __future__ import annotations

from typing import Annotated

import typer

from stepzero.spec.load import load_environment, load_use_case, use_case_names


def sweep(
    *,
    use_case: Annotated[str | None, typer.Option(help="Only this one; all if absent.")] = None,
    older_than_hours: Annotated[float, typer.Option(min=0, help="Younger runs are left alone.")] = 24,
) -> None:
    """End MLflow runs that say RUNNING although Airflow knows no such run that goes on."""
    from stepzero.adapters.tracking import Tracking
    from stepzero.cli.airflow_api import connect

    environment = load_environment()
    tracking, airflow = Tracking(environment.tracking), connect(environment)
    for name in [use_case] if use_case else use_case_names():
        if load_use_case(name).train is None:
            continue
        ended = tracking.sweep(name, alive=airflow.unfinished(name), older_than_hours=older_than_hours)
        typer.echo(f"{name}: {ended} ended")
