"""`stepzero data`: generate a file, or land one without starting a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepzero.core.errors import InputError, bare

app = typer.Typer(help="Make and land data.", no_args_is_help=True, rich_markup_mode=None)
UseCase = Annotated[str, typer.Argument(help="Name of a file in include/usecases.")]


@app.command()
def generate(
    use_case: UseCase = "credit_card_fraud",
    *,
    rows: Annotated[int | None, typer.Option(min=1, help="Number of rows; the generator's own if absent.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same rows.")] = 7,
    bad: Annotated[str | None, typer.Option(help="Kind of fault that the gate must find; `list` lists them.")] = None,
    output: Annotated[Path | None, typer.Option(help="File to write: .csv or .csv.gz; a folder for tables.")] = None,
) -> None:
    """Write generated rows to a file, or the tables of a use case that has several to a folder."""
    from stepzero.generators import generator_for, is_of_tables, write_file
    from stepzero.spec.load import load_use_case

    generator = generator_for(use_case)
    if bad == "list":
        typer.echo("\n".join(generator.BAD))
        return
    if is_of_tables(use_case):
        _generate_tables(use_case, rows, seed, bad, output or Path(use_case))
        return
    path = output or Path(f"{use_case}.csv")
    frame = generator.generate(seed=seed) if rows is None else generator.generate(rows=rows, seed=seed)
    if bad is None:
        source = load_use_case(use_case).source
        write_file(path, frame, source.format if source else "csv")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(generator.bad(bad, frame, seed))
    typer.echo(f"{path} ({path.stat().st_size} bytes)")


def _generate_tables(use_case: str, rows: int | None, seed: int, bad: str | None, folder: Path) -> None:
    from stepzero.generators import table_generator_for, tables_of, to_csv

    tables = tables_of(use_case, rows=rows, seed=seed)
    files = {name: to_csv(frame) for name, frame in tables.items()}
    if bad is not None:
        table, content = table_generator_for(use_case).bad_table(bad, tables, seed)
        files[table] = content
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / f"{name}.csv"
        path.write_bytes(content)
        typer.echo(f"{path} ({len(content)} bytes)")


@app.command()
def fetch(
    use_case: UseCase = "credit_card_fraud",
    *,
    output: Annotated[Path | None, typer.Option(help="File to write; data/USE_CASE.csv if absent.")] = None,
    source: Annotated[str | None, typer.Option(help="Address of another copy of the same file.")] = None,
) -> None:
    """Fetch the real, public data of a use case, and check that they are whole."""
    from dataclasses import replace

    from stepzero.adapters.public_data import fetch as download
    from stepzero.adapters.public_data import public_data

    data = public_data(use_case)
    path = output or Path("data") / f"{use_case}.csv"
    download(replace(data, uri=source) if source else data, path, lambda line: typer.echo(line, err=True))
    typer.echo(f"{path}: {data.rows:,} rows ({data.licence})")


@app.command()
def land(use_case: UseCase, path: Annotated[Path, typer.Argument(help="File of this machine, or folder.")]) -> None:
    """Copy a file into the landing folder, where the next run finds it; daily partitions get a file a day.

    Of a use case with several tables: a folder with a file of each, named by its table.
    """
    from stepzero.adapters import landing
    from stepzero.adapters.store import Store
    from stepzero.spec.load import load_environment, load_use_case

    declared = load_use_case(use_case)
    if declared.tables:
        tables = {name: table.source for name, table in declared.tables.items()}
        typer.echo("\n".join(landing.land_tables(Store(load_environment().store), tables, path).values()))
        return
    source = declared.source
    if source is None:
        raise InputError(
            f"{use_case}.source", value=bare("none"), allowed="a source section", action="declare where rows come from"
        )
    store = Store(load_environment().store)
    if source.partition:
        typer.echo("\n".join(landing.land_days(store, source, path).values()))
    else:
        typer.echo(landing.land(store, source, path))
