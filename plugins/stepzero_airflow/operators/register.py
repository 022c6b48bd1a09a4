"""Registering: what a backfill never does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from stepzero_airflow.operators.stage import StageOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegisterOperator(StageOperator):
    """Launch the stage `register`, unless the run is a backfill: then it and all that follows are skipped."""

    def perform(self, context: Context) -> dict[str, Any]:
        """Register, or skip.

        Raises:
            AirflowSkipException: The run is for a day long gone.
        """
        if context["ti"].xcom_pull(task_ids=self.plan_task, key="promotes") is False:
            raise AirflowSkipException("a backfill evaluates and never promotes")
        return super().perform(context)
