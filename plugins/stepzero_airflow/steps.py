"""What all functions of a DAG file's vocabulary are made of: a run, and stages as tasks of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg

from stepzero_airflow.flow import Flow
from stepzero_airflow.operators.stage import StageOperator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stepzero.spec.environment import StageResources

_MARGIN = timedelta(minutes=5)
"""The launcher ends a stage in time; Airflow's own limit is for a launcher that hangs."""
_LABEL = "{{ task.parameters.values() | join(' · ') }}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has a plan: what all stages after `plan` are called with."""

    flow: Flow
    planned: XComArg

    @property
    def plan_task(self) -> str:
        """Id of the task that makes the plan."""
        return str(self.planned.operator.task_id)  # type: ignore[attr-defined]


def step(run: Run, stage: str, inputs: Mapping[str, Any], **settings: Any) -> StageOperator:
    """Return the task that runs a stage on results of others."""
    named = {"task_id": stage.rpartition(":")[2] or stage} | stage_resources(run.flow, stage) | settings
    return StageOperator(stage=stage, use_case=run.flow.name, plan_task=run.plan_task, inputs=inputs, **named)


def mapped(run: Run, stage: str, inputs: Mapping[str, Any]) -> Any:
    """Return a task that is still to be mapped over parameters: one task for each, named by them."""
    return StageOperator.partial(
        task_id=stage,
        stage=stage,
        use_case=run.flow.name,
        plan_task=run.plan_task,
        inputs=inputs,
        map_index_template=_LABEL,
        **stage_resources(run.flow, stage),
    )


def stage_resources(flow: Flow, stage: str) -> dict[str, Any]:
    """Return what the environment grants to a stage, as Airflow takes it."""
    return resources(flow.resources(stage))


def resources(granted: StageResources) -> dict[str, Any]:
    """Return where a stage waits for its turn, how long it may take and how often it is tried, as Airflow takes it."""
    return {
        "pool": granted.pool,
        "pool_slots": granted.slots,
        "retries": granted.retries,
        "retry_delay": timedelta(seconds=granted.retry_delay_seconds),
        "retry_exponential_backoff": 2.0,
        "execution_timeout": timedelta(minutes=granted.timeout_minutes) + _MARGIN,
        **({"queue": granted.queue} if granted.queue else {}),
    }


def output(operator: Any) -> XComArg:
    """Return what a task hands on: the reference of its stage's result."""
    handed_on: XComArg = operator.output
    return handed_on
