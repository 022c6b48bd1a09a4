"""Served rows against the baseline that was registered with the champion."""

from __future__ import annotations

import pandas as pd
import pytest

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.tracking import Tracking
from stepzero.core.stages import StageInput, StageResult
from stepzero.core.verdict import Outcome
from support.champions import World, as_input

pytestmark = [
    pytest.mark.service,
    # Importing mlflow.pyfunc warns of type hints in MLflow's own models.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


def test_served_rows_are_compared_with_those_that_the_champion_learned_from(world: World, tracking: Tracking) -> None:
    first = world.plan("first")
    requests = world.rows.iloc[300:].drop(columns=["Class", "_row_id"])

    def captured(frame: pd.DataFrame) -> StageInput:
        folder = f"captured/{world.tries}"
        return as_input(
            "capture", StageResult(outputs={"captured": write_frame(world.store, folder, frame, producer="x")})
        )

    unjudged = world.stage("captured_skew", first, {"captured": captured(requests)})
    assert unjudged.verdict.sentence() == "NOT YET: skew not judged, no champion yet: nothing to compare with."
    inputs = world.evaluated(["V1", "Amount"])
    registered = world.stage("register", first, inputs)
    world.stage("approve", first, {"registered": registered}, {"decision": "rule"})
    digest = inputs["baseline"].output("baseline").digest
    assert tracking.client.get_model_version(world.name, "1").tags["stepzero.baseline_digest"] == digest
    same = world.stage("captured_skew", world.plan("second"), {"captured": captured(requests)})
    assert same.verdict.outcome is Outcome.PASS
    assert same.values == {"rows": len(requests), "columns": 2, "shifted": []}
    moved = captured(requests.assign(Amount=requests["Amount"] * 100))
    shifted = world.stage("captured_skew", world.plan("third"), {"captured": moved})
    assert shifted.verdict.outcome is Outcome.FAIL
    assert shifted.values["shifted"] == ["Amount"]
    assert {reason.column for reason in shifted.verdict.reasons} == {"Amount"}
