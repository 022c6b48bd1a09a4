"""Evidence that counts: signed, by somebody who may decide, with what was asked for; and nothing serves without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepzero.adapters.registry import CHAMPION
from stepzero.adapters.registry_records import evidence_uri, find_evidence
from stepzero.adapters.registry_succession import moved_by_hand
from stepzero.adapters.tracking import Tracking
from stepzero.cli import doctor_checks
from stepzero.core.errors import PromotionError
from stepzero.core.stages import StageInput, StageResult
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.execution.execute import Request
from stepzero.execution.first import run_plan
from stepzero.execution.planning import PlanRequest
from stepzero.spec.environment import Approvers
from support.champions import World, as_input, person

pytestmark = [
    pytest.mark.service,
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
BOTH = ["V1", "Amount"]
LIMITS = {"favourable": 0, "facets": {"Amount": {"above": 80}}, "limits": {"after": {"DPPL": 0.1}}}


def test_evidence_says_who_when_why_and_what_there_was_to_read(world: World) -> None:
    plan = world.plan("first")
    registered = world.stage("register", plan, world.evaluated(BOTH))
    world.stage("approve", plan, {"registered": registered}, person("Approve", "the misses are worth it"))
    evidence = find_evidence(world.store, world.name, "1")
    assert evidence is not None
    assert (evidence.by, evidence.why, evidence.how) == ("Ada", "the misses are worth it", "person")
    assert evidence.when.startswith("2026-")
    assert evidence.threshold == registered.values["threshold"] == 0.4
    assert evidence.documents["dossier"] == registered.output("dossier").digest
    assert evidence.verified(world.signing) is evidence


def test_evidence_that_lies_there_before_anybody_decided_moves_no_alias(world: World, tracking: Tracking) -> None:
    """Who may write to the store, or edit tags in MLflow, approves nothing by that."""
    plan = world.plan("first")
    registered = world.stage("register", plan, world.evaluated(BOTH))
    forged = {
        "use_case": world.name, "version": "1", "model_digest": registered.values["model_digest"], "approved": True,
        "by": "Eve", "how": "person", "when": "2026-11-26", "why": "trust me", "gates": {}, "previous": None,
        "run": "x", "threshold": 0.4,
    }  # fmt: skip
    world.store.write_json(evidence_uri(world.name, "1"), forged)
    with pytest.raises(PromotionError, match="got no signature"):
        world.stage("approve", plan, {"registered": registered}, {"decision": "rule"})
    assert tracking.registry.aliased(world.name, CHAMPION) is None


def test_an_approval_without_a_reason_leaves_no_evidence_where_one_is_required(world: World) -> None:
    world.sections = {"promote": {"reason": "required"}}
    plan = world.plan("first")
    registered = world.stage("register", plan, world.evaluated(BOTH))
    with pytest.raises(PromotionError) as raised:
        world.stage("approve", plan, {"registered": registered}, person("Approve", None))
    assert str(raised.value) == (
        "reason of the approval: got none. Allowed: a sentence that says why, as promote.reason requires. "
        "Do: clear the task that asks the person, and answer again with a reason"
    )
    assert find_evidence(world.store, world.name, "1") is None
    again = world.stage("approve", plan, {"registered": registered}, person("Approve", "seen the dossier"))
    assert again.values["why"] == "seen the dossier"


def test_who_may_not_decide_does_not(world: World) -> None:
    world.approvers = Approvers(users=("Grace", "Ada"), not_the_author=True)
    plan = world.plan("first", author="Ada")
    registered = world.stage("register", plan, world.evaluated(BOTH))
    with pytest.raises(PromotionError, match=r"approver Eve: got not among those .*Allowed: Grace, Ada"):
        world.stage("approve", plan, {"registered": registered}, person("Approve", name="Eve"))
    with pytest.raises(PromotionError, match=r"approver Ada: got whoever started the run\. Allowed: somebody else"):
        world.stage("approve", plan, {"registered": registered}, person("Approve", name="Ada"))
    assert find_evidence(world.store, world.name, "1") is None
    assert world.stage("approve", plan, {"registered": registered}, person("Approve", name="Grace")).values["approved"]


def test_a_superseded_version_is_told_so_whoever_answered(world: World) -> None:
    """The newer run answers by the user of Airflow's connection, who may have started the older one."""
    world.approvers = Approvers(not_the_author=True)
    plan = world.plan("old", author="Ada")
    waiting = world.stage("register", plan, world.evaluated(BOTH))
    world.stage("register", world.plan("new"), world.evaluated(BOTH, train=slice(0, 290)))
    late = world.stage("approve", plan, {"registered": waiting}, person("Reject", "superseded by version 2"))
    assert late.verdict is not None
    assert "version 1 is superseded: superseded: observed version 2 is the challenger" in late.verdict.sentence()
    assert find_evidence(world.store, world.name, "1") is None


