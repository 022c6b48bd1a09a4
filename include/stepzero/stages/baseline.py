"""Keep what the training rows looked like, for later comparison with rows that are served or land."""

from __future__ import annotations

from typing import Any

from stepzero.adapters.workspace import Workspace
from stepzero.core.stages import StageInput, StageResult, stage
from stepzero.learning.skew import make_baseline


@stage()
def baseline(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Describe every column of the training rows; the held-out rows stay unseen."""
    del use_case
    rows = workspace.read_frame(inputs["prepared"].output("train"))
    made = make_baseline(rows)
    output = workspace.write_json("baseline.json", {name: column.to_json() for name, column in made.items()})
    summary = f"baseline of {len(made)} columns from {len(rows)} training rows"
    return StageResult(outputs={"baseline": output}, values={"columns": len(made), "rows": len(rows)}, summary=summary)
