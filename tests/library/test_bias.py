"""Bias metrics beyond the golden figures: edges, symmetries, facets of every kind, limits, the stage."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from stepzero.adapters.datasets import read_frame
from stepzero.core.errors import InputError, RuleError, SpecError, StageError
from stepzero.core.stages import StageResult
from stepzero.core.verdict import Outcome
from stepzero.learning.bias import judge_bias, report_after, report_before, report_text
from stepzero.measures import bias_labels as labels
from stepzero.measures.bias import AFTER, BEFORE, BiasMetric, FacetRows, measure_after, measure_before
from stepzero.spec.bias import AFTER_METRICS, BEFORE_METRICS, Bias
from stepzero.spec.data import Problem
from stepzero.spec.load import validate
from stepzero.spec.use_case import UseCase
from support.cards import Bench, as_input, cards
from support.claims import facet_rows, reference_rows

LOAN = Problem(kind="classification", target="paid", positive=1)
ROWS = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(1, 3)), min_size=2, max_size=40)

EVERY_KIND = [(group, label, decision, 1) for group in (0, 1) for label in (0, 1) for decision in (0, 1)]


def made(rows: list[tuple[bool, bool, bool, int]], **parts: Any) -> FacetRows:
    disfavoured, favourable, predicted, weight = (np.array(column) for column in zip(*rows, strict=True))
    flags = {"disfavoured": disfavoured, "favourable": favourable, "predicted": predicted}
    booleans = {name: values.astype(bool) for name, values in flags.items()}
    return FacetRows(**booleans, weight=weight.astype(float), **parts)


def values(metrics: tuple[BiasMetric, ...]) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in metrics}


def loans(rows: int = 400, seed: int = 5) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    age = random.integers(18, 80, rows)
    frame = pd.DataFrame({"age": age, "town": random.choice(["x", "y", "z"], rows), "income": random.normal(size=rows)})
    frame["paid"] = (random.random(rows) < 0.4 + 0.2 * (age < 40)).astype(int)
    return frame


def declared(**sections: Any) -> Bias:
    return Bias.model_validate({"favourable": 1, "facets": {"town": {"values": ["x", ["y", "z"]]}}, **sections})


def test_the_metrics_of_the_section_are_those_that_are_measured() -> None:
    assert tuple(BEFORE) == BEFORE_METRICS
    assert tuple(AFTER) == AFTER_METRICS
    assert len(BEFORE) + len(AFTER) == 21


@settings(max_examples=40)
@given(ROWS)
def test_weights_are_repeated_rows(rows: list[tuple[bool, bool, bool, int]]) -> None:
    repeated = [(*row[:3], 1) for row in rows for _ in range(row[3])]
    groups = np.array(["one", "other"])
    weighed = made(rows, group=groups[[row[1] + 0 for row in rows]])
    counted = made(repeated, group=groups[[row[1] + 0 for row in repeated]])
    for measure in (measure_before, measure_after):
        one, other = values(measure(weighed)), values(measure(counted))
        assert {name for name in one if one[name] is None} == {name for name in other if other[name] is None}
        for name, value in one.items():
            assert value is None or value == pytest.approx(other[name], abs=1e-9), name


@settings(max_examples=40)
@given(ROWS.filter(lambda rows: len({row[0] for row in rows}) == 2))
def test_swapping_the_groups_turns_every_difference(rows: list[tuple[bool, bool, bool, int]]) -> None:
    one = made(rows)
    other = made([(not row[0], *row[1:]) for row in rows])
    labelled, turned = values(measure_before(one)), values(measure_before(other))
    for name in ("CI", "DPL"):
        assert labelled[name] == pytest.approx(-(turned[name] or 0), abs=1e-12)
    for name in ("JS", "LP", "TVD", "KS"):
        assert labelled[name] == pytest.approx(turned[name], abs=1e-12)
    predicted, turned = values(measure_after(one)), values(measure_after(other))
    for name in ("AD", "DAR", "DCA", "DCR", "DPPL", "DRR", "RD", "SD", "TE"):
        assert predicted[name] == pytest.approx(-(turned[name] or 0), abs=1e-12), name
    assert predicted["GE"] == pytest.approx(turned["GE"], abs=1e-12)


@settings(max_examples=40)
@given(ROWS.filter(lambda rows: len({row[0] for row in rows}) == 2))
def test_ranges_and_relations(rows: list[tuple[bool, bool, bool, int]]) -> None:
    found = values(measure_before(made(rows)))
    assert found["KL"] is not None
    assert found["KL"] >= -1e-12, "never negative: no label is left out"
    assert -1e-12 <= (found["JS"] or 0) <= math.log(2) + 1e-12
    assert found["TVD"] == pytest.approx(abs(found["DPL"] or 0), abs=1e-12)
    assert found["LP"] == pytest.approx(math.sqrt(2) * abs(found["DPL"] or 0), abs=1e-12)


@settings(max_examples=40)
@given(ROWS.map(lambda rows: [*rows, *EVERY_KIND]))
def test_differences_are_those_of_scikit_learn_in_each_group(rows: list[tuple[bool, bool, bool, int]]) -> None:
    found = values(measure_after(made(rows)))
    parts = [[row for row in rows if row[0] == group] for group in (False, True)]
    a, d = (
        dict(zip(("label", "decision", "weight"), list(zip(*part, strict=True))[1:], strict=True)) for part in parts
    )

    def difference(name: str, **options: Any) -> float:
        function = getattr(reference, name)
        one, other = (
            function(part["label"], part["decision"], sample_weight=part["weight"], **options) for part in (a, d)
        )
        return float(one - other)

    assert found["AD"] == pytest.approx(difference("accuracy_score"), abs=1e-12)
    assert found["RD"] == pytest.approx(difference("recall_score"), abs=1e-12)
    assert found["DAR"] == pytest.approx(difference("precision_score"), abs=1e-12)
    assert found["SD"] == pytest.approx(-difference("recall_score", pos_label=False), abs=1e-12)
    assert found["DRR"] == pytest.approx(-difference("precision_score", pos_label=False), abs=1e-12)


def test_a_label_that_only_one_group_has_counts_fully() -> None:
    assert labels.kullback_leibler([0.5, 0.5], [0, 1]) == math.inf
    assert labels.kullback_leibler([0, 1], [0.5, 0.5]) == pytest.approx(math.log(2))
    assert labels.total_variation_distance([0.5, 0.5], [0, 1]) == 0.5
    assert labels.jensen_shannon([1, 0], [0, 1]) == pytest.approx(math.log(2))


def test_rules_of_division() -> None:
    assert labels.ratio(0, 0) == 0
    assert labels.ratio(3, 0) == math.inf
    assert labels.ratio(-3, 0) == -math.inf
    assert labels.difference(math.inf, math.inf) == 0
    assert labels.difference(2, math.inf) == -math.inf


def test_infinity_is_a_word_in_json_and_comes_back() -> None:
    metric = BiasMetric(name="TE", description="x", value=-math.inf)
    told = json.loads(json.dumps(metric.to_json(), allow_nan=False))
    assert told["value"] == "-Infinity"
    assert BiasMetric.from_json(told) == metric


def test_a_model_that_rejects_everybody_has_a_report_all_the_same() -> None:
    rows = [(group, label, False, 1) for group in (True, False) for label in (True, False)]
    found = values(measure_after(made(rows, features=pd.DataFrame({"x": range(4)}))))
    assert found["DI"] == 0
    assert found["DCA"] == found["DAR"] == found["FT"] == 0
    assert [name for name, value in found.items() if value is None] == ["CDDPL"]


def test_nobody_benefits_is_said() -> None:
    metrics = {one.name: one for one in measure_after(made([(True, True, False, 1), (False, True, False, 1)]))}
    assert metrics["GE"].value is None
    assert str(metrics["GE"].error).startswith("Generalized entropy is undefined: got all rows are false negatives.")


def test_generalized_entropy_by_hand() -> None:
    found = values(measure_after(made([(True, False, True, 1), (False, True, False, 1), (False, True, True, 2)])))
    benefits = np.array([2, 0, 1, 1])
    assert found["GE"] == pytest.approx(((benefits / benefits.mean()) ** 2 - 1).sum() / 4 / 2)


def test_conditional_disparity_explains_what_a_group_variable_explains() -> None:
    """Berkeley: women apply where most are rejected; within each department nobody is disfavoured."""
    parts = [("hard", True, 20, 80), ("hard", False, 5, 20), ("easy", True, 16, 4), ("easy", False, 80, 20)]
    rows = [(woman, accepted, accepted, 1) for _, woman, yes, no in parts for accepted in [True] * yes + [False] * no]
    group = np.array([name for name, _, yes, no in parts for _ in range(yes + no)])
    found = values(measure_before(made(rows, group=group)))
    assert found["CDDL"] == pytest.approx(0, abs=1e-12)
    assert (found["DPL"] or 0) > 0.3


def test_the_flip_test_takes_one_neighbour_of_few_and_five_of_many() -> None:
    def flips(favoured: int) -> float | None:
        rows = [(False, True, place == 0, 1) for place in range(favoured)] + [(True, True, False, 1)]
        features = pd.DataFrame({"x": [float(place) for place in range(favoured)] + [0.1]})
        return values(measure_after(made(rows, features=features)))["FT"]

    assert flips(9) == -1, "the nearest is accepted, the row is not"
    assert flips(10) == 0, "four of five neighbours are rejected like the row"


def test_the_flip_test_says_what_it_lacks() -> None:
    frame = reference_rows()
    for features, text in (
        (frame[[]], "Flip test without a numeric column: got columns none."),
        (
            frame[["number"]].where(frame["number"] > 3).astype(float),
            "Flip test with missing numbers: got columns number",
        ),
    ):
        rows = facet_rows(frame)
        metrics = measure_after(FacetRows(**{**rows.__dict__, "features": features}))
        found = {one.name: one for one in metrics}["FT"]
        assert found.value is None
        assert str(found.error).startswith(text)
        assert sum(one.value is None for one in metrics) == 2, "CDDPL and FT, no other"


def test_facets_by_value_by_several_values_and_by_threshold() -> None:
    frame = loans()
    report = report_before(
        frame, LOAN, declared(facets={"town": {"values": ["x", ["y", "z"]]}, "age": {"above": [40]}})
    )
    assert [one.name for one in report.facets] == ["town = x", "town = y, z", "age above 40"]
    assert report.facets[2].value == f"(40, {frame['age'].max()}]"
    assert [one.disfavoured for one in report.facets] == [
        (frame["town"] == "x").sum(),
        (frame["town"] != "x").sum(),
        (frame["age"] > 40).sum(),
    ]
    old = report.facets[2]
    shares = frame.groupby(frame["age"] > 40)["paid"].mean()
    assert old.shares == pytest.approx((shares[False], shares[True]))
    assert old.values()["DPL"] == pytest.approx(shares[False] - shares[True])
    one, other = report.facets[:2]
    assert one.values()["DPL"] == pytest.approx(-(other.values()["DPL"] or 0))
    text = report_text(report)
    for metric in old.metrics:
        assert text.count(metric.description) == 3


def test_a_flag_stored_as_a_float_is_a_flag() -> None:
    frame = reference_rows().astype({"woman": float})
    bias = Bias.model_validate({"favourable": 0, "facets": {"woman": 1}})
    (one,) = report_before(frame, Problem(kind="classification", target="fraud", positive=1), bias).facets
    assert one.values()["CI"] == pytest.approx(0.398, abs=1e-12)


def test_an_empty_facet_costs_no_other() -> None:
    report = report_before(loans(), LOAN, declared(facets={"town": {"values": ["nowhere", "x"]}}))
    nowhere, x = report.facets
    assert all(metric.value is None for metric in nowhere.metrics)
    assert all(str(metric.error).startswith("Facet set is empty: got none.") for metric in nowhere.metrics)
    assert [metric.name for metric in x.metrics if metric.value is None] == ["CDDL"]


def test_missing_values_belong_to_all_others() -> None:
    frame = loans()
    frame.loc[:9, "town"] = None
    (one,) = report_before(frame, LOAN, declared(facets={"town": "x"})).facets
    assert one.favoured + one.disfavoured == len(frame)
    assert one.disfavoured == (frame["town"] == "x").sum()


def test_a_column_that_was_set_aside_is_found_and_no_feature() -> None:
    frame = loans().rename(columns={"town": "_town", "income": "_income"})
    positive = np.arange(len(frame)) % 3 == 0
    report = report_after(frame, positive, LOAN, declared(facets={"town": "x"}, group="income"))
    assert report.facets[0].values()["FT"] is not None, "age alone is a feature"
    assert report.facets[0].values()["CDDPL"] is not None
    with pytest.raises(InputError, match=r"bias\.facets city: got no such prepared column\. Allowed: age, _town"):
        report_before(frame, LOAN, declared(facets={"city": "x"}))
    with pytest.raises(
        InputError, match=r"bias\.facets\.town\.above: got a column of (object|str).*a column of numbers"
    ):
        report_before(frame, LOAN, declared(facets={"town": {"above": 3}}))


def test_predictions_say_positive_and_the_favourable_may_be_the_other() -> None:
    frame = loans()
    positive = (frame["paid"] == 1).to_numpy()
    for favourable in (0, 1):
        report = report_after(frame, positive, LOAN, declared(favourable=favourable))
        assert report.facets[0].values()["AD"] == 0, "right everywhere"
        assert report.facets[0].shares[1] == pytest.approx((frame["paid"] == favourable)[frame["town"] == "x"].mean())
    stars = frame.assign(paid=np.arange(len(frame)) % 5)
    with pytest.raises(InputError, match=r"bias\.favourable 0, 1: got positive class 1, favourable: True"):
        report_after(stars, positive, LOAN, declared(favourable=[0, 1]))


def test_a_threshold_can_be_the_favourable_label() -> None:
    frame = loans().assign(paid=lambda rows: rows["age"])
    report = report_before(frame, LOAN, declared(favourable={"above": 50}))
    assert report.to_json()["pre_training_bias_metrics"]["label_value_or_threshold"] == "> 50"
    assert report.facets[0].shares[1] == pytest.approx((frame["age"] > 50)[frame["town"] == "x"].mean())


def test_limits_decide_for_every_facet_value() -> None:
    frame = loans()
    assert judge_bias(report_before(frame, LOAN, declared()), declared()).accepted
    tight = declared(
        facets={"age": {"above": 40}, "town": "x"}, limits={"before": {"DPL": 0.05, "CI": {"at_most": 0.9}}}
    )
    verdict = judge_bias(report_before(frame, LOAN, tight), tight)
    assert verdict.outcome is Outcome.FAIL
    (reason,) = verdict.reasons
    assert reason.sentence().startswith("DPL of age above 40: observed 0.")
    assert reason.bound == "-0.05 to 0.05"
    assert verdict.subject == "bias before training, 2 facet values, 2 limits"


def test_a_limit_on_disparate_impact_is_around_one() -> None:
    frame = loans()
    positive = np.r_[frame["town"] != "x"]
    bias = declared(facets={"town": "x"}, limits={"after": {"DI": {"at_least": 0.8, "at_most": 1.25}}})
    verdict = judge_bias(report_after(frame, positive, LOAN, bias), bias)
    assert [reason.sentence() for reason in verdict.reasons] == ["DI of town = x: observed 0, allowed 0.8 to 1.25"]
    within = declared(facets={"town": "x"}, limits={"after": {"DI": 0.2}})
    assert judge_bias(report_after(frame, positive, LOAN, within), within).reasons[0].bound == "0.8 to 1.2"


def test_a_limit_on_a_metric_without_value_is_an_error_not_a_pass() -> None:
    bias = declared(limits={"before": {"CDDL": 0.1}})
    with pytest.raises(
        RuleError,
        match=r"bias\.limits\.before\.CDDL of town = x: got no value: Group variable .* Do: correct the facet",
    ):
        judge_bias(report_before(loans(), LOAN, bias), bias)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"facets": {}}, "at least 1 item"),
        ({"facets": {"town": {"values": ["x"], "above": [1]}}}, "a facet has values, or thresholds above which"),
        ({"favourable": {"values": [1], "above": 2}}, "the favourable label is a value of the target, several, or"),
        ({"limits": {"before": {"DPPL": 0.1}}}, "a bias metric before training, not 'DPPL'; did you mean 'DPL'"),
        ({"limits": {"after": {"DI": {}}}}, "a limit is a number, or has at_least, at_most or both"),
        (
            {"mitigate": {"method": "reweighing", "facet": "twon"}},
            "mitigate.facet is one of the facets, not 'twon'; did",
        ),
        ({"mitigate": {"method": "magic", "facet": "town"}}, "'reweighing'"),
        ({"facet": {"town": "x"}}, "did you mean 'facets'"),
    ],
)
def test_a_wrong_section_says_what_is_allowed(section: dict[str, Any], expected: str) -> None:
    data = {"favourable": 1, "facets": {"town": "x"}, **section}
    with pytest.raises(SpecError) as raised:
        validate(data, Bias)
    assert expected in str(raised.value)


def test_facets_group_and_what_is_set_aside_are_columns() -> None:
    data = cards().model_dump(mode="json", by_alias=True)
    bias = {"favourable": 0, "facets": {"Amont": {"above": 100}}}
    with pytest.raises(SpecError, match=r"bias\.facets\.Amont: got 'Amont'.*did you mean 'Amount'"):
        validate({**data, "bias": bias}, UseCase)
    with pytest.raises(SpecError, match=r"prepare\.set_aside: got 'Amount'.*models do without"):
        validate({**data, "prepare": {"set_aside": ["Amount"]}}, UseCase)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bias = {"favourable": 0, "facets": {"Amount": {"above": [100]}}, "limits": {"after": {"AD": 1}}}
    train = {"models": {"logistic_regression": {"C": [1.0]}}, "folds": 3}
    return Bench(tmp_path_factory.mktemp("bias"), bias=bias, train=train, evaluate={"bootstrap": 50})


def test_the_stage_measures_training_labels_and_then_decisions_on_untouched_rows(bench: Bench) -> None:
    before = bench.run("bias", {})
    train, test = (read_frame(bench.store, bench.prepared.outputs[side]) for side in ("train", "test"))
    assert before.values["facets"][0]["rows"]["disfavoured"] == (train["Amount"] > 100).sum()
    assert before.verdict is not None
    assert before.verdict.accepted
    evaluated = bench.evaluate(bench.tune("none", "logistic_regression"))
    after = bench.run("bias", {"evaluated": as_input("evaluate", evaluated)})
    scores = read_frame(bench.store, evaluated.outputs["test_scores"])["score"]
    right = (scores >= evaluated.values["winner"]["threshold"]) == (test["Class"] == 1)
    share = right.groupby(test["Amount"] > 100).mean()
    assert after.values["facets"][0]["metrics"]["AD"] == pytest.approx(share[False] - share[True])
    report = json.loads(bench.store.read_text(after.outputs["analysis.json"].uri))
    assert [one["name"] for one in report["post_training_bias_metrics"]["facets"]["Amount"][0]["metrics"]] == [*AFTER]
    with bench.store.open(after.outputs["bias.png"].uri) as stream:
        assert stream.read(8) == b"\x89PNG\r\n\x1a\n"
    name = "bias_after.AD.Amount_above_100"
    assert after.records[0].metrics[name] == after.values["facets"][0]["metrics"]["AD"]


def test_the_stage_is_the_same_twice(bench: Bench) -> None:
    one, other = bench.run("bias", {}), bench.run("bias", {})
    assert {name: reference.digest for name, reference in one.outputs.items()} == {
        name: reference.digest for name, reference in other.outputs.items()
    }
    assert one.values == other.values


def test_the_stage_refuses_scores_of_other_rows_and_a_use_case_without_the_section(
    bench: Bench, tmp_path: Path
) -> None:
    strange = pd.DataFrame({"_row_id": ["a"], "score": [0.5]})
    from stepzero.adapters.datasets import write_frame

    scores = {"test_scores": write_frame(bench.store, "strange", strange, producer="test")}
    evaluated = as_input("evaluate", StageResult(outputs=scores, values={"winner": {"threshold": 0.5}}))
    with pytest.raises(StageError, match=r"scores to measure bias on: got 1 scores of other rows than the"):
        bench.run("bias", {"evaluated": evaluated})
    plain = Bench(tmp_path)
    with pytest.raises(SpecError, match=r"credit_card_fraud: bias: got none\. Allowed: a bias section"):
        plain.run("bias", {})
