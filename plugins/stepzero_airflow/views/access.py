"""Who may see a run's pages: Airflow's own answer. Its modules are not declared public, so they are named here only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def may_see_runs() -> Callable[..., Any]:
    """Return the dependency that lets those pass who may see runs of the path's ``dag_id``; others get 401 or 403."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag

    return requires_access_dag("GET", DagAccessEntity.RUN)


def run_exists(dag_id: str, run_id: str) -> bool:
    """Tell whether Airflow knows a run: its managers may grant access to DAGs that are none."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        wanted = select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        return session.scalar(wanted) is not None
