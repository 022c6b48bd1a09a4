"""`stepzero check`: read use cases and the environment before Airflow does."""

from __future__ import annotations

from typing import Annotated

import typer

from stepzero.core.errors import DONE, WRONG_USE, SpecError
from stepzero.spec.load import include_folder, load_environment, load_use_case


def check(
    names: Annotated[list[str] | None, typer.Argument(help="Use cases, or paths of YAML files; all if absent.")] = None,
) -> None:
    """Check YAML files; every problem is told with file and line."""
    folder = include_folder() / "usecases"
    status = DONE
    for name in names or sorted(path.stem for path in folder.glob("*.yaml")):
        try:
            load_use_case(name)
        except SpecError as error:
            typer.echo(str(error), err=True)
            status = WRONG_USE
        else:
            typer.echo(f"{name}: good")
    load_environment()
    raise typer.Exit(status)
