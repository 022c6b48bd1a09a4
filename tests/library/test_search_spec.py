"""Searches that cannot be: every message names the place, the value, what is allowed and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, SpecError
from stepzero.core.keys import Key
from stepzero.core.stages import find_stage
from stepzero.execution.execute import Request, stage_key
from stepzero.execution.planning import PlanRequest, make_plan
from stepzero.spec.environment import Environment
from stepzero.spec.load import include_folder, load_environment, load_use_case
from stepzero.spec.plan import Form, apply_form
from stepzero.spec.training import Train

GOOD = (include_folder() / "usecases" / "credit_card_fraud.yaml").read_text(encoding="utf-8")
RANGE = {"at_least": 0.1, "at_most": 0.9}


def _written(folder: Path, search: Any = None, **models: Any) -> str:
    data = yaml.safe_load(GOOD)
    data["train"] |= {"models": models or data["train"]["models"], "search": search or {}}
    path = folder / "wrong.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"stratgy": "random"}, r"train\.search\.stratgy: got 'stratgy'\. Allowed: .* did you mean 'strategy'"),
        ({"strategy": "radom"}, r"train\.search\.strategy: got 'radom'\. Allowed: .*'random'"),
        ({"strategy": "random"}, r"trials of strategy random: how many are drawn"),
        ({"parallel": 4}, r"parallel says nothing to strategy grid: leave it out, or use another strategy"),
        ({"strategy": "halving", "early_stopping": {}}, r"early_stopping says nothing to strategy halving"),
        ({"budget": {"secnds": 3}}, r"train\.search\.budget\.secnds: .*did you mean 'seconds'"),
        ({"budget": {"money": 0}}, r"train\.search\.budget\.money: got 0\. Allowed: Input should be greater than 0"),
        ({"strategy": "bayesian", "trials": 5, "warm_start": {"run": "r"}}, r"search\.warm_start\.kind: .*required"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be(tmp_path: Path, search: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected) as raised:
        load_use_case(_written(tmp_path, search))
    assert "wrong.yaml:" in str(raised.value)
    assert "Do: " in str(raised.value)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"x": {"at_least": 3, "at_most": 1}}, r"space\.x: .*impossible bounds: at_least 3 is above at_most 1"),
        ({"x": {"at_least": 0, "at_most": 1.0, "scale": "log"}}, r"a log scale begins above 0, not at 0"),
        ({"x": {"at_least": 1}}, r"a list of values, or both at_least and at_most"),
        ({"x": {"at_leest": 1, "at_most": 2}}, r"space\.x\.at_leest: .*did you mean 'at_least'"),
        ({"x": {"values": [1], "at_least": 1}}, r"either values, or at_least and at_most"),
        ({"x": {"at_least": True, "at_most": 2}}, r"a bound is a number, not True"),
        ({"x": {"at_least": 1, "at_most": 5, "step": 0.5}}, r"the step of whole numbers is a whole number, not 0\.5"),
        ({"x": {**RANGE, "when": {"booser": ["a"]}}, "booster": ["a"]}, r"parameter 'booser': did you mean 'booster'"),
        ({"x": {**RANGE, "when": {"y": ["b"]}}, "y": ["a"]}, r"when of x: y is never 'b'; it is one of 'a'"),
        ({"x": {**RANGE, "when": {"y": [1]}}, "y": RANGE}, r"when of x: y is a range; a condition is on a list"),
        ({"x": {"values": [1], "when": {"y": 1}}, "y": {"values": [1], "when": {"x": 1}}}, r"in a circle: x, y"),
        ({"x": RANGE}, r"models\.xgboost\.space\.x: got '0\.1 to 0\.9'\. Allowed: a list, or a step, for strategy"),
        ({name: {"at_least": 1, "at_most": 300} for name in "ab"}, r"got 90000\. Allowed: at most 10000 candidates"),
    ],
)  # fmt: skip
def test_a_space_that_cannot_be(tmp_path: Path, space: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        load_use_case(_written(tmp_path, xgboost={"space": space}))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"grid": {"a": [1]}, "space": {"b": [1]}}, "either grid or space, not both"),
        ({"algorithms": {"xgboost": {}}, "parameters": {"a": 1}}, "algorithms stand alone"),
        ({"algorithms": {"xgbost": {}}}, "unknown model 'xgbost': did you mean 'xgboost'"),
        ({"algorithms": {"xgboost": {"algorithms": {"xgboost": {}}}}}, "algorithms within algorithms"),
    ],
)
def test_a_model_that_cannot_be(tmp_path: Path, model: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        load_use_case(_written(tmp_path, mine=model))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, r"voting takes parameters: \{members: \{MODEL: \{PARAMETER: VALUE\}\}\} with at least two models"),
        ({"members": {"xgboost": {}}}, r"with at least two models of ours"),
        ({"members": {"xgboost": {}, "extra_tree": {}}}, r"unknown member of voting 'extra_tree': did you mean 'extra"),
        ({"members": {"xgboost": {}, "voting": {}}}, r"unknown member of voting 'voting'"),
        ({"members": {"xgboost": {}, "extra_trees": 3}}, r"parameters of the voting member extra_trees are a mapping"),
        (
            {"members": {"xgboost": {"scale_pos_weight": 9}, "extra_trees": {}}},
            r"scale_pos_weight of the voting member xgboost: its scores would be at other odds than the others'",
        ),
    ],
)
def test_a_vote_that_cannot_be(tmp_path: Path, parameters: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        load_use_case(_written(tmp_path, voting={"parameters": parameters}))


def test_a_metric_of_ones_own_cannot_judge_synthetic_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a metric of yours takes the rows' raw features"):
        Train.model_validate(
            {"metric": "a.b:c", "search": {"objective": "training"}, "models": {"xgboost": {"max_depth": [1]}}}
        )


def test_what_was_declared_survives_the_plan(tmp_path: Path) -> None:
    search = {"strategy": "bayesian", "trials": 9, "parallel": 3, "early_stopping": {"after_folds": 2}}
    space = {"eta": {"at_least": "1e-3", "at_most": 1, "scale": "log"}, "booster": ["gbtree", None]}
    use_case = load_use_case(_written(tmp_path, search, xgboost=space))
    assert apply_form(use_case, Form()) == use_case
    parameter = use_case.train.models["xgboost"].searched["eta"]  # type: ignore[union-attr]
    assert (parameter.at_least, parameter.is_whole) == (0.001, False)


def test_workers_and_machines_of_an_environment(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for stages, expected in (
        ("{prepare: {workers: 2}}", r"stages\.prepare\.workers: got 2\. Allowed: 1: only the stage tune"),
        ("{tune: {machine: c7}}", r"stages\.tune\.machine: got 'c7'\. Allowed: .*'c7g'"),
    ):
        path.write_text(f"name: mine\nstore: file:///x\nmachines: {{c7g: {{price_per_hour: 2}}}}\nstages: {stages}\n")
        with pytest.raises(SpecError, match=expected):
            load_environment(str(path))
    path.write_text("name: mine\nstore: file:///x\nmachines: {c7g: {}}\nstages: {tune: {machine: c7g, workers: 2}}\n")
    assert load_environment(str(path)).price("tune") is None


def test_the_plan_refuses_what_the_search_could_not_do(tmp_path: Path) -> None:
    store, environment = Store(f"file://{tmp_path / 'store'}"), Environment(name="test", store="file:///x")
    store.write_text("landing/credit_card_fraud/a.csv", "Time\n1\n")
    asked = {"use_case": "", "run": "r", "as_of": "2026-11-21T00:00:00+00:00"}
    money = _written(tmp_path, {"budget": {"money": 1}})
    with pytest.raises(SpecError, match="no price of the machine that tunes"):
        make_plan(PlanRequest(**{**asked, "use_case": money}), store, environment, None)
    search = {"strategy": "bayesian", "trials": 3, "warm_start": {"run": "r0", "kind": "transfer"}}
    with pytest.raises(InputError, match=r"warm_start: run r0: got no finished search of none × decision_tree"):
        make_plan(PlanRequest(**{**asked, "use_case": _written(tmp_path, search)}), store, environment, None)


def test_a_price_is_part_of_a_search_that_a_budget_of_money_ends_and_of_no_other(tmp_path: Path) -> None:
    store, parameters = Store(f"file://{tmp_path / 'store'}"), {"sampler": "none", "model": "decision_tree"}
    store.write_text("landing/credit_card_fraud/a.csv", "Time\n1\n")

    def key(search: dict[str, Any], price: float) -> Key:
        machines, stages = {"c7g": {"price_per_hour": price}}, {"tune": {"machine": "c7g"}}
        told = {"name": "priced", "store": "file:///x", "machines": machines, "stages": stages}
        asked = PlanRequest(use_case=_written(tmp_path, search), run="r", as_of="2026-11-21T00:00:00+00:00")
        plan = make_plan(asked, store, Environment.model_validate(told), None)
        request = Request(stage="tune", use_case="x", run="r", attempt="1", inputs={}, parameters=parameters)
        return stage_key(find_stage("tune"), plan, {}, request)

    money: dict[str, Any] = {"budget": {"money": 1}}
    assert key(money, 2.0).changes(key(money, 3.0).parts) == ["plan price_per_hour"]
    assert key(money, 2.0).changes(key(money, 2.0).parts) == []
    for search in ({}, {"budget": {"seconds": 9}}):
        assert key(search, 2.0).changes(key(search, 3.0).parts) == []
