"""Airflow's command with the imports of our DAG files paid once: the scheduler and the DAG processor fork with them.

Every task and every parse is a fork that reads a DAG file, which imports Airflow's SDK and much else. What is loaded
before the fork is loaded once. Our own modules are forgotten again, so that a fork reads them as they are then.
"""

from __future__ import annotations

import importlib
import sys

OURS = ("stepzero", "stepzero_airflow")
ALL_IMPORT = (
    "airflow.dag_processing.dagbag",
    "airflow.providers.standard.operators.empty",
    "airflow.version",
    *(f"stepzero_airflow.{name}" for name in ("arrivals", "endpoints", "release", "stages", "tables", "watch")),
)
"""What a fork imports to read a DAG file, and what DAG files import."""


def main() -> None:
    """Run `airflow` with this process's arguments."""
    from airflow.__main__ import main as airflow

    load_what_dag_files_import()
    airflow()  # type: ignore[no-untyped-call]


def load_what_dag_files_import() -> None:
    """Load what our DAG files import of others, and forget what is ours."""
    for name in ALL_IMPORT:
        importlib.import_module(name)
    for name in list(sys.modules):
        if name.partition(".")[0] in OURS:
            del sys.modules[name]
