"""Tune one saved cell in a process of its own and print what it took.

python benchmarks/_tune_once.py STORE SAMPLER MODEL NAME SHARED
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time

from _cards import Stages


def main(root: str, sampler: str, model: str, name: str, shared: str) -> None:
    stages, folds = Stages.reopen(root, name=name, shared=shared)
    for module in ("sklearn.ensemble", "sklearn.neighbors", "xgboost", "optuna", "stepzero.stages.tune"):
        importlib.import_module(module)  # a run pays them once, in the preloaded server
    imported = _peak_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    done = stages.tune(sampler, model, folds)
    figures = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak_mb": _peak_mb(),
        "before_mb": imported,
        "score": done.values["score"],
        "model": done.outputs["model"].digest,
        "out_of_fold": done.outputs["out_of_fold"].digest,
        "search": sum(record.metrics["seconds"] for record in done.records),
    }
    print(json.dumps(figures))


def _peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
