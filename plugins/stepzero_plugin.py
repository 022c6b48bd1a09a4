"""Register with Airflow what it must know of Stepzero. Light: every Airflow process imports it."""

from __future__ import annotations

from stepzero_airflow.plugin import StepzeroPlugin

__all__ = ["StepzeroPlugin"]
