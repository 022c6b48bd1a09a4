"""What a person sees of a run while it goes on."""

from __future__ import annotations

import io
from typing import Any

import pytest
import rich.console

from stepzero.cli import progress
from stepzero.cli.progress import follow, summarise

MOMENTS: list[tuple[str, dict[str, str]]] = [
    ("running", {"plan": "running"}),
    ("running", {"plan": "success", "train.tune": "running"}),
    ("running", {"plan": "success", "train.tune": "success", "approve.person": "awaiting_input"}),
    ("success", {"plan": "success", "train.tune": "success", "approve.person": "success"}),
]
"""Of a run: its state, and those of its tasks."""


def task(name: str, state: str, *, index: int = -1, start: str = "1", duration: float = 1.0) -> dict[str, Any]:
    return {"task_id": name, "map_index": index, "state": state, "start_date": start, "duration": duration}


class Airflow:
    """A run that is one moment further on whenever its state is asked for."""

    def __init__(self, broken: str | None = None) -> None:
        self.moments, self.broken, self.now = iter(MOMENTS), broken, MOMENTS[0]

    def run(self, dag: str, run: str) -> dict[str, str]:
        self.now = next(self.moments)
        return {"state": self.now[0]}

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        return [task(name, state, start=str(place)) for place, (name, state) in enumerate(self.now[1].items())]

    def link(self, dag: str, run: str, name: str) -> str:
        return f"http://airflow/{name}"

    def import_error(self, dag: str) -> str | None:
        return self.broken


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.0)


def test_mapped_tasks_are_one_line() -> None:
    tasks = [task("train.tune", state, index=index, start="2", duration=1.5)
             for index, state in enumerate(["success", "success", "running"])]  # fmt: skip
    tasks.append(task("plan", "success"))
    assert summarise(tasks) == [("plan", "success", 1.0), ("train.tune", "2/3 success (1 running)", 4.5)]


def test_where_there_is_no_terminal_each_change_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    ended = follow(Airflow(), "cards", "first", live=True)  # type: ignore[arg-type]
    assert ended["state"] == "success"
    told = [line.partition(" s  ")[2] or line for line in capsys.readouterr().out.splitlines()]
    assert told == [
        "plan: running (1.0 s)",
        "plan: success (1.0 s)",
        "train.tune: running (1.0 s)",
        "train.tune: success (1.0 s)",
        "approve.person: awaiting_input (1.0 s)",
        "a person must decide: http://airflow/approve.person/required_actions",
        "approve.person: success (1.0 s)",
    ]


def test_on_a_terminal_a_table_shows_every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    made = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda: made(file=screen, force_terminal=True, width=100))
    follow(Airflow(), "cards", "first", live=True)  # type: ignore[arg-type]
    shown = screen.getvalue()
    for words in ("task", "seconds", "plan", "train.tune", "approve.person", "success"):
        assert words in shown


def test_a_file_that_broke_in_the_middle_of_a_run_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Airflow, "tasks", lambda *_: [task("plan", "scheduled")])
    follow(Airflow("SyntaxError in cards.py"), "cards", "first", live=False)  # type: ignore[arg-type]
    told = capsys.readouterr().out
    assert told.count("Airflow starts no task of this run now: SyntaxError in cards.py") == 1
