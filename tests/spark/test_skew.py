"""The batch against the champion's baseline: prepared as the training rows were, flagged where it shifted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.registry_records import Registration, note_registration
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageInput, StageResult
from stepzero.core.verdict import Outcome
from stepzero.spec.plan import Champion
from stepzero.spec.use_case import UseCase
from support.gate import NAME, SMALL, Gate, Judged

pytestmark = pytest.mark.usefixtures("few_rows")
USE_CASE = {
    "name": NAME,
    "source": {"format": "csv", "prefix": "landing/toy/", "columns": SMALL},
    "problem": {"kind": "classification", "target": "label", "positive": 1},
    "prepare": {"derive": {"root": "sqrt(amount)"}, "keep_where": "amount > 0", "drop": ["id"]},
}


def rows(seed: int, **changed: Any) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame({"id": range(400), "amount": generator.lognormal(3, 1, 400)})
    frame["country"] = generator.choice(["DE", "FR"], 400)
    frame["label"] = generator.integers(0, 2, 400)
    frame.loc[::10, "amount"] *= -1
    return frame.assign(**changed)


def as_input(result: StageResult) -> StageInput:
    reference = ResultReference(stage="x", uri="", digest="")
    return StageInput(reference=reference, outputs=result.outputs, values=result.values, verdict=result.verdict)


def test_a_shifted_batch_is_flagged_and_one_of_the_same_kind_is_not(gate: Gate) -> None:
    use_case = UseCase.model_validate(USE_CASE)

    def judged(seed: int, **changed: Any) -> Judged:
        return gate.judge_use_case(use_case, [gate.land(rows(seed, **changed), f"{seed}.csv")])

    def skew(checked: Judged, version: str | None = "1") -> StageResult:
        champion = Champion(version=version, digest="d") if version else None
        batch = checked.batch
        return gate.run("batch_skew", use_case, {"checked": checked.as_input()}, champion=champion, batch=batch)

    first = judged(1)
    assert skew(first, None).verdict.sentence() == "NOT YET: skew not judged, no champion yet: nothing to compare with."
    prepared = gate.prepare(first, use_case)
    baseline = gate.run("baseline", use_case, {"prepared": as_input(prepared)})
    assert baseline.values["columns"] == 4, "amount, country, label and the derived root"
    nothing: dict[str, Any] = {"uri": "", "digest": "", "kind": "file"}
    for version, kept in (("1", baseline.outputs["baseline"].to_json()), ("2", None)):
        registration = Registration(
            use_case=NAME, version=version, model=nothing, training_rows=nothing, example=nothing, baseline=kept,
            threshold=None, run="r",
        )  # fmt: skip
        note_registration(gate.store, registration)
    same = skew(judged(2))
    assert same.verdict.outcome is Outcome.PASS
    assert same.values == {"rows": 360, "columns": 4, "shifted": []}, "negative amounts are no training rows"
    moved = skew(judged(3, amount=rows(3)["amount"] * 5))
    assert moved.values["shifted"] == ["amount", "root"]
    assert moved.verdict.outcome is Outcome.FAIL
    assert "toy version 1" in moved.verdict.subject
    assert "without a baseline" in skew(first, "2").verdict.sentence()
