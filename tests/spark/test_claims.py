"""Two tables from landed files to a judged model, on Spark: each gate by its own rules, and nothing goes on alone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stepzero.adapters.datasets import read_frame, write_file
from stepzero.adapters.landing import land_tables
from stepzero.adapters.ledger import accepted_batches, waiting_uris
from stepzero.adapters.registry_records import Registration, note_registration
from stepzero.adapters.releases import quarantined_rows, releases_of
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import Reference, ResultReference
from stepzero.execution.execute import Request, execute, pointer_uri, read_plan
from stepzero.execution.lineage import find_version, lineage, touched
from stepzero.execution.planning import PlanRequest, commit_plan, make_plan
from stepzero.execution.releasing import run_release
from stepzero.generators import to_csv
from stepzero.generators.auto_claims import BAD, bad_table, generate_tables
from stepzero.spec.load import load_environment, load_use_case
from stepzero.spec.release import ReleaseForm
from stepzero.spec.use_case import UseCase
from support.runs import Silent

pytestmark = pytest.mark.usefixtures("few_rows")
NAME = "auto_claims_fraud"
TABLES = ("claims", "customers")


def small() -> UseCase:
    """Return the shipped use case with one small model."""
    data = load_use_case(NAME).model_dump(mode="json", by_alias=True)
    data["train"] |= {"folds": 2, "models": {"logistic_regression": {"grid": {"C": [0.01]}, "sample_weight": True}}}
    data["evaluate"] |= {"bootstrap": 50, "explain": []}
    # A few hundred held-out rows: differences of this size are chance.
    data["bias"]["limits"]["after"] = {"DPPL": {"within": 0.4}}
    data["bias"]["mitigate"] = {"method": "reweighing", "facet": "customer_gender_female"}
    return UseCase.model_validate(data)


class Claims:
    """A store of its own, and runs in it."""

    def __init__(self, folder: Path, spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.store, self.use_case = folder, Store(f"file://{folder}/store"), small()
        self.environment = load_environment("local")
        for module in ("planning", "releasing"):
            monkeypatch.setattr(f"stepzero.execution.{module}.load_use_case", lambda _: self.use_case)
        monkeypatch.setattr(Workspace, "tracking", property(lambda _: Silent()))
        monkeypatch.setattr(Workspace, "spark", property(lambda _: spark))

    def land(self, **files: bytes) -> str:
        """Land a file of each table, and return what the form names the batch by."""
        folder = self.folder / "landed"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / f"{name}.csv").write_bytes(content)
        sources = {name: table.source for name, table in self.use_case.tables.items()}
        return ",".join(uri.rpartition("/")[2] for uri in land_tables(self.store, sources, folder).values())

    def plan(self, run: str, batch: str, day: int = 1) -> None:
        asked = PlanRequest(use_case=NAME, run=run, as_of=f"2026-11-{day:02d}T00:00:00+00:00", form={"batch": batch})
        commit_plan(self.store, make_plan(asked, self.store, self.environment, None))

    def stage(self, run: str, stage: str, inputs: Any, label: str = "", **parameters: str) -> ResultReference:
        request = Request(
            stage=stage, use_case=NAME, run=run, attempt=f"1-{run}", inputs=inputs, parameters=parameters, label=label
        )
        return execute(request, self.store, self.environment)

    def gates(self, run: str) -> dict[str, ResultReference]:
        return {name: self.stage(run, "quality_gate", {}, name, table=name) for name in TABLES}

    def dataset(self, run: str, checked: dict[str, ResultReference]) -> ResultReference:
        """Go from the gates to prepared rows."""
        groups = {}
        for name in TABLES:
            prepared = self.stage(run, "prepare_table", {"checked": checked[name]}, name, table=name)
            groups[name] = self.stage(run, "ingest_features", {"prepared": prepared}, name, group=name)
        joined = self.stage(run, "join_features", groups)
        return self.stage(run, "prepare", {"checked": joined})

    def values(self, reference: ResultReference) -> dict[str, Any]:
        return dict(self.store.read_json(reference.uri)["values"])

    def frame(self, reference: ResultReference, output: str) -> pd.DataFrame:
        outputs = self.store.read_json(reference.uri)["outputs"]
        return read_frame(self.store, Reference.from_json(outputs[output]))

    def why(self, run: str, stage: str, label: str = "") -> str:
        return str(self.store.read_json(pointer_uri(NAME, run, stage, label))["why"])


@dataclass(frozen=True, kw_only=True)
class First:
    """The first run of a good batch of both tables, up to its rows."""

    folder: Path
    batch: str
    checked: dict[str, ResultReference]
    prepared: ResultReference


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> First:
    """A run that several tests begin with, each in a copy of its store."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        claims = Claims(folder, spark, patch)
        batch = claims.land(**files())
        claims.plan("one", batch)
        checked = claims.gates("one")
        return First(folder=folder, batch=batch, checked=checked, prepared=claims.dataset("one", checked))


