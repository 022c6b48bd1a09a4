"""The gate's rules again: on prepared rows, and on predictions."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest

from stepzero.adapters.datasets import write_frame
from stepzero.core.errors import RuleError, SpecError
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageInput, StageResult
from stepzero.core.verdict import Outcome
from stepzero.spec.load import validate
from stepzero.spec.quality import HandOver
from stepzero.spec.use_case import UseCase
from stepzero.stages.quality_hand_over import judge_hand_over, judge_hand_over_plainly
from stepzero.stages.quality_plain import judge_plainly
from support.gate import NAME, SMALL, Gate, small

pytestmark = pytest.mark.usefixtures("few_rows")

LOW = {"rule": "between", "column": "root", "at_most": 3}
"""Of small's ten rows only the one with amount 10 breaks it, once the root is derived."""


def use_case(**quality: Any) -> UseCase:
    data = {
        "name": NAME,
        "source": {"format": "csv", "prefix": "landing/toy/", "columns": SMALL},
        "problem": {"kind": "classification", "target": "label", "positive": 1},
        "prepare": {"derive": {"root": "sqrt(amount)"}},
        "quality": quality,
    }
    return validate(data, UseCase)


def prepared(gate: Gate, **section: Any) -> StageResult:
    declared = use_case(after_prepare=section)
    frame = small(40).assign(amount=[float(number % 10 + 1) for number in range(40)])
    return gate.prepare(gate.judge_use_case(declared, [gate.land(frame)]), declared)


def test_prepared_rows_are_judged_by_the_same_rules(gate: Gate) -> None:
    assert prepared(gate).verdict is None, "no rule, no verdict"
    wide = prepared(gate, rules=[{**LOW, "at_most": 4}, {"rule": "size", "at_least": 40}])
    assert wide.verdict is not None
    assert wide.verdict.sentence() == "PASS: prepared rows, 40 rows, 0 bad."
    refused = prepared(gate, rules=[LOW])
    assert refused.verdict is not None
    assert refused.verdict.outcome is Outcome.FAIL
    (reason,) = [reason for reason in refused.verdict.reasons if reason.rule == "between"]
    assert (reason.column, reason.rows, reason.bound) == ("root", 4, "at most 3")
    tolerated = prepared(gate, rules=[LOW], bad_rows="10%")
    assert tolerated.verdict is not None
    assert tolerated.verdict.outcome is Outcome.PASS, "at the share they go on, and are told"
    assert [reason.rows for reason in tolerated.verdict.reasons] == [4]
    with pytest.raises(RuleError, match="did you mean 'root'"):
        prepared(gate, rules=[{**LOW, "column": "roots"}])


def test_predictions_are_judged_beside_the_rows_that_they_are_for(gate: Gate) -> None:
    rows = small(20).assign(_row_id=[str(number % 10) for number in range(20)])
    scores = pd.DataFrame({"_row_id": rows["_row_id"], "score": [number % 10 / 10 for number in range(20)]})

    def judged(*rules: dict[str, Any], scored: pd.DataFrame = scores, rows: pd.DataFrame = rows) -> StageResult:
        folder = f"made-{gate.runs}"
        outputs = {
            "prepared": {"test": write_frame(gate.store, f"{folder}/test", rows, producer="prepare")},
            "evaluated": {"test_scores": write_frame(gate.store, f"{folder}/scores", scored, producer="evaluate")},
        }
        values = {"winner": {"sampler": "smote", "model": "xgboost", "threshold": 0.5}}
        reference = ResultReference(stage="x", uri="", digest="")
        inputs = {
            name: StageInput(reference=reference, outputs=made, values=values, verdict=None)
            for name, made in outputs.items()
        }
        return gate.run("check_predictions", use_case(predictions={"rules": list(rules)}), inputs)

    sound = [
        {"rule": "size", "at_least": 20, "at_most": 20},
        {"rule": "complete", "columns": ["score"]},
        {"rule": "between", "column": "score", "at_least": 0, "at_most": 1},
        {"rule": "mean", "column": "prediction", "at_most": 0.6},
        {"rule": "compliance", "name": "dear ones are looked at", "predicate": "amount < 18 OR prediction = 1"},
    ]
    passed = judged(*sound)
    assert passed.verdict is not None
    assert passed.verdict.sentence() == "PASS: predictions of smote × xgboost, 20 rows, 0 bad."
    eager = judged({"rule": "mean", "column": "prediction", "at_most": 0.4})
    assert eager.verdict is not None
    assert eager.verdict.outcome is Outcome.FAIL
    assert eager.verdict.reasons[0].rule == "mean"
    strict = judged({"rule": "mean", "column": "prediction", "at_most": 0.0}, scored=scores.assign(threshold=2.0))
    assert strict.verdict is not None
    assert strict.verdict.outcome is Outcome.PASS, "each row by the threshold of its own group, where there is one"
    no_one = {"rule": "compliance", "name": "nobody", "predicate": "prediction = 0"}
    by_spark = judged(no_one, scored=scores.assign(threshold=2.0))
    assert by_spark.verdict is not None
    assert by_spark.verdict.outcome is Outcome.PASS, "where rules need Spark, too"
    half = {"rule": "mean", "column": "prediction", "at_least": 0.5, "at_most": 0.5}
    feature = judged(half, rows=rows.assign(threshold=1000.0))
    assert feature.verdict is not None
    assert feature.verdict.outcome is Outcome.PASS, "a feature of that name is no threshold"
    lost = judged({"rule": "complete", "columns": ["score"]}, scored=scores[scores["_row_id"] != "3"])
    assert lost.verdict is not None
    assert lost.verdict.outcome is Outcome.FAIL
    with pytest.raises(SpecError, match="take `check_predictions` out of the DAG file"):
        judged()


