"""Every kind of rule: good data pass, bad rows are told why, and a rule that cannot be judged is an error."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from stepzero.core.errors import RuleError
from stepzero.core.verdict import Outcome
from support.gate import SMALL, Gate, small

pytestmark = pytest.mark.usefixtures("few_rows")

ALL_KINDS: list[dict[str, Any]] = [
    {"rule": "size", "at_least": 5, "at_most": 100},
    {"rule": "complete", "columns": ["id", "amount"]},
    {"rule": "unique", "columns": ["id"]},
    {"rule": "unique", "columns": ["country", "id"]},
    {"rule": "between", "column": "amount", "at_least": 1, "at_most": 10},
    {"rule": "one_of", "column": "country", "values": ["DE", "FR", "O'Brien", 'a\\b"c']},
    {"rule": "pattern", "column": "country", "pattern": "DE|FR|O'Brien|a.*"},
    {"rule": "type", "column": "country", "type": "date", "where": "id > 1000"},
    {"rule": "type", "column": "id", "type": "integer"},
    {"rule": "compliance", "name": "cheap", "predicate": "amount < 1000"},
    {"rule": "class_balance", "column": "label", "at_least": 2},
    {"rule": "support.gate:not_above", "column": "amount", "options": {"limit": 10}},
]


def row(**values: Any) -> dict[str, Any]:
    """Return a bad row's number and what else it holds."""
    return {"amount": 5.0, "country": "DE", "label": 1, **values}


