"""Batch scoring on Spark: the scores of the endpoint's own code, for every row of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.datasets import read_frame, write_frame
from stepzero.adapters.registry_records import Evidence, Registration, note_evidence, note_registration
from stepzero.core.errors import InputError, PromotionError
from stepzero.core.references import Reference, ResultReference
from stepzero.core.stages import StageInput
from stepzero.learning.group_thresholds import GroupThresholds
from stepzero.learning.model import ScoringModel, save_model
from stepzero.serving.rows import Form, read_rows
from stepzero.spec.plan import Batch, Champion
from stepzero.spec.use_case import UseCase
from stepzero.stages.score_batch import newest_uri
from support.champions import fit_model
from support.gate import NAME, Gate

USE_CASE: dict[str, Any] = {
    "name": NAME,
    "source": {
        "format": "csv",
        "prefix": "landing/toy/",
        "columns": {"id": "bigint", "V1": "double", "Amount": "double", "Class": "int"},
    },
    "problem": {"kind": "classification", "target": "Class", "positive": 1},
    "prepare": {"keep_where": "Amount >= 0", "drop": ["id"]},
    "scoring": {"keep": ["id"]},
}


def rows(seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    target = (generator.random(500) < 0.3).astype("int32")
    frame = pd.DataFrame({"id": range(500), "V1": generator.normal(target * 1.5), "Class": target})
    return frame.assign(Amount=np.where(np.arange(500) % 50 == 0, -1.0, generator.gamma(2.0, 40.0, 500)))


def registered(gate: Gate, model: ScoringModel, version: str) -> Reference:
    """Store a model as a version that nobody has approved yet."""
    saved = save_model(gate.store, f"made/model-{version}", model, producer="evaluate")
    nothing: dict[str, Any] = {"uri": "", "digest": "", "kind": "file"}
    told: dict[str, Any] = {"training_rows": nothing, "example": nothing, "threshold": 0.4, "run": "r"}
    note_registration(gate.store, Registration(use_case=NAME, version=version, model=saved.to_json(), **told))
    return saved


def approve(gate: Gate, saved: Reference, version: str) -> None:
    evidence = Evidence(
        use_case=NAME, version=version, model_digest=saved.digest, approved=True, by="rule", when="now", how="rule",
        why="it passed", gates={}, previous=None, run="r", threshold=0.4,
    )  # fmt: skip
    note_evidence(gate.store, evidence)


def test_a_batch_has_the_scores_that_the_endpoint_would_give(gate: Gate) -> None:
    frame = rows(1)
    model = fit_model(rows(2), ["V1", "Amount"], threshold=0.4)
    saved = registered(gate, model, "3")
    accepted = write_frame(gate.store, "made/accepted", frame, producer="quality_gate")
    reference = ResultReference(stage="quality_gate", uri="", digest="")
    checked = StageInput(reference=reference, outputs={"accepted": accepted}, values={}, verdict=None)
    batch = Batch(partition="2026-11-20", digest="d" * 32, files=())

    def score(version: str = "3", digest: str = saved.digest, **changes: Any) -> Any:
        use_case, champion = UseCase.model_validate({**USE_CASE, **changes}), Champion(version=version, digest=digest)
        return gate.run("score_batch", use_case, {"checked": checked}, champion=champion, batch=batch)

    with pytest.raises(PromotionError, match=r"no file registry/toy/3/evidence.json"):
        score()
    approve(gate, saved, "3")
    done = score()
    assert done.values == {"rows": 490, "left_out": 10, "positive": done.values["positive"], "version": "3"}
    assert "490 of 500 rows" in done.summary
    found = read_frame(gate.store, done.outputs["scores"]).sort_values("id", ignore_index=True)
    asked = frame[frame["Amount"] >= 0].reset_index(drop=True)
    assert found["id"].tolist() == asked["id"].tolist()
    # As the endpoint does: its own reader of rows, its own model.
    body = asked[["V1", "Amount"]].to_json(orient="records", double_precision=15).encode()
    served = model.score(read_rows(b'{"instances": ' + body + b"}", "application/json", Form(features=model.features)))
    assert np.abs(found["score"].to_numpy() - served).max() <= 1e-9
    assert found["decision"].tolist() == (served >= 0.4).astype(int).tolist()
    assert done.values["positive"] == int((served >= 0.4).sum())
    assert set(found["version"]) == {"3"}
    newest = gate.store.read_json(newest_uri("scored/", NAME, "2026-11-20"))
    assert Reference.from_json(newest["scores"]).digest == done.outputs["scores"].digest
    with pytest.raises(InputError, match=r"no idd. Allowed: did you mean 'id'"):
        score(scoring={"keep": ["idd"]})

    groups = GroupThresholds(column="id", kind="bigint", above=249, disfavoured=0.2, favoured=0.6)
    other = registered(gate, model.replaced(groups=groups), "4")
    approve(gate, other, "4")
    by_group = read_frame(gate.store, score("4", other.digest).outputs["scores"]).sort_values("id", ignore_index=True)
    lines = np.where(asked["id"] > 249, 0.2, 0.6)
    assert by_group["decision"].tolist() == (served >= lines).astype(int).tolist() != found["decision"].tolist()
