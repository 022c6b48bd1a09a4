"""Declared transforms are checked when the file is read: every step knows the columns that it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepzero.core.errors import SpecError
from stepzero.spec.load import load_use_case, validate
from stepzero.spec.tables import joined_columns
from stepzero.spec.transforms import columns_after
from stepzero.spec.use_case import UseCase
from support.claims import USE_CASE, joined_claims

COLUMNS = {"id": "int", "word": "string", "amount": "double", "label": "int"}

WORD = {"step": "one_hot", "column": "word", "vocabulary": ["x"]}


def declared(*steps: dict[str, Any], **sections: Any) -> UseCase:
    data = {
        "name": "toy",
        "problem": {"kind": "classification", "target": "label", "positive": 1},
        "source": {"format": "csv", "prefix": "landing/toy/", "columns": COLUMNS},
        "transforms": list(steps),
        **sections,
    }
    return validate(data, UseCase)


def test_the_reference_case_is_whole_and_its_columns_are_known() -> None:
    use_case = validate(joined_claims(), UseCase)
    columns = joined_columns(use_case.tables, use_case.join)
    assert use_case._arriving() == columns
    assert load_use_case("auto_claims_fraud")._arriving() == columns, "by feature groups, the same"
    assert len(columns) == 47
    assert list(columns)[:2] == ["policy_id", "incident_severity"]
    assert columns["vehicle_claim"] == "double"
    assert columns["customer_gender_female"] == "int"
    assert "customer_zip" not in columns


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([{"step": "one_hot", "column": "word", "vocabulary": ["x", "y"]}], "id amount label word_x word_y"),
        (
            [{"step": "one_hot", "column": "word", "vocabulary": ["x"], "unseen": "other"}],
            "id amount label word_x word_other",
        ),
        (
            [{"step": "one_hot", "column": "word", "vocabulary": ["other", "x"], "unseen": "other"}],
            "id amount label word_other word_x",
        ),
        ([{"step": "drop", "columns": ["id", "word"]}], "amount label"),
        ([{"step": "rename", "columns": {"word": "text"}}], "id text amount label"),
        ([{"step": "select", "columns": ["label", "id"]}], "label id"),
        ([{"step": "derive", "columns": {"half": "amount / 2"}}], "id word amount label half"),
        ([{"step": "my.steps:change", "leaves": {"label": "int", "made": "double"}}], "label made"),
        ([{"step": "case"}, {"step": "remove_symbols", "columns": "word"}], "id word amount label"),
    ],
)
def test_steps_leave_these_columns(steps: list[dict[str, Any]], left: str) -> None:
    assert list(columns_after(COLUMNS, declared(*steps).transforms, ())) == left.split()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{"step": "one_hott", "column": "word"}], "transforms: .*unknown step 'one_hott': did you mean 'one_hot'"),
        (
            [{"step": "drop", "columns": ["id"]}, {"step": "cast", "columns": {"id": "double"}}],
            r"transforms\.1\.columns: got 'id'\. Allowed: a column at this step; one of",
        ),
        ([{"step": "case", "columns": ["wrod"]}], r"transforms\.0\.columns: got 'wrod'.*did you mean 'word'"),
        ([{"step": "ordinal", "column": "wrod", "values": {"x": 1}}], r"transforms\.0\.column: got 'wrod'"),
        (
            [{"step": "ordinal", "column": "word", "values": {"x": 1}, "unseen": "other"}],
            "unseen: other goes with other: NUMBER",
        ),
        ([{"step": "ordinal", "column": "word", "values": {"x": 1}, "other": 2}], "unseen: other goes with other"),
        ([{"step": "one_hot", "column": "word", "vocabulary": ["x", "x"]}], "a word stands twice in the vocabulary"),
        ([{**WORD, "unseen": "drop"}], r"transforms\.0\.unseen.*'error'"),
        (
            [{"step": "derive", "columns": {"word_x": "1"}}, WORD],
            r"transforms\.1\.vocabulary: got 'word_x'\. Allowed: flags that no other column is named like",
        ),
        ([{"step": "rename", "columns": {"word": "id"}}], r"transforms\.0\.columns: .*names that no other column has"),
        ([{"step": "cast", "columns": {"amount": "decimal"}}], r"transforms\.0\.columns\.amount: got 'decimal'"),
        ([{"step": "drop", "columns": ["label"]}], r"problem\.target: got 'label'"),
    ],
)  # fmt: skip
def test_a_wrong_step_is_found_without_any_data(steps: list[dict[str, Any]], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        declared(*steps)


def tables(**changes: Any) -> dict[str, Any]:
    return joined_claims(**changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"join": []}, r"tables: got 'customers'\. Allowed: a join for every table but the first"),
        ({"join": [{"table": "custmers", "by": "policy_id"}]}, r"join\.0\.table: got 'custmers'.*mean 'customers'"),
        ({"join": [{"table": "customers", "by": "policy"}]}, r"join\.0\.by: got 'policy'.*'policy_id'"),
        (
            {"join": [{"table": "customers", "by": "policy_id"}] * 2},
            r"join\.1\.table: got 'customers'\. Allowed: no more joins",
        ),
        ({"transforms": [{"step": "case"}]}, r"transforms: got '1 steps'\. Allowed: transforms of a table stand in"),
        (
            {"source": {"format": "csv", "prefix": "x/", "columns": {"fraud": "int"}}},
            r"tables: got 'claims, customers'\. Allowed: either source or tables",
        ),
        ({"prepare": {"set_aside": ["policy"]}}, r"prepare\.set_aside: got 'policy'.*did you mean 'policy_id'"),
        ({"tables": {}}, r"join: got 'customers'\. Allowed: tables to join"),
    ],
)
def test_wrong_tables_and_joins_are_found(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        validate(tables(**changes), UseCase)


def test_columns_that_two_tables_share_are_told() -> None:
    data = tables()
    data["tables"]["customers"]["transforms"].append({"step": "rename", "columns": {"auto_year": "incident_day"}})
    with pytest.raises(
        SpecError, match=r"join\.0\.table: got 'incident_day'\. Allowed: columns that only one table has"
    ):
        validate(data, UseCase)


def test_a_wrong_step_in_a_file_is_told_by_its_line(tmp_path: Path) -> None:
    text = USE_CASE.read_text(encoding="utf-8")
    before = "{step: drop, columns: customer_zip}"
    assert text.count(before) == 1
    path = tmp_path / "auto_claims_fraud.yaml"
    path.write_text(text.replace(before, "{step: drop, columns: customer_zp}"), encoding="utf-8")
    line = 1 + text[: text.index(before)].count("\n")
    with pytest.raises(SpecError) as raised:
        load_use_case(str(path))
    told = str(raised.value)
    assert told.startswith(f"auto_claims_fraud.yaml:{line} tables.customers.transforms.1.columns: got 'customer_zp'.")
    assert "did you mean 'customer_zip'?" in told
