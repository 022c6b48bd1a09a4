"""Register, approve, deploy: every step once, whatever is killed, repeated or tampered with."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

import pytest

from stepzero.adapters.registry import CHALLENGER, CHAMPION
from stepzero.adapters.registry_records import find_evidence, registration_uri
from stepzero.adapters.registry_succession import Succession, succeed, successions
from stepzero.adapters.store import Store
from stepzero.adapters.tracking import Tracking
from stepzero.core.errors import PromotionError, StageError
from stepzero.core.verdict import Outcome
from support.champions import World, person

pytestmark = [
    pytest.mark.service,
    # Importing mlflow.pyfunc warns of type hints in MLflow's own models.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

BOTH: list[str] = ["V1", "Amount"]
NONE: list[str] = []


def versions(tracking: Tracking, name: str) -> list[str]:
    return sorted(str(one.version) for one in tracking.client.search_model_versions(f"name='{name}'"))


@pytest.fixture(scope="module")
def championed(make_world: Callable[[str], World]) -> World:
    """A use case whose champion is version 1; challengers come and go."""
    world = make_world("championed")
    world.champion("first", BOTH)
    return world


def logged_models(tracking: Tracking, name: str) -> list[Any]:
    return list(tracking.client.search_logged_models([tracking.experiment(name)]))


@pytest.mark.parametrize(
    "step", ["create_logged_model", "log_model_artifacts", "finalize_logged_model", "create_model_version"]
)
def test_a_kill_while_registering_and_a_retry_leave_one_version(
    world: World, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from mlflow import MlflowClient

    plan, inputs = world.plan("first"), world.evaluated(BOTH)
    _die_after(monkeypatch, MlflowClient, step)
    with pytest.raises(Killed):
        world.stage("register", plan, inputs)
    monkeypatch.undo()
    registered = world.stage("register", plan, inputs)
    assert versions(tracking, world.name) == [registered.values["version"]]
    assert len(logged_models(tracking, world.name)) == 1
    assert tracking.registry.aliased(world.name, CHALLENGER) == registered.values["version"]


class Killed(BaseException):
    """Stands for kill -9: nothing of the library may catch it."""


def _die_after(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    real = getattr(owner, name)

    def dying(*arguments: Any, **words: Any) -> Any:
        real(*arguments, **words)
        raise Killed

    monkeypatch.setattr(owner, name, dying)


@pytest.mark.parametrize("step", ["tag", "point", "release"])
def test_a_kill_while_approving_and_a_retry_end_in_the_same_state(
    world: World, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from stepzero.adapters.registry import ModelRegistry

    plan = world.plan("first")
    registered = world.stage("register", plan, world.evaluated(BOTH))
    _die_after(monkeypatch, ModelRegistry, step)
    with pytest.raises(Killed):
        world.stage("approve", plan, {"registered": registered}, person("Approve"))
    monkeypatch.undo()
    approved = world.stage("approve", plan, {"registered": registered}, person("Approve", name="Somebody else"))
    assert approved.verdict.outcome is Outcome.PASS
    assert approved.values["by"] == "Ada", "the first decision stands"
    assert tracking.registry.aliased(world.name, CHAMPION) == "1"
    assert tracking.registry.aliased(world.name, CHALLENGER) is None
    assert tracking.registry.tags(world.name, "1")["stepzero.approval_by"] == "Ada"


def test_two_processes_that_register_at_once_make_one_version(world: World, tracking: Tracking) -> None:
    plan, inputs = world.plan("first"), world.evaluated(BOTH)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_register, args=(world, plan, inputs, number, queue)) for number in range(2)]
    for worker in workers:
        worker.start()
    told = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join(timeout=30)
    assert len(told) == 1
    assert versions(tracking, world.name) == sorted(told)
    assert len(logged_models(tracking, world.name)) == 1


def test_what_another_process_links_a_moment_before_is_linked(
    world: World, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    asked, linked = MlflowClient.log_outputs, []

    def twice(*arguments: Any, **settings: Any) -> None:
        asked(*arguments, **settings)
        linked.append(True)
        asked(*arguments, **settings)

    monkeypatch.setattr(MlflowClient, "log_outputs", twice)
    registered = world.stage("register", world.plan("first"), world.evaluated(BOTH))
    assert registered.values["version"] == "1"
    assert linked, "the other process came first"
    (model,) = logged_models(tracking, world.name)
    assert [one.model_id for one in tracking.client.get_run(model.source_run_id).outputs.model_outputs] == [
        model.model_id
    ]


def _register(world: World, plan: Any, inputs: Any, number: int, queue: Any) -> None:
    world.tries += 100 * (number + 1)
    queue.put(world.stage("register", plan, inputs).values["version"])


def test_the_same_model_as_the_champion_makes_no_new_version(championed: World, tracking: Tracking) -> None:
    world, before = championed, versions(tracking, championed.name)
    plan = world.plan("same")
    registered = world.stage("register", plan, world.evaluated(BOTH))
    assert registered.values["unchanged"] is True
    assert registered.verdict.outcome is Outcome.PASS
    approved = world.stage("approve", plan, {"registered": registered}, {"decision": "rule"})
    assert (approved.values["approved"], approved.values["version"]) == (True, "1")
    told = world.store.read_json(approved.outputs["dossier"].uri)
    assert (told["run"], told["approval"]["by"]) == ("first", "the rule"), "the champion's own dossier"
    assert versions(tracking, world.name) == before
    assert tracking.registry.aliased(world.name, CHAMPION) == "1"


def test_a_worse_challenger_fails_and_the_champion_stays(championed: World, tracking: Tracking) -> None:
    world, before = championed, tracking.registry.aliased(championed.name, CHALLENGER)
    plan = world.plan("worse")
    registered = world.stage("register", plan, world.evaluated(NONE))
    assert registered.verdict.outcome is Outcome.FAIL
    assert "worse than the champion, which stays" in registered.verdict.sentence()
    assert registered.values["comparison"]["high"] < 0
    assert tracking.registry.aliased(world.name, CHAMPION) == "1"
    assert tracking.registry.aliased(world.name, CHALLENGER) == before != registered.values["version"]
    with pytest.raises(PromotionError, match="worse than the champion"):
        world.stage("approve", plan, {"registered": registered}, {"decision": "rule"})


def test_a_better_challenger_passes_and_replaces_the_champion(world: World, tracking: Tracking) -> None:
    world.champion("first", NONE)
    approved = world.champion("second", BOTH)
    assert approved.values["version"] == "2"
    assert tracking.registry.tags(world.name, "1")["stepzero.replaced_by"] == "2"
    assert find_evidence(world.store, world.name, "2").previous.version == "1"
    assert "better than the champion" in find_evidence(world.store, world.name, "2").gates["champion"]


def test_a_challenger_that_cannot_be_told_apart_passes_and_says_so(championed: World) -> None:
    world = championed
    registered = world.stage("register", world.plan("alike"), world.evaluated(BOTH, train=slice(0, 299)))
    assert registered.verdict.outcome is Outcome.PASS
    assert "cannot be told apart from the champion, and is newer" in registered.verdict.sentence()


def test_only_rows_that_neither_model_trained_on_are_compared(world: World) -> None:
    world.champion("first", BOTH, train=slice(0, 400))
    registered = world.stage("register", world.plan("second"), world.evaluated(BOTH, train=slice(0, 350)))
    assert registered.values["comparison"]["rows"] == 200


def test_without_untouched_rows_the_champion_stays(world: World) -> None:
    world.champion("first", BOTH, train=slice(0, 598))
    registered = world.stage("register", world.plan("second"), world.evaluated(BOTH))
    assert registered.verdict.outcome is Outcome.FAIL
    assert "cannot be compared with champion version 1, which stays: 2 rows" in registered.verdict.sentence()


def test_a_rejection_fails_with_who_and_why(world: World, tracking: Tracking) -> None:
    plan = world.plan("first")
    registered = world.stage("register", plan, world.evaluated(BOTH))
    rejected = world.stage("approve", plan, {"registered": registered}, person("Reject", "too few frauds in March"))
    assert rejected.verdict.outcome is Outcome.FAIL
    assert "rejected by Ada because too few frauds in March" in rejected.verdict.sentence()
    assert tracking.registry.aliased(world.name, CHAMPION) is None
    assert tracking.registry.tags(world.name, "1")["stepzero.approval"] == "rejected"
    again = world.stage("approve", plan, {"registered": registered}, person("Approve"))
    assert again.verdict.outcome is Outcome.FAIL, "nobody decides twice on a version"


def test_an_unanswered_question_rejects(world: World) -> None:
    plan = world.plan("first")
    registered = world.stage("register", plan, world.evaluated(BOTH))
    answer = {"decision": '{"chosen_options": ["Reject"], "params_input": {}, "responded_by_user": null}'}
    rejected = world.stage("approve", plan, {"registered": registered}, answer)
    assert "rejected by nobody (the time to answer was over) because no reason was given" in rejected.verdict.sentence()


def test_the_rule_may_not_decide_where_a_person_is_asked_for(world: World) -> None:
    world.approval = "person"
    plan = world.plan("first")
    registered = world.stage("register", plan, world.evaluated(BOTH))
    with pytest.raises(PromotionError) as error:
        world.stage("approve", plan, {"registered": registered}, {"decision": "rule"})
    assert "decision of the stage approve: got 'rule'. Allowed: the answer of a person" in str(error.value)
    assert find_evidence(world.store, world.name, "1") is None


def test_an_unreadable_decision_is_refused(world: World) -> None:
    plan = world.plan("first")
    registered = world.stage("register", plan, world.evaluated(BOTH))
    with pytest.raises(StageError, match=r"got \"\{'chosen'"):
        world.stage("approve", plan, {"registered": registered}, {"decision": "{'chosen': 1}"})


def test_a_newer_challenger_supersedes_one_that_waits(world: World, tracking: Tracking) -> None:
    old, new = world.plan("old"), world.plan("new")
    waiting = world.stage("register", old, world.evaluated(BOTH))
    newer = world.stage("register", new, world.evaluated(BOTH, train=slice(0, 290)))
    late = world.stage("approve", old, {"registered": waiting}, person("Approve"))
    assert late.verdict.outcome is Outcome.FAIL
    assert "version 1 is superseded: superseded: observed version 2 is the challenger" in late.verdict.sentence()
    assert find_evidence(world.store, world.name, "1") is None
    assert world.stage("approve", new, {"registered": newer}, person("Approve")).values["approved"]
    assert tracking.registry.aliased(world.name, CHAMPION) == "2"
    retried = world.stage("register", old, world.evaluated(BOTH))
    assert retried.values["version"] == "1"


def test_a_challenger_compared_with_a_former_champion_is_superseded(world: World) -> None:
    slow = world.plan("slow")
    world.champion("fast", BOTH)
    registered = world.stage("register", slow, world.evaluated(BOTH, train=slice(0, 290)))
    late = world.stage("approve", slow, {"registered": registered}, {"decision": "rule"})
    assert late.verdict.outcome is Outcome.FAIL
    assert "observed version 1 serves now, allowed none, as when the run began" in late.verdict.sentence()


def test_of_two_approvals_at_the_same_moment_one_succeeds(
    world: World, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = [world.stage("register", world.plan(run), world.evaluated(["V1"], threshold=threshold)).values["version"]
                for run, threshold in (("r1", 0.4), ("r2", 0.5))]  # fmt: skip
    meeting, create, met = threading.Barrier(2), Store.create, set[int]()

    def meet(self: Store, uri: str, value: Any) -> bool:
        if "/successions/" in uri and threading.get_ident() not in met:
            met.add(threading.get_ident())
            meeting.wait(timeout=60)
        return create(self, uri, value)

    monkeypatch.setattr(Store, "create", meet)
    won: dict[str, bool] = {}

    def decide(version: str) -> None:
        won[version] = succeed(world.store, tracking.registry, world.name, version, None, "e" * 32)

    threads = [threading.Thread(target=decide, args=(str(version),)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won.values()) == [False, True]
    winner = next(version for version, first in won.items() if first)
    assert tracking.registry.aliased(world.name, CHAMPION) == winner
    assert [place.version for place in successions(world.store, world.name)] == [winner]


def test_an_approval_that_was_killed_before_the_alias_moved_is_ended_by_the_next(
    world: World, tracking: Tracking
) -> None:
    world.champion("r1", ["Amount"])
    plan = world.plan("r2")
    first = str(world.stage("register", plan, world.evaluated(["V1"])).values["version"])
    place = Succession(number=2, version=first, previous="1", evidence_digest="e" * 32)
    world.store.create(f"registry/{world.name}/successions/000002.json", place.model_dump(mode="json"))
    late = str(world.stage("register", plan, world.evaluated(["V1"], threshold=0.6)).values["version"])
    assert not succeed(world.store, tracking.registry, world.name, late, "1", "f" * 32)
    assert tracking.registry.aliased(world.name, CHAMPION) == first
    assert succeed(world.store, tracking.registry, world.name, first, "1", "e" * 32), "its own retry finds it done"


def test_a_champion_that_the_store_does_not_know_is_told(championed: World) -> None:
    world, uri = championed, registration_uri(championed.name, "1")
    known = world.store.read_text(uri)
    world.store.remove(uri)
    with pytest.raises(PromotionError, match="restore the store, or take the alias `champion` from this version"):
        world.stage("register", world.plan("unknown"), world.evaluated(NONE))
    world.store.write_text(uri, known)
