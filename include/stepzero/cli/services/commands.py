"""`up`, `down` and `status`."""

from __future__ import annotations

import json
import os
import time
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from stepzero.core.errors import DONE, FAULT


class With(StrEnum):
    """What `up` starts besides; the name of the environment that has it."""

    S3 = "s3"


JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON for machines.")]


def up(
    *,
    with_: Annotated[
        With | None, typer.Option("--with", help="s3: start OpenStack Swift here, and keep everything in it.")
    ] = None,
) -> None:
    """Start every service of this environment and wait until all are healthy."""
    from stepzero.cli.services.control import start_services
    from stepzero.cli.services.swift import ensure_swift
    from stepzero.cli.setup import ensure_runtime
    from stepzero.spec.load import load_environment

    if with_ is not None:
        # Services inherit it; later commands need it, too.
        os.environ["STEPZERO_ENVIRONMENT"] = with_.value
        typer.echo(f"environment {with_.value}: set STEPZERO_ENVIRONMENT={with_.value} for the commands that follow")
    environment = load_environment()
    ensure_swift(environment, typer.echo)
    ensure_runtime(environment, typer.echo)
    seconds = start_services(environment, typer.echo)
    typer.echo(f"up after {seconds:.1f} s · Airflow {environment.airflow.base} · MLflow {environment.tracking.base}")
    typer.echo(_login())


def down() -> None:
    """Stop every service and leave no process behind; results and history stay."""
    from stepzero.cli.services.control import stop_services

    began = time.monotonic()
    count = stop_services(typer.echo)
    typer.echo(f"down after {time.monotonic() - began:.1f} s" if count else "nothing was running")


def status(*, as_json: JsonOption = False) -> None:
    """Show how each service is; exit status 0 when all are healthy."""
    from stepzero.cli.services.control import service_status
    from stepzero.spec.load import load_environment

    rows = service_status(load_environment())
    healthy = all(row["state"] == "healthy" for row in rows)
    if as_json:
        typer.echo(json.dumps({"healthy": healthy, "services": rows}))
    else:
        # Never cut an address: a terminal that is too narrow may wrap the line.
        Console(width=120).print(_table(rows))
    raise typer.Exit(DONE if healthy else FAULT)


def _login() -> str:
    from stepzero.cli.services.credentials import ADMINISTRATOR, Credentials
    from stepzero.spec.load import home_folder

    return f"log in to Airflow as {ADMINISTRATOR}; the password is in {Credentials(home_folder()).passwords_file}"


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None)
    for heading in ("service", "state", "pid", "up", "restarts", "memory", "address"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        colour = {"healthy": "green", "down": "red"}.get(row["state"], "yellow")
        up_for = "" if row["seconds"] is None else f"{row['seconds']} s"
        memory = "" if row["memory_mib"] is None else f"{row['memory_mib']} MiB"
        state = f"[{colour}]{row['state']}[/]"
        values = (row["pid"] or "", up_for, row["restarts"], memory, row["address"] or "")
        table.add_row(row["name"], state, *map(str, values))
    return table
