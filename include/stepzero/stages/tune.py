"""Tune one model on one sampler's folds: search, keep out-of-fold scores, fit the best on all rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import StageError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Record, StageInput, StageResult, stage
from stepzero.learning.fitting import Work
from stepzero.learning.folds import ALL, StoredFolds, read_fold
from stepzero.learning.metrics import Metric, make_metric
from stepzero.learning.model import ScoringModel, save_model
from stepzero.learning.models import Algorithm, make_algorithm
from stepzero.learning.search import Earlier, Search, search
from stepzero.learning.shared import SharedTrials
from stepzero.learning.strategies import make_strategy
from stepzero.learning.table import Table, make_table
from stepzero.learning.trial import Trial
from stepzero.learning.trials import trial_records
from stepzero.learning.versions import versions
from stepzero.spec.environment import MachineType, require_price


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


@stage(
    sections=(
        "problem",
        "weight",
        "train.metric",
        "train.seed",
        "train.search",
        "train.models.{model}",
        "evaluate.prior_correction",
    ),
    plan=("warm_start", "price_per_hour"),
    architecture_matters=True,
)
def tune(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Return trials, out-of-fold scores of unresampled rows, and the best model fitted on all training rows.

    A sampler, class or candidate that fails is a result with its reason: the other cells go on.
    """
    sampler, name = workspace.parameters["sampler"], workspace.parameters["model"]
    if inputs["resampled"].values.get("failed"):
        return _failed(sampler, name, f"sampler {sampler} failed: {inputs['resampled'].values['failed']}")
    try:
        algorithm = make_algorithm(name, use_case.train.models[name], use_case.problem.kind)
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
    # Told beside results only; what ends a search is in the plan.
    price = cell.workspace.environment.price("tune")
    found = _search(cell)
    records = (*_stop_record(cell, found), *trial_records(found, _identity(cell), price))
    if found.best is None:
        reason = str(found.trials[0].failed) if found.trials else "nothing was tried"
        return _failed(cell.sampler, cell.algorithm.name, reason, records)
    try:
        # Of several workers each does this: whoever waited for another would have had nothing else to do.
        model = _fit_best(cell, found)
    except Exception as error:
        cell.workspace.log.warning("%s failed on all training rows", cell.algorithm.name, exc_info=True)
        return _failed(cell.sampler, cell.algorithm.name, f"all rows: {type(error).__name__}: {error}", records)
    return _result(cell, found, model, records)


def _stop_record(cell: _Cell, found: Search) -> tuple[Record, ...]:
    """Return what the run tells of a search that a budget ended."""
    told = {f"search.{cell.sampler}.{cell.algorithm.name}.stopped": found.stopped} if found.stopped else None
    return (Record(tags=told),) if told else ()


def _search(cell: _Cell) -> Search:
    train, workspace = cell.use_case.train, cell.workspace
    declared, model = train.search, train.models[cell.algorithm.name]
    folds = StoredFolds(workspace.store, cell.folds, cell.rows, cell.table)
    work = Work(
        folds=folds,
        algorithm=cell.algorithm,
        metric=cell.metric,
        rows=len(cell.table.target),
        seed=train.seed,
        objective=declared.objective,
        corrected=cell.metric.takes_probabilities and cell.use_case.evaluate.prior_correction,
    )
    guides, earlier = _warm_start(cell)
    strategy = make_strategy(model, declared, cell.metric, folds=len(folds), seed=train.seed, earlier=guides)

    def progress(done: int, total: int, what: str) -> None:
        workspace.progress(done, total, f"{cell.sampler} × {cell.algorithm.name}, {what}")

    better = cell.metric.greater_is_better
    with SharedTrials(workspace.store, workspace.shared_folder, greater_is_better=better) as shared:
        return search(
            work,
            model,
            declared,
            strategy,
            shared,
            earlier=earlier,
            price_per_hour=_price(cell),
            progress=progress,
        )


def _price(cell: _Cell) -> float | None:
    """Return the run's price of an hour, by which a budget of money ends a search; None without such a budget.

    Raises:
        SpecError: The plan has none, as one of an earlier release.
    """
    if cell.use_case.train.search.budget.money is None:
        return None
    return require_price(MachineType(price_per_hour=cell.workspace.plan.price_per_hour))


