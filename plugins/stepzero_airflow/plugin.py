"""What Airflow's plugin manager loads, from the plugins folder or by the wheel's entry point."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from stepzero_airflow.links.report import ReportLink
from stepzero_airflow.links.tracking import TrackingLink


class StepzeroPlugin(AirflowPlugin):
    """Names the link classes, so that Airflow shows the links of finished tasks."""

    name = "stepzero"
    operator_extra_links: list[Any] = [TrackingLink(), ReportLink()]  # noqa: RUF012 - as the base class has it
