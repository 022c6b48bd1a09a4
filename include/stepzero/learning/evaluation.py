"""Judging every cell (sampler × model) on rows that nothing of it has seen, and choosing the winner without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stepzero.core.errors import InputError, StageError, bare
from stepzero.core.references import Reference
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.learning.folds import Fold
from stepzero.learning.metrics import DECISIONS, MEASURES, RANKINGS
from stepzero.learning.prior import Prior, learned_prior
from stepzero.learning.sentinels import Finding
from stepzero.learning.table import Table
from stepzero.measures.calibration import brier
from stepzero.measures.checks import Booleans, Floats
from stepzero.measures.cost import Price, best_cost_threshold, mean_cost
from stepzero.measures.decisions import best_f1_threshold, smooth_f1_threshold
from stepzero.measures.uncertainty import Interval, intervals
from stepzero.spec.kinds import CLASSIFICATION_METRICS, FALLBACK_METRIC, METRICS, SMALL_IS_GOOD
from stepzero.spec.training import Evaluate, Promote, Threshold

TABLE_METRICS = CLASSIFICATION_METRICS
BRIER, BRIER_BEFORE, COST = "brier", "brier_before_correction", "cost"
"""What is measured beside the table's metrics: small is good."""
UNCORRECTED = "uncorrected"
"""Column of out-of-fold scores as the estimators gave them."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One sampler with one tuned model, judged."""

    sampler: str
    model: str
    parameters: dict[str, Any]
    score: float
    """Mean of the fold scores that the search chose by."""
    threshold: float | None
    """From its out-of-fold scores; None of a regression, which decides nothing."""
    metrics: dict[str, Interval]
    """On the held-out rows."""
    test_score: Floats
    """Corrected, where `prior` says so."""
    out_of_fold: pd.DataFrame
    """Scores of training rows, corrected likewise."""
    reference: Reference
    prior: Prior | None = None
    uncorrected: Floats | None = None
    """Held-out scores as the estimator gave them; None where they are no probabilities."""
    also: dict[str, Interval] = field(default_factory=dict)
    """Brier scores and cost on the held-out rows, where they can be told."""
    fold_scores: tuple[float, ...] = ()
    lines: Floats | None = None
    """The threshold of each held-out row, where groups have their own."""

    @property
    def name(self) -> str:
        """Return sampler and model."""
        return f"{self.sampler} × {self.model}"

    @property
    def line(self) -> float:
        """Return the threshold.

        Raises:
            StageError: There is none.
        """
        if self.threshold is None:
            raise StageError(
                f"threshold of {self.name}", value=None, allowed="a number", action="classify: regressions predict"
            )
        return self.threshold

    @property
    def decisions(self) -> Booleans:
        """Return which held-out rows count as positive."""
        decided: Booleans = self.test_score >= (self.line if self.lines is None else self.lines)
        return decided

    def row(self) -> dict[str, Any]:
        """Return the cell's row of the table."""
        told = {"sampler": self.sampler, "model": self.model, "parameters": self.parameters, "failed": None}
        values = {name: interval.to_json() for name, interval in {**self.metrics, **self.also}.items()}
        return {**told, "out_of_fold_score": self.score, "threshold": self.threshold, **values}


def make_prior(everything: Fold, train: Table, estimator: Any, *, sample_weight: bool) -> Prior:
    """Return the shares of positives that one cell of the table learned from, and those at which metrics are stated.

    Args:
        everything: Its fold ``all``: the rows that the stored model learned from.
        train: All training rows; weighted, they stand for the population.
        estimator: Its parameters may weight the classes.
        sample_weight: Whether ``fit`` was given the rows' weights.
    """
    labels, source = everything.labels(train), everything.resampled.source
    weight = np.ones(len(labels))
    if sample_weight:
        given = train.weight_in_fits
        means = np.array([given[train.target == label].mean() for label in (0, 1)])
        weight = np.where(source >= 0, given[np.maximum(source, 0)], means[labels])
    true = float(train.weight[train.target == 1].sum() / train.weight.sum())
    return learned_prior(labels, weight, estimator, true)


def choose_threshold(out_of_fold: pd.DataFrame, train: Table, threshold: Threshold) -> float | None:
    """Return the line with the best F1, or the least cost, on out-of-fold scores, weighted as metrics are.

    A regression has none.
    """
    if train.is_regression:
        return None
    judged = np.flatnonzero(train.judged)
    score, train = out_of_fold["score"].to_numpy()[judged], train.rows(judged)
    if threshold.minimise:
        return best_cost_threshold(train.target, score, train.weight, **prices(threshold, train)).value
    choose = smooth_f1_threshold if threshold.smooth else best_f1_threshold
    return choose(train.target, score, train.weight).value


def prices(threshold: Threshold, table: Table) -> dict[str, Price]:
    """Return the prices of both mistakes: numbers, or one a row from a feature.

    Raises:
        InputError: There is no such feature.
    """
    named = {"false_negative": threshold.false_negative, "false_positive": threshold.false_positive}
    return {name: _price(name, price, table) for name, price in named.items()}


def table_metrics(table: Table) -> tuple[str, ...]:
    """Return the metrics that the table shows."""
    return METRICS[table.kind]


