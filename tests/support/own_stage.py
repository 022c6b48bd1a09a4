"""A stage of somebody else's: named in a DAG by ``support.own_stage:count_bytes``."""

from __future__ import annotations

from typing import Any

from stepzero.core.errors import InputError, StoreFullError, bare
from stepzero.core.stages import StageResult, stage
from stepzero.core.verdict import Outcome, Reason, Verdict


@stage(sections=("stages",), plan=("batch",))
def count_bytes(use_case: Any, inputs: dict[str, Any], workspace: Any) -> StageResult:
    """Count the bytes that landed; say no above a limit."""
    settings = use_case.stages.get("support.own_stage:count_bytes", {})
    found = sum(file.bytes for file in workspace.plan.batch.files)
    workspace.log.warning("counted %d bytes", found)
    _fail(workspace.parameters.get("fail"))
    limit = int(workspace.parameters.get("limit", settings.get("limit", 10**9)))
    reason = Reason(rule="bytes", column=None, observed=str(found), bound=f"at most {limit}")
    outcome = Outcome.PASS if found <= limit else Outcome.FAIL
    reasons = () if outcome is Outcome.PASS else (reason,)
    verdict = Verdict(outcome=outcome, subject="the landed bytes", reasons=reasons)
    return StageResult(values={"bytes": found}, verdict=verdict, summary=f"{found} bytes landed")


def _fail(how: str | None) -> None:
    parts = {"value": bare("it was asked to"), "allowed": "nothing", "action": "do not ask"}
    if how == "fault":
        raise InputError("own stage", **parts)
    if how == "retry":
        raise StoreFullError("own stage", **parts)
    if how == "bug":
        msg = "unforeseen"
        raise RuntimeError(msg)
