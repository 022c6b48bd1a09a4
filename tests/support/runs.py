"""Runs that really ran, as far as no service and no Spark is needed: resample, tune and evaluate, noted in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.ledger import Accepted, accept, make_batch
from stepzero.adapters.registry_records import Evidence, Registration, note_evidence, note_registration
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.keys import make_key
from stepzero.core.references import Reference, ResultReference
from stepzero.core.stages import StageResult
from stepzero.core.verdict import Outcome, Verdict
from stepzero.execution.execute import Request, execute, pointer_uri
from stepzero.execution.results import commit_result
from stepzero.spec.environment import Environment
from stepzero.spec.plan import Member, Plan
from stepzero.spec.use_case import UseCase
from support.cards import cards, made_up_cards, prepared

NAME = "credit_card_fraud"


class Silent:
    """A tracking server that takes everything and shows nothing."""

    def publish(self, *arguments: Any) -> str:
        """Take records."""
        return "parent"


class Runs:
    """A store in which runs are made one after the other.

    Args:
        store: Where.
        environment: Any.
        monkeypatch: Takes the tracking server away.
    """

    def __init__(self, store: Store, environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.environment = store, environment
        monkeypatch.setattr(Workspace, "tracking", property(lambda _: Silent()))

    def make(self, run: str, *, seed: int = 3, window: tuple[Member, ...] = (), **sections: Any) -> Plan:
        """Land a batch, note gate and preparation as if Spark had done them, and run what comes after."""
        use_case = cards(
            **{"resample": ["none"], "evaluate": {"bootstrap": 50, "explain": []}, "train": small(), **sections}
        )
        plan = self._plan(run, use_case, seed, window)
        train, test = prepared(made_up_cards(rows=900, frauds=60, seed=seed))
        outputs = {
            side: write_frame(self.store, f"given/{run}/{side}", rows, producer="prepare")
            for side, rows in (("train", train), ("test", test))
        }
        accepted = write_frame(self.store, f"given/{run}/accepted", train, producer="quality_gate")
        verdict = Verdict(outcome=Outcome.PASS, subject=f"batch {plan.batch.partition}")
        gate = StageResult(outputs={"accepted": accepted}, values={"rows": 900, "quarantined": 0}, verdict=verdict)
        checked = self._note(plan, "quality_gate", gate, {})
        values = {"test": {str(k): int(v) for k, v in test["Class"].value_counts().items()}}
        given = self._note(plan, "prepare", StageResult(outputs=outputs, values=values), {"checked": checked})
        self._accept(plan, accepted)
        cells = []
        for cell in plan.cells():
            sampler, label = {"sampler": cell["sampler"]}, f"{cell['sampler']}.{cell['model']}"
            resampled = self._run(plan, "resample", {"prepared": given}, sampler, cell["sampler"])
            cells.append(self._run(plan, "tune", {"prepared": given, "resampled": resampled}, cell, label))
        self._run(plan, "evaluate", {"prepared": given, "tuned": cells}, {}, "")
        return plan

    def register(self, plan: Plan, version: str, *, approved: bool = True) -> Registration:
        """Register what a run evaluated, and decide on it."""
        evaluated = self.store.read_json(pointer_uri(NAME, plan.run, "evaluate"))["result"]
        result = self.store.read_json(evaluated["uri"])
        model = Reference.from_json(result["outputs"]["model"])
        registration = Registration(
            use_case=NAME,
            version=version,
            model=model.to_json(),
            training_rows=result["outputs"]["training_rows"],
            example={},
            threshold=result["values"]["winner"]["threshold"],
            gates={"promotion": "PASS"},
            run=plan.run,
        )
        note_registration(self.store, registration)
        evidence = Evidence(
            use_case=NAME, version=version, model_digest=model.digest, approved=approved, by="rule", when=plan.as_of,
            why="it passed", how="rule", gates={}, previous=None, run=plan.run,
        )  # fmt: skip
        note_evidence(self.store, evidence)
        return registration

    def member(self, plan: Plan) -> Member:
        """Return a run's accepted batch as a member of a later window."""
        result = self.store.read_json(
            self.store.read_json(pointer_uri(NAME, plan.run, "quality_gate"))["result"]["uri"]
        )
        return Member(partition=plan.batch.partition, digest=plan.batch.digest, accepted=result["outputs"]["accepted"])

    def _plan(self, run: str, use_case: UseCase, seed: int, window: tuple[Member, ...]) -> Plan:
        uri = f"landing/{NAME}/{run}.csv"
        self.store.write_text(uri, f"made of seed {seed}\n")
        plan = Plan(
            run=run,
            use_case=use_case,
            environment="local",
            batch=make_batch(self.store, [uri]),
            window=window,
            as_of=f"2026-11-{20 + seed:02}T00:00:00+00:00",
            approval="rule",
        )
        self.store.create(f"{plan.folder}/plan.json", plan.model_dump(mode="json", by_alias=True))
        return plan

    def _accept(self, plan: Plan, accepted: Reference) -> None:
        batch = plan.batch
        entry = Accepted(
            partition=batch.partition, digest=batch.digest, files=batch.files, accepted=accepted.to_json(),
            as_of=plan.as_of, run=plan.run,
        )  # fmt: skip
        accept(self.store, NAME, entry)

    def _note(self, plan: Plan, stage: str, result: StageResult, inputs: dict[str, ResultReference]) -> ResultReference:
        key = make_key(stage=stage, run=plan.run, code="as given")
        reference = commit_result(self.store, NAME, stage, key, result, {"folder": f"given/{plan.run}"}, number=1)
        given = {name: one.to_json() for name, one in inputs.items()}
        noted = {"result": reference.to_json(), "key_parts": dict(key.parts), "inputs": given, "parameters": {}}
        self.store.write_json(pointer_uri(NAME, plan.run, stage), noted)
        return reference

    def _run(self, plan: Plan, stage: str, inputs: Any, parameters: dict[str, str], label: str) -> ResultReference:
        request = Request(
            stage=stage, use_case=NAME, run=plan.run, attempt="1", inputs=inputs, parameters=parameters, label=label
        )
        return execute(request, self.store, self.environment)


def small() -> dict[str, Any]:
    """Return a `train` section that takes a second."""
    models = {"decision_tree": {"grid": {"max_depth": [2, 4]}}, "xgboost": {"grid": {"n_estimators": [5]}}}
    return {"folds": 3, "models": models}


def tampered(store: Store, path: Path) -> None:
    """Give a stored file one more byte."""
    assert store.is_local
    path.write_bytes(path.read_bytes() + b" ")