def measure(
    score: Floats,
    threshold: float | Floats | None,
    test: Table,
    evaluate: Evaluate,
    seed: int,
    uncorrected: Floats | None = None,
) -> dict[str, Interval]:
    """Return every metric on held-out rows, and Brier scores and cost where they can be told, from the same draws.

    Where entities are kept apart, they are drawn: rows of one do not vouch for each other.
    """
    target = test.target
    measures = _kind_measures(score, threshold, test)
    if uncorrected is not None:
        measures |= {BRIER: (brier, score), BRIER_BEFORE: (brier, uncorrected)}
    if evaluate.threshold.minimise:
        priced = prices(evaluate.threshold, test)
        decision = measures["f1"][1]
        measures[COST] = (lambda target, values, weight: mean_cost(target, values, weight, **priced), decision)
    statistics = {
        name: lambda weight, measure=function, values=values: measure(target, values, weight)
        for name, (function, values) in measures.items()
    }
    options: dict[str, Any] = {"confidence": evaluate.confidence, "draws": evaluate.bootstrap, "seed": seed}
    return intervals(statistics, test.strata, test.weight, entity=test.entity, **options)


def _kind_measures(score: Floats, threshold: float | Floats | None, test: Table) -> dict[str, tuple[Any, Any]]:
    """Return metric → function and what it looks at."""
    if test.is_regression or threshold is None:
        return {name: (MEASURES[name], score) for name in table_metrics(test)}
    measures: dict[str, tuple[Any, Any]] = {name: (RANKINGS[name], score) for name in RANKINGS}
    return measures | {name: (DECISIONS[name], score >= threshold) for name in DECISIONS}


def judge_promotion(winner: Cell, test: Table, promote: Promote, findings: Sequence[Finding]) -> Verdict:
    """Return the promotion gates' verdict: required metrics, sentinels, and a model that tells rows apart."""
    reasons = [finding.reason() for finding in findings if not finding.passed]
    reasons += [*_short_metrics(winner, promote), *_says_one_thing(winner, test)]
    name = FALLBACK_METRIC[test.kind]
    value, word = winner.metrics[name].value, {"rmse": "RMSE"}.get(name, name.replace("_", " "))
    subject = f"{winner.name} has {word} {value:.3f} on {len(test.target)} untouched rows"
    return Verdict(outcome=Outcome.FAIL if reasons else Outcome.PASS, subject=subject, reasons=tuple(reasons))


def _says_one_thing(winner: Cell, test: Table) -> list[Reason]:
    """Return a reason where all held-out rows get the same answer."""
    rows = len(test.target)
    if test.is_regression:
        different = len(np.unique(winner.test_score))
        observed = f"{different} different predictions for {rows} held-out rows"
        alike = Reason(rule="more than one prediction", column=None, observed=observed, bound="at least 2")
        return [alike] if different < 2 else []
    accepted = int(winner.decisions.sum())
    observed = f"{accepted} of {rows} held-out rows accepted"
    one_class = Reason(rule="both classes", column=None, observed=observed, bound="some, but not all")
    return [one_class] if accepted in {0, rows} else []


def table_text(rows: Sequence[dict[str, Any]], winner: Cell) -> str:
    """Return the table of all cells as aligned text; ``>`` marks the winner."""
    head = ["", "sampler", "model", "out of fold", *winner.metrics]
    lines = [head, *(_text_row(row, winner) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    told = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(told)


def _short_metrics(winner: Cell, promote: Promote) -> list[Reason]:
    return [
        Reason(
            rule=f"require {name}",
            column=None,
            observed=f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]",
            bound=f"at {'most' if name in SMALL_IS_GOOD else 'least'} {bound}",
        )
        for name, bound in promote.require.items()
        if (interval := winner.metrics[name]).value != bound and (interval.value > bound) == (name in SMALL_IS_GOOD)
    ]


def _text_row(row: dict[str, Any], winner: Cell) -> list[str]:
    mark = ">" if (row["sampler"], row["model"]) == (winner.sampler, winner.model) else ""
    if row["failed"]:
        return [mark, row["sampler"], row["model"], "failed", row["failed"][:60], *[""] * (len(winner.metrics) - 1)]
    values = [f"{row[n]['value']:.3f} [{row[n]['low']:.3f}, {row[n]['high']:.3f}]" for n in winner.metrics]
    return [mark, row["sampler"], row["model"], f"{row['out_of_fold_score']:.4f}", *values]


def _price(name: str, price: float | str | None, table: Table) -> Price:
    if not isinstance(price, str):
        return float(price or 0)
    if price not in table.features.columns:
        raise InputError(
            f"evaluate.threshold.{name}",
            value=price,
            allowed=f"a number, or one of the features: {', '.join(map(str, table.features.columns))}",
            action="correct the name, or derive the column in prepare.derive",
        )
    if not pd.api.types.is_numeric_dtype(table.features[price].dtype):
        raise InputError(
            f"evaluate.threshold.{name}",
            value=bare(f"{price}, which holds {table.features[price].dtype}"),
            allowed="a feature that holds numbers",
            action="name another one, or derive a number in prepare.derive",
        )
    return table.features[price].to_numpy(dtype=np.float64, na_value=np.nan)
