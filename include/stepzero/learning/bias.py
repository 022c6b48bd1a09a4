"""Bias of prepared rows and of predictions on them: facets found in a frame, the report, the verdict with limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.core.errors import InputError, RuleError, bare
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.learning.transform import feature_columns
from stepzero.measures.bias import AFTER, BEFORE, NEUTRAL, BiasMetric, FacetRows, measure_after, measure_before
from stepzero.measures.checks import Booleans, Floats
from stepzero.spec.bias import Bias, BiasLimit, Facet, Favourable
from stepzero.spec.data import Problem

VERSION = "1.0"
"""Of the report's shape, which is that of SageMaker Clarify's `analysis.json`."""
KEYS = {"before": "pre_training_bias_metrics", "after": "post_training_bias_metrics"}
_NO_GROUP = "(none)"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows of a facet's value, or above its threshold."""

    facet: str
    value: str
    disfavoured: Booleans
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class FacetBias:
    """All metrics of one facet value, and the plain figures behind them."""

    facet: str
    value: str
    """Value or values, or the interval above a threshold: ``(40, 79]``."""
    threshold: float | None = None
    metrics: tuple[BiasMetric, ...]
    favoured: float
    """Weight of the favoured rows; with weights of 1 their number."""
    disfavoured: float
    shares: tuple[float, float]
    """Share of favourable outcomes (labels before training, predictions after) among favoured and disfavoured."""

    @property
    def name(self) -> str:
        """Return facet and value."""
        return f"{self.facet} = {self.value}" if self.threshold is None else f"{self.facet} above {self.threshold:g}"

    @property
    def tag(self) -> str:
        """Return the name in letters that a metric's name may have."""
        return re.sub(r"[^\w./-]+", "_", self.name)

    def values(self) -> dict[str, float | None]:
        """Return metric → value."""
        return {metric.name: metric.value for metric in self.metrics}


