"""A use case as a DAG file sees it: what is declared, where it runs, and what its DAG shares with others."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import CronTriggerTimetable, dag

from stepzero.spec.load import load_environment, load_use_case
from stepzero_airflow.form import trigger_form
from stepzero_airflow.operators.plan import PlanOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow.sdk import DAG

    from stepzero.spec.environment import Environment, StageResources
    from stepzero.spec.use_case import UseCase

MOST_ACTIVE_RUNS = 4
"""More than one: a run that waits for a person must not keep a newer challenger from superseding it."""

DagFactory = "Callable[..., DAG]"


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A use case and its environment, read where the DAG file is parsed."""

    source: str
    """What was given to `use_case`: a name, or the path of a YAML file."""
    spec: UseCase
    environment: Environment

    @property
    def name(self) -> str:
        """Name of the use case."""
        return self.spec.name

    def resources(self, stage: str) -> StageResources:
        """Return where a stage is launched and what it may use."""
        return self.environment.resources(stage)

    def dag(self, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., DAG]]:
        """Mark a function as the DAG of this use case.

        Takes what `airflow.sdk.dag` takes; what is not given is filled from the use case: owner,
        tags, description, trigger form, retries. The module's docstring becomes the documentation.

        Args:
            settings: Over the defaults; ``schedule`` is None (only by hand) unless given.
        """

        def decorate(function: Callable[..., Any]) -> Callable[..., DAG]:
            documentation = function.__globals__.get("__doc__")
            merged: dict[str, Any] = self._defaults(settings.get("schedule")) | {"doc_md": documentation} | settings
            form = merged.pop("params")
            decorated: Callable[..., DAG] = dag(**merged)(function)  # type: ignore[no-untyped-call]  # noqa: AIR002 - in `merged`
            return _with_form(decorated, form)

        return decorate

    def _defaults(self, schedule: Any) -> dict[str, Any]:
        resources = self.resources("default")
        return {
            "description": self.spec.title or None,
            "schedule": None,
            "catchup": False,
            "max_active_runs": MOST_ACTIVE_RUNS,
            "tags": ["stepzero", *([self.spec.problem.kind] if self.spec.problem else ["quality"])],
            "params": trigger_form(self.spec, self.environment, by_arrivals=isinstance(schedule, list)),
            "default_args": {
                "owner": self.spec.owner,
                "retries": max(resources.retries, 2),
                "retry_delay": timedelta(seconds=resources.retry_delay_seconds),
            },
        }


def _with_form(make: Callable[..., DAG], form: Mapping[str, Any]) -> Callable[..., DAG]:
    """Give a DAG its trigger form when its tasks are made.

    A task keeps a copy of the form that its DAG has when it is made. Airflow checks every field of each copy, several
    times, whenever it reads or writes the DAG; what a run was given is found in the DAG's own. The plan alone has to
    know what the form said before.
    """

    @functools.wraps(make)
    def made(*given: Any, **named: Any) -> DAG:
        frame = inspect.currentframe()
        result = make(*given, **named)
        result.params = form  # type: ignore[assignment]  # converted, and checked against the schedule
        for task in result.tasks:
            if isinstance(task, PlanOperator):
                task.untouched = result.params.dump()
        if frame is not None and frame.f_back is not None:
            result.fileloc = frame.f_back.f_code.co_filename
        return result

    return made


def use_case(name: str) -> Flow:
    """Read a use case and the environment for a DAG file.

    Args:
        name: Name of a file in ``include/usecases``, or the path of a YAML file of yours.

    Raises:
        SpecError: A file says something impossible. Airflow shows the text as the import error of
            this DAG file; other DAGs go on.
    """
    return Flow(source=name, spec=load_use_case(name), environment=load_environment())


def daily(at: str, *, timezone: str = "UTC") -> CronTriggerTimetable:
    """Return a daily schedule whose data interval is the day that ends at the given time.

    Airflow's own ``"@daily"`` has an empty interval, so that a task cannot tell which day it is
    for. The first run is the next one: switching a DAG on does not start yesterday's.

    Args:
        at: Time of day, for example ``02:00``.
        timezone: Name of the time zone that the time is in.
    """
    hour, _, minute = at.partition(":")
    return CronTriggerTimetable(
        f"{int(minute or 0)} {int(hour)} * * *",
        timezone=timezone,
        interval=timedelta(days=1),
        # A grace for the very first run only: the parse just after 02:00 must not skip to tomorrow.
        run_immediately=timedelta(minutes=10),
    )