def with_rows(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.concat([small(), pd.DataFrame(rows)], ignore_index=True)


def test_good_rows_pass_every_kind_of_rule(gate: Gate) -> None:
    good = with_rows(row(id=11, country="O'Brien"), row(id=12, country='a\\b"c'), row(id=13, country=None))
    judged = gate.judge(good, ALL_KINDS)
    assert judged.outcome is Outcome.PASS
    assert judged.result.verdict is not None
    assert not judged.result.verdict.reasons
    assert judged.result.values == {"rows": 13, "accepted": 13, "quarantined": 0, "broken": {}}
    assert "quarantined" not in judged.result.outputs
    assert list(judged.accepted.sort_values("id")["country"])[10:12] == ["O'Brien", 'a\\b"c'], (
        "quotes arrive as they were"
    )


def test_bad_rows_are_set_aside_with_their_reasons(gate: Gate) -> None:
    bad = with_rows(
        row(id=20, amount=None),
        row(id=21),
        row(id=21, country="FR"),
        row(id=22, amount=-1.0),
        row(id=23, country="IT"),
        row(id=24, amount=2000.0, country="XDE"),
    )
    judged = gate.judge(bad, ALL_KINDS, quarantine_limit=0.5)
    assert judged.outcome is Outcome.QUARANTINE
    assert judged.result.values["quarantined"] == 6
    assert judged.reasons_of(id=20) == [
        "complete of id, amount: no null",
        "cheap: amount < 1000 in at least 100.00% of the rows",
        "support.gate:not_above of amount: support.gate:not_above {'limit': 10}",
    ]
    assert judged.reasons_of(id=22) == ["between of amount: at least 1 and at most 10"]
    listed = "one_of of country: one of DE, FR, O'Brien, a\\b\"c"
    matched = "pattern of country: matches DE|FR|O'Brien|a.*"
    assert judged.reasons_of(id=23) == [listed, matched]
    assert judged.reasons_of(id=24) == [
        "between of amount: at least 1 and at most 10",
        listed,
        matched,
        "cheap: amount < 1000 in at least 100.00% of the rows",
        "support.gate:not_above of amount: support.gate:not_above {'limit': 10}",
    ]
    twice = judged.quarantined[judged.quarantined["id"] == 21]
    assert [list(found) for found in twice["_reasons"]] == [["unique of id: no two rows alike"]] * 2
    told = judged.reasons["between"]
    assert (
        told.sentence()
        == "between of amount: observed 2 of 16 rows break it, allowed at least 1 and at most 10 (2 rows)"
    )


def test_rules_about_the_whole_batch_condemn_it(gate: Gate) -> None:
    rules = [
        {"rule": "size", "at_least": 11},
        {"rule": "size", "at_least": 6, "where": "country = 'DE'"},
        {"rule": "class_balance", "column": "label", "at_least": 6},
        {"rule": "class_balance", "column": "country", "classes": 2, "where": "id < 2", "severity": "warning"},
    ]
    judged = gate.judge(small(), rules)
    assert judged.outcome is Outcome.FAIL
    assert judged.result.verdict is not None
    assert [reason.sentence() for reason in judged.result.verdict.reasons] == [
        "size: observed 10 rows, allowed at least 11 rows",
        "size: observed 5 rows, allowed at least 6 rows",
        "class_balance of label: observed 0: 5, 1: 5, allowed at least 2 classes with at least 6 rows each",
        "class_balance of country: observed FR: 1, allowed at least 2 classes with at least 2 rows each",
    ]
    assert judged.result.values["accepted"] == 10, "the rows were not at fault, the batch was"


def test_classes_are_counted_among_rows_that_would_go_on(gate: Gate) -> None:
    frame = with_rows(row(id=11, label=2), row(id=12, label=2, amount=-1.0))
    rules = [
        {"rule": "between", "column": "amount", "at_least": 0},
        {"rule": "class_balance", "column": "label", "at_least": 2, "classes": 3},
    ]
    judged = gate.judge(frame, rules, quarantine_limit=0.5)
    assert judged.reasons["class_balance"].observed == "0: 5, 1: 5, 2: 1"


def test_nulls_pass_where_it_is_said_and_only_there(gate: Gate) -> None:
    data = "id,amount,country,label\n1,1.0,DE,0\n,,,1\n,,,0\n2,NaN,FR,1\n"
    rules: list[dict[str, Any]] = [
        {"rule": "between", "column": "amount", "at_least": 0},
        {"rule": "one_of", "column": "country", "values": ["DE", "FR"]},
        {"rule": "pattern", "column": "country", "pattern": ".."},
        {"rule": "type", "column": "country", "type": "double", "where": "false"},
        {"rule": "type", "column": "amount", "type": "double"},
        {"rule": "compliance", "name": "known", "predicate": "country <> 'IT'", "severity": "warning"},
        {"rule": "complete", "columns": ["country", "label"], "severity": "warning"},
        {"rule": "unique", "columns": ["id"], "severity": "warning"},
    ]
    judged = gate.judge(data, rules, quarantine_limit=0.5)
    broken = {name: reason.rows for name, reason in judged.reasons.items()}
    assert broken == {"between": 1, "known": 2, "complete": 2, "unique": 2}, "NaN is no amount, null is"


def test_where_says_which_rows_are_judged(gate: Gate) -> None:
    rules: list[dict[str, Any]] = [
        {"rule": "between", "column": "amount", "at_most": 1, "where": "country = 'IT'"},
        {"rule": "between", "column": "amount", "at_most": 8, "where": "country = 'DE' AND label = 1"},
        {"rule": "complete", "columns": ["country"], "where": "country IS NOT NULL AND id < 3"},
        {"rule": "unique", "columns": ["label"], "where": "id IN (1, 2, 3)"},
        {"rule": "between", "column": "amount", "at_most": 0, "where": "nullif(id, id) = 1"},
    ]
    judged = gate.judge(small(), rules, quarantine_limit=0.5)
    assert sorted(judged.quarantined["id"]) == [1, 3, 10]
    assert judged.reasons_of(id=10) == ["between of amount: at most 8"]
    assert judged.reasons_of(id=3) == ["unique of label: no two rows alike"], "rows that are not judged are no twins"


def test_warnings_are_told_and_change_nothing(gate: Gate) -> None:
    rules = [
        {**rule, "severity": "warning"}
        for rule in ({"rule": "size", "at_least": 99}, {"rule": "unique", "columns": ["label"]})
    ]
    judged = gate.judge(small(), rules)
    assert judged.outcome is Outcome.PASS
    assert {(name, reason.severity) for name, reason in judged.reasons.items()} == {
        ("size", "warning"),
        ("unique", "warning"),
    }
    assert "QUARANTINE" not in judged.text("report")
    assert ">warning<" in judged.text("report")


@pytest.mark.parametrize(("share", "outcome", "bad"), [(0.8, Outcome.PASS, 0), ("81%", Outcome.QUARANTINE, 2)])
def test_a_share_that_must_comply_is_inclusive(gate: Gate, share: Any, outcome: Outcome, bad: int) -> None:
    rule = {"rule": "compliance", "name": "small", "predicate": "amount < 9", "at_least": share}
    judged = gate.judge(small(), [rule], quarantine_limit=0.5)
    assert (judged.outcome, judged.result.values["quarantined"]) == (outcome, bad)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            {"rule": "complete", "columns": ["id", "amuont"]},
            "rule 1 (complete): got 'amuont'. Allowed: did you mean 'amount'?",
        ),
        ({"rule": "unique", "columns": ["idd"]}, "rule 1 (unique): got 'idd'. Allowed: did you mean 'id'?"),
        ({"rule": "class_balance", "column": "lable"}, "(class_balance): got 'lable'. Allowed: did you mean 'label'?"),
        ({"rule": "size", "at_least": 1, "where": "nowhere"}, "rule 1 (size) where: got 'nowhere'"),
        ({"rule": "between", "column": "id", "at_least": 1, "where": "id +"}, "rule 1 (between) where: got 'id +'"),
        (
            {"rule": "compliance", "name": "x", "predicate": "amuont > 1"},
            "Did you mean one of the following? [`amount`",
        ),
        ({"rule": "compliance", "name": "x", "predicate": "amount + 1"}, "Allowed: a predicate, not double"),
        ({"rule": "compliance", "name": "x", "predicate": "avg(amount) > 1"}, "MISSING_GROUP_BY"),
        ({"rule": "one_of", "column": "amount", "values": [True]}, "rule 1 (one_of)"),
        ({"rule": "pattern", "column": "country", "pattern": "(?P<x>DE)"}, "Allowed: a regular expression of Java"),
        ({"rule": "no.such_module:rule"}, "correct it: ModuleNotFoundError: No module named 'no'"),
        ({"rule": "support.gate:not_there"}, "AttributeError: module 'support.gate' has no attribute 'not_there'"),
        ({"rule": "support.gate:not_above", "options": {"x": 1}}, "TypeError: not_above() got an unexpected keyword"),
        ({"rule": "support.gate:not_above", "column": "amount", "options": {"limit": None}}, "ValueError: no limit"),
    ],
)
def test_a_rule_that_cannot_be_judged_is_an_error_and_no_bad_data(gate: Gate, rule: dict[str, Any], told: str) -> None:
    with pytest.raises(RuleError) as raised:
        gate.judge(small(), [rule])
    assert told in str(raised.value)
    assert gate.entered() == []


