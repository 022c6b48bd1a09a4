"""A stage of ours: who is late how often."""

from __future__ import annotations

from typing import Any

from stepzero.core.stages import Record, StageInput, StageResult, stage


@stage(sections=("problem", "stages"))
def audit(use_case: Any, inputs: dict[str, StageInput], workspace: Any) -> StageResult:
    """Return the share of late parcels of every carrier with enough of them."""
    least = use_case.stages["parcels.stages:audit"]["least_rows"]
    rows = workspace.read_frame(inputs["prepared"].output("train"), columns=["carrier", use_case.problem.target])
    groups = rows.groupby("carrier")[use_case.problem.target]
    shares = {name: round(float(group.mean()), 4) for name, group in groups if len(group) >= least}
    worst = max(shares, key=lambda name: shares[name])
    return StageResult(
        outputs={"shares": workspace.write_json("shares.json", shares)},
        values={"late": shares, "worst": worst},
        summary=f"{worst} is late most often: {shares[worst]:.1%}",
        records=(Record(metrics={f"late.{name}": share for name, share in shares.items()}),),
    )
