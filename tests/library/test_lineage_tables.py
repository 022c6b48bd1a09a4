"""From a model to the files of both tables and back, through the feature groups that earlier runs filled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stepzero.adapters.datasets import read_frame, write_file, write_frame
from stepzero.adapters.ledger import Accepted, accept
from stepzero.adapters.registry_records import Registration, note_registration
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.keys import make_key
from stepzero.core.references import Reference, ResultReference
from stepzero.core.stages import StageResult
from stepzero.core.verdict import Outcome, Verdict
from stepzero.execution.execute import Request, execute, pointer_uri
from stepzero.execution.lineage import find_version, lineage, touched
from stepzero.execution.planning import PlanRequest, commit_plan, make_plan
from stepzero.execution.results import commit_result
from stepzero.generators import to_csv
from stepzero.generators.auto_claims import generate_tables
from stepzero.spec.environment import Environment
from stepzero.spec.plan import Plan
from support.runs import Silent

NAME = "auto_claims_fraud"
TABLES = ("claims", "customers")


class Runs:
    """Runs as far as no Spark is needed: gates and transforms are noted as if they had run."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def make(self, run: str, day: int, shift: int) -> ResultReference:
        """Land both tables, with policies from `shift` on, and go on to the joined rows."""
        tables = generate_tables(rows=60, seed=3)
        frames = {name: frame.assign(policy_id=frame["policy_id"] + shift) for name, frame in tables.items()}
        for name, frame in frames.items():
            self.store.write_text(f"landing/{NAME}/{name}/{run}.csv", to_csv(frame).decode())
        asked = PlanRequest(
            use_case=NAME,
            run=run,
            as_of=f"2026-11-{day:02d}T00:00:00+00:00",
            uris=tuple(f"landing/{NAME}/{name}/{run}.csv" for name in TABLES),
        )
        environment = Environment(name="local", store=self.store.root, approval="rule")
        plan = commit_plan(self.store, make_plan(asked, self.store, environment, None))
        groups = {}
        for name, frame in frames.items():
            accepted = write_frame(self.store, f"given/{run}/{name}", frame.select_dtypes("number"), producer="test")
            verdict = Verdict(outcome=Outcome.PASS, subject=f"batch of {name}")
            gate = StageResult(
                outputs={"accepted": accepted}, values={"table": name, "rows": 60, "quarantined": 0}, verdict=verdict
            )
            self._note(plan, "quality_gate", name, gate)
            self._accept(plan, name, accepted)
            unseen = [{"column": "customer_gender", "rule": "count", "rows": 4, "values": {"other": 4}}]
            prepared = self._note(
                plan, "prepare_table", name, StageResult(outputs={"accepted": accepted}, values={"unseen": unseen})
            )
            groups[name] = self._run(plan, "ingest_features", {"prepared": prepared}, name, group=name)
        return self._run(plan, "join_features", groups, "")

    def _accept(self, plan: Plan, table: str, accepted: Reference) -> None:
        batch, ledger = plan.tables[table].batch, plan.part("", table).ledger
        entry = Accepted(
            partition=batch.partition, digest=batch.digest, files=batch.files, accepted=accepted.to_json(),
            as_of=plan.as_of, run=plan.run,
        )  # fmt: skip
        accept(self.store, ledger, entry)

    def _note(self, plan: Plan, stage: str, label: str, result: StageResult) -> ResultReference:
        key = make_key(stage=stage, run=plan.run, label=label, code="as given")
        reference = commit_result(self.store, NAME, stage, key, result, {"folder": "given"}, number=1)
        noted: dict[str, Any] = {"result": reference.to_json(), "key_parts": {}, "inputs": {}, "parameters": {}}
        self.store.write_json(pointer_uri(NAME, plan.run, stage, label), noted)
        return reference

    def _run(self, plan: Plan, stage: str, inputs: Any, label: str, **parameters: str) -> ResultReference:
        request = Request(
            stage=stage, use_case=NAME, run=plan.run, attempt="1", inputs=inputs, parameters=parameters, label=label
        )
        return execute(request, self.store, Environment(name="local", store=self.store.root))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setattr(Workspace, "tracking", property(lambda _: Silent()))
    return Runs(Store(f"file://{tmp_path}"))


def register(store: Store, version: str, run: str) -> None:
    model = write_file(store, f"made/model-{version}", version.encode()).to_json()
    note_registration(
        store,
        Registration(
            use_case=NAME, version=version, model=model, training_rows=model, example=model, threshold=0.1, run=run
        ),
    )


def test_golden_49_a_model_reaches_code_data_and_parameters_of_all_runs_behind_its_features(runs: Runs) -> None:
    runs.make("one", 1, shift=0)
    runs.make("two", 2, shift=20)
    for version, run in (("1", "one"), ("2", "two")):
        register(runs.store, version, run)
    told = lineage(find_version(runs.store, "2"))
    assert {(one["group"], one["run"]) for one in told["data"]["features"]} == {
        (group, run) for group in TABLES for run in ("one", "two")
    }
    assert {name: table["batch"]["files"][0]["uri"] for name, table in told["data"]["tables"].items()} == {
        name: f"landing/{NAME}/{name}/two.csv" for name in TABLES
    }
    assert (told["data"]["gate"], told["data"]["rows"], told["data"]["quarantined"]) == ("PASS", 120, 0)
    customers = told["preparation"]["tables"]["customers"]
    assert customers["steps"][:3] == ["case", "drop", "one_hot"]
    assert customers["unseen"][0]["rows"] == 4
    kinds = {(one["association"], one["kind"]) for one in told["artefacts"]}
    assert kinds == {("ContributedTo", "Code"), ("ContributedTo", "DataSet"), ("Produced", "Model")}
    landed = {one["uri"] for one in told["artefacts"] if one["kind"] == "DataSet"}
    assert {f"landing/{NAME}/{name}/{run}.csv" for name in TABLES for run in ("one", "two")} <= landed

    found = touched(runs.store, f"landing/{NAME}/claims/one.csv")
    assert [(one["use_case"], one["table"], one["run"]) for one in found["accepted"]] == [(NAME, "claims", "one")]
    assert [(one["version"], one["as"], one["partition"]) for one in found["versions"]] == [
        ("1", "batch", found["versions"][0]["partition"]),
        ("2", "features", "one"),
    ]
    second = touched(runs.store, f"landing/{NAME}/customers/two.csv")
    assert [one["version"] for one in second["versions"]] == ["2"], "no model knows what landed after it"


def test_joined_rows_are_the_same_another_day_and_spark_can_read_their_times(runs: Runs) -> None:
    first = runs.make("one", 1, shift=0)
    again = runs.make("two", 9, shift=0)
    assert again.digest == first.digest
    joined = Reference.from_json(runs.store.read_json(first.uri)["outputs"]["accepted"])
    frame = read_frame(runs.store, joined)
    assert {str(frame[name].dtype) for name in ("_event_time", "_known_time")} == {"datetime64[us, UTC]"}
    assert "_moment" not in frame.columns
    assert isinstance(frame, pd.DataFrame)
