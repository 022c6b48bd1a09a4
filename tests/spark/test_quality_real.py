"""The rules on real files: what is measured is what pandas says of them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mutual_info_score

from stepzero.core.verdict import Outcome
from stepzero.spec.use_case import UseCase
from support.gate import Gate, Judged

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def real(path: str) -> Path:
    """Return a real file, or skip the test."""
    if not (DATA / path).exists():
        pytest.skip(f"the real file {path} is not under {DATA}")
    return DATA / path


def metrics_of(gate: Gate, judged: Judged) -> dict[str, Any]:
    return dict(gate.store.read_json(judged.result.outputs["metrics"].uri)["metrics"])


def entropy(values: pd.Series[Any]) -> float:
    shares = values.value_counts(normalize=True).to_numpy()
    return float(-(shares * np.log(shares)).sum())


def test_card_payments_of_the_28k_file(gate: Gate) -> None:
    path = real("credit_card/creditcard_28k.csv.gz")
    frame = pd.read_csv(path)
    columns = {name: "int" if name == "Class" else "double" for name in frame.columns}
    rules: list[dict[str, Any]] = [
        {"rule": "schema"},
        {"rule": "size", "at_least": 28_014, "at_most": 28_014},
        {"rule": "complete", "columns": list(frame.columns)},
        {"rule": "unique", "columns": list(frame.columns), "severity": "warning"},
        {"rule": "distinct_count", "columns": ["Class"], "at_least": 2, "at_most": 2},
        {"rule": "sum", "column": "Amount", "at_least": 0},
        {"rule": "mean", "column": "Amount", "at_least": 0, "where": "Class = 1"},
        {"rule": "standard_deviation", "column": "V14", "at_least": 0},
        {"rule": "quantile", "column": "Amount", "quantile": "99%", "at_least": 0},
        {"rule": "correlation", "columns": ["V14", "Class"], "at_most": -0.5},
        {"rule": "entropy", "column": "Class", "at_least": 0},
        {"rule": "mutual_information", "columns": ["Class", "Time"], "at_least": 0},
        {"rule": "class_balance", "column": "Class", "at_least": 492, "share": "1.75%"},
    ]
    judged = gate.judge(path.read_bytes(), rules, columns, name="batch.csv.gz")
    assert judged.outcome is Outcome.PASS
    twins = int(frame.duplicated(keep=False).sum())
    assert judged.reasons["unique"].observed == f"{twins} of 28014 rows break it"
    measured = metrics_of(gate, judged)
    expected = {
        "sum of Amount": frame["Amount"].sum(),
        "mean of Amount where Class = 1": frame.loc[frame["Class"] == 1, "Amount"].mean(),
        "standard_deviation of V14": frame["V14"].std(ddof=0),
        "correlation of V14, Class": frame["V14"].corr(frame["Class"]),
        "entropy of Class where `Class` IS NOT NULL": entropy(frame["Class"]),
        "mutual_information of Class, Time where `Class` IS NOT NULL AND `Time` IS NOT NULL": mutual_info_score(
            frame["Class"], frame["Time"]
        ),
    }
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    low, high = frame["Amount"].quantile([0.988, 0.992])
    assert low <= measured["quantile of Amount"] <= high


def test_card_payments_of_the_114k_file(gate: Gate) -> None:
    path = real("credit_card/creditcard_truncated_114k.parquet")
    frame = pd.read_parquet(path)
    rules: list[dict[str, Any]] = [
        {"rule": "size", "at_least": 113_922, "at_most": 113_922},
        {"rule": "between", "column": "Amount", "at_least": 0, "at_most": 2000},
        {"rule": "between", "column": "V1", "at_least": -30},
        {"rule": "one_of", "column": "Class", "values": [0, 1]},
        {"rule": "class_balance", "column": "Class", "at_least": 50},
    ]
    judged = gate.judge(None, rules, None, uris=[f"file://{path}"])
    large, low = frame["Amount"] > 2000, frame["V1"] < -30
    assert judged.outcome is Outcome.QUARANTINE
    assert judged.result.values["quarantined"] == (large | low).sum()
    assert judged.result.values["broken"] == {"2 between": large.sum(), "3 between": low.sum()}
    both = judged.quarantined["_reasons"].map(len).value_counts().to_dict()
    assert both == {1: (large ^ low).sum(), 2: (large & low).sum()}, "every row carries all its reasons"


def test_words_of_the_claims_stay_words_and_claims_have_customers(gate: Gate) -> None:
    claims, customers = (real(f"auto_claims/{name}.csv") for name in ("claims", "customers"))
    frame = pd.read_csv(claims, keep_default_na=False)
    kinds = {"i": "int", "f": "double", "O": "string"}
    columns, others = (
        {name: kinds[kind.kind] for name, kind in pd.read_csv(path, keep_default_na=False).dtypes.items()}
        for path in (claims, customers)
    )
    rules: list[dict[str, Any]] = [
        {"rule": "complete", "columns": list(frame.columns)},
        {"rule": "unique", "columns": ["policy_id"]},
        {"rule": "one_of", "column": "collision_type", "values": ["Front", "Rear", "Side", "N/A"]},
        {"rule": "compliance", "name": "no N/A", "predicate": "driver_relationship <> 'N/A'", "severity": "warning"},
        {
            "rule": "compliance",
            "name": "no None",
            "predicate": "authorities_contacted <> 'None'",
            "severity": "warning",
        },
        {"rule": "length", "column": "driver_relationship", "at_least": 3, "at_most": 6},
        {"rule": "pattern", "column": "incident_type", "pattern": "[A-Z][a-z-]+"},
        {"rule": "foreign_key", "columns": ["policy_id"], "dataset": "customers"},
        {"rule": "class_balance", "column": "fraud", "at_least": 164},
    ]
    datasets = {"customers": {"format": "csv", "prefix": "landing/toy/customers/", "columns": others}}
    use_case = {
        "name": "toy",
        "source": {"format": "csv", "prefix": "landing/toy/", "columns": columns},
        "quality": {"rules": rules, "datasets": datasets, "quarantine_limit": 0.5},
    }
    lines = customers.read_bytes().splitlines(keepends=True)
    uri = gate.land(claims.read_bytes())
    gate.land(b"".join(lines), "customers/all.csv")
    judged = gate.judge_use_case(UseCase.model_validate(use_case), [uri])
    assert judged.outcome is Outcome.PASS
    assert {name: reason.rows for name, reason in judged.reasons.items()} == {"no N/A": 728, "no None": 1210}
    gate.land(b"".join(lines[:4001]), "customers/all.csv")
    judged = gate.judge_use_case(UseCase.model_validate(use_case), [uri])
    gone = set(pd.read_csv(customers)["policy_id"][4000:])
    assert set(judged.quarantined["policy_id"]) == gone
    assert judged.reasons["foreign_key"].rows == frame["policy_id"].isin(gone).sum() == 1000


def test_nulls_and_long_texts_of_the_reviews(gate: Gate) -> None:
    path = real("reviews/womens_clothing_ecommerce_reviews.zip")
    with zipfile.ZipFile(path) as archive:
        raw = b"row" + archive.read(archive.namelist()[0])
    frame = pd.read_csv(io.BytesIO(raw))
    kinds = {"i": "int", "O": "string"}
    columns = {str(name): kinds[kind.kind] for name, kind in frame.dtypes.items()}
    rules: list[dict[str, Any]] = [
        {"rule": "size", "at_least": 23_486, "at_most": 23_486},
        {"rule": "unique", "columns": ["row"]},
        {"rule": "complete", "columns": ["Title"], "at_least": "80%"},
        {"rule": "complete", "columns": ["Review Text"]},
        {"rule": "length", "column": "Review Text", "at_most": 500},
        {"rule": "between", "column": "Rating", "at_least": 1, "at_most": 5},
        {"rule": "distinct_count", "columns": ["Class Name"], "at_most": 1, "severity": "warning"},
        {"rule": "entropy", "column": "Department Name", "at_least": 1},
    ]
    source = {"multiline": True}
    judged = gate.judge(raw, rules, columns, source=source, quarantine_limit=0.5)
    assert judged.outcome is Outcome.QUARANTINE
    texts = frame["Review Text"]
    broken = judged.result.values["broken"]
    assert broken["4 complete"] == texts.isna().sum() == 845
    assert broken["5 length"] == (texts.str.len() > 500).sum() > 0
    assert set(broken) == {"4 complete", "5 length"}, "a title is there in 83 % of the rows"
    measured = metrics_of(gate, judged)
    assert measured["entropy of Department Name where `Department Name` IS NOT NULL"] == pytest.approx(
        entropy(frame["Department Name"]), rel=1e-9
    )
    assert judged.reasons["distinct_count"].observed == f"{frame['Class Name'].nunique()} values"
