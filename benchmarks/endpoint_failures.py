"""What is left of ephemeral endpoints after each failure, in a real Airflow on a real S3-speaking store: nothing.

    bin/stepzero bench endpoint_failures [--only "scheduler killed -9"] [--logs FOLDER] [--anew]

Airflow, the endpoint host and OpenStack Swift run as `bin/stepzero up` starts them; SQS is played by a local AWS. Each
failure is one object that is put into S3: the watcher in the triggerer starts one run, something is done to it, and
when the run has ended everything that could be left of an endpoint is counted. Then the watcher itself is tried: what
starts a run and what does not, in S3 and in a folder of this machine, and bursts in whose midst triggerer and
scheduler are killed. What is done is kept: whoever ends this early goes on there the next time. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from _arrival_cases import try_arrivals, try_burst, try_during
from _arrival_folder import try_folder
from _endpoint_project import DAG, ROOT, Project
from _kept import Kept

from support.aws import local_aws
from support.rivals import Broken, Line, Rivals, Stuck
from support.rivals_launcher import HELD, HOLDING
from support.stack import wait_for

RUN_SECONDS = 400
MODELS = ("xgboost", "random_forest", "nearest_neighbours")
ARRIVALS: dict[str, Callable[[Project, Rivals], list[dict[str, Any]]]] = {
    "arrivals": try_arrivals,
    "arrivals during a run": try_during,
    "arrivals in a folder": lambda project, _: try_folder(project),
    "burst": try_burst,
}
MEASURED = (
    "stepzero.serving.host",
    "stepzero.serving.ephemeral",
    "stepzero.adapters.arrivals",
    "stepzero.stages.compare_endpoints",
    "stepzero.stages.endpoints",
    "stepzero.cli.services.supervisor",
)
NO_LUCK = "fold 0: ValueError: no luck"
HARM = Callable[[Project, Rivals], None]


@dataclass(frozen=True)
class Failure:
    """One way to fail.

    Attributes:
        estimators: What each model is; a text is why it did not learn.
        held: Task that stands still while something is done to it: stage and model.
        harm: What is done then.
    """

    name: str
    estimators: dict[str, Any] = field(default_factory=dict)
    held: str = ""
    harm: HARM | None = None

    def given(self) -> dict[str, Any]:
        """Return an estimator for each model."""
        good = {"xgboost": Line(), "random_forest": Line(21.0), "nearest_neighbours": NO_LUCK}
        return good | self.estimators


def kill_task(project: Project, rivals: Rivals) -> None:
    """Kill -9 the process of the task that stands still."""
    del project
    os.kill(int(rivals.store.read_json(HOLDING)["pid"]), signal.SIGKILL)


def kill_scheduler(project: Project, rivals: Rivals) -> None:
    """Kill -9 the scheduler."""
    del rivals
    project.kill_scheduler()


def stop_host(project: Project, rivals: Rivals) -> None:
    """Stop the endpoint host for longer than a removal waits for it, then let it go on."""
    (host,) = project.named("endpoint-host")
    host.suspend()
    try:
        rivals.store.remove(HELD)
        wait_for(
            "a removal that failed",
            lambda: any(has_failed_once(task) for task in tasks_of(project) if "remove" in task["task_id"]),
            seconds=120,
            every=1,
        )
    finally:
        host.resume()


def has_failed_once(task: dict[str, Any]) -> bool:
    """Tell whether a task has failed and is tried again, or soon is."""
    return task["state"] == "up_for_retry" or int(task["try_number"]) > 1


FAILURES = (
    Failure("nothing fails", {"nearest_neighbours": Line(30.0)}),
    Failure("training fails"),
    Failure("endpoint never healthy", {"xgboost": Stuck()}),
    Failure("prediction fails while the other branch goes on", {"random_forest": Broken()}),
    Failure("task killed -9", held="ask_endpoint xgboost", harm=kill_task),
    Failure("scheduler killed -9", held="ask_endpoint xgboost", harm=kill_scheduler),
    Failure("teardown fails once", held="remove_endpoint xgboost", harm=stop_host),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [*(one.name for one in FAILURES), *ARRIVALS]
    parser.add_argument("--only", action="append", help=f"may be repeated: {', '.join(known)}")
    parser.add_argument("--logs", type=Path, help="folder for logs and store, which stays")
    parser.add_argument("--anew", action="store_true", help="do again what is kept")
    asked = parser.parse_args()
    # Whoever ends this early is not to leave services behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if unknown := sorted(set(asked.only or []) - set(known)):
        parser.error(f"--only {', '.join(unknown)}: there are {', '.join(known)}")
    played = [ROOT / "tests" / "support" / name for name in ("rivals.py", "rivals_launcher.py", "scripted.py")]
    files = [*played, *sorted((ROOT / "plugins").rglob("*.py"))]
    kept = Kept(Path(__file__), {}, files=files, modules=MEASURED, anew=asked.anew)
    wanted = asked.only or known
    if missing := [name for name in wanted if not kept.has(name)]:
        measure(missing, kept, asked.logs)
    found = {name: kept.get(name, lambda: None) for name in wanted}
    failures = [found[one.name] for one in FAILURES if one.name in found]
    show(failures, [row for name in ARRIVALS if name in found for row in found[name]])


def measure(names: list[str], kept: Kept, logs: Path | None) -> None:
    """Start the product once, and keep what comes of each part."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="stepzero-failures-") as folder, local_aws() as aws:
        project = Project((logs or Path(folder)).resolve() / "home", aws)
        try:
            rivals = project.begin()
            print("services run", flush=True)
            for one in FAILURES:
                if one.name in names:
                    print(json.dumps(kept.get(one.name, partial(tried, project, rivals, one))), flush=True)
            rivals.give(**dict.fromkeys(MODELS, NO_LUCK))
            for name, attempt in ARRIVALS.items():
                if name in names:
                    kept.get(name, partial(attempt, project, rivals))
        finally:
            project.command("down", expect=None, timeout=120)
            # A process that was stopped or orphaned by us is ours to end.
            for process in project.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()


