"""The quality gate alone, in a DAG that has nothing else of Stepzero."""

from pathlib import Path

from airflow.sdk import dag

from stepzero_airflow import use_case
from stepzero_airflow.stages import quality_gate

HERE = Path(__file__).resolve().parent
orders = use_case(str(HERE / "orders.yaml"))


@dag(schedule=None, tags=["example"], default_args={"owner": "shop"})
def gate_alone() -> None:
    """Judge one file; what follows may be anything."""
    quality_gate(orders, dataset="file:///data/orders.parquet")


gate_alone()
