"""A button that leads from the quality gate to its report, a page among the files of the MLflow run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

FOLDER, PAGE = "quality", "quality.html"


class ReportLink(BaseOperatorLink):
    """Lead to the quality report."""

    @property
    def name(self) -> str:
        """Label of the button."""
        return "Quality report"

    @property
    def xcom_key(self) -> str:
        """XCom that holds the address; the task pushes it as soon as it is known."""
        return "_link_ReportLink"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address that the task pushed, or nothing."""
        del operator
        from airflow.sdk.execution_time.xcom import XCom

        found: Any = XCom.get_value(ti_key=ti_key, key=self.xcom_key)
        return str(found or "")


def report_address(run: str, table: str = "") -> str:
    """Return the address of the report, or of one table's, in an MLflow run; nothing where the run has no page.

    >>> report_address("http://m/#/experiments/1/runs/abc?workflowType=machine_learning")
    'http://m/#/experiments/1/runs/abc/artifacts/quality/quality.html?workflowType=machine_learning'
    """
    if "#" not in run:
        return ""
    parts = urlsplit(run)
    path, question, query = parts.fragment.partition("?")
    report = "/".join(part for part in (FOLDER, table, PAGE) if part)
    return urlunsplit(parts._replace(fragment=f"{path}/artifacts/{report}{question}{query}"))
