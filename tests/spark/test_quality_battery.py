"""One battery for every kind of rule.

All kinds are judged together on one purpose-made batch per question, which costs one pass and not one for each
kind; then each kind answers for itself. A kind that is not in the battery fails the first test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.batches import read_batch
from stepzero.adapters.ledger import make_batch
from stepzero.core.errors import InputError, RuleError
from stepzero.core.verdict import Outcome, Reason
from stepzero.spec.quality import RULES, Quality
from stepzero.spec.use_case import UseCase
from stepzero.stages.quality_batch import check_batch_rules
from stepzero.stages.quality_rules import row_rules
from support.gate import Gate, Judged
from support.quality_rows import COLUMNS, CUSTOMERS, bad_rows, good_rows

pytestmark = pytest.mark.usefixtures("few_rows")

AS_OF, LATER = "2026-01-02T00:00:00+00:00", "2026-01-05T12:00:00+00:00"


def null_rows(rows: int = 2) -> pd.DataFrame:
    return pd.DataFrame({name: [None] * rows for name in COLUMNS}).astype(COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A rule, and what it must say to each of the batches."""

    rule: dict[str, Any]
    column: str | None
    bound: str
    bad: str | float
    """Observed on bad rows; a number is compared as one."""
    rows: int | None = None
    """Bad rows, for a rule about rows."""
    of_nulls: str | None = None
    """Observed on rows of nulls; None passes."""
    of_nothing: str | None = None
    """Observed on no row; None passes."""
    wrong_type: dict[str, Any] = field(default_factory=dict)
    """What in the rule to replace so that it names a column that it cannot judge."""


def number(rule: dict[str, Any], bound: str, bad: float | str, **more: Any) -> Kind:
    """Return a kind that bounds a number of one column or a pair."""
    named = rule.get("column") or ", ".join(rule["columns"])
    wrong = {"column": "country"} if "column" in rule else {"columns": ["amount", "country"]}
    given = {"of_nulls": "no value", "of_nothing": "no value", "wrong_type": wrong, **more}
    return Kind(rule=rule, column=named, bound=bound, bad=bad, **given)


def of_rows(rule: dict[str, Any], bound: str, rows: int, **more: Any) -> Kind:
    """Return a kind that judges rows."""
    named = rule.get("column") or ", ".join(rule.get("columns", [])) or None
    return Kind(rule=rule, column=named, bound=bound, bad=f"{rows} of 14 rows break it", rows=rows, **more)


BAD = bad_rows()
COUNTRIES = np.array([6, 6, 2]) / 14
ALL_BREAK = "2 of 2 rows break it"
KINDS = {
    "size": Kind(
        rule={"at_least": 2, "at_most": 13},
        column=None,
        bound="at least 2 and at most 13 rows",
        bad="14 rows",
        of_nothing="0 rows",
    ),
    "complete": of_rows({"columns": ["id", "note"]}, "no null", 2, of_nulls=ALL_BREAK),
    "unique": of_rows({"columns": ["id"]}, "no two rows alike", 3, of_nulls=ALL_BREAK),
    "distinct_count": Kind(
        rule={"columns": ["country"], "at_least": 2, "at_most": 2},
        column="country",
        bound="at least 2 and at most 2 values",
        bad="3 values",
        of_nulls="0 values",
        of_nothing="0 values",
    ),
    "between": of_rows(
        {"column": "amount", "at_least": 1, "at_most": 12},
        "at least 1 and at most 12",
        2,
        wrong_type={"column": "country"},
    ),
    "min": number({"column": "amount", "at_least": 1}, "at least 1", -50.0),
    "max": number({"column": "amount", "at_most": 12}, "at most 12", 1000.0),
    "mean": number({"column": "amount", "at_least": 6.5, "at_most": 6.5}, "at least 6.5 and at most 6.5", 1028 / 14),
    "sum": number({"column": "amount", "at_most": 78}, "at most 78", 1028.0),
    "standard_deviation": number(
        {"column": "amount", "at_least": 3.4, "at_most": 3.5},
        "at least 3.4 and at most 3.5",
        float(BAD["amount"].std(ddof=0)),
    ),
    "quantile": number({"column": "amount", "quantile": "95%", "at_most": 12}, "at most 12 for quantile 0.95", 1000.0),
    "one_of": of_rows(
        {"column": "country", "values": ["DE", "FR"]}, "one of DE, FR", 2, wrong_type={"column": "amount"}
    ),
    "pattern": of_rows(
        {"column": "country", "pattern": "[A-Z]{2}"}, "matches [A-Z]{2}", 2, wrong_type={"column": "amount"}
    ),
    "compliance": of_rows(
        {"name": "compliance", "column": "amount", "predicate": "amount < other"},
        "amount < other in at least 100.00% of the rows",
        1,
        of_nulls=ALL_BREAK,
        wrong_type={"predicate": "amount + other"},
    ),
    "correlation": number(
        {"columns": ["amount", "other"], "at_least": 0.95}, "at least 0.95", float(BAD["amount"].corr(BAD["other"]))
    ),
    "type": of_rows({"column": "digits", "type": "integer"}, "can be read as integer", 2),
    "length": of_rows(
        {"column": "digits", "at_least": 1, "at_most": 2},
        "at least 1 and at most 2 characters",
        2,
        wrong_type={"column": "amount"},
    ),
    "entropy": number(
        {"column": "country", "at_most": 0.7},
        "at most 0.7",
        float(-(COUNTRIES * np.log(COUNTRIES)).sum()),
        wrong_type={},
    ),
    "mutual_information": number(
        {"columns": ["country", "label"], "at_least": 0.69, "at_most": 0.7},
        "at least 0.69 and at most 0.7",
        # The two bad rows have a country of their own and one label each: the country tells two labels apart from
        # the rest, and nothing else.
        float(-(COUNTRIES * np.log(COUNTRIES)).sum()),
        wrong_type={},
    ),
    "foreign_key": of_rows(
        {"columns": ["customer"], "dataset": "customers", "keys": ["name"]},
        "there in customers as name",
        2,
        wrong_type={"columns": ["id"]},
    ),
    "freshness": Kind(
        rule={"column": "at", "at_most": "1 day"},
        column="at",
        bound="at most 1 days before 2026-01-05 12:00:00",
        bad="2026-01-01 22:00:00, 3 days 14:00:00 before",
        of_nulls="no time up to then",
        of_nothing="no time up to then",
        wrong_type={"column": "country"},
    ),
    "class_balance": Kind(
        rule={"column": "fraud", "at_least": 2, "share": "25%"},
        column="fraud",
        bound="at least 2 classes with at least 2 rows and 25.00% of the rows each",
        bad="0: 11",
        of_nulls="no class",
        of_nothing="no class",
    ),
}


