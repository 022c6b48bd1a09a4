"""The trigger form: explained, bounded, and without effect when left alone."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.definitions.param import process_params
from airflow.sdk.exceptions import ParamValidationError

from stepzero.spec.data import Window
from stepzero.spec.load import load_environment, load_use_case, validate
from stepzero.spec.plan import Form
from stepzero_airflow.form import BY_THE_WATCH, effective_approval, form_values, trigger_form
from stepzero_airflow.operators.plan import run_link

MAIN = ["samplers", "models", "metric", "approval", "batch"]
SHOWN = {
    "type",
    "title",
    "section",
    "enum",
    "examples",
    "items",
    "minimum",
    "maximum",
    "minItems",
    "uniqueItems",
    "values_display",
}


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    return trigger_form(load_use_case("credit_card_fraud"), load_environment("local"))


def test_main_fields_come_first_and_open(form: dict[str, Any]) -> None:
    assert [name for name, param in form.items() if "section" not in param.schema] == [*MAIN, "recipe"]
    assert list(form) == [*MAIN, "recipe", "folds", "seed", "window", "earlier", "recent_batches", "recompute"]


def test_every_field_of_a_run_is_in_the_form(form: dict[str, Any]) -> None:
    assert set(form) == set(Form.model_fields) - set(BY_THE_WATCH)


def test_what_the_watch_sets_reaches_the_plan_beside_what_a_person_may_set(form: dict[str, Any]) -> None:
    asked = {
        "window": "recent",
        "recent_batches": 7,
        "half_life": 3.0,
        "reason": "the watch asked for it: a loss",
        "compared_on": {"uri": "results/labelled", "digest": "d", "kind": "dataset", "rows": 900},
    }
    dag = DAG("retrained", params=form, schedule=None)
    params = process_params(dag, EmptyOperator(task_id="plan", dag=dag), asked, suppress_exception=False)
    assert form_values(params, dag.params.dump()) == asked
    assert set(asked) <= set(Form.model_fields)


def test_several_tables_have_no_window_to_choose() -> None:
    shown = trigger_form(load_use_case("auto_claims_fraud"), load_environment("local"))
    assert list(shown) == [*MAIN, "folds", "seed", "recompute"]
    assert "a comma between them" in str(shown["batch"].description)


def test_days_are_chosen_as_days(form: dict[str, Any]) -> None:
    shown = trigger_form(load_use_case("simulated_transactions"), load_environment("local"))
    assert set(form) - set(shown) == {"earlier", "recipe"}, "a plan refuses what the form does not offer"
    assert shown["window"].schema["values_display"] == {
        "declared": "As declared: the 35 days that end with this one",
        "batch": "This day alone",
        "recent": "The newest days, as many as the field below says",
        "all": "All days landed before it, and its own",
    }
    assert shown["recent_batches"].schema["title"] == "Newest days"
    assert "newest day that was not refused" in str(shown["batch"].description)


@pytest.mark.parametrize(
    ("window", "told"),
    [
        ({}, "all accepted batches"),
        ({"batches": 30}, "the newest 30 batches"),
        ({"days": 7}, "the 7 days that end with this one"),
        ({"batches": 3, "days": 7}, "the newest 3 batches of the 7 days that end with this one"),
    ],
)
def test_the_declared_window_is_told_as_it_is(window: dict[str, int], told: str) -> None:
    cards = load_use_case("credit_card_fraud")
    assert cards.source is not None
    source = cards.source.model_copy(update={"window": Window(**window)})
    shown = trigger_form(cards.model_copy(update={"source": source}), load_environment("local"))
    assert shown["window"].schema["values_display"]["declared"] == f"As declared: {told}"


def test_the_form_says_which_batch_a_run_takes_that_names_none(form: dict[str, Any]) -> None:
    assert "all files that no run has judged yet, or else the batch accepted last" in str(form["batch"].description)
    arriving = trigger_form(load_use_case("abalone_age"), load_environment("local"), by_arrivals=True)
    assert "what no run has claimed; the run waits for it" in str(arriving["batch"].description)


@pytest.mark.parametrize(
    "use_case", ["credit_card_fraud", "simulated_transactions", "auto_claims_fraud", "abalone_age"]
)
def test_every_field_is_explained_typed_and_short(use_case: str) -> None:
    for name, param in trigger_form(load_use_case(use_case), load_environment("local")).items():
        assert param.description, name
        assert param.schema["title"], name
        assert set(param.schema) <= SHOWN, name
        assert len(str(param.schema)) < 500, name


def test_defaults_are_what_is_declared_and_pass_their_own_bounds(form: dict[str, Any]) -> None:
    declared = load_use_case("credit_card_fraud")
    assert declared.train is not None
    values = {name: param.resolve() for name, param in form.items()}
    assert values["samplers"] == list(declared.resample)
    assert values["models"] == list(declared.train.models)
    assert (values["metric"], values["folds"], values["seed"]) == ("average_precision", 5, 7)
    assert form_values(values, values) == {}


def test_a_recipe_is_offered_where_one_is_declared(form: dict[str, Any]) -> None:
    defaults = {name: param.resolve() for name, param in form.items()}
    assert form["recipe"].schema["enum"] == ["as declared", "thorough"]
    assert "voting" in form["models"].schema["examples"]
    assert form_values({**defaults, "recipe": "thorough"}, defaults) == {"recipe": "thorough"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recipe", "quick"),
        ("folds", 1),
        ("folds", 11),
        ("seed", -1),
        ("metric", "accuracy"),
        ("samplers", []),
        ("approval", "nobody"),
    ],
)
def test_bounds_refuse(form: dict[str, Any], name: str, value: Any) -> None:
    with pytest.raises(ParamValidationError):
        form[name].resolve(value)


def test_changed_fields_make_a_valid_form(form: dict[str, Any]) -> None:
    defaults = {name: param.resolve() for name, param in form.items()}
    changed = {"samplers": ["smote"], "models": ["xgboost"], "metric": "f1", "folds": 3, "seed": 11, "window": "batch"}
    values = form_values({**defaults, **changed, "somebody_elses": 1}, defaults)
    assert values == changed
    assert validate(values, Form).seed == 11


def test_form_asks_for_more_care_but_never_for_less() -> None:
    declared, environment = load_use_case("credit_card_fraud"), load_environment("local")
    strict = environment.model_copy(update={"approval": "person"})
    assert effective_approval(declared, environment) == "rule"
    assert trigger_form(declared, environment)["approval"].schema["enum"] == ["rule", "person"]
    assert trigger_form(declared, strict)["approval"].schema["enum"] == ["person"]
    tightened = declared.model_copy(update={"promote": declared.promote.model_copy(update={"approval": "person"})})
    assert effective_approval(tightened, environment) == "person"


def test_link_of_a_run_is_quoted() -> None:
    assert run_link("http://here/", "d", "scheduled__2026-11-21T02:00:00+00:00") == (
        "http://here/dags/d/runs/scheduled__2026-11-21T02%3A00%3A00%2B00%3A00"
    )
