"""`stepzero bench NAME`: every figure of the README is a command."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from stepzero.core.errors import InputError, did_you_mean
from stepzero.spec.load import include_folder


def bench(
    name: Annotated[str, typer.Argument(help="File in benchmarks/, without .py; `list` lists them.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed on to the benchmark.")] = None,
) -> None:
    """Run a benchmark; its last line is one JSON object of its figures."""
    folder = include_folder().parent / "benchmarks"
    known = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    if name == "list":
        typer.echo("\n".join(known))
        return
    if name not in known:
        raise InputError(f"benchmark {name}", value=name, allowed=did_you_mean(name, known), action="name a benchmark")
    done = subprocess.run([sys.executable, str(folder / f"{name}.py"), *(arguments or [])], check=False)
    raise typer.Exit(done.returncode)
