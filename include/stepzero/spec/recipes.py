"""The `recipes` section: other ways to learn, one of which a run may ask for by name."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from stepzero.core.errors import SpecError, bare, did_you_mean
from stepzero.spec.base import Section
from stepzero.spec.search import Search
from stepzero.spec.training import Model, Threshold, check_samplers


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


def find_recipe(recipes: dict[str, Recipe], name: str) -> Recipe:
    """Return a declared recipe.

    Raises:
        SpecError: There is none of that name.
    """
    if name not in recipes:
        allowed = did_you_mean(name, recipes) if recipes else "none: the use case declares no recipes"
        raise SpecError("form.recipe", value=bare(name), allowed=allowed, action="choose among the declared recipes")
    return recipes[name]
