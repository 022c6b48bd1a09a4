"""`stepzero labels`: bring ground truth to the predictions that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepzero.core.errors import SpecError, bare


def labels(
    use_case: Annotated[str, typer.Argument(help="Name of a file in include/usecases.")],
    path: Annotated[Path, typer.Argument(help="CSV or Parquet with the columns id, label and known_at (ISO 8601).")],
) -> None:
    """Land labels of served predictions: in any order, corrections too; the last word on an id counts.

    An id is that of a row, or of the record that a request named.
    """
    from stepzero.adapters.labels import land_labels
    from stepzero.adapters.store import Store
    from stepzero.spec.load import load_environment, load_use_case

    problem = load_use_case(use_case).problem
    if problem is None:
        raise SpecError(
            f"{use_case}.problem", value=bare("none"), allowed="a problem section", action="declare what is predicted"
        )
    days = land_labels(Store(load_environment().store), use_case, problem, path)
    for day, rows in days.items():
        typer.echo(f"{rows:,} labels known on {day}")
