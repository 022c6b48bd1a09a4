"""Plain rules judged without Spark: a few thousand rows at hand need no session, which costs seconds to start.

Only what both ways say to the letter alike is judged here; whatever could differ is left to Spark and Deequ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stepzero.adapters.deequ import Measured, Metric
from stepzero.measures.quality import Counts, Finding
from stepzero.spec import quality as spec
from stepzero.stages.quality_batch import metric_findings, wanted_metrics
from stepzero.stages.quality_judge import row_findings
from stepzero.stages.quality_rules import RowRule, as_row_rule, is_row_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

_METRICS: dict[str, Callable[..., Any]] = {
    "min": np.min,
    "max": np.max,
    "mean": np.mean,
    "sum": np.sum,
}
_ADDED = {"mean", "sum"}
"""In which order fractions are added shows in the last digit; whole numbers are added without an error."""
_EXACT = 2.0**53


def judge_plainly(frame: pd.DataFrame, rules: Sequence[Any]) -> tuple[list[Finding], Counts] | None:
    """Return what rules say to a frame in memory, and how many rows they condemn; None where Spark must be asked.

    That is so where a rule is no plain arithmetic or chooses rows by SQL, where it names a column that is not there or
    whose values are not all finite numbers, and where there is no row.
    """
    if frame.empty or not could_be_plain(rules) or not all(_is_plain(frame, rule) for rule in rules):
        return None
    rows, good = list[RowRule](), dict[str, Any]()
    for number, rule in enumerate(rules, start=1):
        if is_row_rule(rule):
            told = as_row_rule(rule, number, predicate="true")
            rows.append(told)
            good[told.label] = _good(frame, rule)
    metrics: dict[Metric, float | None] = {metric: _number(frame, metric) for metric in wanted_metrics(rules)}
    compliance = {label: float(np.mean(kept)) for label, kept in good.items()}
    measured = Measured(size=len(frame), compliance=compliance, metrics=metrics, profile={})
    findings, broken = row_findings(rows, measured)
    condemned = np.zeros(len(frame), dtype=bool)
    for told in rows:
        if told.severity == "error" and told.label in broken:
            condemned |= ~good[told.label]
    findings += metric_findings(rules, measured, None)
    return findings, Counts(rows=len(frame), quarantined=int(condemned.sum()))


def could_be_plain(rules: Sequence[Any]) -> bool:
    """Tell whether rows in memory could be enough for rules of these kinds, before any row is read."""
    kinds = (spec.SizeRule, spec.CompleteRule, spec.OneOfRule, spec.BetweenRule)
    return bool(rules) and all(
        not getattr(rule, "where", None)
        and (isinstance(rule, kinds) or (isinstance(rule, spec.MetricRule) and rule.rule in _METRICS))
        for rule in rules
    )


def _is_plain(frame: pd.DataFrame, rule: Any) -> bool:
    if isinstance(rule, spec.CompleteRule):
        return all(name in frame and bool(frame[name].notna().all()) for name in rule.columns)
    if isinstance(rule, spec.OneOfRule):
        return all(type(value) in {int, float} for value in rule.values) and _is_finite(frame, rule.column)
    if isinstance(rule, spec.SizeRule):
        return True
    return _is_finite(frame, rule.column) and (rule.rule not in _ADDED or _adds_exactly(frame[rule.column]))


def _is_finite(frame: pd.DataFrame, name: str) -> bool:
    if name not in frame or not isinstance(frame[name].dtype, np.dtype):
        return False
    return frame[name].dtype.kind in "iuf" and bool(np.isfinite(frame[name]).all())


def _adds_exactly(column: pd.Series[Any]) -> bool:
    values = column.to_numpy(dtype=np.float64)
    return bool((values == np.round(values)).all()) and float(np.abs(values).sum()) < _EXACT


def _good(frame: pd.DataFrame, rule: Any) -> Any:
    """Return which rows keep a rule about rows."""
    if isinstance(rule, spec.CompleteRule):
        return np.ones(len(frame), dtype=bool)
    values = frame[rule.column].to_numpy()
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
    if isinstance(rule, spec.OneOfRule):
        return np.isin(values, rule.values)
    low = -np.inf if rule.at_least is None else rule.at_least
    high = np.inf if rule.at_most is None else rule.at_most
    return (values >= low) & (values <= high)


def _number(frame: pd.DataFrame, metric: Metric) -> float:
    if metric.kind == "size":
        return float(len(frame))
    return float(_METRICS[metric.kind](frame[metric.columns[0]].to_numpy(dtype=np.float64)))
