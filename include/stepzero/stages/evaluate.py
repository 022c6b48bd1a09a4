"""Judge every tuned cell on untouched rows, choose the winner by out-of-fold scores, and watch for leaks."""

from __future__ import annotations

from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from stepzero.adapters.datasets import commit_dataset
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import StageError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Record, StageInput, StageResult, stage
from stepzero.core.verdict import Verdict
from stepzero.learning import sentinels
from stepzero.learning.evaluation import (
    Cell,
    choose_threshold,
    choose_winner,
    judge_promotion,
    measure,
    table_text,
)
from stepzero.learning.folds import Fold, make_fold, read_fold
from stepzero.learning.metrics import make_metric
from stepzero.learning.model import load_model, save_model
from stepzero.learning.pictures import evaluation_pictures
from stepzero.learning.table import Table, make_table


@stage(
    sections=("problem", "pipeline", "split", "weight", "train.metric", "train.seed", "evaluate", "promote"),
    architecture_matters=True,
)
def evaluate(use_case: Any, inputs: dict[str, Any], workspace: Workspace) -> StageResult:
    """Return the table of all cells, the winner with its threshold, the sentinels' findings and the gates' verdict."""
    prepared: StageInput = inputs["prepared"]
    tuned: list[StageInput] = inputs["tuned"]
    train, test = (
        make_table(workspace.read_frame(prepared.output(side)), use_case.problem, use_case.weight)
        for side in ("train", "test")
    )
    living = [one for one in tuned if not one.values.get("failed")]
    _must_live(living, tuned)
    with threadpool_limits(limits=1):
        cells = [_judge(one, use_case, train, test, workspace, f"{i}/{len(living)}") for i, one in enumerate(living, 1)]
        winner = choose_winner(cells, make_metric(use_case.train.metric))
        findings = _watch(use_case, prepared, living, cells, train, test, workspace)
    rows = [cell.row() for cell in cells] + [_failed_row(one) for one in tuned if one.values.get("failed")]
    verdict = judge_promotion(winner, test, use_case.promote, findings)
    text = table_text(rows, winner)
    workspace.log.info("on %d untouched rows:\n%s", len(test.target), text)
    outputs = _write(cells, winner, train, test, rows, text, workspace)
    return StageResult(
        outputs=outputs,
        values={"table": rows, "winner": _told(winner), "sentinels": [finding.to_json() for finding in findings]},
        verdict=verdict,
        summary=verdict.sentence(),
        records=_records(winner, verdict, findings),
    )


def _must_live(living: list[StageInput], tuned: list[StageInput]) -> None:
    if not living:
        reasons = {str(one.values.get("failed")) for one in tuned}
        raise StageError(
            "tuned cells to evaluate",
            value=bare(f"none of {len(tuned)} lived: {'; '.join(sorted(reasons))}"),
            allowed="at least one",
            action="see the logs of the tune tasks, correct the use case, start a new run",
        )


def _judge(one: StageInput, use_case: Any, train: Table, test: Table, workspace: Workspace, number: str) -> Cell:
    values = one.values
    out_of_fold = workspace.read_frame(one.output("out_of_fold"))
    model = load_model(workspace.store, one.output("model"))
    score = model.score(test.features)
    threshold = choose_threshold(out_of_fold, train)
    workspace.log.info("judged %s: %s × %s", number, values["sampler"], values["model"])
    return Cell(
        sampler=values["sampler"],
        model=values["model"],
        parameters=values["parameters"],
        score=values["score"],
        threshold=threshold,
        metrics=measure(score, threshold, test, use_case.evaluate, use_case.train.seed),
        test_score=score,
        out_of_fold=out_of_fold,
        reference=one.output("model"),
    )


