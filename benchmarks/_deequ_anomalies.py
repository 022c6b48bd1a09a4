"""Deequ's own anomaly strategies, asked through the JVM: PyDeequ has no way to ask one about a series."""

# ruff: noqa: SLF001 - the JVM lies behind private names of PySpark and PyDeequ.
from __future__ import annotations

from typing import Any

DEEQU_DEVIATIONS = 1.96
"""Of its Holt-Winters, where it cannot be set."""


def strategy_of(spark: Any, rule: Any) -> Any:
    """Return Deequ's strategy for an anomaly rule of ours; None where it has none with that setting."""
    jvm, option = spark._jvm.com.amazon.deequ.anomalydetection, spark._jvm.scala.Option.apply
    if rule.strategy == "absolute_change":
        return jvm.AbsoluteChangeStrategy(option(_double(rule.at_least)), option(_double(rule.at_most)), 1)
    if rule.strategy == "relative_change":
        return jvm.RelativeRateOfChangeStrategy(option(_double(rule.at_least)), option(_double(rule.at_most)), 1)
    if rule.strategy == "rolling_normal":
        return jvm.BatchNormalStrategy(option(float(rule.deviations)), option(float(rule.deviations)), False)
    if (rule.deviations, rule.season) != (DEEQU_DEVIATIONS, 7):
        return None
    from pydeequ.anomaly_detection import HoltWinters, MetricInterval, SeriesSeasonality

    named = HoltWinters(MetricInterval.Daily, SeriesSeasonality.Weekly)
    named._set_jvm(spark._jvm)
    return named._anomaly_jvm


def detects(spark: Any, strategy: Any, series: list[float]) -> bool:
    """Tell whether a strategy of Deequ's flags the last value, judged by those before it."""
    jvm = spark._jvm
    values = jvm.scala.collection.JavaConverters.asScalaBufferConverter([float(value) for value in series]).asScala()
    last = len(series) - 1
    return bool(strategy.detect(values.toVector(), jvm.scala.Tuple2(last, last + 1)).size() > 0)


def _double(value: float | None) -> float | None:
    return None if value is None else float(value)
