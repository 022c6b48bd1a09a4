"""The verdict on models that answered through their endpoints: all test rows decide, three are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stepzero.adapters.datasets import commit_dataset
from stepzero.core.errors import StageError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Record, StageInput, StageResult, stage
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.learning.model import load_model
from stepzero.learning.regression_pictures import errors_picture, predictions_picture, table_picture, toss_picture
from stepzero.learning.rivals import TRIALS, Contest, coin_toss, judge, tosses_of_more_rows
from stepzero.learning.table import entities_of
from stepzero.measures.regression import REGRESSIONS
from stepzero.spec.kinds import SMALL_IS_GOOD

if TYPE_CHECKING:
    import pandas as pd

    from stepzero.adapters.workspace import Workspace
    from stepzero.learning.model import ScoringModel
    from stepzero.measures.checks import Floats

_KEPT = ("sampler", "model", "parameters", "score")


@stage(
    sections=("problem", "compare.metric", "compare.tie", "evaluate", "promote", "train.seed"),
    architecture_matters=True,
)
def compare_endpoints(use_case: Any, inputs: dict[str, Any], workspace: Workspace) -> StageResult:
    """Say who won, by how much and how sure that is; the winner's model takes the place of what `evaluate` chose.

    Rows of the validation part, which chose nothing, say how good the winner is besides.

    Raises:
        StageError: No model answered, or they did not predict the same rows.
    """
    asked: list[StageInput] = inputs["asked"]
    predictions, rows = _same_rows(asked, workspace)
    target = rows[use_case.problem.target].to_numpy(dtype=np.float64)
    evaluate = use_case.evaluate
    options = {"confidence": evaluate.confidence, "draws": evaluate.bootstrap, "seed": use_case.train.seed}
    declared = use_case.compare
    contest = judge(predictions, target, metric=declared.metric, tie=declared.tie, entity=entities_of(rows), **options)
    won = next(one for one in asked if one.values["model"] == contest.winner)
    model = load_model(workspace.store, Reference.from_json(won.values["reference"]))
    evaluated: StageInput = inputs["evaluated"]
    verdict = _verdict(contest, evaluated, use_case)
    toss = _toss(contest, predictions, target, use_case.train.seed)
    untouched = _untouched(model, inputs["prepared"], use_case, workspace)
    for sentence in (contest.sentence(), toss["sentence"], untouched.get("sentence", "")):
        if sentence:
            workspace.log.info("%s", sentence)
    outputs = _write(contest, toss, predictions, target, rows, use_case, workspace)
    outputs |= {"model": Reference.from_json(won.values["reference"])}
    outputs |= {"training_rows": evaluated.output("training_rows")}
    values = {
        "table": [_row(one, contest) for one in asked],
        "winner": _winner(won, contest),
        "comparison": contest.sentence(),
        "contest": contest.to_json() | {"coin_toss": toss},
        "untouched": untouched,
        "shown": {one.values["model"]: one.values["shown"] for one in asked},
        "sentinels": evaluated.values["sentinels"],
    }
    return StageResult(
        outputs=outputs, values=values, verdict=verdict, summary=contest.sentence(), records=(_record(contest, toss),)
    )


def _same_rows(asked: list[StageInput], workspace: Workspace) -> tuple[dict[str, Floats], pd.DataFrame]:
    frames = {one.values["model"]: workspace.read_frame(one.output("predictions")) for one in asked}
    if not frames:
        raise StageError(
            "models to compare", value=bare("none answered"), allowed="at least one", action="see the tasks before"
        )
    first = next(iter(frames.values()))
    for name, frame in frames.items():
        if frame["_row_id"].tolist() != first["_row_id"].tolist():
            raise StageError(
                f"predictions of {name}",
                value=bare("of other rows, or in another order"),
                allowed="the same test rows for every model",
                action="clear the tasks that ask the endpoints",
            )
    predicted = {name: frame["predicted"].to_numpy(dtype=np.float64) for name, frame in frames.items()}
    return predicted, first.drop(columns="predicted")


def _verdict(contest: Contest, evaluated: StageInput, use_case: Any) -> Verdict:
    """Ask the winner what `promote` requires; a leak that `evaluate` saw stays one, whoever wins."""
    leaks = [
        Reason(rule=f"sentinel {one['name']}", column=None, observed=one["observed"], bound=one["bound"])
        for one in evaluated.values["sentinels"]
        if not one["passed"]
    ]
    short = [
        reason
        for name, bound in use_case.promote.require.items()
        if (reason := _short(name, bound, contest)) is not None
    ]
    reasons = (*leaks, *short)
    subject = contest.sentence().rstrip(".")
    return Verdict(outcome=Outcome.FAIL if reasons else Outcome.PASS, subject=subject, reasons=reasons)


def _short(name: str, bound: float, contest: Contest) -> Reason | None:
    found = contest.figures[contest.winner].get(name)
    small = name in SMALL_IS_GOOD
    if found is not None and (found.value <= bound if small else found.value >= bound):
        return None
    observed = f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]" if found else "not measured"
    return Reason(
        rule=f"require {name}", column=None, observed=observed, bound=f"at {'most' if small else 'least'} {bound}"
    )


def _toss(contest: Contest, predictions: dict[str, Floats], target: Floats, seed: int) -> dict[str, Any]:
    """Say what random rows would have said of the winner and its nearest rival: three, as the reference example has."""
    nearest = min(contest.rivals, key=lambda rival: rival.difference, default=None)
    other = contest.best if contest.winner != contest.best else (nearest.name if nearest else None)
    if other is None or not (target > 0).all():
        return {"sentence": ""}
    pair = predictions[contest.winner], predictions[other]
    chance = coin_toss(*pair, target, seed=seed)
    by_rows = {str(rows): found for rows, found in tosses_of_more_rows(*pair, target, seed=seed).items()}
    sentence = (
        f"Three random rows each would have let {contest.winner} win over {other} with a probability of {chance:.2f}."
    )
    return {"against": other, "probability": chance, "by_rows": by_rows | {str(TRIALS): chance}, "sentence": sentence}


def _untouched(model: ScoringModel, prepared: StageInput, use_case: Any, workspace: Workspace) -> dict[str, Any]:
    """Measure the winner on the validation part, where there is one: the test rows chose it."""
    if "validation" not in prepared.outputs:
        return {}
    rows = workspace.read_frame(prepared.output("validation"))
    target = rows[use_case.problem.target].to_numpy(dtype=np.float64)
    predicted = model.score(rows)
    found = {name: float(REGRESSIONS[name](target, predicted)) for name in ("rmse", "mae", "r2")}
    told = f"On {len(rows)} rows that chose nothing its RMSE is {found['rmse']:.3f} and its MAE {found['mae']:.3f}."
    return {"rows": len(rows), **found, "sentence": told}


def _row(one: StageInput, contest: Contest) -> dict[str, Any]:
    figures = contest.figures[one.values["model"]]
    named = {name: one.values[name] for name in ("sampler", "model", "parameters")}
    more = {"failed": None, "out_of_fold_score": one.values["score"], "threshold": None}
    return {**named, **more, **{name: interval.to_json() for name, interval in figures.items()}}


def _winner(won: StageInput, contest: Contest) -> dict[str, Any]:
    kept = {name: won.values[name] for name in _KEPT}
    metrics = {name: interval.to_json() for name, interval in contest.figures[contest.winner].items()}
    return {
        **kept,
        "out_of_fold_score": kept.pop("score"),
        "threshold": None,
        "prior": None,
        "metrics": metrics,
        "also": {},
    }


def _write(
    contest: Contest,
    toss: dict[str, Any],
    predictions: dict[str, Floats],
    target: Floats,
    rows: pd.DataFrame,
    use_case: Any,
    workspace: Workspace,
) -> dict[str, Reference]:
    ordered = {name: predictions[name] for name in sorted(predictions, key=lambda name: name != contest.winner)}
    figures = {name: contest.figures[name] for name in ordered}
    drawn = {
        "table.png": table_picture(figures, contest.winner),
        "predictions.png": predictions_picture(ordered, target, use_case.problem.target),
        "errors.png": errors_picture(ordered, target, use_case.problem.target),
    }
    if "by_rows" in toss:
        chances = {int(rows): chance for rows, chance in toss["by_rows"].items()}
        drawn["coin_toss.png"] = toss_picture(contest, (contest.winner, toss["against"]), chances)
    for name, data in drawn.items():
        workspace.write_file(f"pictures/{name}", data)
    folder = f"{workspace.folder}/pictures"
    scored = rows.rename(columns={use_case.problem.target: "target"}).assign(
        weight=1.0, score=predictions[contest.winner]
    )
    return {
        "pictures": commit_dataset(workspace.store, folder, rows=None, schema=[], producer=workspace.stage),
        "test_scores": workspace.write_frame("test_scores", scored),
        "comparison": workspace.write_json("comparison.json", _comparison(contest)),
    }


def _comparison(contest: Contest) -> dict[str, Any]:
    """Return the contest in the words of the dossier, which compares with the promoted one."""
    others = [
        {"sampler": "none", "model": rival.name, "difference": rival.difference, "low": rival.low, "high": rival.high,
         "p": rival.p, "p_adjusted": rival.p_adjusted, "finding": rival.finding}
        for rival in contest.rivals
        if contest.winner == contest.best
    ]  # fmt: skip
    return {**contest.to_json(), "cells": others}


def _record(contest: Contest, toss: dict[str, Any]) -> Record:
    metrics = {
        f"endpoint.{name}.{metric}": interval.value
        for name, found in contest.figures.items()
        for metric, interval in found.items()
    }
    names = ["table", "predictions", "errors"]
    if "by_rows" in toss:
        metrics["three_rows_would_agree"] = toss["probability"]
        names += ["coin_toss"]
    return Record(
        tags={"contest": contest.sentence(), "contest.winner": contest.winner},
        metrics=metrics,
        files={**{f"comparison/{name}.png": f"pictures/{name}.png" for name in names},
               "comparison/comparison.json": "comparison.json"},
    )  # fmt: skip