def _watch(
    use_case: Any,
    prepared: StageInput,
    living: list[StageInput],
    cells: list[Cell],
    train: Table,
    test: Table,
    workspace: Workspace,
) -> list[sentinels.Finding]:
    """Run all leak sentinels: one stored fold of each sampler is made again from its training rows alone."""
    found = [
        sentinels.check_counts(test, _counted(prepared, use_case)),
        sentinels.check_rows(train, test, [cell.out_of_fold for cell in cells]),
    ]
    if use_case.split.by == "row":
        found.append(sentinels.check_prevalence(train, test))
    for one in {str(one.values["sampler"]): one for one in living}.values():
        sampler = str(one.values["sampler"])

        def again(name: str, table: Table, sampler: str = sampler) -> Fold:
            return make_fold(name, table, use_case.pipeline, sampler, use_case.train.seed)

        fold = read_fold(workspace.store, one.output("folds"), str(train.folds[0]))
        named = [sentinels.check_fold(fold, train, again), sentinels.check_shuffled(train, again, seed=7)]
        found += [finding.named(f"{finding.name}, {sampler}") for finding in named]
    for finding in found:
        passed = "passed" if finding.passed else "ALARM"
        workspace.log.info("sentinel %s %s: %s (allowed: %s)", finding.name, passed, finding.observed, finding.bound)
    return found


def _counted(prepared: StageInput, use_case: Any) -> dict[str, int] | None:
    """Return what preparation counted on the held-out side."""
    classes = prepared.values.get("test")
    if classes is None:
        return None
    return {"positive": int(classes.get(str(use_case.problem.positive), 0)), "rows": sum(classes.values())}


def _told(winner: Cell) -> dict[str, Any]:
    return {
        "sampler": winner.sampler,
        "model": winner.model,
        "parameters": winner.parameters,
        "threshold": winner.threshold,
        "out_of_fold_score": winner.score,
        "metrics": {name: interval.to_json() for name, interval in winner.metrics.items()},
    }


def _failed_row(one: StageInput) -> dict[str, Any]:
    return {"sampler": one.values["sampler"], "model": one.values["model"], "failed": one.values["failed"]}


def _write(
    cells: list[Cell],
    winner: Cell,
    train: Table,
    test: Table,
    rows: list[dict[str, Any]],
    text: str,
    workspace: Workspace,
) -> dict[str, Reference]:
    scored = {"_row_id": test.row_ids, "target": test.target, "weight": test.weight, "score": winner.test_score}
    workspace.write_file("table.txt", text + "\n")
    return {
        "model": _write_model(winner, workspace),
        "table": workspace.write_json("table.json", rows),
        "training_rows": workspace.write_frame("training_rows", pd.DataFrame({"_row_id": train.row_ids})),
        "test_scores": workspace.write_frame("test_scores", pd.DataFrame(scored)),
        "pictures": _write_pictures(evaluation_pictures(cells, winner, train, test), workspace),
    }


def _write_model(winner: Cell, workspace: Workspace) -> Reference:
    model = load_model(workspace.store, winner.reference)
    metadata = {**model.metadata, "metrics": {name: value.to_json() for name, value in winner.metrics.items()}}
    chosen = model.replaced(threshold=winner.threshold, metadata=metadata)
    return save_model(workspace.store, f"{workspace.folder}/model", chosen, producer=workspace.stage)


def _write_pictures(pictures: dict[str, bytes], workspace: Workspace) -> Reference:
    for name, data in pictures.items():
        workspace.write_file(f"pictures/{name}", data)
    folder = f"{workspace.folder}/pictures"
    return commit_dataset(workspace.store, folder, rows=None, schema=[], producer=workspace.stage)


def _records(winner: Cell, verdict: Verdict, findings: list[sentinels.Finding]) -> tuple[Record, ...]:
    pictures = ("table.png", "precision_recall.png", "roc.png", "confusion.png", "threshold.png")
    metrics = {name: interval.value for name, interval in winner.metrics.items()}
    metrics |= {f"{name}.low": interval.low for name, interval in winner.metrics.items()}
    metrics |= {f"{name}.high": interval.high for name, interval in winner.metrics.items()}
    alarms = sum(not finding.passed for finding in findings)
    return (
        Record(
            parameters={"winner.sampler": winner.sampler, "winner.model": winner.model},
            metrics=metrics | {"threshold": winner.threshold, "sentinel_alarms": float(alarms)},
            tags={"winner": winner.name, "promotion_verdict": str(verdict.outcome)},
            files={
                **{f"evaluation/{name}": f"pictures/{name}" for name in pictures},
                "evaluation/table.txt": "table.txt",
                "evaluation/table.json": "table.json",
            },
        ),
    )
