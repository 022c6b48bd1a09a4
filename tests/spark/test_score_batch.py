"""Batch scoring on Spark: the scores of the endpoint's own code, for every row of the batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from xgboost import XGBClassifier

from stepzero.adapters.datasets import read_frame, write_file, write_frame
from stepzero.adapters.registry_records import (
    DesiredState,
    Evidence,
    Registration,
    desired_uri,
    find_evidence,
    note_evidence,
    note_registration,
)
from stepzero.core.errors import InputError, PromotionError
from stepzero.core.references import Reference, ResultReference
from stepzero.core.stages import StageInput
from stepzero.learning.group_thresholds import GroupThresholds
from stepzero.learning.model import ScoringModel, save_model
from stepzero.learning.transform import Transformer
from stepzero.serving.rows import Form, read_rows
from stepzero.spec.data import Pipeline
from stepzero.spec.environment import Endpoint
from stepzero.spec.plan import Batch, Champion
from stepzero.spec.use_case import UseCase
from stepzero.stages.score_batch import newest_uri
from support.champions import World, fit_model, launch_endpoint, write_environment
from support.gate import NAME, Gate
from support.stack import free_port, wait_for

pytestmark = pytest.mark.usefixtures("few_rows")
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
    newest = done.pointers[newest_uri("scored/", NAME, "2026-11-20")]
    assert newest["version"] == "3"
    assert Reference.from_json(newest["scores"]).digest == done.outputs["scores"].digest
    with pytest.raises(InputError, match=r"no idd. Allowed: did you mean 'id'"):
        score(scoring={"keep": ["idd"]})

    groups = GroupThresholds(column="id", kind="bigint", above=249, disfavoured=0.2, favoured=0.6)
    other = registered(gate, model.replaced(groups=groups), "4")
    approve(gate, other, "4")
    by_group = read_frame(gate.store, score("4", other.digest).outputs["scores"]).sort_values("id", ignore_index=True)
    lines = np.where(asked["id"] > 249, 0.2, 0.6)
    assert by_group["decision"].tolist() == (served >= lines).astype(int).tolist() != found["decision"].tolist()


KINDS = ["online", "travel", 'Käse & "Co"', "fuel"]
FEATURES = {"V1": "double", "Amount": "double", "visits": "int", "Kind": "string"}


def mixed(seed: int) -> pd.DataFrame:
    """Return rows with strings, some of which no vocabulary has, and with holes."""
    generator = np.random.default_rng(seed)
    target = (generator.random(400) < 0.3).astype("int32")
    frame = pd.DataFrame({"id": range(400), "V1": generator.normal(target * 1.5), "Class": target})
    amount = np.where(generator.random(400) < 0.2, np.nan, generator.gamma(2.0 + target, 40.0))
    kind = generator.choice(np.array([*KINDS, None], dtype=object), 400)
    return frame.assign(Amount=amount, visits=generator.integers(0, 9, 400).astype("int32"), Kind=kind)


def boosted() -> ScoringModel:
    rows = mixed(3)
    told = Pipeline(impute={"median": ("Amount",)}, one_hot={"Kind": tuple(KINDS[:3])})
    transformer = Transformer.from_spec(told).fit(rows[list(FEATURES)])
    estimator = XGBClassifier(n_estimators=80, max_depth=5, n_jobs=1, random_state=1)
    estimator.fit(transformer.transform(rows[list(FEATURES)]), rows["Class"])
    return ScoringModel(features=FEATURES, transformer=transformer, estimator=estimator, threshold=0.4)


def test_strings_holes_and_boosted_trees_have_the_scores_of_a_running_endpoint(gate: Gate, tmp_path: Path) -> None:
    frame, model = mixed(4), boosted()
    saved = registered(gate, model, "7")
    approve(gate, saved, "7")
    accepted = write_frame(gate.store, "made/mixed", frame, producer="quality_gate")
    reference = ResultReference(stage="quality_gate", uri="", digest="")
    checked = StageInput(reference=reference, outputs={"accepted": accepted}, values={}, verdict=None)
    columns = {"id": "bigint", **FEATURES, "Class": "int"}
    source = {**USE_CASE["source"], "columns": columns}
    use_case = UseCase.model_validate({**USE_CASE, "source": source, "prepare": {"drop": ["id"]}})
    batch = Batch(partition="2026-11-21", digest="d" * 32, files=())
    champion = Champion(version="7", digest=saved.digest)
    done = gate.run("score_batch", use_case, {"checked": checked}, champion=champion, batch=batch)
    found = read_frame(gate.store, done.outputs["scores"]).sort_values("id", ignore_index=True)
    assert len(found) == len(frame)

    answer = asked_of_an_endpoint(gate, saved, frame, tmp_path)
    assert np.abs(found["score"].to_numpy() - np.array(answer["scores"])).max() <= 1e-9
    assert found["decision"].tolist() == answer["decisions"]
    assert answer["version"] == "7"


def asked_of_an_endpoint(gate: Gate, saved: Reference, rows: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Return what a process that serves version 7 answers."""
    evidence = find_evidence(gate.store, NAME, "7")
    assert evidence is not None
    records = json.loads(rows[list(FEATURES)].to_json(orient="records", double_precision=15))
    example = write_file(gate.store, "made/example.json", json.dumps({"instances": records[:5]}).encode())
    desired = DesiredState(
        use_case=NAME,
        version="7",
        model=saved.to_json(),
        threshold=0.4,
        example=example.to_json(),
        evidence_digest=evidence.digest,
    )
    gate.store.write_json(desired_uri(NAME), desired.model_dump(mode="json"))
    world = World(name=NAME, store=gate.store, tracking_uri="http://127.0.0.1:1", rows=rows)
    url = f"http://127.0.0.1:{free_port()}"
    variables = write_environment(folder, world, Endpoint(uri=url))
    process = launch_endpoint(folder / "log", variables, "--use-case", NAME, "--port", url.rpartition(":")[2])
    try:
        wait_for("the endpoint", lambda: serves(url), seconds=60, every=0.1)
        headers = {"Content-Type": "application/json"}
        body = json.dumps({"instances": records})
        answer = httpx.post(f"{url}/invocations", content=body, headers=headers, timeout=20)
        return dict(answer.raise_for_status().json())
    finally:
        process.terminate()
        process.wait(timeout=20)


def serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ping", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