def test_a_pattern_must_match_the_whole_value(gate: Gate) -> None:
    frame = pd.DataFrame({"text": ["ab", "ab\n", "xab", "b", "(", "a\\"]})
    pattern = r"ab|b|\(|a\\"
    uri = gate.land_parquet(frame)
    rule = {"rule": "pattern", "column": "text", "pattern": pattern}
    judged = gate.judge(None, [rule], None, uris=[uri], quarantine_limit=0.9)
    assert sorted(judged.quarantined["text"]) == ["ab\n", "xab"]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("integer", ["1", "-7", "+3"], ["1.5", "x", "99999999999999999999"]),
        ("double", ["1", "1e3", "-.5"], ["1,5", "x"]),
        ("boolean", ["true", "false"], ["maybe", "2"]),
        ("date", ["2026-01-31"], ["2026-02-30", "x"]),
        ("timestamp", ["2026-01-31 10:00:00", "2026-01-31"], ["x", "25:00 o'clock"]),
    ],
)
def test_text_is_judged_by_the_type_it_should_have(gate: Gate, kind: str, good: list[str], bad: list[str]) -> None:
    data = pd.DataFrame({"text": [*good, *bad, None], "id": range(len(good) + len(bad) + 1)})
    rule = {"rule": "type", "column": "text", "type": kind}
    judged = gate.judge(data, [rule], {"text": "string", "id": "int"}, quarantine_limit=0.9)
    assert list(judged.quarantined["text"]) == bad


