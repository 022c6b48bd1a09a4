"""The `recipes` section: other ways to learn, one of which a run may ask for by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, field_validator

from stepzero.core.errors import SpecError, bare, did_you_mean
from stepzero.spec.base import NAME, ElsewhereError, Section
from stepzero.spec.search import Search
from stepzero.spec.training import Model, Threshold, check_samplers

if TYPE_CHECKING:
    from stepzero.spec.use_case import UseCase


class Recipe(Section):
    """What a run learns by instead of what the use case says; what is left out stays as the use case has it."""

    help: str = Field(min_length=1, max_length=120)
    """What it is for, in a few words of the trigger form."""
    resample: tuple[str, ...] | None = Field(default=None, min_length=1)
    models: dict[str, Model] | None = Field(default=None, min_length=1)
    search: Search | None = None
    threshold: Threshold | None = None

    @field_validator("resample")
    @classmethod
    def _samplers(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return value if value is None else check_samplers(value)


def with_recipe(data: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return a use case's data with what a recipe says in its place."""
    said = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    train, evaluate, compare = data["train"], data["evaluate"], data["compare"]
    models = said.get("models", train["models"])
    return {
        **data,
        "resample": said.get("resample", data["resample"]),
        "train": {**train, "models": models, "search": said.get("search", train["search"])},
        "evaluate": {**evaluate, "threshold": said.get("threshold", evaluate["threshold"])},
        "compare": {**compare, "tie": [name for name in compare["tie"] if name in models]},
    }


def check_recipes(use_case: UseCase) -> None:
    """Reject a recipe that a run could not go by: a mistake in one is told when the file is read.

    Raises:
        ElsewhereError: A name is none, or the use case with the recipe in place of its own would be refused.
    """
    for name, recipe in use_case.recipes.items():
        if use_case.train is None or not NAME.fullmatch(name):
            msg = "a name in lower case letters, digits and underscores, in a use case with a train section"
            raise ElsewhereError(msg, location=("recipes", name), value=name)
        data = use_case.model_dump(mode="json", by_alias=True, exclude={"recipes"})
        try:
            type(use_case).model_validate(with_recipe(data, recipe))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            msg = first["msg"].removeprefix("Value error, ")
            raise ElsewhereError(msg, location=("recipes", name), value=first.get("input")) from error


def find_recipe(recipes: dict[str, Recipe], name: str) -> Recipe:
    """Return a declared recipe.

    Raises:
        SpecError: There is none of that name.
    """
    if name not in recipes:
        allowed = did_you_mean(name, recipes) if recipes else "none: the use case declares no recipes"
        raise SpecError("form.recipe", value=bare(name), allowed=allowed, action="choose among the declared recipes")
    return recipes[name]
