"""The credit-card run as its DAG file has it, stage by stage, each by its own command."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arm64.lane.dag import Task
from arm64.lane.machine import USE_CASE, Machine
from support.stack import REAL_DATA

REAL_FILE = REAL_DATA / "credit_card" / "creditcard_28k.csv.gz"
AS_OF = "2026-01-01T00:00:00+00:00"
FORM = {"folds": 2, "approval": "rule"}
AT_ONCE = 2
"""Stages in flight on one machine."""

MODELS = ("decision_tree", "random_forest", "logistic_regression", "nearest_neighbours", "xgboost")
SAMPLERS = ("none", "random_under", "near_miss_1", "smote")
CELLS = [("smote", model) for model in MODELS] + [("near_miss_1", "xgboost"), ("none", "logistic_regression")]
"""Every model on the sampler that makes rows; samplers themselves are compared one by one."""

MAPPED_OVER: dict[str, list[dict[str, str]]] = {
    "resample": [{"sampler": sampler} for sampler in SAMPLERS],
    "tune": [{"sampler": sampler, "model": model} for sampler, model in CELLS],
}
"""What the DAG's mapped tasks get from the plan, fewer of them."""
FILLED_IN = {("approve", "decision"): "rule"}
"""Parameters that Airflow fills in when a task starts."""

Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """One command: a task of the DAG, or one of those that a mapped task becomes."""

    name: str
    """Stage and cell, as the report names it."""
    task: Task
    cell: str
    parameters: dict[str, str]
    inputs: dict[str, str | list[str]]
    """Input name → job, or jobs, whose results it takes."""
    after: frozenset[str]

    def given(self, done: Results) -> dict[str, Any]:
        """Return the references that it takes."""
        return {
            name: done[jobs] if isinstance(jobs, str) else [done[job] for job in jobs]
            for name, jobs in self.inputs.items()
        }


def write_sample(path: Path) -> str:
    """Write about 1,100 rows of the real file (of generated data where there is none); say which."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if REAL_FILE.is_file():
        with gzip.open(REAL_FILE, "rt", encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
        frauds = [row for row in rows if row[-1] == "1"]
        others = [row for row in rows if row[-1] != "1"]
        kept = {tuple(row) for row in frauds[::5] + others[::28]}
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([header, *(row for row in rows if tuple(row) in kept)])
        return "real rows, every 5th fraud and every 28th other row of the file"
    from stepzero.generators.credit_card import generate

    generate(rows=1_100, seed=7, frauds=100).to_csv(path, index=False)
    return "generated rows (the real file is not on this machine)"


def plan_jobs(tasks: Sequence[Task]) -> list[Job]:
    """Return the commands that the tasks of a DAG become; a job comes after those that it needs."""
    jobs: dict[str, list[Job]] = {}
    for task in tasks:
        jobs[task.name] = [_job(task, varied, jobs) for varied in _variations(task)]
    return [job for made in jobs.values() for job in made]


def run_flow(machine: Machine, sample: Path, jobs: Sequence[Job], done: Results) -> None:
    """Run every stage on one machine and keep the results by stage and cell.

    `done` is filled as stages end, so that a comparison can be made of what there is.
    """
    landed = machine.home / "store" / "landing" / USE_CASE / sample.name
    landed.parent.mkdir(parents=True)
    landed.write_bytes(sample.read_bytes())
    machine.wait_for_tracking()
    arguments = ["stage", "plan", "--use-case", USE_CASE, "--run", "compared", "--attempt", "1"]
    machine.run(*arguments, "--as-of", AS_OF, "--form", json.dumps(FORM))
    waiting = list(jobs)
    running: dict[Future[dict[str, Any]], Job] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while waiting or running:
            for job in [job for job in waiting if job.after <= done.keys()][: AT_ONCE - len(running)]:
                waiting.remove(job)
                running[pool.submit(_run, machine, job, job.given(done))] = job
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                done[running.pop(ended).name] = ended.result()


def _run(machine: Machine, job: Job, inputs: Mapping[str, Any]) -> dict[str, Any]:
    if job.task.stage == "deploy":
        machine.start("serve", "--use-case", USE_CASE, "--port", str(machine.ports["ENDPOINT"]))
    return machine.stage(job.task.stage, inputs, label=job.cell, parameters=job.parameters)


def _variations(task: Task) -> list[dict[str, str]]:
    if not task.mapped:
        return [{name: FILLED_IN.get((task.stage, name), value) for name, value in task.parameters.items()}]
    if task.stage not in MAPPED_OVER:
        msg = f"{task.name} is a mapped task: say in MAPPED_OVER of {__name__} over what"
        raise LookupError(msg)
    return MAPPED_OVER[task.stage]


def _job(task: Task, varied: dict[str, str], before: Mapping[str, list[Job]]) -> Job:
    cell = ".".join(varied.values()) if task.mapped else task.cell
    inputs = {name: _taken(before[origin], varied, one_of=task.mapped) for name, origin in task.inputs.items()}
    needed = {job for jobs in inputs.values() for job in ([jobs] if isinstance(jobs, str) else jobs)}
    others = (origin for origin in task.upstream if origin in before and origin not in task.inputs.values())
    needed.update(job.name for origin in others for job in before[origin])
    return Job(f"{task.stage} {cell}".strip(), task, cell, varied, inputs, frozenset(needed))


def _taken(origin: Sequence[Job], varied: Mapping[str, str], *, one_of: bool) -> str | list[str]:
    """Return a task's one job; of a mapped task all jobs, or for another mapped task the one of its own variation."""
    if not origin[0].task.mapped:
        return origin[0].name
    if not one_of:
        return [job.name for job in origin]
    return next(job.name for job in origin if job.parameters.items() <= varied.items())