@pytest.mark.parametrize(
    "rules",
    [
        [{"rule": "size", "at_least": 21}, {"rule": "between", "column": "amount", "at_least": 3, "at_most": 18}],
        [{"rule": "one_of", "column": "label", "values": [0]}, {"rule": "between", "column": "id", "at_most": 4}],
        [{"rule": "complete", "columns": ["country", "amount"]}, {"rule": "min", "column": "amount", "at_least": 2}],
        [{"rule": "between", "column": "amount", "at_least": 3, "severity": "warning"}],
        [
            {"rule": "max", "column": "score", "at_most": 0.5},
            {"rule": "sum", "column": "id", "at_most": 1},
            {"rule": "mean", "column": "id", "at_most": 1},
        ],
    ],
    ids=["range", "values", "complete", "warning", "numbers"],
)
def test_plain_rules_say_the_same_with_spark_and_without(gate: Gate, rules: list[dict[str, Any]]) -> None:
    frame = small(20).assign(score=[number % 10 / 10 for number in range(20)])
    section = validate({"rules": rules, "bad_rows": "15%"}, HandOver)
    workspace = cast("Any", SimpleNamespace(spark=gate.spark, log=logging.getLogger("stepzero")))
    plainly = judge_hand_over_plainly(frame, section, workspace, "rows")
    assert plainly == judge_hand_over(gate.spark.createDataFrame(frame), section, workspace, "rows")
    assert plainly is not None
    assert plainly.reasons


def test_what_is_no_plain_arithmetic_is_left_to_spark() -> None:
    def plainly(frame: pd.DataFrame, **rule: Any) -> Any:
        return judge_plainly(frame, validate({"rules": [rule]}, HandOver).rules)

    frame, within = small(20), {"rule": "between", "column": "amount", "at_least": 0}
    assert plainly(frame, **within) is not None
    holed = frame.assign(amount=frame["amount"].mask(frame.index == 3))
    endless = frame.assign(amount=frame["amount"].replace(3.0, float("inf")))
    assert plainly(holed, **within) is plainly(endless, **within) is plainly(frame.head(0), **within) is None
    assert plainly(frame, **within, where="id > 3") is None
    assert plainly(frame, **{**within, "column": "country"}) is plainly(frame, **{**within, "column": "no"}) is None
    assert plainly(frame, rule="one_of", column="country", values=["DE"]) is None
    assert (
        plainly(frame, rule="unique", columns=["id"]) is plainly(frame, rule="entropy", column="id", at_most=9) is None
    )
    assert plainly(holed, rule="complete", columns=["amount"]) is None
    # In which order fractions are added shows in the last digit.
    tenths = frame.assign(amount=[number % 10 / 10 for number in range(20)])
    assert plainly(tenths, rule="sum", column="amount", at_most=9) is None
    assert plainly(frame, rule="standard_deviation", column="id", at_most=9) is None
    nullable = frame.assign(amount=pd.array([1] * 19 + [None], dtype="Int64"))
    assert plainly(nullable, **within) is None


def test_bounds_of_narrow_numbers_are_not_rounded() -> None:
    frame = pd.DataFrame({"amount": pd.Series([0.1] * 3, dtype="float32")})
    judged = judge_plainly(
        frame, validate({"rules": [{"rule": "between", "column": "amount", "at_most": 0.1}]}, HandOver).rules
    )
    assert judged is not None
    assert judged[1].quarantined == 3, "0.1 as a float is a little more than 0.1"


def test_what_is_judged_where_a_batch_lands_is_refused_later() -> None:
    rule = {"rule": "freshness", "column": "id", "at_most": "1 day"}
    with pytest.raises(SpecError, match=r"belongs to quality\.rules"):
        use_case(predictions={"rules": [rule]})
    with pytest.raises(SpecError, match="unknown rule 'betwen'"):
        use_case(after_prepare={"rules": [{"rule": "betwen"}]})
