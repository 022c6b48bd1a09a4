"""`stepzero suggest FILE`: a quality section to begin with, which the file passes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from stepzero.core.errors import DONE, VERDICT_NO, InputError, bare
from stepzero.core.logs import configure
from stepzero.core.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepzero.execution.suggest import Suggested
    from stepzero.stages.quality_suggestions import Suggestion

_UNSAFE = re.compile(r"[^a-z0-9_]+")


def suggest(
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet of this machine.")],
    *,
    target: Annotated[str | None, typer.Option(help="The label: its classes are checked too.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the use case; the file's own if absent.")] = None,
    write: Annotated[Path | None, typer.Option(help="File to write instead of printing; never replaces one.")] = None,
) -> None:
    """Profile a file and print a commented use case with a quality section; the real gate passes the file by it."""
    from stepzero.execution.suggest import suggest_for
    from stepzero.spec.load import load_environment

    if not file.is_file():
        raise InputError(
            f"file {file}", value=bare("missing"), allowed="a file of this machine", action="check the path"
        )
    if write is not None and write.exists():
        raise InputError(
            f"--write {write}", value=bare("a file is there"), allowed="a new file", action="remove it, or name another"
        )
    # Standard output is the use case and nothing else: `stepzero suggest FILE > NAME.yaml`.
    configure(stream=sys.stderr)
    suggested = suggest_for(file.resolve(), use_case_name(name or file.name), target, load_environment())
    text = render(suggested, file.name)
    if write is None:
        typer.echo(text, nl=False)
    else:
        write.parent.mkdir(parents=True, exist_ok=True)
        write.write_text(text, encoding="utf-8")
        typer.echo(f"{write}: {len(suggested.rules)} rules; {suggested.verdict.sentence()}")
    raise typer.Exit(DONE if suggested.verdict.outcome is Outcome.PASS else VERDICT_NO)


def use_case_name(name: str) -> str:
    """Return a file's name as a use case may be named.

    >>> use_case_name("Womens Clothing E-Commerce Reviews.csv.gz")
    'womens_clothing_e_commerce_reviews'
    """
    stem = name.lower().removesuffix(".gz").rpartition(".")[0] or name.lower()
    safe = _UNSAFE.sub("_", stem).strip("_") or "batch"
    return (safe if safe[0].isalpha() else f"batch_{safe}")[:63]


def render(suggested: Suggested, file: str) -> str:
    """Return the file's text: each rule on a line of its own, with what speaks for it."""
    lines = [
        f"# Suggested by `stepzero suggest` from {_comment(file)}: a draft for a person who knows the data.",
        f"# Checked by the gate: {_comment(suggested.verdict.sentence())}",
        f"name: {suggested.name}",
        *_source(suggested),
        "quality:",
        "  on_bad_rows: quarantine",
        "  quarantine_limit: 1%",
        "  rules:",
        *_rules(suggested.rules),
        "  anomalies:  # against accepted batches before; a first batch has none, and nothing is flagged",
        *_rules(suggested.anomalies),
    ]
    return "\n".join(lines) + "\n"


def _source(suggested: Suggested) -> list[str]:
    if suggested.source is None:
        return ["# No source section: a column without a name, or with the name of another, cannot be declared."]
    declared = {key: value for key, value in suggested.source.items() if key != "columns"}
    lines = ["source:", *(f"  {_flow({key: value})[1:-1]}" for key, value in declared.items()), "  columns:"]
    return lines + [f"    {_flow({column: kind})[1:-1]}" for column, kind in suggested.source["columns"].items()]


def _rules(suggestions: Sequence[Suggestion]) -> list[str]:
    return [f"    - {_flow(one.rule)}  # {_comment(one.why)}" for one in suggestions]


def _flow(value: Any) -> str:
    """Return YAML on one line; what needs quotes gets them."""
    return yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True
    ).strip()


def _comment(text: str) -> str:
    """Return text that cannot end a comment."""
    return " ".join(text.split())
