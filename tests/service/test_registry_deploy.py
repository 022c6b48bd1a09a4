"""Deploy: only what was approved, as it was approved."""

from __future__ import annotations

import pytest

from stepzero.adapters.registry import CHAMPION, DIGEST
from stepzero.adapters.registry_records import evidence_uri
from stepzero.adapters.tracking import Tracking
from stepzero.core.errors import PromotionError
from stepzero.core.stages import StageInput
from support.champions import World, person

pytestmark = [
    pytest.mark.service,
    # Importing mlflow.pyfunc warns of type hints in MLflow's own models.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

BOTH: list[str] = ["V1", "Amount"]
NONE: list[str] = []


def test_deploying_without_evidence_is_refused(world: World) -> None:
    approved = world.champion("first", BOTH)
    world.store.remove(evidence_uri(world.name, "1"))
    assert _deploy_error(world, approved) == (
        f"evidence of {world.name} version 1: got no file registry/{world.name}/1/evidence.json in the store. "
        "Allowed: a version that the stage `approve` approved. "
        "Do: have it approved: run the DAG, never set the alias by hand"
    )
    assert not world.store.exists(f"endpoints/{world.name}/desired.json")


def _deploy_error(world: World, approved: StageInput) -> str:
    with pytest.raises(PromotionError) as error:
        world.stage("deploy", world.plan("deploying"), {"approved": approved})
    return str(error.value)


def test_deploying_with_a_copied_evidence_is_refused(world: World) -> None:
    world.champion("first", NONE)
    approved = world.champion("second", BOTH)
    other = world.store.read_json(evidence_uri(world.name, "1"))
    world.store.write_json(evidence_uri(world.name, "2"), other)
    assert "it approves model" in _deploy_error(world, approved)


def test_deploying_where_the_alias_was_moved_by_hand_is_refused(world: World, tracking: Tracking) -> None:
    world.champion("first", NONE)
    approved = world.champion("second", BOTH)
    tracking.client.set_registered_model_alias(world.name, CHAMPION, "1")
    assert f"alias champion of {world.name}: got version 1. Allowed: version 2, which was approved" in _deploy_error(
        world, approved
    )


def test_deploying_where_the_digest_tag_was_changed_is_refused(world: World, tracking: Tracking) -> None:
    approved = world.champion("first", BOTH)
    tracking.client.set_model_version_tag(world.name, "1", DIGEST, "f" * 32)
    assert f"tag {DIGEST} of {world.name} version 1: got '{'f' * 32}'" in _deploy_error(world, approved)


def test_a_rejected_version_is_not_deployed(world: World) -> None:
    plan = world.plan("first")
    registered = world.stage("register", plan, world.evaluated(BOTH))
    rejected = world.stage("approve", plan, {"registered": registered}, person("Reject"))
    assert "Allowed: an approved version" in _deploy_error(world, rejected)


def test_without_an_endpoint_the_desired_state_is_written_all_the_same(world: World) -> None:
    approved = world.champion("first", BOTH)
    deployed = world.stage("deploy", world.plan("first"), {"approved": approved})
    assert deployed.values["deployed"] is False
    assert "has no endpoint for it" in deployed.verdict.sentence()
    assert world.store.read_json(f"endpoints/{world.name}/desired.json")["version"] == "1"
