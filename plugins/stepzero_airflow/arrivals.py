"""Runs that files start: the asset that they are, and what such a run begins with.

@flow.dag(schedule=[arrivals(flow)])
def my_dag():
    run = plan(flow, await_arrivals(flow))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetWatcher, TaskGroup, XComArg

from stepzero.core.errors import SpecError, bare
from stepzero_airflow.sensors.arrival import ArrivalSensor
from stepzero_airflow.triggers.arrival import ArrivalTrigger

if TYPE_CHECKING:
    from stepzero_airflow.flow import Flow


def await_arrivals(flow: Flow, *, wait_hours: float = 22) -> XComArg:
    """Claim the files that arrived, each of them for one run; wait for them, without a worker, where there are none.

    Args:
        flow: The use case; with ``schedule=[arrivals(flow)]`` what arrives starts the run.
        wait_hours: After that a run by hand that waits is skipped.
    """
    with TaskGroup("arrival", tooltip="Claims what arrived and freezes the run's plan"):
        sensor = ArrivalSensor(
            task_id="await_arrivals",
            use_case=flow.name,
            prefix=_prefix(flow),
            poll_seconds=flow.environment.arrivals.poll_seconds,
            wait_hours=wait_hours,
            doc_md=f"Claims new files under `{_prefix(flow)}`. Listing and claims decide; events only wake.",
        )
    output: XComArg = sensor.output
    return output


def arrivals(flow: Flow) -> Asset:
    """Return the asset that files under the use case's prefix are: watched by listing, or by a queue of S3's events."""
    declared = flow.environment.arrivals
    trigger = ArrivalTrigger(
        flow.environment.store, flow.name, _prefix(flow), declared.poll_seconds, declared.queue, declared.connection
    )
    return Asset(f"{flow.name}_arrivals", watchers=[AssetWatcher(name=f"{flow.name}_arrivals", trigger=trigger)])


def _prefix(flow: Flow) -> str:
    source = flow.spec.source
    if source is None:
        raise SpecError(
            f"{flow.source}: source",
            value=bare("none"),
            allowed="a source section, which says where files land",
            action="add one, or give `quality_gate` a dataset",
        )
    return source.prefix
