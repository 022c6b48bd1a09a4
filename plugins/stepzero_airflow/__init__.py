"""The vocabulary of a DAG file: a use case, a schedule, and (in `stages`) one function per lifecycle stage.

Light on purpose: it is imported wherever a DAG file is parsed. It names stages by string and loads none.
"""

from stepzero_airflow.flow import Flow, daily, use_case

__all__ = ["Flow", "daily", "use_case"]
