"""A button that leads from a task to the MLflow run of its DAG run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class TrackingLink(BaseOperatorLink):
    """Lead to the MLflow run."""

    @property
    def name(self) -> str:
        """Label of the button."""
        return "MLflow run"

    @property
    def xcom_key(self) -> str:
        """XCom that holds the address; the task pushes it as soon as it is known."""
        return "_link_TrackingLink"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address that the task pushed, or nothing."""
        del operator
        from airflow.sdk.execution_time.xcom import XCom

        found: Any = XCom.get_value(ti_key=ti_key, key=self.xcom_key)
        return str(found or "")
