"""`stepzero sweep`: end what was killed in the tracking server, and remove what finished searches left behind."""

from __future__ import annotations

from typing import Annotated

import typer

from stepzero.spec.load import load_environment, load_use_case, use_case_names


def sweep(
    *,
    use_case: Annotated[str | None, typer.Option(help="Only this one; all if absent.")] = None,
    older_than_hours: Annotated[float, typer.Option(min=0, help="Younger runs are left alone.")] = 24,
) -> None:
    """Remove the work state of finished searches; end MLflow runs that say RUNNING and that Airflow does not know."""
    from stepzero.adapters.store import Store
    from stepzero.adapters.tracking import Tracking
    from stepzero.cli.airflow_api import connect
    from stepzero.execution.leftovers import remove_finished_work

    environment = load_environment()
    names = [use_case] if use_case else use_case_names()
    for name in names:
        removed = remove_finished_work(Store(environment.store), name)
        typer.echo(f"{name}: work state of {removed} finished searches removed")
    tracking, airflow = Tracking(environment.tracking), connect(environment)
    for name in names:
        if load_use_case(name).train is None:
            continue
        ended = tracking.sweep(name, alive=airflow.unfinished(name), older_than_hours=older_than_hours)
        typer.echo(f"{name}: {ended} ended")
