"""Read a DAG file as Airflow does and print its stages as JSON, each after those whose results it takes.

Argument: the DAG file. A process of its own: Airflow's settings must be there before its import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """A task that runs a stage by its command."""

    name: str
    stage: str
    cell: str
    """Tells tasks of one stage apart in the store."""
    inputs: dict[str, str]
    """Input name → the task whose result it is."""
    parameters: dict[str, str]
    mapped: bool
    upstream: tuple[str, ...]
    """Every task that must have ended before, those that run no stage included."""


@cache
def read_tasks(dag_file: Path) -> tuple[Task, ...]:
    """Return the tasks of a DAG file that run a stage on references, in an order in which they can run."""
    with tempfile.TemporaryDirectory(prefix="stepzero-dag-") as home:
        settings = {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        command = [sys.executable, "-P", __file__, str(dag_file)]
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{dag_file.name} cannot be read:\n{done.stderr[-3000:]}"
        raise RuntimeError(msg)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return tuple(Task(**{**one, "upstream": tuple(one["upstream"])}) for one in found)


def main() -> None:
    """Print the tasks of the only DAG in a file; the last line is JSON."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(sys.argv[1])
    if bag.import_errors:
        sys.exit(str(bag.import_errors))
    (dag,) = bag.dags.values()
    tasks = [_described(task) for task in dag.topological_sort() if _runs_a_stage(task)]
    sys.stdout.write("\n" + json.dumps(tasks) + "\n")


def _runs_a_stage(task: Any) -> bool:
    """Tell whether a task is a stage; plan and report only tell Airflow and MLflow of the run."""
    from stepzero_airflow.operators.plan import PlanOperator
    from stepzero_airflow.operators.report import ReportOperator
    from stepzero_airflow.operators.stage import StageOperator

    kind = getattr(task, "operator_class", type(task))
    return issubclass(kind, StageOperator) and not issubclass(kind, (PlanOperator, ReportOperator))


def _described(task: Any) -> dict[str, Any]:
    given = task.partial_kwargs if task.is_mapped else vars(task)
    return {
        "name": task.task_id,
        "stage": given["stage"],
        "cell": given.get("cell") or "",
        "inputs": {name: value.operator.task_id for name, value in (given.get("inputs") or {}).items()},
        "parameters": dict(given.get("parameters") or {}),
        "mapped": bool(task.is_mapped),
        "upstream": sorted(task.upstream_task_ids),
    }


if __name__ == "__main__":
    main()
