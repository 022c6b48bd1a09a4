"""What a run of the watch waits for: that its window of served traffic is over and written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from stepzero.spec.load import load_environment
from stepzero_airflow.operators.plan import SCHEDULED, as_of, as_of_watch
from stepzero_airflow.triggers.window import WindowTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

SETTLED = 4
"""Flush intervals of the endpoint after which all rows of a window are in the store, and merged."""


class WindowSensor(BaseSensorOperator):
    """Wait on the triggerer until the last rows of the run's window are written; nothing else is awaited.

    A window without a single row must be seen, too: the volume monitor says what it means.

    Args:
        use_case: Whose endpoint says how often it writes.
    """

    custom_operator_name = "sensor"

    def __init__(self, *, use_case: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_case = use_case

    def execute(self, context: Context) -> str:
        """Pass, or wait on the triggerer."""
        is_scheduled = context["dag_run"].run_type in SCHEDULED
        end = datetime.fromisoformat(as_of(context) if is_scheduled else as_of_watch(context))
        until = end + timedelta(seconds=SETTLED * self._flush_seconds())
        if until > datetime.now(UTC):
            self.log.info("waiting until %s, when the window is written", until.isoformat())
            self.defer(trigger=WindowTrigger(until.isoformat()), method_name="execute_complete")
        return until.isoformat()

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        """Hand on until when it waited."""
        del context
        return str(event["until"])

    def _flush_seconds(self) -> float:
        endpoint = load_environment().endpoints.get(self.use_case)
        return endpoint.capture.flush_seconds if endpoint and endpoint.capture else 0.0