def tried(project: Project, rivals: Rivals, failure: Failure) -> dict[str, Any]:
    """Let one object start a run, do harm to it, and say what is left at its end."""
    known = {run["dag_run_id"] for run in project.runs()}
    rivals.give(**failure.given())
    if failure.held:
        rivals.store.remove(HOLDING)
        rivals.store.write_json(HELD, {"task": failure.held})
    landed = project.land(rivals, f"{len(known)}.libsvm", event=True)
    (run,) = wait_for("a run", lambda: project.new_runs(known), seconds=120, every=1)
    began = round(time.monotonic() - landed, 1)
    most = 0
    if failure.harm:
        wait_for("a task that stands still", lambda: rivals.store.exists(HOLDING), seconds=RUN_SECONDS, every=1)
        most = len(rivals.endpoints())
        failure.harm(project, rivals)
        rivals.store.remove(HELD)
    ended = wait_for("the run's end", lambda: ended_state(project, run["dag_run_id"]), seconds=RUN_SECONDS, every=1)
    left = project.left(rivals)
    states = {task["task_id"]: task["state"] for task in tasks_of(project, run["dag_run_id"])}
    bad = sorted(name for name, state in states.items() if state == "failed")
    started = len(project.new_runs(known))
    return {"failure": failure.name, "run": ended, "failed tasks": bad, "endpoints at the time": most,
            "runs started": started, "seconds to start": began,
            "seconds": round(time.monotonic() - landed), "left": left}  # fmt: skip


def ended_state(project: Project, run: str) -> str | None:
    """Return a run's final state, None while it goes on."""
    (found,) = [str(one["state"]) for one in project.runs() if one["dag_run_id"] == run]
    return found if found in {"success", "failed"} else None


def tasks_of(project: Project, run: str | None = None) -> list[dict[str, Any]]:
    """Return the tasks of a run, the newest one's by default."""
    from urllib.parse import quote

    return project.tasks(quote(run or str(project.runs()[-1]["dag_run_id"]), safe=""), DAG)


def show(failures: list[dict[str, Any]], arrivals: list[dict[str, Any]]) -> None:
    """Print the tables, and all as JSON."""
    if failures:
        print(f"{'failure':50} {'run':8} {'processes':>9} {'ports':>6} {'files':>6} {'leases':>7}")
    for row in failures:
        left = row["left"]
        print(f"{row['failure']:50} {row['run']:8} {left['processes']:9} {left['ports']:6} {left['files']:6} "
              f"{left['leases']:7}")  # fmt: skip
    for row in arrivals:
        more = {name: value for name, value in row.items() if name not in {"arrival", "runs started"}}
        print(f"{row['arrival']:85} {row['runs started']:3} runs  {more}")
    print(json.dumps({"failures": failures, "arrivals": arrivals}))


if __name__ == "__main__":
    main()
