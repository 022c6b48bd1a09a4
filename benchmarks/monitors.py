"""Cost of watching one window as rows and features grow, and the ratio to Evidently on the same distances.

    python benchmarks/monitors.py [--rows 10000 100000] [--features 10 30] [--repeats 3] [--without-others]

The reference is 50,000 rows of numbers in 30 blocks, the window has the rows that are asked for; a tenth of the columns
has moved. `measure` is what Evidently is compared with: the distances of every feature from the reference, its bins
made beforehand, as they are when a window comes. Evidently (an environment of this benchmark's own, made by uv under
`STEPZERO_HOME/benchmarks`) measures the same with its `ValueDrift`, reading data apart. Two distances are defined
alike: the normalised Wasserstein distance, and Kolmogorov-Smirnov's, which Evidently tells as a p-value that is turned
back into the distance. Their values are compared before any time is told, and `ratio` is the time of these two over
ours of all five. The index and the divergence are taken in other bins there (even widths over both samples, ours
deciles), so their values are not compared; `ratio_four` is the time of all four. `whole_window_seconds` is what a run
of the watch computes that Evidently has not: thresholds for three windows of all columns, and the classifier. Each
case has a process of its own, so that its peak of memory is its own. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from stepzero.learning.drift import Rule, judge_columns, make_reference
from stepzero.learning.two_samples import classifier_test
from stepzero.measures.drift import distances
from stepzero.spec.load import home_folder

HERE = Path(__file__).parent
REQUIREMENTS = ["evidently==0.7.23", "pandas==2.3.3", "pyarrow==18.1.0", "setuptools<81"]
METHODS = ("wasserstein", "ks", "psi", "jensenshannon")
ALIKE = {"wasserstein": "wasserstein", "ks": "kolmogorov_smirnov"}
"""Evidently's methods that are ours, by our names."""
SMALLEST_CHANCE = 1e-200
REFERENCE, BLOCKS, SAMPLE = 50_000, 30, 10_000
CLOSE = 0.02
"""By how much two ways to the same distance may differ: ours is taken in a hundred bins."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--features", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without-others", action="store_true", help="without Evidently")
    asked = parser.parse_args()
    python = None if asked.without_others else evidently_environment()
    cases = [(rows, features) for features in asked.features for rows in asked.rows]
    told = [apart(rows, features, asked.repeats, python) for rows, features in cases]
    ratios = {f"{case['rows']} x {case['features']}": case["ratio"] for case in told if "ratio" in case}
    print(json.dumps({"ratio": ratios, "cases": told}))


def apart(rows: int, features: int, repeats: int, python: Path | None) -> dict[str, Any]:
    """Return a case that a process of its own has measured."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(one, rows, features, repeats, python).result()