def _warm_start(cell: _Cell) -> tuple[list[Trial], Earlier | None]:
    """Return earlier trials that guide, or those that count as this search's own.

    Raises:
        StageError: The data are not identical although that was declared.
    """
    declared = cell.use_case.train.search.warm_start
    if declared is None:
        return [], None
    store = cell.workspace.store
    reference = next(one for one in cell.workspace.plan.warm_start if one.is_cell(cell.sampler, cell.algorithm.name))
    result = store.read_json(reference.uri)
    outputs = {name: Reference.from_json(output) for name, output in result["outputs"].items()}
    told = store.read_json(outputs["trials"].uri)
    if declared.kind == "transfer":
        return [Trial.from_json(one, earlier=False) for one in told], None
    before, now = result["values"]["search"]["identity"], _identity(cell)
    other = sorted(name for name in now if before.get(name) != now[name])
    if other:
        raise StageError(
            f"warm start of {cell.sampler} × {cell.algorithm.name} from run {declared.run}",
            value=bare(f"another {', '.join(other)}"),
            allowed="the same rows, folds, sampler, model, metric, seed and objective for identical_data",
            action="say `kind: transfer`: earlier trials guide the search then, and do not count as its own",
        )
    scores = cell.workspace.read_frame(outputs["out_of_fold"])["score"].to_numpy()
    return [], Earlier(trials=[Trial.from_json(one, earlier=True) for one in told], out_of_fold=scores)


def _fit_best(cell: _Cell, found: Search) -> ScoringModel:
    everything = read_fold(cell.workspace.store, cell.folds, ALL)
    rows = everything.training_rows(cell.table)
    told = _told(cell, found)
    return ScoringModel(
        features=cell.table.feature_types(),
        transformer=everything.transformer,
        estimator=cell.algorithm.fit(told["parameters"], rows, cell.use_case.train.seed),
        metadata={
            **told,
            "use_case": cell.use_case.name,
            "sample_weight": cell.algorithm.sample_weight,
            "versions": versions(),
        },
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
        "score": found.out_of_fold,
        "fold": table.fold,
    }
    return StageResult(
        outputs={
            "trials": workspace.write_json("trials.json", trials),
            "out_of_fold": workspace.write_frame("out_of_fold", pd.DataFrame(scored)),
            "model": save_model(workspace.store, f"{workspace.folder}/model", model, producer=workspace.stage),
            "folds": cell.folds,
        },
        values={**told, "failed": None, "trials": trials, "search": _search_told(cell, found)},
        summary=_summary(cell, told, found),
        records=records,
    )


def _search_told(cell: _Cell, found: Search) -> dict[str, Any]:
    declared, own = cell.use_case.train.search, [trial for trial in found.trials if not trial.earlier]
    return {
        "strategy": declared.strategy,
        "objective": declared.objective,
        "planned": found.planned,
        "tried": len(own),
        "stopped": found.stopped,
        "reproducible": not (found.stopped and declared.budget.depends_on_time),
        "warm_start": declared.warm_start.model_dump() if declared.warm_start else None,
        "identity": _identity(cell),
    }


def _summary(cell: _Cell, told: dict[str, Any], found: Search) -> str:
    declared = cell.use_case.train.search
    parameters = ", ".join(f"{name}={value}" for name, value in told["parameters"].items()) or "no parameters"
    own = [trial for trial in found.trials if not trial.earlier]
    fits = sum(trial.shares_fit_of is None for trial in own)
    cost = f"{len(own)} candidates from {fits} fits a fold"
    parts = [f"{told['sampler']} × {told['model']}: {told['metric']} {told['score']:.4f} with {parameters} ({cost})"]
    if declared.objective == "training":
        parts.append("judged on the rows that it was fitted on, as asked")
    if found.stopped:
        parts.append(found.stopped)
    if found.stopped and declared.budget.depends_on_time:
        parts.append("on another machine it ends elsewhere")
    return "; ".join(parts)


def _failed(sampler: str, model: str, reason: str, records: tuple[Record, ...] = ()) -> StageResult:
    values = {"sampler": sampler, "model": model, "failed": reason}
    return StageResult(values=values, summary=f"{sampler} × {model} failed: {reason}", records=records)


def _identity(cell: _Cell) -> dict[str, Any]:
    declared = cell.use_case.train.models[cell.algorithm.name]
    searched = {"grid": True, "space": True}
    return {
        "rows": cell.rows.digest,
        "folds": cell.folds.digest,
        "sampler": cell.sampler,
        "model": cell.algorithm.name,
        "declared": declared.model_dump(mode="json", exclude={**searched, "algorithms": {"__all__": searched}}),
        "metric": cell.metric.name,
        "seed": cell.use_case.train.seed,
        "objective": cell.use_case.train.search.objective,
    }
