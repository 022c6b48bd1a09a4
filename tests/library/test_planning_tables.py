"""A batch of several tables: what is frozen of each, which files are meant, and what a table's gate sees of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepzero.adapters.ledger import Accepted, Refused, accept, refuse
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, SpecError
from stepzero.core.references import Reference
from stepzero.core.stages import find_stage
from stepzero.execution.execute import Request, stage_key
from stepzero.execution.planning import PlanRequest, make_plan
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_use_case, validate
from stepzero.spec.plan import Plan
from stepzero.spec.use_case import UseCase
from support.claims import joined_claims

NAME = "auto_claims_fraud"
PREFIX = f"landing/{NAME}"
ENVIRONMENT = Environment(name="local", store="file:///x", approval="rule")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(f"file://{tmp_path}/store")
    store.write_text(f"{PREFIX}/claims/c1.csv", "claims of one")
    store.write_text(f"{PREFIX}/customers/u1.csv", "customers of one")
    return store


def plan(store: Store, **more: Any) -> Plan:
    request = PlanRequest(use_case=NAME, run="r1", as_of="2026-11-21T00:00:00+00:00", **more)
    return make_plan(request, store, ENVIRONMENT, None)


def enter(store: Store, made: Plan, table: str) -> None:
    """Accept one table of a batch, as its gate does."""
    batch = made.tables[table].batch
    entry = Accepted(
        partition=batch.partition,
        digest=batch.digest,
        files=batch.files,
        accepted=Reference(uri="results/x", digest="d", kind="dataset", rows=1).to_json(),
        as_of="2026-11-21T00:00:00+00:00",
        run="r1",
    )
    accept(store, made.part("", table).ledger, entry)


def names(made: Plan) -> dict[str, list[str]]:
    """Return the names of the files of each table."""
    return {
        table: [file.uri.rpartition("/")[2] for file in frozen.batch.files] for table, frozen in made.tables.items()
    }


def test_a_batch_is_the_files_of_all_tables(store: Store) -> None:
    made = plan(store)
    assert names(made) == {"claims": ["c1.csv"], "customers": ["u1.csv"]}
    assert [file.uri for file in made.batch.files] == [f"{PREFIX}/claims/c1.csv", f"{PREFIX}/customers/u1.csv"]
    assert made.batch.partition == made.batch.digest[:12]
    assert made.window == ()
    assert made.tables["claims"].datasets == {"customers": made.tables["customers"].batch}, "the same batch's customers"
    store.write_text(f"{PREFIX}/customers/u2.csv", "customers of two")
    both = plan(store)
    assert names(both)["customers"] == ["u1.csv", "u2.csv"], "all that no accepted batch holds"
    assert both.batch.digest != made.batch.digest
    assert plan(store, partition="2026-11-20").tables["claims"].batch.partition == "2026-11-20"


def test_a_corrected_table_goes_with_what_was_accepted_of_the_other(store: Store) -> None:
    enter(store, plan(store), "customers")
    store.write_text(f"{PREFIX}/claims/c2.csv", "claims, corrected")
    assert names(plan(store)) == {"claims": ["c1.csv", "c2.csv"], "customers": ["u1.csv"]}
    assert names(plan(store, form={"batch": "c2.csv"})) == {"claims": ["c2.csv"], "customers": ["u1.csv"]}
    assert names(plan(store, form={"batch": "c1, u1"})) == {"claims": ["c1.csv"], "customers": ["u1.csv"]}
    found = plan(store, uris=(f"{PREFIX}/claims/c2.csv",))
    assert names(found)["claims"] == ["c2.csv"]
    with pytest.raises(InputError, match=r"form\.batch: got 'c3\.csv'\. Allowed: did you mean 'c"):
        plan(store, form={"batch": "c2.csv,c3.csv"})


def test_a_table_that_was_refused_is_left_out_and_what_was_accepted_last_goes_on(store: Store) -> None:
    made = plan(store)
    enter(store, made, "customers")
    batch = made.tables["claims"].batch
    as_of = "2026-11-21T00:00:00+00:00"
    entry = Refused(partition=batch.partition, digest=batch.digest, files=batch.files, as_of=as_of, run="r1")
    refuse(store, made.part("", "claims").ledger, entry)
    with pytest.raises(InputError, match=r"/claims/: got nothing but what the gate refused: c1\.csv\. Allowed: a file"):
        plan(store)
    store.write_text(f"{PREFIX}/claims/c2.csv", "claims, mended")
    store.write_text(f"{PREFIX}/customers/a2.csv", "customers by a name before the others")
    assert names(plan(store)) == {"claims": ["c2.csv"], "customers": ["a2.csv"]}
    enter(store, plan(store), "customers")
    assert names(plan(store))["customers"] == ["a2.csv"], "the last in time, not by name"
    with pytest.raises(
        SpecError, match=r"form\.earlier: got \['x'\]\. Allowed: nothing where a use case has no single"
    ):
        plan(store, form={"earlier": ["x"]})


def test_a_table_of_which_nothing_landed_is_told(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/half")
    store.write_text(f"{PREFIX}/claims/c1.csv", "claims of one")
    with pytest.raises(InputError, match=r"/customers/: got no file\. Allowed: at least one file of every table"):
        plan(store)


def test_the_gate_of_a_table_sees_that_table_alone(store: Store) -> None:
    made = plan(store)
    claims = made.part("", "claims")
    assert claims.use_case.source == made.use_case.tables["claims"].source
    assert claims.use_case.quality == made.use_case.tables["claims"].quality
    assert claims.batch == made.tables["claims"].batch
    assert (claims.ledger, made.ledger) == (f"{NAME}.claims", NAME)
    assert made.part("", "") is made
    with pytest.raises(SpecError, match=r"auto_claims_fraud: table: got clams\. Allowed: did you mean 'claims'"):
        made.part("", "clams")
    with pytest.raises(SpecError, match=r"credit_card_fraud: table: got x\. Allowed: no table"):
        load_use_case("credit_card_fraud").of_table("x")


def key_of(made: Plan, stage: str, table: str) -> str:
    request = Request(stage=stage, use_case=NAME, run="r1", attempt="1", parameters={"table": table})
    return str(stage_key(find_stage(stage), made.part("", table), {}, request).digest)


def test_a_table_is_judged_again_only_when_its_own_files_or_rules_change(store: Store) -> None:
    before = plan(store)
    store.write_text(f"{PREFIX}/claims/c2.csv", "more claims")
    after = plan(store)
    assert key_of(before, "quality_gate", "claims") != key_of(after, "quality_gate", "claims")
    assert key_of(before, "quality_gate", "customers") == key_of(after, "quality_gate", "customers")
    data = before.use_case.model_dump(mode="json", by_alias=True)
    data["tables"]["customers"]["quality"]["quarantine_limit"] = 0.5
    stricter = before.model_copy(update={"use_case": UseCase.model_validate(data)})
    assert key_of(before, "quality_gate", "customers") != key_of(stricter, "quality_gate", "customers")
    assert key_of(before, "quality_gate", "claims") == key_of(stricter, "quality_gate", "claims")
    assert key_of(before, "prepare_table", "customers") == key_of(stricter, "prepare_table", "customers")


def test_tables_have_no_window() -> None:
    data = joined_claims()
    data["tables"]["claims"]["source"]["window"] = {"batches": 3}
    with pytest.raises(SpecError, match=r"tables\.claims\.source\.window: .*neither partition nor window"):
        validate(data, UseCase)


def test_rules_of_tables_stand_with_their_tables() -> None:
    with pytest.raises(SpecError, match=r"quality: .*rules of a table stand in tables\.NAME\.quality"):
        validate(joined_claims(quality={"rules": [{"rule": "size", "at_least": 1}]}), UseCase)
    data = joined_claims()
    data["tables"]["claims"]["quality"]["predictions"] = {"rules": [{"rule": "size", "at_least": 1}]}
    with pytest.raises(SpecError, match=r"tables\.claims\.quality\.predictions: .*at the top of the file"):
        validate(data, UseCase)
    data = joined_claims()
    data["tables"]["claims"]["quality"]["rules"].append(
        {"rule": "foreign_key", "columns": ["policy_id"], "dataset": "custmers"}
    )
    with pytest.raises(SpecError, match=r"dataset: got 'custmers'.*did you mean 'customers'"):
        validate(data, UseCase)