@pytest.fixture
def claims(tmp_path: Path, spark: Any, monkeypatch: pytest.MonkeyPatch) -> Claims:
    return Claims(tmp_path, spark, monkeypatch)


@pytest.fixture
def begun(first: First, claims: Claims) -> Claims:
    """After the first run."""
    shutil.copytree(first.folder, claims.folder, dirs_exist_ok=True)
    return claims


def files(seed: int = 7) -> dict[str, bytes]:
    return {name: to_csv(frame) for name, frame in generate_tables(rows=1500, seed=seed).items()}


def test_two_tables_become_one_row_for_each_policy_and_a_judged_model(first: First, begun: Claims) -> None:
    claims, checked, prepared = begun, first.checked, first.prepared
    assert {name: reference.outcome for name, reference in checked.items()} == dict.fromkeys(TABLES, "PASS")
    assert claims.values(checked["claims"])["table"] == "claims"
    assert [len(accepted_batches(claims.store, f"{NAME}.{name}")) for name in TABLES] == [1, 1]
    assert claims.store.list(f"history/{NAME}") == []
    train, test = (claims.frame(prepared, side) for side in ("train", "test"))
    assert len(train) + len(test) == 1500
    assert not set(train["_policy_id"]) & set(test["_policy_id"])
    features = [name for name in train.columns if not name.startswith("_")]
    assert not {"policy_id", "customer_gender_female", "customer_gender_male", "customer_zip"} & set(features)
    assert train.isna().sum().sum() == 0
    before = claims.stage("one", "bias", {"prepared": prepared}, "before")
    cell = {"sampler": "none", "model": "logistic_regression"}
    rows = claims.stage("one", "mitigate", {"prepared": prepared})
    resampled = claims.stage("one", "resample", {"prepared": rows}, "none", sampler="none")
    tuned = claims.stage("one", "tune", {"prepared": rows, "resampled": resampled}, "none.lr", **cell)
    judged = claims.stage("one", "evaluate", {"prepared": rows, "tuned": [tuned]})
    decided = claims.stage("one", "mitigate_decisions", {"prepared": rows, "evaluated": judged, "tuned": [tuned]})
    labels, decisions = (claims.values(one)["mitigation"] for one in (rows, decided))
    assert {one["metric"]: one["after"] for one in labels["changes"]}["DPL"] == pytest.approx(0, abs=1e-12)
    assert len(decisions["changes"]) == 13, "every metric of decisions is told, whichever way it went"
    after = claims.stage("one", "bias", {"prepared": rows, "evaluated": decided}, "after")
    assert (before.outcome, after.outcome) == ("PASS", "PASS")
    (facet,) = claims.values(after)["facets"]
    assert facet["facet"] == "customer_gender_female", "what no model sees is measured all the same"
    assert facet["rows"]["disfavoured"] > 100

    claims.plan("two", first.batch, day=2)
    again = claims.dataset("two", claims.gates("two"))
    assert again.digest == prepared.digest, "the same rows another day are no news"
    for stage, label in (("quality_gate", "claims"), ("prepare_table", "customers"), ("prepare", "")):
        assert claims.why("two", stage, label).startswith("reused"), stage


def test_golden_49_what_earlier_batches_said_is_known_corrected_and_found_again_from_either_end(begun: Claims) -> None:
    claims, tables = begun, generate_tables(rows=1500, seed=7)
    new = {name: frame.assign(policy_id=frame["policy_id"] + 400) for name, frame in tables.items()}
    claims.plan("two", claims.land(**{name: to_csv(frame) for name, frame in new.items()}), day=2)
    prepared = claims.dataset("two", claims.gates("two"))
    rows = pd.concat([claims.frame(prepared, side) for side in ("train", "test")]).set_index("_policy_id")
    assert len(rows) == 1900, "400 policies of the first batch alone, 1500 of the second"
    latest = new["claims"].set_index("policy_id")["injury_claim"].astype(float)
    assert (rows.loc[latest.index, "injury_claim"] == latest).all(), "a later version of a policy counts"

    model = write_file(claims.store, "made/model", b"a model")
    note_registration(
        claims.store,
        Registration(
            use_case=NAME,
            version="1",
            model=model.to_json(),
            training_rows=model.to_json(),
            example=model.to_json(),
            threshold=0.1,
            run="two",
        ),
    )
    told = lineage(find_version(claims.store, "1"))
    history = {(one["group"], one["run"]) for one in told["data"]["features"]}
    assert history == {(group, run) for group in TABLES for run in ("one", "two")}
    assert (told["data"]["gate"], told["data"]["rows"]) == ("PASS", 3000)
    assert told["preparation"]["tables"]["customers"]["unseen"][0]["column"] == "customer_gender"
    artefacts = {(one["association"], one["kind"]) for one in told["artefacts"]}
    assert artefacts == {("ContributedTo", "Code"), ("ContributedTo", "DataSet"), ("Produced", "Model")}
    first = next(file for file in read_plan(claims.store, NAME, "one").batch.files if "/claims/" in file.uri)
    found = touched(claims.store, first.uri)
    assert [(one["table"], one["run"]) for one in found["accepted"]] == [("claims", "one")]
    assert [(one["version"], one["as"], one["partition"]) for one in found["versions"]] == [("1", "features", "one")]


