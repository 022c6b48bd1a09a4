"""How tuning scales: over processes that share one search, and with rows. Parts of `bench tuning`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from _cards import Stages, prepare_rows

from stepzero.generators.credit_card import generate

FRAUDS_IN = 50
"""One of so many generated rows is a fraud, at every size."""
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}


BAYESIAN = "bayesian xgboost"
"""The search that sharing is for: many trials, few at a time."""
_SPACE = {
    "learning_rate": {"at_least": 0.02, "at_most": 0.3, "scale": "log"},
    "max_depth": {"at_least": 3, "at_most": 8},
    "n_estimators": [100, 150, 200],
}
_SEARCH = {"strategy": "bayesian", "trials": 16, "parallel": 4, "startup_trials": 8}


def scaling(frame: pd.DataFrame, models: dict[str, Any], processes: list[int]) -> list[dict[str, Any]]:
    """Return one line per family and number of processes that share its search; results must be the same bytes.

    Imports are not counted: processes are forked or started once for many stages. The last fit, on all rows, is
    done by each of them, so that it does not scale; `ideal` says what it leaves.
    """
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for family, grid in {**models, BAYESIAN: {"algorithms": {"xgboost": {"space": _SPACE}}}}.items():
            search = _SEARCH if family == BAYESIAN else {}
            root = saved(Path(folder) / family, frame, family, grid, search)
            for count in processes:
                done = together(root, family, count)
                lines.append(_line(family, done, next((line for line in lines if line["family"] == family), None)))
                print(f"{family}, {count} processes: {lines[-1]['wall']:.2f} s", flush=True)
    return lines


def _line(family: str, done: list[dict[str, Any]], first: dict[str, Any] | None) -> dict[str, Any]:
    wall, made = max(one["wall"] for one in done), [[one["model"], one["out_of_fold"]] for one in done]
    alone = first or {"wall": wall, "search": done[0]["search"], "made": made[0]}
    return {
        "family": family,
        "processes": len(done),
        "wall": wall,
        "speed_up": alone["wall"] / wall,
        "ideal": _ideal(alone, len(done)),
        "cpu": sum(one["cpu"] for one in done),
        "peak_mb": max(one["peak_mb"] for one in done),
        "search": done[0]["search"],
        "same": all(one == alone["made"] for one in made),
        "made": made[0],
    }


def growth(models: dict[str, Any], base: int, factors: list[int]) -> list[dict[str, Any]]:
    """Return one line per family and number of rows, each from a process of its own."""
    lines = []
    for factor in factors:
        rows = base * factor
        frame = generate(rows=rows, seed=3, frauds=rows // FRAUDS_IN)
        for family, grid in models.items():
            with tempfile.TemporaryDirectory() as folder:
                (done,) = together(saved(Path(folder), frame, family, grid), family, 1)
            lines.append({"family": family, "rows": rows, **{name: done[name] for name in ("wall", "cpu", "peak_mb")}})
            print(f"{family}, {rows} rows: {done['cpu']:.2f} s, {done['peak_mb']:.0f} MB", flush=True)
    return lines


def exponents(lines: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return, per family, the power of rows that time and memory grew with from the least to the most rows."""
    import math

    found: dict[str, dict[str, float]] = {}
    for family in dict.fromkeys(line["family"] for line in lines):
        own = sorted((line for line in lines if line["family"] == family), key=lambda line: line["rows"])
        steps = math.log(own[-1]["rows"] / own[0]["rows"]) or math.nan
        found[family] = {name: round(math.log(own[-1][name] / own[0][name]) / steps, 2) for name in ("cpu", "peak_mb")}
    return found


def saved(
    folder: Path, frame: pd.DataFrame, family: str, grid: dict[str, Any], search: dict[str, Any] | None = None
) -> str:
    """Prepare and resample rows; return the store that a search can begin from."""
    train, test = prepare_rows(frame.drop_duplicates())
    stages = Stages(folder / "store", train, test, weight=None, models={family: grid}, train={"search": search or {}})
    stages.save(stages.resample("none"))
    return stages.store.root


def together(root: str, family: str, count: int) -> list[dict[str, Any]]:
    """Tune one cell in so many processes that share the search; return what each says."""
    script = Path(__file__).with_name("_tune_once.py")
    shared = f"work/{count}-{time.time_ns()}"
    started = [
        subprocess.Popen(
            [sys.executable, str(script), root, "none", family, f"-{shared.rpartition('/')[2]}-{number}", shared],
            env={**os.environ, **ONE_THREAD},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    told = [process.communicate()[0] for process in started]
    assert all(process.returncode == 0 for process in started), told
    return [json.loads(text.splitlines()[-1]) for text in told]


def _ideal(alone: dict[str, Any], count: int) -> float:
    """Return the best speed-up: the search is shared, the rest is done by each."""
    rest = max(alone["wall"] - alone["search"], 0.0)
    return float(alone["wall"] / (alone["search"] / count + rest))
