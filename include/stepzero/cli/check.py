"""`stepzero check`: read use cases and the environment before Airflow does."""

from __future__ import annotations

from typing import Annotated

import typer

from stepzero.core.errors import DONE, WRONG_USE, SpecError
from stepzero.core.stages import find_stage
from stepzero.spec.base import is_dotted
from stepzero.spec.load import load_environment, load_use_case, use_case_names
from stepzero.spec.use_case import UseCase


def check(
    names: Annotated[list[str] | None, typer.Argument(help="Use cases, or paths of YAML files; all if absent.")] = None,
) -> None:
    """Check YAML files; every problem is told with file and line."""
    status = DONE
    for name in names or use_case_names():
        try:
            _check_names(load_use_case(name))
        except SpecError as error:
            typer.echo(str(error), err=True)
            status = WRONG_USE
        else:
            typer.echo(f"{name}: good")
    load_environment()
    raise typer.Exit(status)


def _check_names(use_case: UseCase) -> None:
    """Import what the file names of the user's own.

    Raises:
        SpecError: Something of that name cannot be imported here.
    """
    from stepzero.learning.names import load_name

    train = use_case.train
    judged = [use_case.quality, *(table.quality for table in use_case.tables.values())]
    own = [(rule.rule, "quality rule") for quality in judged for rule in quality.rules if is_dotted(rule.rule)]
    own += [(sampler, "sampler") for sampler in use_case.resample if is_dotted(sampler)]
    own += [(train.metric, "metric")] if train and is_dotted(train.metric) else []
    models = [one for model in train.models.values() for one in (model, *model.algorithms.values())] if train else []
    own += [(model.estimator, "model class") for model in models if model.estimator]
    steps = [*use_case.transforms, *(step for table in use_case.tables.values() for step in table.transforms)]
    own += [(step.step, "step") for step in steps if is_dotted(step.step)]
    for name, what in own:
        load_name(name, what)
    for name in use_case.stages:
        find_stage(name)
