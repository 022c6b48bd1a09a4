"""Showing a run's stages while they run: a live table on a terminal, one line per change elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import typer

from stepzero.cli.airflow_api import ENDED, AirflowApi

POLL_SECONDS = 2.0
_COLOURS = {
    "success": "green",
    "failed": "red",
    "upstream_failed": "red",
    "running": "cyan",
    "awaiting_input": "yellow",
}
_BUSY = frozenset({"running", "queued", "awaiting_input"})
_QUIET = frozenset({"none", "scheduled", "queued", "removed"})


class Display(Protocol):
    """Shows task states again and again."""

    def show(self, tasks: list[dict[str, Any]]) -> None:
        """Show the states as they are now."""


def follow(api: AirflowApi, dag: str, run: str, *, live: bool) -> dict[str, Any]:
    """Show a run until it has ended, and return it."""
    told: set[str] = set()
    with _display(live=live) as display:
        while True:
            found = api.run(dag, run)
            tasks = api.tasks(dag, run)
            display.show(tasks)
            if found["state"] in ENDED:
                return found
            for line in _remarks(api, dag, run, tasks):
                if line not in told:
                    told.add(line)
                    typer.echo(line)
            time.sleep(POLL_SECONDS)


def _remarks(api: AirflowApi, dag: str, run: str, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what a person must know or do for the run to go on."""
    for task in tasks:
        if task["state"] == "awaiting_input":
            yield f"a person must decide: {api.link(dag, run, task['task_id'])}/required_actions"
    if not any(task["state"] in _BUSY for task in tasks):
        broken = api.import_error(dag)
        if broken is not None:
            yield f"Airflow starts no task of this run now: {broken}"


def summarise(tasks: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    """Return name, state and seconds of every task, mapped ones as one, in the order of their start."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for task in sorted(tasks, key=lambda one: (one["start_date"] or "9", one["task_id"])):
        groups.setdefault(task["task_id"], []).append(task)
    return [(name, _state(members), sum(one["duration"] or 0.0 for one in members)) for name, members in groups.items()]


def _state(members: list[dict[str, Any]]) -> str:
    states = Counter(str(one["state"] or "none") for one in members)
    if len(members) == 1 and members[0]["map_index"] < 0:
        return next(iter(states))
    done = states["success"]
    others = ", ".join(f"{count} {state}" for state, count in states.items() if state != "success")
    return f"{done}/{len(members)} success" + (f" ({others})" if others else "")


@contextmanager
def _display(*, live: bool) -> Iterator[Display]:
    from rich.console import Console

    console = Console()
    if not live or not console.is_terminal:
        yield _Lines()
        return
    from rich.live import Live

    with Live(console=console, refresh_per_second=2, transient=True) as view:
        yield _Table(view)


class _Lines:
    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self.began = time.monotonic()

    def show(self, tasks: list[dict[str, Any]]) -> None:
        for name, state, seconds in summarise(tasks):
            if state != self.seen.get(name) and state not in _QUIET:
                typer.echo(f"{time.monotonic() - self.began:6.1f} s  {name}: {state} ({seconds:.1f} s)")
            self.seen[name] = state


class _Table:
    def __init__(self, view: Any) -> None:
        self.view = view

    def show(self, tasks: list[dict[str, Any]]) -> None:
        from rich.table import Table

        table = Table(box=None)
        for heading in ("task", "state", "seconds"):
            table.add_column(heading)
        for name, state, seconds in summarise(tasks):
            colour = _COLOURS.get(state.rpartition(" ")[2].strip(")"), "")
            table.add_row(name, state, f"{seconds:.1f}" if seconds else "", style=colour)
        self.view.update(table)
