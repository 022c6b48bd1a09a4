"""Tuning against scikit-learn's grid search over an imbalanced-learn pipeline: same folds, same grid, one process each.

    python benchmarks/tuning.py [--data creditcard.csv.gz] [--grids usual,seed] [--samplers none] [--rows N]
    python benchmarks/tuning.py --processes 1,2 [--families xgboost]     one search shared by several processes
    python benchmarks/tuning.py --growth 1,2,4,8 [--base-rows 12500]     time and peak memory with generated rows

Ours is what a run does: the resample stage once, then the tune stage (search, refit, writing). Theirs is
`GridSearchCV` with `memory` set, so that it keeps fitted transformers and resampled rows too. Both use one
thread. Times are CPU seconds of the process, so that a busy machine does not speak; wall seconds are told beside.
The usual grid searches numbers of trees, rounds and neighbours, in tens of values; the seed's is that of the
public notebook on these data (its forest shortened: depths 4, 6 and 8 and one criterion, instead of depths 4 to 8
and two), on under-sampled rows as there. The last line is JSON; `ratio` is theirs over ours on the usual grid. `where`
says per family where our CPU seconds go (`fit` and `score` of the search, `refit` of the best on all rows, and `rest`:
reading, transforming, resampling, writing) and where their wall seconds go, as scikit-learn tells them; `peak_mb` is
the most memory that the process had during either.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _cards import DATA, Stages, prepare_rows
from _tuning_scale import exponents, growth, scaling
from imblearn.pipeline import Pipeline as Steps
from sklearn.metrics import average_precision_score, make_scorer
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from stepzero.learning.cost import Meter
from stepzero.learning.models import Algorithm, make_algorithm
from stepzero.learning.samplers import make_sampler
from stepzero.learning.table import Table, make_table
from stepzero.learning.transform import Transformer
from stepzero.spec.training import Model

TENTHS = list(range(25, 251, 25))
GRIDS: dict[str, dict[str, Any]] = {
    "usual": {
        "random_forest": {"n_estimators": TENTHS, "max_depth": [4, 8]},
        "xgboost": {"n_estimators": TENTHS, "max_depth": [3, 5, 7]},
        "nearest_neighbours": {"n_neighbors": list(range(1, 22, 2))},
    },
    "seed": {
        "decision_tree": {"criterion": ["gini", "entropy"], "max_depth": [2, 3], "min_samples_leaf": [5, 6]},
        "random_forest": {"n_estimators": [200, 500], "max_features": ["sqrt", "log2"], "max_depth": [4, 6, 8]},
        "logistic_regression": {"C": [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]},
        "nearest_neighbours": {"n_neighbors": [2, 3, 4]},
    },
}
GOAL = 5.0
SCORER = make_scorer(average_precision_score, response_method="predict_proba")
"""By probabilities, which a served model answers with; a decision function breaks ties that they have at 1."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / "creditcard_28k.csv.gz")
    parser.add_argument("--grids", default="usual,seed")
    parser.add_argument("--samplers", default="none", help="of the usual grid")
    parser.add_argument("--families", default="")
    parser.add_argument("--rows", type=int, default=0, help="so many training rows only")
    parser.add_argument("--processes", default="", help="instead of the race: how many share one search")
    parser.add_argument("--growth", default="", help="instead of the race: how many times the base rows")
    parser.add_argument("--base-rows", type=int, default=12_500, help="generated rows that --growth begins with")
    given = parser.parse_args()
    if given.processes or given.growth:
        scale(given)
        return
    lines = []
    for grid in given.grids.split(","):
        for sampler in given.samplers.split(",") if grid == "usual" else ["random_under"]:
            families = given.families.split(",") if given.families else list(GRIDS[grid])
            lines += [
                race(given.data, grid, sampler, family, given.rows) for family in families if family in GRIDS[grid]
            ]
    told = pd.DataFrame(lines)
    print(told.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    print(json.dumps(figures(lines)))


def scale(given: argparse.Namespace) -> None:
    """Print how the usual grid scales over processes, or grows with rows."""
    families = given.families.split(",") if given.families else list(GRIDS["usual"])
    models = {family: GRIDS["usual"][family] for family in families}
    numbers = [int(one) for one in (given.processes or given.growth).split(",")]
    if given.processes:
        frame = pd.read_csv(given.data)
        share = min(1.0, given.rows / len(frame)) if given.rows else 1.0
        lines = scaling(frame.groupby("Class").sample(frac=share, random_state=0), models, numbers)
        shown = pd.DataFrame(lines).drop(columns=["made"])
        told: dict[str, Any] = {"same_bytes": all(line["same"] for line in lines)}
        told["speed_up"] = {f"{one['family']} {one['processes']}": round(one["speed_up"], 2) for one in lines}
        told["ideal"] = {f"{one['family']} {one['processes']}": round(one["ideal"], 2) for one in lines}
    else:
        lines = growth(models, given.base_rows, numbers)
        shown = pd.DataFrame(lines)
        told = {"exponents": exponents(lines)}
    print(shown.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    told["peak_mb"] = max(line["peak_mb"] for line in lines)
    print(json.dumps({"benchmark": "tuning", "numbers": numbers, **told}))


def race(data: Path, grid: str, sampler: str, family: str, rows: int) -> dict[str, Any]:
    """Return one line: both times, whether both found the same, and where the time went."""
    train, test = prepare_rows(pd.read_csv(data).drop_duplicates())
    train = (
        train.groupby("Class").sample(frac=min(1.0, rows / len(train)), random_state=0).sort_values("_row_id")
        if rows
        else train
    )
    train = train.reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(limits=1):
        stages = Stages(Path(folder) / "store", train, test, weight=None, models={family: GRIDS[grid][family]})
        with noted_fits() as fits:
            ours, ours_times = timed(lambda: stages.tune(sampler, family))
        table = make_table(train, stages.use_case.problem, None)
        theirs, their_times = timed(lambda: grid_search(table, stages, sampler, family, Path(folder) / "memory"))
    spent = where(ours, fits, ours_times["cpu"])
    scores = np.array([trial["fold_scores"] for trial in ours.values["trials"]])
    expected = np.array([theirs.cv_results_[f"split{fold}_test_score"] for fold in table.folds]).T
    seconds = [record.metrics["seconds"] for record in ours.records]
    line = {
        "grid": grid,
        "sampler": sampler,
        "family": family,
        "rows": len(train),
        "candidates": len(seconds),
        "fits": sum(second > 0 for second in seconds),
        "theirs": their_times["cpu"],
        "ours": ours_times["cpu"],
        "ratio": their_times["cpu"] / ours_times["cpu"],
        "wall_ratio": their_times["wall"] / ours_times["wall"],
        "same_winner": {f"model__{key}": value for key, value in ours.values["parameters"].items()}
        == theirs.best_params_,
        "difference": float(np.abs(scores - expected).max()),
        **{f"ours_{part}": value for part, value in spent.items()},
        **{
            f"theirs_{part}": value
            for part, value in where_theirs(theirs, len(table.folds), their_times["wall"]).items()
        },
        "ours_peak_mb": max([ours_times["peak_mb"], *(one.metrics.get("peak_memory_mb", 0.0) for one in ours.records)]),
        "theirs_peak_mb": their_times["peak_mb"],
    }
    print(
        f"{grid} {sampler} {family}: {line['theirs']:.1f} s against {line['ours']:.1f} s, {line['ratio']:.2f} times",
        flush=True,
    )
    return line


@contextmanager
def noted_fits() -> Iterator[list[float]]:
    """Note the CPU seconds of every fit of ours in a list, in order: the last one is that of the best on all rows."""
    fit, seconds = Algorithm.fit, list[float]()

    def noted(self: Algorithm, parameters: Any, rows: Any, seed: int) -> Any:
        began = time.process_time()
        try:
            return fit(self, parameters, rows, seed)
        finally:
            seconds.append(time.process_time() - began)

    Algorithm.fit = noted  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        Algorithm.fit = fit  # type: ignore[method-assign]


def where(ours: Any, fits: list[float], total: float) -> dict[str, float]:
    """Return what our CPU seconds went to."""
    search = sum(record.metrics["cpu_seconds"] for record in ours.records)
    fit, refit = sum(fits[:-1]), fits[-1]
    return {"fit": fit, "score": search - fit, "refit": refit, "rest": total - search - refit}


def where_theirs(theirs: GridSearchCV, folds: int, total: float) -> dict[str, float]:
    """Return what the wall seconds of a grid search went to, as it tells them itself."""
    fit, score = (float(theirs.cv_results_[f"mean_{part}_time"].sum() * folds) for part in ("fit", "score"))
    return {
        "fit": fit,
        "score": score,
        "refit": float(theirs.refit_time_),
        "rest": total - fit - score - theirs.refit_time_,
    }


def grid_search(table: Table, stages: Any, sampler: str, family: str, memory: Path) -> GridSearchCV:
    """Return the fitted grid search of the same work."""
    use_case = stages.use_case
    declared: Model = use_case.train.models[family]
    folds = [(np.flatnonzero(table.fold != number), np.flatnonzero(table.fold == number)) for number in table.folds]
    steps = Steps(
        [
            ("transform", Transformer.from_spec(use_case.pipeline)),
            ("sampler", "passthrough" if sampler == "none" else make_sampler(sampler, use_case.train.seed)),
            ("model", make_algorithm(family, declared).build(declared.parameters, use_case.train.seed)),
        ],
        memory=str(memory),
    )
    grid = {f"model__{name}": list(values) for name, values in declared.grid.items()}
    search = GridSearchCV(steps, grid, scoring=SCORER, cv=folds, error_score="raise", n_jobs=1)
    return search.fit(table.features, table.target)


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return a result with the CPU and wall seconds that it took, and the most memory that the process had."""
    with Meter() as meter:
        result = work()
    cost = meter.cost
    return result, {"cpu": cost.cpu_seconds, "wall": cost.seconds, "peak_mb": cost.peak_memory_mb or 0.0}


def figures(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the totals."""
    usual = [line for line in lines if line["grid"] == "usual"] or lines
    return {
        "benchmark": "tuning",
        "ratio": round(sum(line["theirs"] for line in usual) / sum(line["ours"] for line in usual), 2),
        "goal": GOAL,
        "same_winner": all(line["same_winner"] for line in lines),
        "max_score_difference": max(line["difference"] for line in lines),
        "theirs_seconds": round(sum(line["theirs"] for line in usual), 1),
        "ours_seconds": round(sum(line["ours"] for line in usual), 1),
        "families": {_named(line): round(line["ratio"], 2) for line in lines},
        "where": {
            _named(line): {
                whose: {part: round(line[f"{whose}_{part}"], 2) for part in ("fit", "score", "refit", "rest")}
                for whose in ("ours", "theirs")
            }
            for line in lines
        },
        "peak_mb": {_named(line): [line["ours_peak_mb"], line["theirs_peak_mb"]] for line in lines},
        "rows": lines[0]["rows"],
    }


def _named(line: dict[str, Any]) -> str:
    return f"{line['grid']} {line['sampler']} {line['family']}"


if __name__ == "__main__":
    main()
