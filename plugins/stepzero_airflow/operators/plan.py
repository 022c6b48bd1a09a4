"""The first stage of a run: it freezes what the trigger form, the landing folder and the registry say now."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stepzero.spec.load import load_environment
from stepzero_airflow.form import form_values
from stepzero_airflow.operators.stage import StageOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

PLAN = "plan"
SCHEDULED = frozenset({"scheduled", "backfill"})
HANDED_ON = ("cells", "samplers", "approval", "partition", "promotes", "links")


class PlanOperator(StageOperator):
    """Launch the stage `plan` with what Airflow knows of the run.

    Hands on the reference of the plan, and as further XComs what later tasks map over and branch on.

    Args:
        source: Name or path of the use-case file.
        uris: Landed files that the sensor found (templated); none lets the plan look for itself.
    """

    template_fields: Sequence[str] = (*StageOperator.template_fields, "uris")

    def __init__(self, *, source: str, uris: Any = None, **kwargs: Any) -> None:
        super().__init__(stage=PLAN, **kwargs)
        self.source = source
        self.uris = uris
        self.untouched: Mapping[str, Any] | None = None
        """What the trigger form says before anybody touches it, from where it is given to the DAG."""

    def arguments(self, context: Context) -> list[str]:
        """Return time, partition, form and links of the run as arguments."""
        # A task without a copy of the form of its own writes what the run was given into that of its DAG.
        untouched = context["dag"].params.dump() if self.untouched is None else self.untouched
        asked: dict[str, Any] = {
            "--uris": list(self.uris or []),
            "--form": form_values(context["params"], untouched),
            "--links": {"airflow": run_link(load_environment().airflow.base, context["dag"].dag_id, context["run_id"])},
        }
        arguments = ["--as-of", as_of(context)]
        partition = scheduled_partition(context)
        if partition:
            arguments += ["--partition", partition]
        author = getattr(context["dag_run"], "triggering_user_name", None)
        if author and context["dag_run"].run_type not in SCHEDULED:
            arguments += ["--author", str(author)]
        if is_late(context):
            arguments += ["--promotes", "false"]
        return arguments + [part for name, value in asked.items() if value for part in (name, json.dumps(value))]

    def use_case_file(self) -> str:
        """Return the name or path of the use-case file: only the plan reads it."""
        return self.source if self.stage == PLAN else self.use_case

    def settle(self, context: Context, pointer: dict[str, Any]) -> dict[str, Any]:
        """Hand on what to map over, who approves, and where the run is shown."""
        values = pointer.get("values") or {}
        for key in HANDED_ON:
            if key in values:
                context["ti"].xcom_push(key, values[key])
        return super().settle(context, pointer)


def as_of(context: Context) -> str:
    """Return the run's time: the end of its day, or when a person asked for it."""
    dag_run = context["dag_run"]
    end = dag_run.data_interval_end if dag_run.run_type in SCHEDULED else None
    return str((end or dag_run.run_after).isoformat())


def as_of_watch(context: Context) -> str:
    """Return a run's time for the watch, which is never to come: a run by hand may be dated by its next schedule."""
    moment = datetime.fromisoformat(as_of(context))
    return min(moment, datetime.now(UTC)).isoformat()


def scheduled_partition(context: Context) -> str | None:
    """Return the day that a scheduled run is for; a run by hand is named by its batch."""
    dag_run = context["dag_run"]
    start = dag_run.data_interval_start if dag_run.run_type in SCHEDULED else None
    return str(start.date().isoformat()) if start else None


def is_late(context: Context) -> bool:
    """Tell whether a run is for a day long gone: a backfill, or a scheduled run that catches up."""
    dag_run = context["dag_run"]
    if dag_run.run_type == "backfill":
        return True
    start, end, began = dag_run.data_interval_start, dag_run.data_interval_end, dag_run.start_date
    if dag_run.run_type not in SCHEDULED or not (start and end and began):
        return False
    return bool(began - end >= end - start)


def run_link(base: str, dag_id: str, run_id: str) -> str:
    """Return the address of a run's page.

    >>> run_link("http://here/", "d", "manual__2026-11-21T02:00:00+00:00")
    'http://here/dags/d/runs/manual__2026-11-21T02%3A00%3A00%2B00%3A00'
    """
    return f"{base.rstrip('/')}/dags/{dag_id}/runs/{quote(run_id, safe='')}"
