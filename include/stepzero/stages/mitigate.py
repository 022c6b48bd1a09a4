"""Mitigate bias of training rows by a declared method, and show what that does to every metric of their labels."""

from __future__ import annotations

from typing import Any

from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import SpecError
from stepzero.core.stages import StageInput, StageResult, stage
from stepzero.learning.bias import is_favourable, report_before
from stepzero.learning.bias_comparison import compare_reports
from stepzero.learning.columns import COPIES, FIT_WEIGHT
from stepzero.learning.mitigation import disfavoured_rows
from stepzero.learning.table import training_weight
from stepzero.measures.mitigation import oversampling, reweighing
from stepzero.stages.mitigate_told import Told, declared_method, write_told


@stage(sections=("problem", "bias"), architecture_matters=True)
def mitigate(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Return training rows that are weighed or repeated, and all metrics of their labels side by side.

    It stands between `prepare` and `train`: the result has the outputs of `prepare`, held-out rows as they were. Only
    fits see the weights and copies; metrics and validation rows count as before. What that does to decisions is
    measured by `mitigate_decisions`.

    Raises:
        SpecError: There is no bias.mitigate section, or its method is not about rows.
    """
    declared = declared_method(use_case)
    if declared.method == "thresholds":
        raise SpecError(
            f"{use_case.name}: bias.mitigate.method",
            value=declared.method,
            allowed="reweighing or oversampling, which change training rows",
            action="leave this stage out: thresholds are chosen by the stage `mitigate_decisions`, after `evaluate`",
        )
    prepared = inputs["prepared"]
    frame = workspace.read_frame(prepared.output("train"))
    problem, bias = use_case.problem, use_case.bias
    disfavoured = disfavoured_rows(frame, bias)
    if declared.method == "reweighing":
        favourable = is_favourable(frame[problem.target], bias.favourable)
        given = frame.get(FIT_WEIGHT, 1.0)
        changed = frame.assign(**{FIT_WEIGHT: given * reweighing(favourable, disfavoured)})
    else:
        changed = frame.assign(**{COPIES: oversampling(disfavoured, declared.seed)})
    before, after = (report_before(one, problem, bias, weight=training_weight(one)) for one in (frame, changed))
    told = Told(time="before", what="labels of the training rows", changes=compare_reports(before, after))
    outputs = {"train": workspace.write_frame("train", changed), "test": prepared.output("test")}
    counts = {"rows": len(frame), "weight": float(training_weight(changed).sum())}
    return write_told(use_case, told, workspace, outputs=outputs, values={**prepared.values, "mitigated": counts})