@dataclass(frozen=True, kw_only=True)
class BiasReport:
    """Bias of one set of rows, at one time: ``before`` training (labels) or ``after`` it (predictions)."""

    time: str
    label: str
    favourable: str
    facets: tuple[FacetBias, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report in the shape of `analysis.json`."""
        facets: dict[str, list[dict[str, Any]]] = {}
        for one in self.facets:
            metrics = [metric.to_json() for metric in one.metrics]
            facets.setdefault(one.facet, []).append({"value_or_threshold": one.value, "metrics": metrics})
        body = {"label": self.label, "facets": facets, "label_value_or_threshold": self.favourable}
        return {"version": VERSION, KEYS[self.time]: body}

    def to_values(self) -> dict[str, Any]:
        """Return small JSON that `from_values` reads: counts, shares and metrics without descriptions."""
        facets = [
            {
                "facet": one.facet,
                "value": one.value,
                "threshold": one.threshold,
                "rows": {"favoured": one.favoured, "disfavoured": one.disfavoured},
                "favourable_shares": {"favoured": one.shares[0], "disfavoured": one.shares[1]},
                "metrics": {metric.name: metric.to_json()["value"] for metric in one.metrics},
            }
            for one in self.facets
        ]
        return {"time": self.time, "label": self.label, "favourable": self.favourable, "facets": facets}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> BiasReport:
        """Read what `to_values` wrote; why a metric has no value is not in it."""
        described = {name: parts[0] for name, parts in {**BEFORE, **AFTER}.items()}
        facets = tuple(
            FacetBias(
                facet=one["facet"],
                value=one["value"],
                threshold=one["threshold"],
                metrics=tuple(
                    BiasMetric.from_json({"name": name, "description": described[name], "value": value})
                    for name, value in sorted(one["metrics"].items())
                ),
                **one["rows"],
                shares=(one["favourable_shares"]["favoured"], one["favourable_shares"]["disfavoured"]),
            )
            for one in values["facets"]
        )
        return cls(time=values["time"], label=values["label"], favourable=values["favourable"], facets=facets)


def find_groups(frame: pd.DataFrame, bias: Bias) -> Iterator[Group]:
    """Yield the disfavoured rows of every value and threshold that is declared.

    Raises:
        InputError: A facet's column is missing, or a threshold is set on a column without numbers.
    """
    for name, facet in bias.facets.items():
        yield from _groups(find_column(frame, name, "bias.facets"), facet, name)


def is_favourable(values: pd.Series[Any], favourable: Favourable) -> Booleans:
    """Return which labels are the favourable one."""
    if favourable.above is not None:
        return np.asarray(pd.to_numeric(values) > favourable.above, dtype=bool)
    return np.asarray(values.isin(list(favourable.values)), dtype=bool)


def predicted_favourable(positive: Booleans, target: pd.Series[Any], problem: Problem, bias: Bias) -> Booleans:
    """Return which rows a model gives the favourable label, from whether it takes them for positive.

    Raises:
        InputError: The other classes are favourable in part, so that "not positive" does not say which.
    """
    wanted = bool(is_favourable(pd.Series([problem.positive]), bias.favourable)[0])
    others = is_favourable(target[target != problem.positive], bias.favourable)
    if len(others) and (others.all() == wanted or others.all() != others.any()):
        raise InputError(
            f"bias.favourable {told(bias.favourable)}",
            value=bare(f"positive class {problem.positive!r}, favourable: {wanted}"),
            allowed="the positive class alone, or all other classes",
            action="a model tells the positive class from the others only: correct bias.favourable",
        )
    return positive if wanted else ~positive


def report_before(frame: pd.DataFrame, problem: Problem, bias: Bias, *, weight: Floats | None = None) -> BiasReport:
    """Measure the labels of rows.

    Raises:
        InputError: A column of the bias section is missing.
    """
    return _report("before", frame, problem, bias, None, weight)


def report_after(frame: pd.DataFrame, positive: Booleans, problem: Problem, bias: Bias) -> BiasReport:
    """Measure predictions on rows.

    Args:
        frame: Prepared rows.
        positive: Which of them the model takes for positive.
        problem: What is predicted.
        bias: Whom to look at.

    Raises:
        InputError: A column of the bias section is missing.
    """
    predicted = predicted_favourable(positive, frame[problem.target], problem, bias)
    return _report("after", frame, problem, bias, predicted, None)


def judge_bias(report: BiasReport, bias: Bias) -> Verdict:
    """Return whether every limit is kept for every facet value.

    Raises:
        RuleError: A metric with a limit has no value: it cannot be judged, which is never a pass.
    """
    limits: Mapping[str, BiasLimit] = getattr(bias.limits, report.time)
    reasons = [
        reason
        for one in report.facets
        for metric in one.metrics
        if metric.name in limits and (reason := _broken(one, metric, limits[metric.name], report.time))
    ]
    bounded = f"{len(limits)} limits" if limits else "no limits declared"
    subject = f"bias {report.time} training, {len(report.facets)} facet values, {bounded}"
    return Verdict(outcome=Outcome.FAIL if reasons else Outcome.PASS, subject=subject, reasons=tuple(reasons))


def limit_bounds(name: str, limit: BiasLimit) -> tuple[float, float]:
    """Return the lowest and the highest value that a limit allows."""
    neutral = NEUTRAL.get(name, 0.0)
    low = -np.inf if limit.at_least is None else limit.at_least
    high = np.inf if limit.at_most is None else limit.at_most
    if limit.within is None:
        return low, high
    return max(low, neutral - limit.within), min(high, neutral + limit.within)


def report_text(report: BiasReport) -> str:
    """Return the report as aligned text, every metric of every facet value."""
    what = "labels" if report.time == "before" else "predictions"
    lines = [f"Bias of {what}; favourable: {report.label} = {report.favourable}"]
    for one in report.facets:
        a, d = one.shares
        lines += ["", f"{one.name}: {one.disfavoured:g} rows, favourable {d:.2%}"]
        lines += [f"all others: {one.favoured:g} rows, favourable {a:.2%}"]
        lines += [f"  {told_value(metric):>12}  {metric.description}" for metric in one.metrics]
    return "\n".join(lines)


def find_column(frame: pd.DataFrame, name: str, where: str) -> pd.Series[Any]:
    """Return a column, or the one of that name that was set aside.

    Raises:
        InputError: There is none.
    """
    for found in (name, f"_{name}"):
        if found in frame.columns:
            return frame[found]
    raise InputError(
        f"{where} {name}",
        value=bare("no such prepared column"),
        allowed=", ".join(str(column) for column in frame.columns),
        action="correct the bias section, or keep the column: prepare.set_aside keeps it from the models only",
    )


def told(favourable: Favourable) -> str:
    """Return the favourable label as the report has it."""
    if favourable.above is not None:
        return f"> {favourable.above:g}"
    return ", ".join(str(value) for value in favourable.values)


def _report(
    time: str, frame: pd.DataFrame, problem: Problem, bias: Bias, predicted: Booleans | None, weight: Floats | None
) -> BiasReport:
    favourable = is_favourable(frame[problem.target], bias.favourable)
    weights = np.ones(len(frame)) if weight is None else weight
    group = _group(frame, bias)
    found: list[FacetBias] = []
    for one in find_groups(frame, bias):
        rows = FacetRows(
            disfavoured=one.disfavoured,
            favourable=favourable,
            predicted=predicted,
            weight=weights,
            group=group,
            features=None if predicted is None else _features(frame, problem, one.facet),
        )
        metrics = measure_before(rows) if predicted is None else measure_after(rows)
        shares = rows.shares if predicted is None else rows.predicted_shares
        a, d = rows.counts
        named: dict[str, Any] = {"facet": one.facet, "value": one.value, "threshold": one.threshold}
        found.append(FacetBias(**named, metrics=metrics, favoured=a, disfavoured=d, shares=shares))
    return BiasReport(time=time, label=problem.target, favourable=told(bias.favourable), facets=tuple(found))


def _groups(column: pd.Series[Any], facet: Facet, name: str) -> Iterator[Group]:
    for value in facet.values:
        values = list(value) if isinstance(value, tuple) else [value]
        rows = np.asarray(column.isin(values), dtype=bool)
        yield Group(facet=name, value=", ".join(map(str, values)), disfavoured=rows)
    if facet.above and not pd.api.types.is_numeric_dtype(column):
        raise InputError(
            f"bias.facets.{name}.above",
            value=bare(f"a column of {column.dtype}"),
            allowed="a column of numbers",
            action="use values: instead",
        )
    for threshold in facet.above:
        rows = np.asarray(column > threshold, dtype=bool)
        yield Group(facet=name, value=f"({threshold:g}, {column.max():g}]", disfavoured=rows, threshold=threshold)


def _group(frame: pd.DataFrame, bias: Bias) -> npt.NDArray[Any] | None:
    if bias.group is None:
        return None
    return find_column(frame, bias.group, "bias.group").astype("string").fillna(_NO_GROUP).to_numpy(dtype=object)


def _features(frame: pd.DataFrame, problem: Problem, facet: str) -> pd.DataFrame:
    names = feature_columns([str(name) for name in frame.columns], problem.target, facet)
    return frame[names].select_dtypes(["number", "bool"])


def _broken(one: FacetBias, metric: BiasMetric, limit: BiasLimit, time: str) -> Reason | None:
    low, high = limit_bounds(metric.name, limit)
    if metric.value is None:
        raise RuleError(
            f"bias.limits.{time}.{metric.name} of {one.name}",
            value=bare(f"no value: {metric.error}"),
            allowed="a metric that has a value",
            action="correct the facet, declare what the metric needs, or take the limit away",
        )
    if low <= metric.value <= high:
        return None
    bound = f"{low:g} to {high:g}" if np.isfinite([low, high]).all() else f"at least {low:g}"
    bound = f"at most {high:g}" if np.isneginf(low) else bound
    return Reason(rule=metric.name, column=one.name, observed=f"{metric.value:.4g}", bound=bound)


def summary_of(report: BiasReport, names: Sequence[str]) -> str:
    """Return one sentence with a few metrics of the facet value that differs most by the first of them."""
    at = max(report.facets, key=lambda one: abs(one.values()[names[0]] or 0.0))
    values = ", ".join(f"{name} {told_value(metric)}" for metric in at.metrics if (name := metric.name) in names)
    return f"bias {report.time} training, {at.name}: {values}"


def told_value(metric: BiasMetric) -> str:
    """Return a value to be read; a difference has its sign, a ratio none."""
    if metric.value is None:
        return "no value"
    if np.isinf(metric.value):
        return "infinite" if metric.value > 0 else "-infinite"
    return f"{metric.value:.4f}" if metric.name in NEUTRAL else f"{metric.value:+.4f}"