@dataclass(frozen=True, kw_only=True)
class OtherSide:
    """The bound of a kind that bad rows do not break above, and what they show: beyond it, and within."""

    rule: dict[str, Any] = field(default_factory=dict)
    broken: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    observed: Any


def low(observed: float, *, at_least: float, **rule: Any) -> OtherSide:
    """Return a number's lower bound: broken by a value that is too small, kept where it is at the value."""
    return OtherSide(rule=rule, broken={"at_least": at_least}, kept={"at_least": observed - 1e-9}, observed=observed)


def high(observed: float, *, at_most: float, **rule: Any) -> OtherSide:
    """Return a number's upper bound."""
    return OtherSide(rule=rule, broken={"at_most": at_most}, kept={"at_most": observed + 1e-9}, observed=observed)


COUNTRY_ENTROPY = float(-(COUNTRIES * np.log(COUNTRIES)).sum())
OTHER_SIDES = {
    "size": OtherSide(broken={"at_least": 15}, kept={"at_least": 14}, observed="14 rows"),
    "distinct_count": OtherSide(
        rule={"columns": ["country"]}, broken={"at_least": 4}, kept={"at_least": 3}, observed="3 values"
    ),
    "between": OtherSide(
        rule={"column": "amount"}, broken={"at_most": 999}, kept={"at_most": 1000}, observed="1 of 14 rows break it"
    ),
    "length": OtherSide(
        rule={"column": "digits"}, broken={"at_least": 3}, kept={"at_least": 1}, observed="12 of 14 rows break it"
    ),
    "min": high(-50.0, column="amount", at_most=-51),
    "max": low(1000.0, column="amount", at_least=1001),
    "mean": low(1028 / 14, column="amount", at_least=74),
    "sum": low(1028.0, column="amount", at_least=1029),
    "standard_deviation": low(float(BAD["amount"].std(ddof=0)), column="amount", at_least=1000),
    "quantile": low(1000.0, column="amount", quantile="95%", at_least=1001),
    "correlation": high(float(BAD["amount"].corr(BAD["other"])), columns=["amount", "other"], at_most=-0.99),
    "entropy": low(COUNTRY_ENTROPY, column="country", at_least=1.1),
    "mutual_information": low(COUNTRY_ENTROPY, columns=["country", "label"], at_least=1.1),
    # Several columns: rows are alike where all of them are, and not where one of them tells them apart.
    "unique": OtherSide(
        broken={"columns": ["id", "digits"]}, kept={"columns": ["id", "amount"]}, observed="2 of 14 rows break it"
    ),
}