@pytest.mark.parametrize("kind", BAD)
def test_bad_batches_are_refused_and_the_other_table_is_none_the_worse(claims: Claims, kind: str) -> None:
    tables = generate_tables(rows=1500, seed=7)
    good = {name: to_csv(frame) for name, frame in tables.items()}
    spoilt, content = bad_table(kind, tables)
    if kind == "lost_column":
        # Landing refuses it before the gate has to.
        from stepzero.core.errors import InputError

        with pytest.raises(InputError, match=r"a header without incident_severity"):
            claims.land(**good | {spoilt: content})
        return
    claims.plan("bad", claims.land(**good | {spoilt: content}))
    checked = claims.stage("bad", "quality_gate", {}, "claims", table="claims")
    assert checked.outcome == "FAIL", kind
    told = claims.store.read_json(checked.uri)["verdict"]
    rule = {"negative_amounts": "between", "no_fraud": "class_balance", "orphans": "foreign_key", "twice": "unique"}
    assert rule.get(kind, "one_of") in {reason["rule"] for reason in told["reasons"]}
    assert "of claims" in told["subject"]
    assert accepted_batches(claims.store, f"{NAME}.claims") == []
    waiting = {name: waiting_uris(claims.store, f"{NAME}.{name}", f"landing/{NAME}/{name}/") for name in TABLES}
    assert (waiting["claims"], len(waiting["customers"])) == ([], 1), "what was refused is no news"


def test_rows_that_leave_a_tables_quarantine_are_prepared_with_the_others(claims: Claims) -> None:
    tables = generate_tables(rows=1500, seed=7)
    amounts = tables["claims"]["total_claim_amount"]
    odd = tables["claims"].assign(total_claim_amount=amounts.where(amounts.index > 4, -1.0))
    batch = claims.land(claims=to_csv(odd), customers=to_csv(tables["customers"]))
    claims.plan("one", batch)
    checked = claims.gates("one")
    assert checked["claims"].outcome == "QUARANTINE"
    partition = accepted_batches(claims.store, f"{NAME}.claims")[0].partition
    form, when = ReleaseForm(batch=partition, by="anna", why="credit notes"), "2026-11-02T00:00:00+00:00"
    done = run_release(form, f"{NAME}.claims", "release-1", when, claims.store, claims.environment)
    assert done.values["released"] == 5
    claims.plan("two", batch, day=3)
    again = claims.stage("two", "quality_gate", {}, "claims", table="claims")
    prepared = claims.stage("two", "prepare_table", {"checked": again}, "claims", table="claims")
    assert claims.values(prepared)["rows"] == 1500
    strict, claims.use_case = claims.use_case, without_bounds(claims.use_case)
    claims.plan("three", batch, day=4)
    assert claims.stage("three", "quality_gate", {}, "claims", table="claims").outcome == "PASS"
    assert accepted_batches(claims.store, f"{NAME}.claims")[0].quarantined is None
    claims.use_case = strict
    claims.plan("four", batch, day=5)
    reused = claims.stage("four", "quality_gate", {}, "claims", table="claims")
    assert (reused, claims.why("four", "quality_gate", "claims")[:6]) == (again, "reused")
    (held,) = accepted_batches(claims.store, f"{NAME}.claims")
    assert (held.run, quarantined_rows(held)) == ("four", 5), "what withdrawn rules accepted is not what later runs see"
    assert [one.count for one in releases_of(claims.store, f"{NAME}.claims", held)] == [5]
    prepared = claims.stage("four", "prepare_table", {"checked": reused}, "claims", table="claims")
    assert claims.values(prepared)["rows"] == 1500


def without_bounds(use_case: UseCase) -> UseCase:
    """Return the use case with rules by which no amount is wrong."""
    data = use_case.model_dump(mode="json", by_alias=True)
    rules = data["tables"]["claims"]["quality"]["rules"]
    data["tables"]["claims"]["quality"]["rules"] = [rule for rule in rules if rule["rule"] != "between"]
    return UseCase.model_validate(data)
