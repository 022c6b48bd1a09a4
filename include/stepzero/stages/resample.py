"""Resample the training rows of every fold, once, for all trials that will read them."""

from __future__ import annotations

from typing import Any

from stepzero.adapters.workspace import Workspace
from stepzero.core.stages import Record, StageInput, StageResult, stage
from stepzero.learning.folds import ALL, commit_folds, fold_names, make_fold, removed_outliers, write_fold
from stepzero.learning.table import Table, make_table


@stage(sections=("problem", "pipeline", "weight", "train.seed"), architecture_matters=True)
def resample(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Write, for each fold and for all training rows, transformer, kept rows and synthetic rows.

    Where outliers are removed, it says of each fold how many rows went, and by which bounds.

    A sampler that cannot work on these rows is a result with its reason: the other samplers go on.
    """
    sampler = workspace.parameters["sampler"]
    reference = inputs["prepared"].output("train")
    table = make_table(workspace.read_frame(reference), use_case.problem, use_case.weight)
    names = fold_names(table)
    folder = f"{workspace.folder}/folds"
    counts: dict[str, dict[str, int]] = {}
    for number, name in enumerate(names, start=1):
        try:
            fold = make_fold(name, table, use_case.pipeline, sampler, use_case.train.seed)
        except Exception as error:
            workspace.log.warning("sampler %s failed on fold %s", sampler, name, exc_info=True)
            return _failed(sampler, f"fold {name}: {type(error).__name__}: {error}")
        write_fold(workspace.store, folder, fold)
        counts[name] = fold.counts(table)
        workspace.progress(number, len(names), f"sampler {sampler}, fold {name}: {_told(counts[name])}")
    folds = commit_folds(
        workspace.store, folder, names=names, sampler=sampler, table=reference, producer=workspace.stage
    )
    removed = {}
    if any(use_case.pipeline.outliers.values()):
        removed = {name: removed_outliers(name, table, use_case.pipeline) for name in names}
        workspace.write_json("outliers.json", removed)
    return StageResult(
        outputs={"folds": folds},
        values={"sampler": sampler, "failed": None, "folds": counts, **({"outliers": removed} if removed else {})},
        summary=f"{sampler}: {_told(counts[ALL])}{_told_outliers(removed)}",
        records=(_record(sampler, table, counts[ALL], removed),),
    )


def _failed(sampler: str, reason: str) -> StageResult:
    values = {"sampler": sampler, "failed": reason}
    record = Record(tags={f"resample.{sampler}.failed": reason[:500]})
    return StageResult(values=values, summary=f"{sampler} failed: {reason}", records=(record,))


def _told(counts: dict[str, int]) -> str:
    if "rows" in counts:
        return f"{counts['rows']} rows, as they are"
    before = f"{counts['positive_before']} positive and {counts['negative_before']} negative rows"
    after = f"{counts['positive_after']} and {counts['negative_after']}"
    made = f" ({counts['synthetic']} synthetic)" if counts["synthetic"] else ""
    return f"{before} became {after}{made}"


def _told_outliers(removed: dict[str, Any]) -> str:
    if not removed:
        return ""
    everywhere, each = removed[ALL], [one["rows"] for name, one in removed.items() if name != ALL]
    span = f"{min(each)} to {max(each)} in a fold"
    return f"; {everywhere['rows']} of {everywhere['positives']} positive rows removed as outliers, {span}"


def _record(sampler: str, table: Table, counts: dict[str, int], removed: dict[str, Any]) -> Record:
    metrics = {f"resample.{sampler}.{name}": float(count) for name, count in counts.items()}
    metrics |= {f"resample.{sampler}.outliers.{name}": float(one["rows"]) for name, one in removed.items()}
    files = {f"resample/{sampler}-outliers.json": "outliers.json"} if removed else {}
    return Record(metrics=metrics, parameters={"features": str(table.features.shape[1])}, files=files)