def test_columns_may_have_any_name(gate: Gate) -> None:
    columns = {"_own": "int", "my.col": "int", "a b": "double", "<script>": "int", "$\\x$": "int", "tick`": "string"}
    frame = pd.DataFrame([[1, 1, 0.5, 1, 1, "a"], [2, 2, -1.0, 2, 2, "b"]], columns=list(columns))
    rules = [{"rule": "unique", "columns": ["my.col", "tick`"]}]
    rules += [{"rule": "between", "column": name, "at_least": 0} for name in columns if name != "tick`"]
    judged = gate.judge(frame, rules, columns, quarantine_limit=0.5)
    assert list(judged.accepted.columns) == list(columns)
    assert judged.reasons_of(_own=2) == ["between of a b: at least 0"]
    page = judged.text("report")
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    with judged.store.open(judged.result.outputs["picture"].uri) as stream:
        assert stream.read(8) == b"\x89PNG\r\n\x1a\n"


def test_an_empty_frame_fails_and_breaks_no_rule_of_rows(gate: Gate) -> None:
    uri = gate.land_parquet(small().head(0).astype({"country": "string"}))
    judged = gate.judge(None, ALL_KINDS, None, uris=[uri])
    assert judged.outcome is Outcome.FAIL
    assert set(judged.reasons) == {"quarantine_limit", "size", "class_balance"}
    assert judged.reasons["quarantine_limit"].observed == "no row"
    assert judged.reasons["class_balance"].observed == "no class"


def test_undeclared_parquet_is_judged_as_it_is(gate: Gate) -> None:
    uri = gate.land_parquet(with_rows(row(id=11, amount=-1.0)))
    judged = gate.judge(None, ALL_KINDS[:7], None, uris=[uri], quarantine_limit=0.5)
    assert judged.outcome is Outcome.QUARANTINE
    assert list(judged.quarantined["id"]) == [11]
    assert set(SMALL) == set(judged.accepted.columns)


def test_groups_of_protected_columns_are_told_and_nothing_is_judged_by_them(gate: Gate) -> None:
    frame = with_rows(row(id=11, country=None), row(id=12, country="DE", amount=-1.0))
    rule = {"rule": "between", "column": "amount", "at_least": 0}
    judged = gate.judge(frame, [rule], quarantine_limit=0.5, protected=["country"])
    assert judged.outcome is Outcome.QUARANTINE
    assert set(judged.reasons) == {"between"}
    assert "DE: 5 (45.5%), FR: 5 (45.5%), no value: 1 (9.1%)" in judged.text("report")
    with pytest.raises(RuleError, match=r"quality\.protected: got 'contry'. Allowed: did you mean 'country'\?"):
        gate.judge(frame, [rule], protected=["contry"])


def test_a_batch_of_one_class_fails(gate: Gate) -> None:
    judged = gate.judge(small().assign(label=0), [{"rule": "class_balance", "column": "label"}])
    assert judged.outcome is Outcome.FAIL
    assert judged.reasons["class_balance"].observed == "0: 10"
