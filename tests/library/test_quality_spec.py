"""What a quality section may say: each rule's own words, and other datasets."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stepzero.adapters.store import Store
from stepzero.core.errors import SpecError
from stepzero.execution.planning_parts import asks_how_fresh, referenced_datasets
from stepzero.spec.load import load_use_case, validate
from stepzero.spec.quality import RULES, Quality
from stepzero.spec.use_case import UseCase

ORDERS = {"format": "csv", "prefix": "landing/orders/", "columns": {"id": "int", "customer": "string"}}
CUSTOMERS = {"format": "csv", "prefix": "landing/customers/", "columns": {"name": "string"}}
KEY = {"rule": "foreign_key", "columns": ["customer"], "dataset": "customers", "keys": ["name"]}


def section(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "x", "quality": {"rules": list(rules), **more}}


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as raised:
        validate(data, UseCase)
    return str(raised.value)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"rule": "mean", "column": "a"}, "no bound: give at_least, at_most or both"),
        ({"rule": "length", "column": "a", "at_least": -1}, "greater than or equal to 0"),
        ({"rule": "quantile", "column": "a", "quantile": 1.1, "at_most": 1}, "less than or equal to 1"),
        ({"rule": "correlation", "columns": ["a"], "at_least": 0}, "Field required"),
        ({"rule": "mutual_information", "columns": ["a", "b", "c"], "at_least": 0}, "at most 2 items"),
        ({"rule": "freshness", "column": "a", "at_most": 2}, "a number and a unit, for example '2 days'"),
        ({"rule": "freshness", "column": "a", "at_most": "2 fortnights"}, "for example '2 days' or '36 hours'"),
        ({"rule": "schema", "columns": {"a": "int"}, "where": "a > 1"}, "a schema has no rows to choose"),
        ({"rule": "schema", "columns": {}}, "no column is declared"),
        ({"rule": "schema"}, "quality.rules.0.columns: got None. Allowed: columns: there is no source section"),
        ({"rule": "foreign_key", "columns": ["a"], "dataset": "b"}, "quality.datasets declares none"),
        ({**KEY, "keys": ["name", "id"]}, "2 keys for 1 columns: name one key for each column"),
        ({"rule": "standard_deviaton", "column": "a", "at_most": 1}, "did you mean 'standard_deviation'?"),
        ({"rule": "max", "column": "a", "at_mots": 1}, "Allowed: a known key; did you mean 'at_most'?"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule: dict[str, Any], told: str) -> None:
    assert told in refused(section(rule))


def test_a_foreign_key_names_a_dataset_and_a_column_of_it() -> None:
    wrong_dataset = refused(section({**KEY, "dataset": "custmers"}, datasets={"customers": CUSTOMERS}))
    assert (
        "quality.rules.0.dataset: got 'custmers'. Allowed: a name in quality.datasets; did you mean 'cust"
        in wrong_dataset
    )
    wrong_key = refused(section({**KEY, "keys": ["nmae"]}, datasets={"customers": CUSTOMERS}))
    assert (
        "quality.rules.0.keys: got 'nmae'. Allowed: a column of quality.datasets.customers; did you mean 'na"
        in wrong_key
    )


@pytest.mark.parametrize("rule", [{"columns": {"id": "int"}}, {"severity": "warning"}])
def test_a_schema_beside_a_source_is_the_sources_and_an_error(rule: dict[str, Any]) -> None:
    told = refused({**section({"rule": "schema", **rule}), "source": ORDERS})
    assert told.startswith("quality.rules.0."), told
    assert "source" in told


def test_a_span_survives_the_plan() -> None:
    use_case = validate(section({"rule": "freshness", "column": "at", "at_most": "36 hours"}), UseCase)
    again = validate(use_case.model_dump(mode="json", by_alias=True), UseCase)
    assert again == use_case
    (rule,) = again.quality.rules
    assert rule.at_most == timedelta(hours=36)  # type: ignore[union-attr]


def test_the_run_freezes_what_the_rules_look_up(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}")
    quality = validate(section(KEY, datasets={"customers": CUSTOMERS, "unused": ORDERS}), UseCase).quality
    with store.open("landing/customers/a.csv", "wb") as stream:
        stream.write(b"name\nc1\n")
    before = referenced_datasets(store, quality)
    assert {name: [file.uri for file in batch.files] for name, batch in before.items()} == {
        "customers": ["landing/customers/a.csv"]
    }
    with store.open("landing/customers/b.csv", "wb") as stream:
        stream.write(b"name\nc2\n")
    assert referenced_datasets(store, quality)["customers"].digest != before["customers"].digest
    assert not asks_how_fresh(quality)
    assert asks_how_fresh(Quality.model_validate({"rules": [{"rule": "freshness", "column": "a", "at_most": "1 day"}]}))


def test_shipped_use_cases_say_nothing_that_is_not_a_kind_of_rule() -> None:
    rules = load_use_case("credit_card_fraud").quality.rules
    assert {rule.rule for rule in rules} <= set(RULES)
