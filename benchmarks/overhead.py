"""What orchestration costs: seconds per task split into waiting, Airflow, process start, imports, work and bookkeeping.

    python benchmarks/overhead.py [--run RUN] [--repeats N]

Without --run it starts a run on the running services (`bin/stepzero up`) and then the same again, so that the last
one reuses everything. Waiting is the time until a pool and the executor have room; Airflow's share is the time from
there to the task's end, less what its launcher measured; process start is what the launcher measured, less what the
stage command measured of itself.

`share` is of the seconds of all tasks together, of which many run at once. `share_of_wall` is of the run's own time
from start to end: the parts of the tasks on its critical path (the task that ended last, the one that ended last before
that one was scheduled, and so on), and `scheduling`, the time in which no task of that path was waiting or running. Its
parts add up to 1.

Parsing is measured in CPU seconds of fresh processes, ours over the bare
`import airflow.sdk`, so that a busy machine does not speak. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
from datetime import datetime
from typing import Any

from stepzero.adapters.store import Store
from stepzero.cli.airflow_api import AirflowApi, connect
from stepzero.cli.run_results import RunResults, find_run
from stepzero.spec.load import include_folder, load_environment

LAUNCHED = re.compile(r"exit status \d+[^;]*; ([\d.]+) s,")
STAGE, LABEL = re.compile(r"stepzero stage ([\w.:]+)"), re.compile(r"--label ([\w.:-]+)")
PARTS = ("waiting", "airflow", "process_start", "imports", "work", "bookkeeping")
SECOND_LOOK = 0.5
"""Seconds by which a task may seem to be scheduled before the task that it waited for has ended: two clocks look."""
TOLD = ("run", "seconds", "share", "parts", "share_of_wall", "path")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="id of a finished run, or latest")
    parser.add_argument("--repeats", type=int, default=5, help="of the parse measurement")
    asked = parser.parse_args()
    environment = load_environment()
    api = connect(environment)
    store = Store(environment.store)
    runs = [asked.run] if asked.run else [start_run(), start_run()]
    measured = [measure(api, RunResults(store, *find_run(store, run))) for run in runs]
    for one in measured:
        show(one)
    figures = {"runs": [{key: one[key] for key in TOLD} for one in measured]}
    print(json.dumps(figures | parse_seconds(asked.repeats)))


def start_run() -> str:
    """Run the default use case and return the id of the run."""
    command = [sys.executable, "-P", "-m", "stepzero.cli.main", "run", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return str(json.loads(done.stdout.strip().splitlines()[-1])["run"])


def measure(api: AirflowApi, found: RunResults) -> dict[str, Any]:
    """Return where the time of every task of a run went."""
    run = api.run(found.use_case, found.run)
    tasks = [task for task in api.tasks(found.use_case, found.run) if task["start_date"] and task["end_date"]]
    rows = [split(api, found, task) for task in tasks if task["state"] in {"success", "failed"}]
    seconds = _between(run["start_date"], run["end_date"])
    parts = {part: round(sum(row[part] for row in rows), 1) for part in PARTS}
    total = sum(parts.values())
    share = {part: round(value / total, 3) for part, value in parts.items()} if total else {}
    path = critical_path(rows)
    told = {"run": found.run, "seconds": round(seconds, 1), "rows": rows, "parts": parts, "share": share}
    return told | {"path": [row["task"] for row in path], "share_of_wall": share_of_wall(path, seconds)}


def critical_path(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tasks that the end of the run waited for, the first of them first."""
    path, left = list[dict[str, Any]](), list(rows)
    while left:
        path.insert(0, max(left, key=lambda row: row["ended"]))
        begun = path[0]["scheduled"] + SECOND_LOOK
        left = [row for row in left if row["ended"] <= begun and row["scheduled"] < path[0]["scheduled"]]
    return path


def share_of_wall(path: list[dict[str, Any]], seconds: float) -> dict[str, float]:
    """Return what the run's own time went to, along its critical path; what no task of it took is scheduling."""
    took = {part: sum(row[part] for row in path) for part in PARTS}
    took["scheduling"] = max(0.0, seconds - sum(took.values()))
    return {part: round(value / seconds, 3) for part, value in took.items()} if seconds else {}


def split(api: AirflowApi, found: RunResults, task: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of one task's time."""
    queued = task.get("queued_when") or task["start_date"]
    sent = _between(queued, task["start_date"])
    took = _between(task["start_date"], task["end_date"])
    log = _log(api, found, task)
    launched = sum(float(match) for match in LAUNCHED.findall(log)[-1:])
    noted = _noted(found, log)
    inside = noted.get("total", 0.0)
    imports, work = noted.get("imports", 0.0), noted.get("work", 0.0)
    return {
        "task": task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else ""),
        "scheduled": datetime.fromisoformat(task.get("scheduled_when") or queued).timestamp(),
        "ended": datetime.fromisoformat(task["end_date"]).timestamp(),
        "waiting": _between(task.get("scheduled_when") or queued, queued),
        "airflow": sent + took - launched,
        "process_start": max(0.0, launched - inside),
        "imports": imports,
        "work": work,
        "bookkeeping": max(0.0, inside - imports - work),
    }


def _log(api: AirflowApi, found: RunResults, task: dict[str, Any]) -> str:
    path = f"/dags/{found.use_case}/dagRuns/{found.run}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
    told = api.ask("GET", f"{path}?map_index={task['map_index']}&full_content=true")
    return json.dumps(told["content"])


def _noted(found: RunResults, log: str) -> dict[str, float]:
    """Return what the stage noted of itself; the command in the task's log names stage and label."""
    stage, label = STAGE.search(log), LABEL.search(log)
    pointer = found.pointer(stage[1].replace(":", "."), label[1] if label else "") if stage else {}
    return dict(pointer.get("seconds") or {})


def show(one: dict[str, Any]) -> None:
    """Print one run's table."""
    print(f"\n{one['run']}: {one['seconds']} s from start to end")
    print(f"{'task':28}" + "".join(f"{part:>15}" for part in PARTS))
    for row in sorted(one["rows"], key=lambda row: -sum(row[part] for part in PARTS)):
        print(f"{row['task']:28}" + "".join(f"{row[part]:15.2f}" for part in PARTS))
    print(f"{'all':28}" + "".join(f"{one['parts'][part]:15.1f}" for part in PARTS))
    shares = "".join(f"{one['share_of_wall'].get(part, 0):15.1%}" for part in PARTS)
    print(f"{'share of the run time':28}{shares}, scheduling {one['share_of_wall'].get('scheduling', 0):.1%}")
    print(f"critical path: {' → '.join(one['path'])}")


def parse_seconds(repeats: int) -> dict[str, float]:
    """Return CPU seconds of parsing all DAG files, over the bare import."""
    files = sorted((include_folder().parent / "dags").glob("*.py"))
    bare = statistics.median(_cpu("import airflow.sdk") for _ in range(repeats))
    code = "import airflow.sdk, runpy, sys; [runpy.run_path(path) for path in sys.argv[1:]]"
    parsed = statistics.median(_cpu(code, *map(str, files)) for _ in range(repeats))
    return {
        "import_airflow_sdk_seconds": round(bare, 3),
        "parse_seconds": round(parsed, 3),
        "parse_over_bare_import_seconds": round(parsed - bare, 3),
        "dag_files": len(files),
    }


def _cpu(code: str, *arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    paths = f"{include_folder()}{os.pathsep}{include_folder().parent / 'plugins'}"
    environment = {**os.environ, "PYTHONPATH": paths}
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _between(first: str, last: str) -> float:
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


if __name__ == "__main__":
    main()
