"""Every stage of the credit-card run gives the same answer on arm64 as on x86-64."""

from __future__ import annotations

import logging

import pytest

from arm64.conftest import REPORTS, Flows
from arm64.lane import flow
from arm64.lane.bounds import BOUNDS
from arm64.lane.build import Lane
from arm64.lane.compare import Comparison, Side, compare
from arm64.lane.machine import Machine
from arm64.lane.report import describe_machines, make_report, render, write_report
from stepzero.adapters.datasets import read_frame
from stepzero.core.references import Reference
from stepzero.core.stages import STAGES

pytestmark = [pytest.mark.timeout(1500), pytest.mark.spark, pytest.mark.service]


@pytest.fixture(scope="session")
def comparisons(flows: Flows, lane: Lane) -> dict[str, Comparison]:
    """Compare what there is, and write the report even where a run ended early."""
    found: dict[str, Comparison] = {}
    done = flows.results
    if "prepare" in done["native"]:
        prepared = flows.native.store.read_json(done["native"]["prepare"]["uri"])["outputs"]["test"]
        rows = read_frame(flows.native.store, Reference.from_json(prepared))
        for name in done["native"]:
            if name in done["arm64"]:
                found[name] = compare(name, _side(flows.native, flows, name), _side(flows.arm64, flows, name), rows)
    missing = [f"{machine} from here on: {str(error)[:300]}" for machine, error in flows.errors.items()]
    facts = {"machines": describe_machines(lane), "sample": flows.sample, "seconds": flows.seconds, "not_run": missing}
    report = make_report(list(found.values()), BOUNDS, **facts)
    write_report(report, REPORTS)
    logging.getLogger("stepzero").info("equality of arm64 and x86-64:\n%s", render(report))
    return found


@pytest.mark.parametrize("machine", ["native", "arm64"])
def test_run_reaches_its_end(machine: str, flows: Flows) -> None:
    error = flows.errors.get(machine)
    assert error is None, str(error)
    ran = {name.split()[0] for name in flows.results[machine]}
    # The one says how the run ended, in MLflow only; the other waits for a person.
    assert ran == set(STAGES) - {"report", "release"}


@pytest.mark.parametrize("stage", list(flow.stage_names()))
def test_stage_gives_the_same_answer(stage: str, comparisons: dict[str, Comparison]) -> None:
    assert stage in comparisons, f"{stage} did not end on both machines"
    unexplained = comparisons[stage].unexplained(BOUNDS)
    assert unexplained == [], f"{stage} differs beyond what is known: {unexplained}"


def test_one_key_has_one_result(comparisons: dict[str, Comparison]) -> None:
    """Where architectures differ, the key says so: a shared store never gives one's result to the other."""
    assert [name for name, one in comparisons.items() if one.same_key and one.gaps] == []


@pytest.mark.parametrize("fault", ["unstable_order", "long_double"])
def test_planted_difference_is_caught(fault: str, flows: Flows) -> None:
    one = _planted(flows, fault)
    assert not one.equal
    assert one.unexplained(BOUNDS) != []


def test_corrected_stage_is_equal(flows: Flows) -> None:
    assert _planted(flows, "stable").equal


def _planted(flows: Flows, function: str) -> Comparison:
    name = f"planted_stages:{function}"
    for machine in flows.machines():
        flows.results[machine.name][name] = machine.stage(name)
    return compare(name, _side(flows.native, flows, name), _side(flows.arm64, flows, name))


def _side(machine: Machine, flows: Flows, name: str) -> Side:
    reference = flows.results[machine.name][name]
    return Side(machine.store, machine.store.read_json(reference["uri"]))
