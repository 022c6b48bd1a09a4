"""Tune one model on one sampler's folds: search the grid, keep out-of-fold scores, fit the best on all rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from stepzero.adapters.workspace import Workspace
from stepzero.core.references import Reference
from stepzero.core.stages import Record, StageInput, StageResult, stage
from stepzero.learning.folds import ALL, fold_data, read_fold, read_folds
from stepzero.learning.metrics import Metric, make_metric
from stepzero.learning.model import ScoringModel, save_model
from stepzero.learning.models import Algorithm, make_algorithm
from stepzero.learning.search import FoldData, Search, candidates, make_groups, search
from stepzero.learning.table import Table, make_table
from stepzero.learning.trials import trial_records
from stepzero.learning.versions import versions


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One sampler with one model, and what they work on."""

    use_case: Any
    workspace: Workspace
    sampler: str
    algorithm: Algorithm
    metric: Metric
    rows: Reference
    folds: Reference
    table: Table


@stage(sections=("problem", "weight", "train.metric", "train.seed", "train.models.{model}"), architecture_matters=True)
def tune(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Return trials, out-of-fold scores of unresampled rows, and the best model fitted on all training rows.

    A sampler, class or candidate that fails is a result with its reason: the other cells go on.
    """
    sampler, name = workspace.parameters["sampler"], workspace.parameters["model"]
    if inputs["resampled"].values.get("failed"):
        return _failed(sampler, name, f"sampler {sampler} failed: {inputs['resampled'].values['failed']}")
    try:
        algorithm = make_algorithm(name, use_case.train.models[name])
        metric = make_metric(use_case.train.metric)
    except Exception as error:
        workspace.log.warning("model %s cannot be built", name, exc_info=True)
        return _failed(sampler, name, f"{type(error).__name__}: {error}")
    rows = inputs["prepared"].output("train")
    cell = _Cell(
        use_case=use_case,
        workspace=workspace,
        sampler=sampler,
        algorithm=algorithm,
        metric=metric,
        rows=rows,
        folds=inputs["resampled"].output("folds"),
        table=make_table(workspace.read_frame(rows), use_case.problem, use_case.weight),
    )
    # One thread: sums come out in one order whatever the machine has, and cells run side by side anyway.
    with threadpool_limits(limits=1):
        return _tuned(cell)


def _tuned(cell: _Cell) -> StageResult:
    found = _search(cell)
    records = trial_records(found, _identity(cell))
    if found.best is None:
        return _failed(cell.sampler, cell.algorithm.name, str(found.trials[0].failed), records)
    try:
        model = _fit_best(cell, found)
    except Exception as error:
        cell.workspace.log.warning("%s failed on all training rows", cell.algorithm.name, exc_info=True)
        return _failed(cell.sampler, cell.algorithm.name, f"all rows: {type(error).__name__}: {error}", records)
    return _result(cell, found, model, records)


def _search(cell: _Cell) -> Search:
    grid = candidates(cell.use_case.train.models[cell.algorithm.name].grid)
    steps = len(make_groups(cell.algorithm, grid)) * len(cell.table.folds)
    done = iter(range(1, steps + 1))

    def progress(what: str) -> None:
        cell.workspace.progress(next(done), steps, f"{cell.sampler} × {cell.algorithm.name}, {what}")

    return search(
        _fold_data(cell),
        grid,
        cell.algorithm,
        cell.metric,
        rows=len(cell.table.target),
        seed=cell.use_case.train.seed,
        progress=progress,
    )


def _fold_data(cell: _Cell) -> Iterator[FoldData]:
    for fold in read_folds(cell.workspace.store, cell.folds, cell.rows):
        if fold.name != ALL:
            yield fold_data(fold, cell.table)


def _fit_best(cell: _Cell, found: Search) -> ScoringModel:
    everything = read_fold(cell.workspace.store, cell.folds, ALL)
    rows = everything.training_rows(cell.table)
    told = _told(cell, found)
    return ScoringModel(
        features=cell.table.feature_types(),
        transformer=everything.transformer,
        estimator=cell.algorithm.fit(told["parameters"], rows, cell.use_case.train.seed),
        metadata={**told, "use_case": cell.use_case.name, "versions": versions()},
    )


def _told(cell: _Cell, found: Search) -> dict[str, Any]:
    best = found.trials[found.best or 0]
    return {
        "sampler": cell.sampler,
        "model": cell.algorithm.name,
        "parameters": best.parameters,
        "metric": cell.metric.name,
        "score": best.mean,
    }


def _result(cell: _Cell, found: Search, model: ScoringModel, records: tuple[Record, ...]) -> StageResult:
    workspace, table, told = cell.workspace, cell.table, _told(cell, found)
    trials = [trial.to_json() for trial in found.trials]
    scored = {
        "_row_id": table.row_ids,
        "target": table.target,
        "score": found.out_of_fold[found.best or 0],
        "fold": table.fold,
    }
    return StageResult(
        outputs={
            "trials": workspace.write_json("trials.json", trials),
            "out_of_fold": workspace.write_frame("out_of_fold", pd.DataFrame(scored)),
            "model": save_model(workspace.store, f"{workspace.folder}/model", model, producer=workspace.stage),
            "folds": cell.folds,
        },
        values={**told, "failed": None, "trials": trials},
        summary=_summary(told, found),
        records=records,
    )


def _summary(told: dict[str, Any], found: Search) -> str:
    parameters = ", ".join(f"{name}={value}" for name, value in told["parameters"].items()) or "no parameters"
    fits = sum(trial.shares_fit_of is None for trial in found.trials)
    cost = f"{len(found.trials)} candidates from {fits} fits a fold"
    return f"{told['sampler']} × {told['model']}: {told['metric']} {told['score']:.4f} with {parameters} ({cost})"


def _failed(sampler: str, model: str, reason: str, records: tuple[Record, ...] = ()) -> StageResult:
    values = {"sampler": sampler, "model": model, "failed": reason}
    return StageResult(values=values, summary=f"{sampler} × {model} failed: {reason}", records=records)


def _identity(cell: _Cell) -> dict[str, Any]:
    declared = cell.use_case.train.models[cell.algorithm.name]
    return {
        "rows": cell.rows.digest,
        "folds": cell.folds.digest,
        "sampler": cell.sampler,
        "model": cell.algorithm.name,
        "declared": declared.model_dump(mode="json", exclude={"grid"}),
        "metric": cell.metric.name,
        "seed": cell.use_case.train.seed,
    }