def measured(outcome: Outcome) -> StageInput:
    reasons = (Reason(rule="DPPL", column="Amount above 80", observed="0.3", bound="-0.1 to 0.1"),)
    verdict = Verdict(
        outcome=outcome, subject="bias after training", reasons=reasons if outcome is Outcome.FAIL else ()
    )
    return as_input("bias", StageResult(values={"time": "after"}, verdict=verdict))


def test_limits_of_bias_that_nobody_measured_or_that_are_broken_stop_a_version(world: World) -> None:
    world.sections = {"bias": LIMITS}
    plan, inputs = world.plan("first"), world.evaluated(BOTH)
    with pytest.raises(PromotionError, match=r"bias after training of .*: got not measured\. Allowed: what the stage"):
        world.stage("register", plan, inputs)
    broken: Any = {**inputs, "bias": [measured(Outcome.FAIL)]}
    with pytest.raises(PromotionError, match=r"got FAIL: bias after training: DPPL of Amount above 80"):
        world.stage("register", plan, broken)
    assert not world.store.exists(f"registry/{world.name}")


def test_an_alias_moved_by_hand_is_noticed_by_the_next_run_and_by_doctor(
    world: World, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.champion("first", ["Amount"])
    world.champion("second", BOTH)
    registry = tracking.registry
    monkeypatch.setattr("stepzero.cli.services.control.read_state", lambda _: {"parts": []})
    assert moved_by_hand(world.store, registry, world.name) is None
    found = doctor_checks.check_champions(world.environment)
    assert (found.state, found.found) == (doctor_checks.GOOD, f"{world.name}: as approved")
    tracking.client.set_registered_model_alias(world.name, CHAMPION, "1")
    told = "version 1, but version 2 was approved last"
    assert moved_by_hand(world.store, registry, world.name) == told
    found = doctor_checks.check_champions(world.environment)
    assert (found.state, found.found) == (doctor_checks.PROBLEM, f"{world.name}: alias champion shows {told}")
    for module in ("first", "planning"):
        monkeypatch.setattr(f"stepzero.execution.{module}.load_use_case", lambda _: world.use_case)
    asked = PlanRequest(use_case=world.name, run="third", as_of="2026-11-26T00:00:00+00:00")
    request = Request(stage="plan", use_case=world.name, run="third", attempt="1")
    with pytest.raises(PromotionError, match=f"alias champion of {world.name}: got {told}"):
        run_plan(asked, request, world.store, world.environment)
    tracking.client.delete_registered_model_alias(world.name, CHAMPION)
    assert moved_by_hand(world.store, registry, world.name) == "no version, but version 2 was approved last"


def test_the_key_is_in_nothing_that_is_kept(world: World, tracking: Tracking) -> None:
    assert world.signing is not None
    assert world.signing.private_key_file is not None
    secret = Path(world.signing.private_key_file).read_text(encoding="utf-8").splitlines()[1]
    approved = world.champion("first", BOTH)
    kept = json.dumps(approved.values) + json.dumps(tracking.registry.tags(world.name, "1"))
    kept += "".join(world.store.read_text(uri) for uri in world.store.list("registry") if uri.endswith(".json"))
    assert secret not in kept
