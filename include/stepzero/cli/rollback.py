"""`stepzero rollback`: serve an earlier champion again."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer


def rollback(
    use_case: Annotated[str, typer.Argument(help="Name of a file in include/usecases.")],
    *,
    why: Annotated[str, typer.Option(help="One sentence; it is kept in the lineage.")],
    to: Annotated[str | None, typer.Option(help="An earlier champion; the one before the present if absent.")] = None,
) -> None:
    """Make an earlier champion the champion again: alias, endpoint and what its traffic is compared with."""
    from stepzero.adapters.store import Store
    from stepzero.adapters.tracking import Tracking
    from stepzero.execution.rollback import roll_back
    from stepzero.spec.load import load_environment, load_use_case

    load_use_case(use_case)
    environment = load_environment()
    registry = Tracking(environment.tracking).registry
    by = f"{getpass.getuser()}: {why}"
    done = roll_back(Store(environment.store), registry, environment, use_case, to=to, by=by)
    typer.echo(done.sentence())
