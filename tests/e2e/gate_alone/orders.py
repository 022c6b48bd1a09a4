"""A shop's own DAG: the quality gate before its own task, and nothing else of Stepzero."""

from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from stepzero_airflow import use_case
from stepzero_airflow.stages import quality_gate

shop = use_case(str(Path(__file__).resolve().parent / "orders.yaml"))


@task
def ship(checked: dict[str, Any]) -> str:
    """Say what the gate said."""
    return str(checked["summary"])


@dag(schedule=None, params={"file": "file:///data/orders.csv"}, tags=["shop"], default_args={"owner": "shop"})
def orders() -> None:
    """Ship what the gate lets through."""
    ship(quality_gate(shop, dataset="{{ params.file }}"))


orders()
