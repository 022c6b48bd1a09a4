"""`doctor`: look at what usually goes wrong, and say what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stepzero.cli.doctor_checks import GOOD, PROBLEM, Finding, all_findings
from stepzero.core.errors import DONE, FAULT
from stepzero.spec.load import load_environment

_COLOURS = {GOOD: "green", PROBLEM: "red"}


def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="Write JSON for machines.")] = False) -> None:
    """Check Java, ports, disk, memory, versions, the jar, write access and services; say what to do."""
    findings = list(all_findings(load_environment()))
    healthy = all(finding.state != PROBLEM for finding in findings)
    if as_json:
        typer.echo(json.dumps({"healthy": healthy, "findings": [asdict(finding) for finding in findings]}))
    else:
        _show(findings)
    raise typer.Exit(DONE if healthy else FAULT)


def _show(findings: list[Finding]) -> None:
    table = Table(box=None)
    table.add_column("check", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("found", overflow="fold")
    for finding in findings:
        table.add_row(finding.check, f"[{_COLOURS.get(finding.state, 'yellow')}]{finding.state}[/]", finding.found)
    console = Console(highlight=False)
    console.print(table)
    for finding in findings:
        if finding.action:
            console.print(f"{finding.check}: {finding.action}", markup=False, soft_wrap=True)
