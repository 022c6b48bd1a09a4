"""What a registered version says of where it comes from, in MLflow and in its dossier."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stepzero.adapters.registry import DIGEST
from stepzero.adapters.tracking import Tracking
from stepzero.core.references import Reference
from stepzero.core.stages import StageResult
from stepzero.core.verdict import Outcome, Verdict
from stepzero.spec.plan import Batch, BatchFile, Member
from support.champions import World, as_input, person

pytestmark = [
    pytest.mark.service,
    # Importing mlflow.pyfunc warns of type hints in MLflow's own models.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

BOTH: list[str] = ["V1", "Amount"]
NOWHERE = Reference(uri="nowhere", digest="accepted", kind="dataset", rows=9)


def test_golden_49_code_and_data_contributed_and_the_model_was_produced(world: World, tracking: Tracking) -> None:
    """The reference's notebook marked its training data as Produced, and its model as nothing."""
    inputs, days = world.evaluated(BOTH), [f"2018-05-{day:02}" for day in range(1, 32)]
    files = {day: BatchFile(uri=f"landing/{day}/rows.csv.gz", digest=f"of {day}", bytes=1) for day in days}
    passed = as_input("gate", StageResult(verdict=Verdict(outcome=Outcome.PASS, subject="a day")))
    inputs["days"] = [replace(passed, day=day, outputs={"accepted": NOWHERE}) for day in days]
    landed = tuple(Batch(partition=day, digest=day, files=(file,)) for day, file in files.items())
    member = Member(partition="before", digest="b", accepted=NOWHERE.to_json())
    plan = world.plan("first").model_copy(update={"days": landed, "window": (member,)})
    registered = world.stage("register", plan, inputs)
    world.stage("register", plan, inputs)
    version = tracking.client.get_model_version(world.name, "1")
    run = tracking.client.get_run(version.run_id)
    taken = {one.dataset.name: (one.dataset.digest, one.tags[0].value) for one in run.inputs.dataset_inputs}
    prepared = inputs["prepared"]
    assert taken == {
        "train rows": (prepared.output("train").digest, "training"),
        "test rows": (prepared.output("test").digest, "evaluation"),
        **{f"{day}/rows.csv.gz": (f"of {day}", "source") for day in days},
        "accepted rows of before": (NOWHERE.digest, "source"),
    }
    dossier = world.store.read_json(registered.output("dossier").uri)
    assert [one["partition"] for one in dossier["data"]["days"] if one["learned_from"]] == days
    (produced,) = run.outputs.model_outputs
    assert f"models:/{produced.model_id}" == version.source
    assert registered.values["version"] == "1"


def test_golden_50_a_version_carries_its_own_metrics_and_reports_and_waits_for_a_decision(
    world: World, tracking: Tracking
) -> None:
    """The reference attached another model's explanation as the bias report of its second package."""
    plan, inputs = world.plan("first"), world.evaluated(BOTH)
    registered = world.stage("register", plan, inputs)
    tags = tracking.registry.tags(world.name, "1")
    assert tags["stepzero.approval"] == "pending"
    assert tags["stepzero.metric.average_precision"] == "0.8"
    assert tags[DIGEST] == inputs["evaluated"].output("model").digest
    dossier = world.store.read_json(registered.output("dossier").uri)
    assert dossier["model"]["digest"] == tags[DIGEST]
    world.stage("approve", plan, {"registered": registered}, person("Approve"))
    assert tracking.registry.tags(world.name, "1")["stepzero.approval"] == "approved"
