"""End the MLflow run of a DAG run and say its outcome there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.core.stages import Reuse, StageInput, StageResult, stage

if TYPE_CHECKING:
    from stepzero.adapters.workspace import Workspace


@stage(
    plan=("use_case", "environment", "batch", "window", "champion", "as_of", "links"),
    reuse=Reuse.NEVER,
)
def report(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Write how the run ended; the orchestrator knows it and passes it as parameters."""
    del inputs
    outcome, sentence = workspace.parameters["outcome"], workspace.parameters["sentence"]
    tracking = workspace.tracking
    run_id = tracking.finish(workspace.plan, workspace.parameters["status"], sentence, workspace.store)
    links = {"mlflow": tracking.link_run(use_case.name, run_id), **workspace.plan.links}
    return StageResult(values={"outcome": outcome, "sentence": sentence, "links": links}, summary=sentence)
