"""The first version of a model: registered, found by people and by MLflow, and approved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from stepzero.adapters.registry import CHALLENGER, CHAMPION, DIGEST
from stepzero.adapters.registry_records import find_evidence
from stepzero.adapters.tracking import Tracking
from stepzero.core.verdict import Outcome
from stepzero.spec.plan import Plan
from support.champions import World, fit_model

pytestmark = [
    pytest.mark.service,
    # Importing mlflow.pyfunc warns of type hints in MLflow's own models.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
BOTH = ["V1", "Amount"]


@dataclass
class First:
    """A first version: registered twice by its run, then approved; what was seen in between."""

    world: World
    plan: Plan
    inputs: dict[str, Any]
    registered: Any
    again: Any
    approved: Any
    waiting: dict[str, str | None]
    """The aliases before the approval."""
    pending: dict[str, str]
    """The version's tags before the approval."""


@pytest.fixture(scope="module")
def first(make_world: Callable[[str], World]) -> First:
    world = make_world("first_version")
    registry, plan, inputs = Tracking(world.environment.tracking).registry, world.plan("first"), world.evaluated(BOTH)
    registered, again = (world.stage("register", plan, inputs) for _ in range(2))
    waiting = {alias: registry.aliased(world.name, alias) for alias in (CHALLENGER, CHAMPION)}
    pending = registry.tags(world.name, "1")
    approved = world.stage("approve", plan, {"registered": registered}, {"decision": "rule"})
    return First(world, plan, inputs, registered, again, approved, waiting, pending)


def test_without_champion_the_first_version_passes_and_becomes_champion(first: First, tracking: Tracking) -> None:
    world, plan, registered, approved = first.world, first.plan, first.registered, first.approved
    assert plan.champion is None
    assert registered.verdict.outcome is Outcome.PASS
    assert "there is no champion yet" in registered.verdict.sentence()
    assert first.waiting == {CHALLENGER: "1", CHAMPION: None}
    assert approved.values["approved"]
    assert tracking.registry.aliased(world.name, CHAMPION) == "1"
    assert tracking.registry.aliased(world.name, CHALLENGER) is None
    champion = tracking.champion(world.name)
    assert champion.digest == registered.values["model_digest"]
    evidence = find_evidence(world.store, world.name, "1")
    assert (evidence.by, evidence.how, evidence.when) == ("the rule", "rule", plan.as_of)
    assert "all gates passed" in evidence.gates["promotion"]
    before, after = (world.store.read_json(one.outputs["dossier"].uri) for one in (registered, approved))
    assert before["approval"] is None
    assert after == before | {"approval": after["approval"]}
    assert (after["approval"]["by"], after["approval"]["digest"]) == ("the rule", evidence.digest)
    assert after["model"]["digest"] == registered.values["model_digest"]
    assert "approved by the rule" in world.store.read_text(approved.outputs["dossier_page"].uri)


def test_a_version_says_what_a_person_wants_to_know(first: First, tracking: Tracking) -> None:
    name, registered = first.world.name, first.registered
    version = tracking.client.get_model_version(name, "1")
    assert version.description.startswith("A test: logistic_regression on rows as they are; there is no champion yet")
    run = f"http://127.0.0.1:8080/dags/{name}/runs/first"
    assert f"[Airflow run]({run}) · [Dossier]({run}/plugin/dossier)" in version.description
    assert registered.values["links"]["dossier"] == f"{run}/plugin/dossier"
    assert version.tags[DIGEST] == registered.values["model_digest"]
    assert version.tags["stepzero.threshold"] == "0.4"
    assert version.tags["stepzero.metric.average_precision"] == "0.8"
    logged = tracking.client.get_logged_model(version.source.removeprefix("models:/"))
    assert str(logged.status) == "READY"
    assert logged.source_run_id == version.run_id
    assert registered.values["links"]["version"].endswith(f"/#/models/{name}/versions/1?workflowType=machine_learning")


def test_the_registered_model_loads_by_alias_and_scores_the_same(first: First, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    world = first.world
    monkeypatch.setenv("MLFLOW_TRACKING_URI", world.tracking_uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", world.tracking_uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{world.name}@champion")
    frame = world.rows[BOTH].head(20)
    answer = loaded.predict(frame)
    expected = fit_model(world.rows.iloc[:300], BOTH).score(frame)
    assert answer["score"].tolist() == expected.tolist()
    assert set(answer["decision"]) <= {0, 1}
    assert first.approved.values["version"] == "1"


def test_registering_again_makes_no_second_version(first: First, tracking: Tracking) -> None:
    assert first.registered.values["version"] == first.again.values["version"] == "1"
    name, client = first.world.name, tracking.client
    assert [str(one.version) for one in client.search_model_versions(f"name='{name}'")] == ["1"]
    assert len(client.search_logged_models([tracking.experiment(name)])) == 1


def test_golden_49_code_and_data_contributed_and_the_model_was_produced(first: First, tracking: Tracking) -> None:
    """The reference's notebook marked its training data as Produced, and its model as nothing."""
    version = tracking.client.get_model_version(first.world.name, "1")
    run = tracking.client.get_run(version.run_id)
    taken = {one.dataset.name: (one.dataset.digest, one.tags[0].value) for one in run.inputs.dataset_inputs}
    prepared = first.inputs["prepared"]
    assert taken == {
        "train rows": (prepared.output("train").digest, "training"),
        "test rows": (prepared.output("test").digest, "evaluation"),
    }
    (produced,) = run.outputs.model_outputs
    assert f"models:/{produced.model_id}" == version.source


def test_golden_50_a_version_carries_its_own_metrics_and_reports_and_waits_for_a_decision(
    first: First, tracking: Tracking
) -> None:
    """The reference attached another model's explanation as the bias report of its second package."""
    tags = first.pending
    assert tags["stepzero.approval"] == "pending"
    assert tags["stepzero.metric.average_precision"] == "0.8"
    assert tags[DIGEST] == first.inputs["evaluated"].output("model").digest
    dossier = first.world.store.read_json(first.registered.output("dossier").uri)
    assert dossier["model"]["digest"] == tags[DIGEST]
    assert tracking.registry.tags(first.world.name, "1")["stepzero.approval"] == "approved"
