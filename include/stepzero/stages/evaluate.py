"""Judge every tuned cell on untouched rows, choose the winner by out-of-fold scores, and watch for leaks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from stepzero.adapters.datasets import commit_dataset, manifest_of
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import StageError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Record, StageInput, StageResult, stage
from stepzero.core.verdict import Verdict
from stepzero.learning import sentinels
from stepzero.learning.evaluation import (
    UNCORRECTED,
    Cell,
    choose_threshold,
    judge_promotion,
    make_prior,
    measure,
    table_metrics,
    table_text,
)
from stepzero.learning.folds import ALL, Fold, fold_names, learn_fold, make_fold, read_fold
from stepzero.learning.metrics import make_metric
from stepzero.learning.model import ScoringModel, load_model, save_model
from stepzero.learning.pictures import evaluation_pictures
from stepzero.learning.prior import gives_probabilities
from stepzero.learning.probability_pictures import brier_lines, calibration
from stepzero.learning.regression_pictures import regression_pictures
from stepzero.learning.selection import Choice, Comparisons, choose, compare_cells, fold_scores
from stepzero.learning.table import Table, make_table


@stage(
    sections=("problem", "pipeline", "split", "weight", "train.metric", "train.seed", "evaluate", "promote"),
    architecture_matters=True,
    # The tree is drawn by Graphviz where it is installed.
    tools=("dot",),
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
        judged = _select(cells, use_case, train, test)
        findings = _watch(use_case, prepared, living, cells, train, test, workspace)
        explained = _explain(judged.winner, use_case, train, test, workspace)
    judged.rows.extend(_failed_row(one) for one in tuned if one.values.get("failed"))
    verdict = judge_promotion(judged.winner, test, use_case.promote, findings)
    workspace.log.info("on %d untouched rows:\n%s", len(test.target), judged.text())
    for sentence in explained.sentences:
        workspace.log.info("%s", sentence)
    outputs = _write(judged, train, test, explained, use_case, workspace)
    return StageResult(
        outputs=outputs,
        values={
            "table": judged.rows,
            "winner": _told(judged.winner),
            "choice": judged.choice.to_json(),
            "comparison": judged.comparisons.sentence(),
            "sentinels": [finding.to_json() for finding in findings],
        },
        verdict=verdict,
        summary=verdict.sentence(),
        records=_records(judged, verdict, findings, outputs, workspace),
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


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """The table with what is said of it."""

    cells: list[Cell]
    rows: list[dict[str, Any]]
    choice: Choice
    comparisons: Comparisons

    @property
    def winner(self) -> Cell:
        return self.choice.promoted

    def text(self) -> str:
        """Return the table, how the winner was chosen, and what can be said of the others."""
        return f"{table_text(self.rows, self.winner)}\n\n{self.choice.sentence()}\n{self.comparisons.sentence()}"


@dataclass(frozen=True, kw_only=True)
class _Explained:
    """Pictures and files that explain the winner; empty where the use case does not ask."""

    pictures: dict[str, bytes] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()


def _select(cells: list[Cell], use_case: Any, train: Table, test: Table) -> _Judged:
    """Choose by out-of-fold scores; compare on held-out rows, which choose nothing."""
    choice = choose(cells, train, make_metric(use_case.train.metric), use_case.evaluate)
    asked = use_case.train.metric, use_case.evaluate, use_case.train.seed
    comparisons = compare_cells(choice.promoted, cells, test, *asked)
    return _Judged(cells=cells, rows=[cell.row() for cell in cells], choice=choice, comparisons=comparisons)


def _judge(one: StageInput, use_case: Any, train: Table, test: Table, workspace: Workspace, number: str) -> Cell:
    values = one.values
    frame = workspace.read_frame(one.output("out_of_fold"))
    model = _with_prior(load_model(workspace.store, one.output("model")), one, use_case, train, workspace)
    raw = model.replaced(prior=None).score(test.features)
    score = model.prior.correct(raw) if model.prior else raw
    learned = frame["score"].to_numpy()
    corrected = model.prior.correct(learned) if model.prior else learned
    out_of_fold = frame.assign(**{UNCORRECTED: learned, "score": corrected})
    threshold = choose_threshold(out_of_fold, train, use_case.evaluate.threshold)
    uncorrected = raw if gives_probabilities(model.estimator) else None
    measured = measure(score, threshold, test, use_case.evaluate, use_case.train.seed, uncorrected)
    workspace.log.info("judged %s: %s × %s", number, values["sampler"], values["model"])
    shown = table_metrics(test)
    cell = Cell(
        sampler=values["sampler"],
        model=values["model"],
        parameters=values["parameters"],
        score=values["score"],
        threshold=threshold,
        metrics={name: measured[name] for name in shown},
        also={name: interval for name, interval in measured.items() if name not in shown},
        test_score=score,
        uncorrected=uncorrected,
        out_of_fold=out_of_fold,
        reference=one.output("model"),
        prior=model.prior,
    )
    return replace(cell, fold_scores=fold_scores(cell, train, make_metric(use_case.train.metric)))


def _with_prior(
    model: ScoringModel, one: StageInput, use_case: Any, train: Table, workspace: Workspace
) -> ScoringModel:
    """Return a model whose probabilities are brought back to the true share of positives, where that is asked for."""
    if not use_case.evaluate.prior_correction or not gives_probabilities(model.estimator):
        return model
    everything = read_fold(workspace.store, one.output("folds"), ALL)
    weighted = bool(model.metadata.get("sample_weight"))
    return model.replaced(prior=make_prior(everything, train, model.estimator, sample_weight=weighted))


def _explain(winner: Cell, use_case: Any, train: Table, test: Table, workspace: Workspace) -> _Explained:
    """Draw the tree and explain rows, as far as the use case asks; shap costs seconds to import."""
    asked = use_case.evaluate.explain
    model = _chosen(winner, workspace) if asked else None
    if model is None:
        return _Explained()
    pictures, told, sentences = dict[str, bytes](), dict[str, Any](), list[str]()
    if "tree" in asked:
        from stepzero.learning.trees import make_tree, tree_picture, tree_text

        tree = make_tree(model, train, test, use_case.train.seed)
        pictures["tree.png"] = tree_picture(tree)
        told["tree"] = {"title": tree.title, "fidelity": tree.fidelity, "text": tree_text(tree)}
    if "shap" in asked:
        from stepzero.learning.explanation import Explanation, explain
        from stepzero.learning.explanation_pictures import explanation_pictures

        try:
            found = explain(model, test, train, use_case.train.seed)
        except Exception as error:
            # A class of somebody's own may be one that shap cannot take; the model is no worse for it.
            workspace.log.warning("%s cannot be explained", winner.name, exc_info=True)
            found = Explanation(unavailable=f"SHAP failed on {winner.model}: {type(error).__name__}: {error}")
        pictures |= explanation_pictures(found)
        told["shap"] = found.to_json()
        sentences.append(found.sentence())
    return _Explained(pictures=pictures, told=told, sentences=tuple(sentences))


def _watch(
    use_case: Any,
    prepared: StageInput,
    living: list[StageInput],
    cells: list[Cell],
    train: Table,
    test: Table,
    workspace: Workspace,
) -> list[sentinels.Finding]:
    """Run all leak sentinels."""
    found = [
        sentinels.check_counts(test, _counted(prepared, use_case)),
        sentinels.check_rows(train, test, [cell.out_of_fold for cell in cells]),
    ]
    if use_case.split.by == "row":
        alike = sentinels.check_mean if train.is_regression else sentinels.check_prevalence
        found.append(alike(train, test))
    if use_case.split.by == "time":
        found.append(sentinels.check_time(train, test, gap_days=use_case.split.gap_days))
    if use_case.split.entity or use_case.split.by not in {"row", "time"}:
        found.append(sentinels.check_entities(train, test))
    found += _watch_folds(use_case, living, train, workspace)
    for finding in found:
        passed = "passed" if finding.passed else "ALARM"
        workspace.log.info("sentinel %s %s: %s (allowed: %s)", finding.name, passed, finding.observed, finding.bound)
    return found


def _watch_folds(
    use_case: Any, living: list[StageInput], train: Table, workspace: Workspace
) -> list[sentinels.Finding]:
    """Make every stored fold again, and ``all``, from its training rows alone; what is learned is learned once."""
    stored = {str(one.values["sampler"]): one.output("folds") for one in living}
    checked: dict[str, list[sentinels.Finding]] = {sampler: [] for sampler in stored}
    for name in fold_names(train):
        learned = learn_fold(ALL, sentinels.training_alone(train, name), use_case.pipeline)
        for sampler, folds in stored.items():
            again = learned.resampled(sampler, use_case.train.seed)
            checked[sampler].append(sentinels.check_fold(read_fold(workspace.store, folds, name), train, again))
    found = []
    for sampler, one in checked.items():

        def make(name: str, table: Table, sampler: str = sampler) -> Fold:
            return make_fold(name, table, use_case.pipeline, sampler, use_case.train.seed)

        both = [sentinels.check_folds(one), sentinels.check_shuffled(train, make, seed=7)]
        found += [finding.named(f"{finding.name}, {sampler}") for finding in both]
    return found


def _counted(prepared: StageInput, use_case: Any) -> dict[str, int] | None:
    """Return what preparation counted on the held-out side: classes, or at least the rows that it wrote."""
    classes = prepared.values.get("test")
    if classes is None:
        rows = prepared.output("test").rows
        return None if rows is None else {"rows": rows}
    if use_case.problem.kind == "regression":
        return {"rows": sum(classes.values())}
    return {"positive": int(classes.get(str(use_case.problem.positive), 0)), "rows": sum(classes.values())}


def _told(winner: Cell) -> dict[str, Any]:
    return {
        "sampler": winner.sampler,
        "model": winner.model,
        "parameters": winner.parameters,
        "threshold": winner.threshold,
        "out_of_fold_score": winner.score,
        "prior": winner.prior.to_json() if winner.prior else None,
        "metrics": {name: interval.to_json() for name, interval in winner.metrics.items()},
        "also": {name: interval.to_json() for name, interval in winner.also.items()},
    }


def _failed_row(one: StageInput) -> dict[str, Any]:
    return {"sampler": one.values["sampler"], "model": one.values["model"], "failed": one.values["failed"]}


def _write(
    judged: _Judged, train: Table, test: Table, explained: _Explained, use_case: Any, workspace: Workspace
) -> dict[str, Reference]:
    winner = judged.winner
    scored = {"_row_id": test.row_ids, "target": test.target, "weight": test.weight, "score": winner.test_score}
    drawn = _drawn(judged, train, test, use_case) | explained.pictures
    workspace.write_file("table.txt", judged.text() + "\n")
    outputs = {
        "model": _write_model(winner, workspace),
        "table": workspace.write_json("table.json", judged.rows),
        "training_rows": workspace.write_frame("training_rows", pd.DataFrame({"_row_id": train.row_ids})),
        "test_scores": workspace.write_frame("test_scores", pd.DataFrame(scored)),
        "pictures": _write_pictures(drawn, workspace),
        "comparison": workspace.write_json("comparison.json", judged.comparisons.to_json()),
    }
    if not test.is_regression:
        outputs["calibration"] = workspace.write_json("calibration.json", _calibration(judged, test))
    if explained.told:
        outputs["explanation"] = workspace.write_json("explanation.json", explained.told)
    return outputs


def _drawn(judged: _Judged, train: Table, test: Table, use_case: Any) -> dict[str, bytes]:
    if test.is_regression:
        return regression_pictures(judged.cells, judged.winner, test, use_case.problem.target)
    return evaluation_pictures(judged.cells, judged.winner, train, test, use_case.evaluate.threshold)


def _calibration(judged: _Judged, test: Table) -> dict[str, Any]:
    curves = {
        name: {part: values.tolist() for part, values in curve._asdict().items()}
        for name, curve in calibration(judged.winner, test).items()
    }
    return {"winner": judged.winner.name, "curves": curves, "cells": brier_lines(judged.cells)}


def _chosen(winner: Cell, workspace: Workspace) -> ScoringModel:
    model = load_model(workspace.store, winner.reference)
    metadata = {**model.metadata, "metrics": {name: value.to_json() for name, value in winner.metrics.items()}}
    return model.replaced(threshold=winner.threshold, prior=winner.prior, metadata=metadata)


def _write_model(winner: Cell, workspace: Workspace) -> Reference:
    folder = f"{workspace.folder}/model"
    return save_model(workspace.store, folder, _chosen(winner, workspace), producer=workspace.stage)


def _write_pictures(pictures: dict[str, bytes], workspace: Workspace) -> Reference:
    for name, data in pictures.items():
        workspace.write_file(f"pictures/{name}", data)
    folder = f"{workspace.folder}/pictures"
    return commit_dataset(workspace.store, folder, rows=None, schema=[], producer=workspace.stage)


def _records(
    judged: _Judged,
    verdict: Verdict,
    findings: list[sentinels.Finding],
    outputs: dict[str, Reference],
    workspace: Workspace,
) -> tuple[Record, ...]:
    winner = judged.winner
    drawn = [file["uri"].rpartition("/")[2] for file in manifest_of(workspace.store, outputs["pictures"])["files"]]
    told = [one.uri.rpartition("/")[2] for one in outputs.values() if one.kind == "file"]
    measured = {**winner.metrics, **winner.also}
    metrics = {name: interval.value for name, interval in measured.items()}
    metrics |= {f"{name}.low": interval.low for name, interval in measured.items()}
    metrics |= {f"{name}.high": interval.high for name, interval in measured.items()}
    alarms = sum(not finding.passed for finding in findings)
    metrics |= {"threshold": winner.threshold} if winner.threshold is not None else {}
    return (
        Record(
            parameters={"winner.sampler": winner.sampler, "winner.model": winner.model},
            metrics=metrics | {"sentinel_alarms": float(alarms)},
            tags={
                "winner": winner.name,
                "promotion_verdict": str(verdict.outcome),
                "winner.choice": judged.choice.sentence(),
                "winner.comparison": judged.comparisons.sentence(),
            },
            files={
                **{f"evaluation/{name}": f"pictures/{name}" for name in drawn},
                **{f"evaluation/{name}": name for name in ("table.txt", *told)},
            },
        ),
    )
