"""Every stage of the credit-card run gives the same answer on arm64 as on x86-64."""

from __future__ import annotations

import pytest

from arm64.conftest import REPORTS, TOLD, Flows
from arm64.lane.bounds import BOUNDS
from arm64.lane.build import Lane
from arm64.lane.compare import Comparison, Side, compare
from arm64.lane.machine import Machine
from arm64.lane.report import describe_machines, make_report, render, write_report
from stepzero.adapters.datasets import read_frame
from stepzero.core.references import Reference

pytestmark = [pytest.mark.timeout(3000), pytest.mark.spark, pytest.mark.service]


@pytest.fixture(scope="session")
def comparisons(flows: Flows, lane: Lane, pytestconfig: pytest.Config) -> dict[str, Comparison]:
    """Compare what there is, and write the report even where a run ended early."""
    found: dict[str, Comparison] = {}
    done = flows.results
    if "prepare" in done["native"]:
        prepared = flows.native.store.read_json(done["native"]["prepare"]["uri"])["outputs"]["test"]
        rows = read_frame(flows.native.store, Reference.from_json(prepared))
        for name in [job.name for job in flows.jobs]:
            if name in done["native"] and name in done["arm64"]:
                found[name] = compare(name, _side(flows.native, flows, name), _side(flows.arm64, flows, name), rows)
    missing = [f"{machine} from here on: {str(error)[:300]}" for machine, error in flows.errors.items()]
    facts = {"machines": describe_machines(lane), "sample": flows.sample, "not_run": missing}
    facts["processor_seconds"] = {machine.name: machine.processor_seconds for machine in flows.machines()}
    facts["lost_forks"] = flows.arm64.lost_forks
    report = make_report(list(found.values()), BOUNDS, **facts)
    write_report(report, REPORTS)
    pytestconfig.stash[TOLD] = render(report)
    return found


@pytest.mark.parametrize("machine", ["native", "arm64"])
def test_every_stage_of_the_dag_ends(machine: str, flows: Flows) -> None:
    error = flows.errors.get(machine)
    assert error is None, str(error)
    assert set(flows.results[machine]) == {job.name for job in flows.jobs}


def test_every_stage_gives_the_same_answer(comparisons: dict[str, Comparison], flows: Flows) -> None:
    assert set(comparisons) == {job.name for job in flows.jobs}
    unexplained = {name: one.unexplained(BOUNDS) for name, one in comparisons.items()}
    assert {name: found for name, found in unexplained.items() if found} == {}


def test_stages_that_do_not_learn_are_equal_to_the_last_bit(comparisons: dict[str, Comparison]) -> None:
    """What is promised without a bound: the gate, preparation, resampling and every tree."""
    exact = ["quality_gate", "prepare", *(name for name in comparisons if name.startswith("resample "))]
    exact += [name for name in comparisons if name.endswith((".decision_tree", ".random_forest", ".xgboost"))]
    assert [name for name in exact if not comparisons[name].equal] == []


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