def one(rows: int, features: int, repeats: int, python: Path | None) -> dict[str, Any]:
    reference, window = made(REFERENCE, features, 1, 0.0), made(rows, features, 2, 0.5)
    block = np.arange(REFERENCE) * BLOCKS // REFERENCE
    columns = make_reference(reference, np.ones(REFERENCE), block)
    rule = Rule(at_least=2, level=0.007, draws=300, seed=7, names=("kolmogorov_smirnov", "wasserstein"), smallest={})

    def measure() -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {ours: {} for ours in ALIKE.values()}
        for name, column in columns.items():
            now = column.count(window[name])
            told = distances(column, column.total, now, excess=column.excess(window[name]))
            for ours, values in found.items():
                values[name] = float(told[ours])
        return found

    sample = reference.assign(_block=block).iloc[:: REFERENCE // SAMPLE]

    def whole() -> None:
        judge_columns(columns, [window] * 3, rule)
        classifier_test(sample, [window] * 3, level=rule.level, at_least=rule.at_least, draws=12, seed=rule.seed)

    ours = measure()
    case: dict[str, Any] = {"rows": rows, "features": features}
    case["measure_seconds"] = seconds(measure, repeats)
    case["judge_seconds"] = seconds(lambda: judge_columns(columns, [window] * 3, rule), repeats)
    case["whole_window_seconds"] = seconds(whole, 1)
    case["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if python is not None:
        case |= compared(ours, case["measure_seconds"], reference, window, repeats, python)
    print(case, flush=True)
    return case


def compared(
    ours: dict[str, dict[str, float]],
    took: float,
    reference: pd.DataFrame,
    window: pd.DataFrame,
    repeats: int,
    python: Path,
) -> dict[str, Any]:
    """Return Evidently's seconds by method, after its distances were found to be ours."""
    folder = home_folder() / "benchmarks" / "monitors"
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (("reference", reference), ("window", window)):
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    asked = json.dumps({"folder": str(folder), "methods": METHODS, "repeats": repeats})
    environment = {**os.environ, "PYTHONPATH": str(HERE), "DO_NOT_TRACK": "1"}
    command = [str(python), str(HERE / "_monitors_evidently.py"), asked]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    theirs = json.loads(done.stdout.strip().splitlines()[-1])
    apart_by = {method: differences(method, ours[ALIKE[method]], theirs["values"][method], window) for method in ALIKE}
    for method, found in apart_by.items():
        assert found, f"nothing to compare by {method}"
        assert max(found.values()) <= CLOSE, (method, found)
    told = theirs["seconds"]
    return {
        "evidently_seconds": told,
        "evidently_peak_memory_mb": theirs["peak_memory_mb"],
        "ratio": round(sum(told[method] for method in ALIKE) / took, 1),
        "ratio_four": round(sum(told.values()) / took, 1),
        "compared_columns": {method: len(found) for method, found in apart_by.items()},
        "largest_difference": {method: round(max(found.values()), 5) for method, found in apart_by.items()},
    }


def differences(
    method: str, ours: dict[str, float], theirs: dict[str, float], window: pd.DataFrame
) -> dict[str, float]:
    """Return by how much each column's distances differ; a p-value of 0 tells no distance."""
    if method != "ks":
        return {name: abs(ours[name] - value) for name, value in theirs.items()}
    rows = round(REFERENCE * len(window) / (REFERENCE + len(window)))
    told = {name: distance_of(value, rows) for name, value in theirs.items() if value > SMALLEST_CHANCE}
    return {name: abs(ours[name] - value) for name, value in told.items()}


def distance_of(chance: float, rows: int) -> float:
    """Return the Kolmogorov-Smirnov distance with a p-value; SciPy's own inverse is 1 where that is below 1e-16.

    It is at most Dvoretzky, Kiefer, Wolfowitz's and Massart's bound (Massart 1990).
    """
    bound = math.sqrt(math.log(2 / chance) / 2 / rows)
    told = optimize.brentq(lambda distance: math.log(stats.kstwo.sf(distance, rows) / chance), 0.0, bound)
    return float(told)


def made(rows: int, features: int, seed: int, shift: float) -> pd.DataFrame:
    """Return columns of three kinds; every tenth has moved."""
    generator = np.random.default_rng(seed)
    draw = (generator.normal, generator.exponential, lambda size: generator.integers(0, 8, size).astype(float))
    return pd.DataFrame({f"f{at}": draw[at % 3](size=rows) + shift * (at % 10 == 0) for at in range(features)})


def seconds(way: Callable[[], Any], repeats: int) -> float:
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        way()
        took.append(time.perf_counter() - began)
    return round(statistics.median(took), 4)


def evidently_environment() -> Path:
    """Return the Python of an environment with Evidently; made once."""
    folder = home_folder() / "benchmarks" / "evidently"
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join(REQUIREMENTS)
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        uv = str(home_folder() / "bootstrap" / "bin" / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--no-project", "--python", "3.11", str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *REQUIREMENTS], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


if __name__ == "__main__":
    main()
