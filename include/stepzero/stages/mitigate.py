"""Mitigate bias by a declared method, and show what that does to every metric, better or worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import SpecError, StageError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Record, StageInput, StageResult, stage
from stepzero.learning.bias import (
    find_groups,
    is_favourable,
    report_after,
    report_before,
)
from stepzero.learning.bias_comparison import (
    Change,
    compare_reports,
    comparison_picture,
    comparison_text,
    counts_sentence,
)
from stepzero.learning.prior import Prior
from stepzero.learning.table import COPIES, FIT_WEIGHT, training_weight
from stepzero.measures.checks import Booleans, Floats
from stepzero.measures.mitigation import matching_threshold, oversampling, reweighing


@stage(sections=("problem", "bias"), architecture_matters=True)
def mitigate(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Return training rows that are weighed or repeated, or thresholds of each group, and all metrics side by side.

    Reweighing and oversampling stand between `prepare` and `train`: the result has the outputs of `prepare`, held-out
    rows as they were. Only fits see the weights and copies; metrics and validation rows count as before.

    Thresholds stand after `evaluate` and need its input ``tuned`` too: they are chosen on out-of-fold scores and
    measured on untouched rows. They are figures for whoever decides: the model that is registered keeps its one.

    Raises:
        SpecError: There is no bias.mitigate section.
    """
    if use_case.bias is None or use_case.bias.mitigate is None:
        raise SpecError(
            f"{use_case.name}: bias.mitigate",
            value=bare("none"),
            allowed="a method and a facet: mitigate: {method: reweighing, facet: ...}",
            action="add it, or take the stage out of the DAG",
        )
    if use_case.bias.mitigate.method == "thresholds":
        return _thresholds(use_case, inputs, workspace)
    return _rows(use_case, inputs["prepared"], workspace)


def _rows(use_case: Any, prepared: StageInput, workspace: Workspace) -> StageResult:
    """Weigh or repeat the training rows."""
    frame = workspace.read_frame(prepared.output("train"))
    problem, bias = use_case.problem, use_case.bias
    disfavoured = _disfavoured(frame, bias)
    if bias.mitigate.method == "reweighing":
        favourable = is_favourable(frame[problem.target], bias.favourable)
        changed = frame.assign(**{FIT_WEIGHT: reweighing(favourable, disfavoured)})
    else:
        changed = frame.assign(**{COPIES: oversampling(disfavoured, bias.mitigate.seed)})
    before, after = (report_before(one, problem, bias, weight=training_weight(one)) for one in (frame, changed))
    outputs = {"train": workspace.write_frame("train", changed), "test": prepared.output("test")}
    told = {"rows": len(frame), "weight": float(training_weight(changed).sum())}
    return _result(use_case, compare_reports(before, after), outputs, {**prepared.values, "mitigated": told}, workspace)


def _thresholds(use_case: Any, inputs: dict[str, Any], workspace: Workspace) -> StageResult:
    """Choose a threshold for each group so that both are accepted, or found, equally often."""
    prepared, evaluated = inputs["prepared"], inputs["evaluated"]
    winner = evaluated.values["winner"]
    out_of_fold = workspace.read_frame(_winner_of(inputs["tuned"], winner).output("out_of_fold"))
    train, test = (workspace.read_frame(prepared.output(side)) for side in ("train", "test"))
    _must_match(train, out_of_fold)
    # Where folds go forward in time, no fold judged the oldest rows.
    judged = out_of_fold["score"].notna().to_numpy()
    train, out_of_fold = train[judged].reset_index(drop=True), out_of_fold[judged]
    scores = workspace.read_frame(evaluated.output("test_scores"))["score"].to_numpy(dtype=np.float64)
    learned = out_of_fold["score"].to_numpy(dtype=np.float64)
    prior = Prior.from_json(winner.get("prior"))
    # The threshold and the test scores are of corrected probabilities, where there is a correction.
    chosen = _chosen(train, prior.correct(learned) if prior else learned, winner["threshold"], use_case)
    lines = np.where(_disfavoured(test, use_case.bias), chosen["disfavoured"], chosen["favoured"])
    before, after = (
        report_after(test, scores >= line, use_case.problem, use_case.bias) for line in (winner["threshold"], lines)
    )
    outputs = {"thresholds": workspace.write_json("thresholds.json", chosen)}
    return _result(use_case, compare_reports(before, after), outputs, {"thresholds": chosen}, workspace)


def _chosen(train: pd.DataFrame, score: Floats, threshold: float, use_case: Any) -> dict[str, float]:
    """Return the thresholds of both groups, and the one for all that they start from."""
    disfavoured = _disfavoured(train, use_case.bias)
    counted = np.ones(len(train), dtype=bool)
    if use_case.bias.mitigate.equalise == "recall":
        # Of the rows that deserve the favourable outcome, both groups get it equally often.
        counted = is_favourable(train[use_case.problem.target], use_case.bias.favourable)
    share = float((score[counted] >= threshold).mean())
    groups = {"favoured": counted & ~disfavoured, "disfavoured": counted & disfavoured}
    return {"all": float(threshold)} | {name: matching_threshold(score[rows], share) for name, rows in groups.items()}


def _disfavoured(frame: pd.DataFrame, bias: Any) -> Booleans:
    return next(group.disfavoured for group in find_groups(frame, bias) if group.facet == bias.mitigate.facet)


def _winner_of(tuned: Sequence[StageInput], winner: dict[str, Any]) -> StageInput:
    for one in tuned:
        if (one.values["sampler"], one.values["model"]) == (winner["sampler"], winner["model"]):
            return one
    raise StageError(
        "tuned cells to choose thresholds from",
        value=bare(", ".join(f"{one.values['sampler']} × {one.values['model']}" for one in tuned) or "none"),
        allowed=f"the winner's, {winner['sampler']} × {winner['model']}",
        action="hand in the cells that were evaluated",
    )


def _must_match(train: pd.DataFrame, out_of_fold: pd.DataFrame) -> None:
    if train["_row_id"].tolist() != out_of_fold["_row_id"].tolist():
        raise StageError(
            "out-of-fold scores to choose thresholds from",
            value=bare(f"{len(out_of_fold)} scores of other rows than the {len(train)} training rows"),
            allowed="a score for each training row, in their order",
            action="hand in the prepared rows that the cells were tuned on",
        )


def _result(
    use_case: Any,
    changes: Sequence[Change],
    outputs: dict[str, Reference],
    values: dict[str, Any],
    workspace: Workspace,
) -> StageResult:
    declared = use_case.bias.mitigate
    title = f"Bias before and after {declared.method} by {declared.facet}"
    text = comparison_text(changes, title)
    workspace.log.info("%s", text)
    files = {
        "comparison": workspace.write_json("comparison.json", [change.to_json() for change in changes]),
        "text": workspace.write_file("mitigation.txt", text + "\n"),
        "picture": workspace.write_file("mitigation.png", comparison_picture(changes, title)),
    }
    told = {f"bias/{name}": name for name in ("comparison.json", "mitigation.txt", "mitigation.png")}
    return StageResult(
        outputs={**outputs, **files},
        values={**values, "changes": [change.to_json() for change in changes]},
        summary=f"{declared.method} by {declared.facet}: {counts_sentence(changes)}",
        records=(Record(tags={"bias_mitigation": f"{declared.method} by {declared.facet}"}, files=told),),
    )
