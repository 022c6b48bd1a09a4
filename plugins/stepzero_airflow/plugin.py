"""What Airflow's plugin manager loads, from the plugins folder or by the wheel's entry point."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from stepzero_airflow.links.report import ReportLink
from stepzero_airflow.links.tracking import TrackingLink
from stepzero_airflow.views.dossier import PREFIX, LazyApp


def _base() -> str:
    """Return the path under which Airflow is served, if it is not the root of its host."""
    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")


class StepzeroPlugin(AirflowPlugin):
    """Names the link classes, so that Airflow shows the links of finished tasks, and the tab of a run."""

    name = "stepzero"
    operator_extra_links: list[Any] = [TrackingLink(), ReportLink()]  # noqa: RUF012 - as the base class has it
    fastapi_apps: list[Any] = [{"app": LazyApp(), "url_prefix": PREFIX, "name": "Stepzero"}]  # noqa: RUF012
    external_views: list[Any] = [  # noqa: RUF012
        {
            "name": "Dossier",
            "href": f"{_base()}{PREFIX}/dossier/{{DAG_ID}}/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "dossier",
        }
    ]
