"""The credit-card run as its DAG has it, stage by stage, each by its own command."""

from __future__ import annotations

import csv
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from arm64.lane.machine import USE_CASE, Machine
from support.stack import REAL_DATA

REAL_FILE = REAL_DATA / "credit_card" / "creditcard_28k.csv.gz"
AS_OF = "2026-01-01T00:00:00+00:00"
FORM = {"folds": 3, "approval": "rule"}
AT_ONCE = 2
"""Stages in flight on one machine."""

MODELS = ("decision_tree", "random_forest", "logistic_regression", "nearest_neighbours", "xgboost")
SAMPLERS = ("none", "random_under", "near_miss_1", "smote")
CELLS = [("smote", model) for model in MODELS] + [("near_miss_1", "xgboost"), ("none", "logistic_regression")]
"""Every model on the sampler that makes rows; samplers themselves are compared one by one."""

Results = dict[str, dict[str, Any]]


def write_sample(path: Path) -> str:
    """Write about 2,000 rows of the real file (of generated data where there is none); say which."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if REAL_FILE.is_file():
        with gzip.open(REAL_FILE, "rt", encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
        frauds = [row for row in rows if row[-1] == "1"]
        others = [row for row in rows if row[-1] != "1"]
        kept = {tuple(row) for row in frauds[::3] + others[::15]}
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([header, *(row for row in rows if tuple(row) in kept)])
        return "real rows, every 3rd fraud and every 15th other row of the file"
    from stepzero.generators.credit_card import generate

    generate(rows=2_000, seed=7, frauds=160).to_csv(path, index=False)
    return "generated rows (the real file is not on this machine)"


def run_flow(machine: Machine, sample: Path, done: Results) -> Results:
    """Run every stage on one machine and return the results by stage and label.

    `done` is filled as stages end, so that a comparison can be made of what there is.
    """
    landed = machine.home / "store" / "landing" / USE_CASE / sample.name
    landed.parent.mkdir(parents=True)
    landed.write_bytes(sample.read_bytes())
    machine.wait_for_tracking()
    _plan(machine, "compared")
    stage = machine.stage
    done["quality_gate"] = checked = stage("quality_gate")
    done["prepare"] = prepared = stage("prepare", {"checked": checked})
    with ThreadPoolExecutor(AT_ONCE) as pool:
        explored = pool.submit(stage, "explore", {"prepared": prepared})
        list(pool.map(lambda sampler: _resample(machine, done, sampler), SAMPLERS))
        done["explore"] = explored.result()
        list(pool.map(lambda cell: _tune(machine, done, *cell), CELLS))
    tuned = [done[f"tune {sampler}.{model}"] for sampler, model in CELLS]
    done["evaluate"] = evaluated = stage("evaluate", {"prepared": prepared, "tuned": tuned})
    done["register"] = registered = stage("register", {"prepared": prepared, "evaluated": evaluated})
    done["approve"] = approved = stage("approve", {"registered": registered}, parameters={"decision": "rule"})
    machine.start("serve", "--use-case", USE_CASE, "--port", str(machine.ports["ENDPOINT"]))
    done["deploy"] = stage("deploy", {"approved": approved})
    return done


def _plan(machine: Machine, run: str) -> None:
    arguments = ["stage", "plan", "--use-case", USE_CASE, "--run", run, "--attempt", "1"]
    machine.run(*arguments, "--as-of", AS_OF, "--form", json.dumps(FORM))


def _resample(machine: Machine, done: Results, sampler: str) -> None:
    inputs = {"prepared": done["prepare"]}
    parameters = {"sampler": sampler}
    done[f"resample {sampler}"] = machine.stage("resample", inputs, label=sampler, parameters=parameters)


def _tune(machine: Machine, done: Results, sampler: str, model: str) -> None:
    inputs = {"prepared": done["prepare"], "resampled": done[f"resample {sampler}"]}
    parameters = {"sampler": sampler, "model": model}
    label = f"{sampler}.{model}"
    done[f"tune {label}"] = machine.stage("tune", inputs, label=label, parameters=parameters)


def stage_names() -> list[str]:
    """Return every stage and label that `run_flow` runs, in order."""
    tuned = [f"tune {sampler}.{model}" for sampler, model in CELLS]
    resampled = [f"resample {sampler}" for sampler in SAMPLERS]
    return ["quality_gate", "prepare", "explore", *resampled, *tuned, "evaluate", "register", "approve", "deploy"]
