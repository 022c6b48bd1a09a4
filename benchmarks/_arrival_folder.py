"""What starts a run and what does not, in the Airflow of `endpoint_failures`: files in a folder of this machine."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from _arrival_cases import BURST, CLAIM_SECONDS, KILLED, ROWS, burst_row, known_runs, owners_of, row
from _endpoint_project import LOCAL_DAG, LOCAL_POLL_SECONDS, WAITING_DAG, Project

from stepzero.adapters.store import Store
from support.stack import wait_for

LOOKS = 3 * LOCAL_POLL_SECONDS
"""Nothing can be waited for where nothing is to happen."""


def try_folder(project: Project) -> list[dict[str, Any]]:
    """Let files arrive in a folder: slowly, again, beside what is none, many at once, and for a run that waits."""
    landing = project.local / "landing"
    return [*_slowly(project, landing), _again(project, landing), _burst(project, landing), _waited_for(project)]


def _slowly(project: Project, landing: Path) -> list[dict[str, Any]]:
    """Write a file slowly: nothing starts before it is whole, and nothing at all of what lies beside it."""
    known = known_runs(project, LOCAL_DAG)
    (landing / "part.libsvm.part").write_bytes(ROWS)
    (landing / "empty.libsvm").touch()
    (landing / "day").mkdir()
    end = time.monotonic() + 5 * LOCAL_POLL_SECONDS
    with (landing / "growing.libsvm").open("ab", buffering=0) as stream:
        while time.monotonic() < end:
            stream.write(ROWS)
            time.sleep(0.1)
        growing = len(project.new_runs(known, LOCAL_DAG))
    written = time.monotonic()
    _await_claims(project, LOCAL_DAG, ["growing.libsvm"])
    began = round(time.monotonic() - written)
    time.sleep(LOOKS)
    whole = len(project.new_runs(known, LOCAL_DAG))
    return [
        row("local file, while it is being written", growing, 5 * LOCAL_POLL_SECONDS),
        row("local file, whole; beside it an empty one, a .part and a folder", whole, began, claimed=1),
    ]


def _again(project: Project, landing: Path) -> dict[str, Any]:
    """Write the same once more."""
    known = known_runs(project, LOCAL_DAG)
    shutil.copyfile(landing / "growing.libsvm", project.local / "same")
    shutil.copyfile(project.local / "same", landing / "growing.libsvm")
    time.sleep(LOOKS)
    return row("the same local file again", len(project.new_runs(known, LOCAL_DAG)), LOOKS)


def _burst(project: Project, landing: Path) -> dict[str, Any]:
    """Copy many files, and kill triggerer and scheduler in their midst."""
    known = known_runs(project, LOCAL_DAG)
    names = [f"burst-{number}.libsvm" for number in range(BURST)]
    began = time.monotonic()
    for number, name in enumerate(names):
        if number in KILLED:
            KILLED[number](project)
        (landing / name).write_bytes(ROWS + f"# {name}\n".encode())
        time.sleep(0.2)
    owners = _await_claims(project, LOCAL_DAG, names)
    return burst_row("local files", len(project.new_runs(known, LOCAL_DAG)), round(time.monotonic() - began), owners)


def _waited_for(project: Project) -> dict[str, Any]:
    """Let a run by hand wait, kill the triggerer that waits for it, and land a file."""
    run = project.airflow("POST", f"/dags/{WAITING_DAG}/dagRuns", json={"logical_date": None})["dag_run_id"]
    wait_for("a run that waits", lambda: _state(project, run) == "deferred", seconds=CLAIM_SECONDS, every=1)
    project.kill_triggerer()
    (project.local / "waiting" / "late.libsvm").write_bytes(ROWS)
    began = time.monotonic()
    owners = _await_claims(project, WAITING_DAG, ["late.libsvm"])
    assert owners == {"late.libsvm": [run]}, owners
    told = {"claimed": 1, "by runs": 1}
    name = "local file, for which a deferred sensor waits, its triggerer killed -9 before"
    return row(name, 0, round(time.monotonic() - began), **told)


def _state(project: Project, run: str) -> str:
    from urllib.parse import quote

    (task,) = project.tasks(quote(run, safe=""), WAITING_DAG)
    return str(task["state"])


def _await_claims(project: Project, dag: str, names: list[str]) -> dict[str, list[str]]:
    """Return which runs claimed each file, once each has one."""

    def found() -> dict[str, list[str]] | None:
        owners = owners_of(Store(f"file://{project.local}"), dag)
        return {name: owners[name] for name in names} if set(names) <= set(owners) else None

    return wait_for("claims of local files", found, seconds=CLAIM_SECONDS, every=0.5)
