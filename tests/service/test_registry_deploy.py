"""Deploy: only what was approved, as it was approved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

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


@dataclass
class Approved:
    """Two champions, of which the second was approved last and neither is deployed."""

    world: World
    second: StageInput

    def error(self) -> str:
        """Deploy in vain, and return what is said."""
        with pytest.raises(PromotionError) as error:
            self.world.stage("deploy", self.world.plan("deploying"), {"approved": self.second})
        assert not self.world.store.exists(f"endpoints/{self.world.name}/desired.json")
        return str(error.value)

    @contextmanager
    def evidence(self) -> Iterator[str]:
        """Return where the evidence of the second lies, and put it back afterwards."""
        uri = evidence_uri(self.world.name, "2")
        before = self.world.store.read_text(uri)
        yield uri
        self.world.store.write_text(uri, before)


@pytest.fixture(scope="module")
def approved(make_world: Callable[[str], World]) -> Approved:
    world = make_world("deployed")
    world.champion("first", NONE)
    return Approved(world, world.champion("second", BOTH))


def test_deploying_without_evidence_is_refused(approved: Approved) -> None:
    world = approved.world
    with approved.evidence() as uri:
        world.store.remove(uri)
        assert approved.error() == (
            f"evidence of {world.name} version 2: got no file registry/{world.name}/2/evidence.json in the store. "
            "Allowed: a version that the stage `approve` approved. "
            "Do: have it approved: run the DAG, never set the alias by hand"
        )


def test_deploying_with_a_copied_evidence_is_refused(approved: Approved) -> None:
    with approved.evidence() as uri:
        approved.world.store.write_json(uri, approved.world.store.read_json(evidence_uri(approved.world.name, "1")))
        assert "it approves model" in approved.error()


@pytest.mark.parametrize("change", [{"signature": None}, {"why": "I say so"}, {"threshold": 0.01}])
def test_deploying_evidence_that_is_unsigned_or_altered_is_refused(approved: Approved, change: dict[str, Any]) -> None:
    with approved.evidence() as uri:
        approved.world.store.write_json(uri, approved.world.store.read_json(uri) | change)
        assert re.search(r"got (no signature|a signature of something else)", approved.error())


def test_deploying_where_the_alias_was_moved_by_hand_is_refused(approved: Approved, tracking: Tracking) -> None:
    name = approved.world.name
    tracking.client.set_registered_model_alias(name, CHAMPION, "1")
    try:
        told = f"alias champion of {name}: got version 1. Allowed: version 2, which was approved"
        assert told in approved.error()
    finally:
        tracking.client.set_registered_model_alias(name, CHAMPION, "2")


def test_deploying_where_the_digest_tag_was_changed_is_refused(approved: Approved, tracking: Tracking) -> None:
    name = approved.world.name
    tracking.client.set_model_version_tag(name, "2", DIGEST, "f" * 32)
    try:
        assert f"tag {DIGEST} of {name} version 2: got '{'f' * 32}'" in approved.error()
    finally:
        tracking.client.set_model_version_tag(name, "2", DIGEST, approved.second.values["model"]["digest"])


def test_a_rejected_version_is_not_deployed(approved: Approved) -> None:
    world = approved.world
    plan = world.plan("third")
    registered = world.stage("register", plan, world.evaluated(BOTH, train=slice(0, 299)))
    rejected = world.stage("approve", plan, {"registered": registered}, person("Reject"))
    assert "Allowed: an approved version" in Approved(world, rejected).error()


def test_without_an_endpoint_the_desired_state_is_written_all_the_same(approved: Approved) -> None:
    world = approved.world
    deployed = world.stage("deploy", world.plan("first"), {"approved": approved.second})
    assert deployed.values["deployed"] is False
    assert "has no endpoint for it" in deployed.verdict.sentence()
    assert world.store.read_json(f"endpoints/{world.name}/desired.json")["version"] == "2"
    world.store.remove(f"endpoints/{world.name}/desired.json")