def check_rules(frame: Any, quality: Quality) -> None:
    """Check rules as the gate does, before it reads a row."""
    row_rules(frame, quality.rules, quality.datasets)
    check_batch_rules(frame, quality)


class Battery:
    """Judges all kinds of rules on one batch; the same batch once only."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.judged: dict[str, Judged] = {}
        gate.land(b"name,region\nc1,north\nc2,north\nc3,south\nc3,south\n,south\n", "customers/all.csv")

    def use_case(self, *rules: dict[str, Any]) -> UseCase:
        quality = {"rules": list(rules), "datasets": {"customers": CUSTOMERS}, "quarantine_limit": 1}
        return UseCase.model_validate({"name": "toy", "quality": quality})

    def judge(self, name: str, frame: pd.DataFrame, *, as_of: str = AS_OF, **more: Any) -> Judged:
        if name not in self.judged:
            rules = [{"rule": kind, **told.rule, **more} for kind, told in KINDS.items()]
            uri = self.gate.land_parquet(frame, f"{name}.parquet")
            self.judged[name] = self.gate.judge_use_case(self.use_case(*rules), [uri], as_of)
        return self.judged[name]

    def check(self, rule: dict[str, Any]) -> str:
        """Return what the gate says of a rule that cannot be, before it reads a row."""
        quality = self.use_case(rule).quality
        with pytest.raises(RuleError) as raised:
            check_rules(self.frame, quality)
        return str(raised.value)

    @cached_property
    def frame(self) -> Any:
        """Good rows as the gate reads them."""
        batch = make_batch(self.gate.store, [self.gate.land_parquet(good_rows(), "checked.parquet")])
        return read_batch(self.gate.spark, self.gate.store, batch, None)

    def reject(self, rule: dict[str, Any]) -> str:
        with pytest.raises(RuleError) as raised:
            self.gate.judge_use_case(
                self.use_case(rule), [self.gate.land_parquet(good_rows(), "errors.parquet")], AS_OF
            )
        return str(raised.value)


@pytest.fixture(scope="module")
def battery(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Battery:
    return Battery(Gate(tmp_path_factory.mktemp("battery"), spark))


def says(reason: Reason, kind: Kind, observed: str | float) -> None:
    """Assert rule, column and bound to the letter, and what was observed: a number to nine digits."""
    assert (reason.column, reason.bound) == (kind.column, kind.bound)
    if isinstance(observed, float):
        assert float(reason.observed) == pytest.approx(observed, rel=1e-9)
    else:
        assert reason.observed == observed


def test_every_kind_of_rule_is_in_the_battery() -> None:
    assert {*KINDS, "schema"} == set(RULES), "the schema has its own tests below: judged first, and alone"


@pytest.mark.parametrize("name", KINDS)
def test_good_data_pass(battery: Battery, name: str) -> None:
    judged = battery.judge("good", good_rows())
    assert name not in judged.reasons
    assert judged.outcome is Outcome.PASS
    assert judged.result.values["accepted"] == 12


@pytest.mark.parametrize("name", KINDS)
def test_bad_data_fail_for_the_right_reason(battery: Battery, name: str) -> None:
    kind = KINDS[name]
    reason = battery.judge("bad", bad_rows(), as_of=LATER).reasons[name]
    says(reason, kind, kind.bad)
    assert (reason.severity, reason.rows) == ("error", kind.rows)


@pytest.mark.parametrize("name", KINDS)
def test_rows_that_where_leaves_out_are_not_judged(battery: Battery, name: str) -> None:
    frame = bad_rows().assign(fraud=[*good_rows()["fraud"], 7, 7]).astype(COLUMNS)
    judged = battery.judge("chosen", frame, where="ok")
    assert name not in judged.reasons
    assert judged.result.values["accepted"] == 14


@pytest.mark.parametrize("name", KINDS)
def test_a_warning_says_the_same_and_condemns_nothing(battery: Battery, name: str) -> None:
    warned = battery.judge("warned", bad_rows(), as_of=LATER, severity="warning")
    if name == "class_balance":
        assert warned.reasons[name].observed == "0: 14", "all rows go on"
    else:
        says(warned.reasons[name], KINDS[name], KINDS[name].bad)
    assert warned.reasons[name].severity == "warning"
    assert (warned.outcome, warned.result.values["accepted"]) == (Outcome.PASS, 14)


@pytest.mark.parametrize("name", KINDS)
def test_a_row_of_nulls_among_good_rows_breaks_what_says_so(battery: Battery, name: str) -> None:
    judged = battery.judge("one null", pd.concat([good_rows(), null_rows(1)], ignore_index=True))
    assert (name in judged.reasons) is (name in {"complete", "compliance"})
    if name in judged.reasons:
        assert judged.reasons[name].observed == "1 of 13 rows break it"


@pytest.mark.parametrize("name", KINDS)
def test_nothing_but_nulls_is_judged_as_declared(battery: Battery, name: str) -> None:
    kind, reasons = KINDS[name], battery.judge("nulls", null_rows()).reasons
    assert (reasons[name].observed if name in reasons else None) == kind.of_nulls


@pytest.mark.parametrize("name", KINDS)
def test_an_empty_frame_is_judged_as_declared(battery: Battery, name: str) -> None:
    kind, judged = KINDS[name], battery.judge("nothing", null_rows(0))
    assert (judged.reasons[name].observed if name in judged.reasons else None) == kind.of_nothing
    assert judged.outcome is Outcome.FAIL


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.column])
def test_a_missing_column_is_an_error_of_the_rule(battery: Battery, name: str) -> None:
    rule = KINDS[name].rule
    others = {"columns": ["nowhere", *rule["columns"][1:]]} if "columns" in rule else {"column": "nowhere"}
    assert f"rule 1 ({name}): got 'nowhere'. Allowed: " in battery.reject({"rule": name, **rule, **others})


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.wrong_type])
def test_a_column_of_the_wrong_type_is_an_error_of_the_rule(battery: Battery, name: str) -> None:
    told = battery.reject({"rule": name, **KINDS[name].rule, **KINDS[name].wrong_type})
    assert told.startswith(f"rule 1 ({name}): got '")
    assert "type" in told or "a predicate, not double" in told


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("where", ["nowhere = 1", "ok AND", "amount + 1", "rand() < 0.5"])
def test_a_where_that_cannot_be_judged_is_an_error_of_the_rule(battery: Battery, name: str, where: str) -> None:
    told = battery.check({"rule": name, **KINDS[name].rule, "where": where})
    assert told.startswith(f"rule 1 ({name}) where: got '{where}'. Allowed: ")
    if where == "nowhere = 1" and name in {"between", "mean"}:
        assert battery.reject({"rule": name, **KINDS[name].rule, "where": where}) == told, "and so the gate does"


def test_the_other_bound_of_each_kind_is_kept_to_the_letter(battery: Battery) -> None:
    """Above, each kind breaks one of its bounds; here the other one, and on the same rows the observed value passes."""
    uri = battery.gate.land_parquet(bad_rows(), "other-side.parquet")
    broken = [{"rule": kind, **side.rule, **side.broken} for kind, side in OTHER_SIDES.items()]
    reasons = battery.gate.judge_use_case(battery.use_case(*broken), [uri], LATER).reasons
    for kind, side in OTHER_SIDES.items():
        told = reasons[kind]
        seen = told.observed if isinstance(side.observed, str) else float(told.observed)
        assert seen == (side.observed if isinstance(seen, str) else pytest.approx(side.observed, rel=1e-9)), kind
        if kind != "unique":
            assert told.bound.startswith(next(iter(side.broken)).replace("_", " ")), kind
    kept = [{"rule": kind, **side.rule, **side.kept} for kind, side in OTHER_SIDES.items()]
    judged = battery.gate.judge_use_case(battery.use_case(*kept), [uri], LATER)
    assert judged.outcome is Outcome.PASS, judged.reasons


def test_sql_that_fails_in_the_midst_of_the_rows_is_an_error_and_no_bad_data(battery: Battery) -> None:
    before = battery.gate.entered()
    told = battery.reject(
        {"rule": "compliance", "name": "x", "predicate": "amount < 5 OR assert_true(amount < 5) IS NULL"}
    )
    assert "Allowed: a number. Do: check the rule that needs it; the data were not judged" in told
    assert battery.gate.entered() == before


def test_a_dataset_that_never_landed_or_is_no_table_is_refused(battery: Battery, gate: Gate) -> None:
    rule = {"rule": "foreign_key", **KINDS["foreign_key"].rule}
    with pytest.raises(InputError) as raised:
        gate.judge_use_case(battery.use_case(rule), [gate.land_parquet(good_rows())])
    assert f"quality.datasets.customers: got no file under {gate.store.root}/landing/toy/customers/" in str(
        raised.value
    )
    gate.land(b"name\nc1\n", "customers/all.csv")
    with pytest.raises(InputError, match=r"columns of landing/toy/customers/all\.csv: got missing region") as other:
        gate.judge_use_case(battery.use_case(rule), [gate.land_parquet(good_rows())])
    customers = make_batch(gate.store, ["landing/toy/customers/all.csv"])
    assert other.value.batch == customers.digest, "that says nothing of the batch"
