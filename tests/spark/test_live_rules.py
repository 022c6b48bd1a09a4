"""The gate's rules on live requests: a broken one is an incident, with the gate's own words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.datasets import write_frame
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageInput, StageResult
from stepzero.core.verdict import Outcome
from stepzero.spec.use_case import UseCase
from support.gate import NAME, Gate

pytestmark = pytest.mark.usefixtures("few_rows")
RULES = [{"rule": "between", "column": "Amount", "at_least": 0}, {"rule": "complete", "columns": ["Amount"]}]


def requests(bad: int) -> pd.DataFrame:
    amount = np.random.default_rng(1).gamma(2.0, 40.0, 200)
    amount[:bad] = -1.0
    frame = pd.DataFrame({"Amount": amount, "_id": [f"n{at}" for at in range(200)], "_status": 200, "_window": 2})
    return frame.assign(_version="1", _refused=None)


def watched(gate: Gate, bad: int, rules: list[dict[str, Any]]) -> StageResult:
    data = {"name": NAME, "monitors": {"data_quality": {"requests": {"bad_rows": "5%", "rules": rules}}}}
    told = {"start": "2026-11-20T00:00:00", "end": "2026-11-21T00:00:00", "rows": 200, "refused": 0}
    captured = write_frame(gate.store, f"captured-{bad}", requests(bad), producer="collect_windows")
    reference = ResultReference(stage="collect_windows", uri="", digest="")
    values = {"windows": [told] * 3, "before": [200] * 14}
    collected = StageInput(reference=reference, outputs={"captured": captured}, values=values, verdict=None)
    use_case = UseCase.model_validate(data)
    return gate.run("watch_data_quality", use_case, {"collected": collected}, champion=None)


def test_rules_of_the_gate_are_judged_on_live_requests(gate: Gate) -> None:
    seen = watched(gate, 20, RULES)
    assert seen.verdict is not None
    assert seen.verdict.outcome is Outcome.FAIL
    kinds = [(signal["kind"], signal["column"]) for signal in seen.values["signals"]]
    assert kinds == [("broken_rules", None), ("broken_rules", "Amount")]
    assert "10.00% bad rows" in seen.verdict.sentence()


def test_what_is_tolerated_is_told_as_a_warning_and_never_as_kept(gate: Gate) -> None:
    """Four bad rows of a hundred where five are tolerated, and a mild rule that every request breaks."""
    mild = {"rule": "between", "column": "Amount", "at_most": -5, "severity": "warning"}
    seen = watched(gate, 8, [*RULES, mild])
    assert seen.verdict is not None
    assert seen.verdict.outcome is Outcome.PASS
    assert seen.values["signals"] == []
    told = [(one.rule, one.column, one.severity, one.rows) for one in seen.verdict.reasons]
    assert told == [("between", "Amount", "warning", 8), ("between", "Amount", "warning", 200)]
    page = gate.store.read_text(seen.outputs["page"].uri)
    assert page.count(">over<") == 2
    assert "as declared" not in page
