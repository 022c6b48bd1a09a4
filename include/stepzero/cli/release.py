"""`stepzero release`: let quarantined rows go, each of them once."""

from __future__ import annotations

import getpass
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from stepzero.adapters.store import Store
from stepzero.core.errors import DONE, VERDICT_NO
from stepzero.execution.releasing import put_corrections, quarantine_csv, run_release
from stepzero.spec.load import load_environment
from stepzero.spec.release import ReleaseForm


def release(  # noqa: PLR0913 - a command has one argument for each thing that a person says
    batch: Annotated[str, typer.Argument(help="Partition or file name of an accepted batch.")],
    *,
    use_case: Annotated[
        str, typer.Option(help="Name of a file in include/usecases; NAME.TABLE of several.")
    ] = "credit_card_fraud",
    reason: Annotated[
        list[str] | None, typer.Option(help="Rule that is forgiven; may be repeated; all if none.")
    ] = None,
    row: Annotated[list[str] | None, typer.Option(help="Id of a single row; may be repeated; all if none.")] = None,
    corrections: Annotated[Path | None, typer.Option(help="Corrected rows: what --export wrote, mended.")] = None,
    by: Annotated[
        str | None, typer.Option(help="Who answers for it; the name that you are logged in by if none.")
    ] = None,
    why: Annotated[str, typer.Option(help="Why; kept with the rows.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be released; release nothing.")] = False,
    export: Annotated[
        Path | None, typer.Option(help="Write the rows that are left to a CSV file; nothing else.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the numbers as JSON.")] = False,
) -> None:
    """Release quarantined rows, as they are or corrected, into the partition that they belong to."""
    environment = load_environment()
    store = Store(environment.store)
    if export:
        text, rows = quarantine_csv(store, use_case, batch)
        export.write_text(text, encoding="utf-8")
        typer.echo(f"{export} ({rows} rows)")
        return
    form = ReleaseForm(
        batch=batch,
        reasons=tuple(reason or ()),
        rows=tuple(row or ()),
        by=by or getpass.getuser(),
        why=why,
        dry_run=dry_run,
    ).check()
    if corrections:
        form = form.model_copy(update={"corrections": put_corrections(store, use_case, corrections)})
    now = datetime.now(UTC).isoformat()
    done = run_release(form, use_case, f"release__{now}-{uuid.uuid4().hex[:8]}", now, store, environment)
    typer.echo(json.dumps(done.values) if as_json else done.reference.summary)
    raise typer.Exit(DONE if done.verdict is None else VERDICT_NO)
