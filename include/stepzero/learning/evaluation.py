"""Judging every cell (sampler × model) on rows that nothing of it has seen, and choosing the winner without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stepzero.core.references import Reference
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.learning.metrics import DECISIONS, RANKINGS, Metric
from stepzero.learning.sentinels import Finding
from stepzero.learning.table import Table
from stepzero.measures.checks import Floats
from stepzero.measures.decisions import best_f1_threshold
from stepzero.measures.uncertainty import Interval, intervals
from stepzero.spec.training import Evaluate, Promote

TABLE_METRICS = ("average_precision", "roc_auc", "f1", "precision", "recall")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One sampler with one tuned model, judged."""

    sampler: str
    model: str
    parameters: dict[str, Any]
    score: float
    """Mean of the fold scores that the search chose by."""
    threshold: float
    """From its out-of-fold scores."""
    metrics: dict[str, Interval]
    """On the held-out rows."""
    test_score: Floats
    out_of_fold: pd.DataFrame
    reference: Reference

    @property
    def name(self) -> str:
        """Return sampler and model."""
        return f"{self.sampler} × {self.model}"

    def row(self) -> dict[str, Any]:
        """Return the cell's row of the table."""
        told = {"sampler": self.sampler, "model": self.model, "parameters": self.parameters, "failed": None}
        values = {name: interval.to_json() for name, interval in self.metrics.items()}
        return {**told, "out_of_fold_score": self.score, "threshold": self.threshold, **values}


def choose_threshold(out_of_fold: pd.DataFrame, train: Table) -> float:
    """Return the threshold with the best F1 on out-of-fold scores, weighted as metrics are."""
    return best_f1_threshold(train.target, out_of_fold["score"].to_numpy(), train.weight).value


def measure(score: Floats, threshold: float, test: Table, evaluate: Evaluate, seed: int) -> dict[str, Interval]:
    """Return every metric of the table on held-out rows, with intervals from the same draws."""
    target, decision = test.target, score >= threshold
    rankings = {name: (RANKINGS[name], score) for name in RANKINGS}
    decisions = {name: (DECISIONS[name], decision) for name in DECISIONS}
    statistics = {
        name: lambda weight, measure=function, values=values: measure(target, values, weight)
        for name, (function, values) in {**rankings, **decisions}.items()
    }
    options: dict[str, Any] = {"confidence": evaluate.confidence, "draws": evaluate.bootstrap, "seed": seed}
    found = intervals(statistics, target, test.weight, **options)
    return {name: found[name] for name in TABLE_METRICS}


def choose_winner(cells: Sequence[Cell], metric: Metric) -> Cell:
    """Return the cell with the best out-of-fold score, the first among equals; held-out rows have no say."""
    return max(cells, key=lambda cell: metric.gain(cell.score))


def judge_promotion(winner: Cell, test: Table, promote: Promote, findings: Sequence[Finding]) -> Verdict:
    """Return the promotion gates' verdict: required metrics, sentinels, and a model that knows both classes."""
    reasons = [finding.reason() for finding in findings if not finding.passed]
    reasons += _short_metrics(winner, promote)
    accepted = int((winner.test_score >= winner.threshold).sum())
    if accepted in {0, len(test.target)}:
        observed = f"{accepted} of {len(test.target)} held-out rows accepted"
        reasons.append(Reason(rule="both classes", column=None, observed=observed, bound="some, but not all"))
    value = winner.metrics["average_precision"].value
    subject = f"{winner.name} has average precision {value:.3f} on {len(test.target)} untouched rows"
    return Verdict(outcome=Outcome.FAIL if reasons else Outcome.PASS, subject=subject, reasons=tuple(reasons))


def table_text(rows: Sequence[dict[str, Any]], winner: Cell) -> str:
    """Return the table of all cells as aligned text; ``>`` marks the winner."""
    head = ["", "sampler", "model", "out of fold", *TABLE_METRICS]
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
            bound=f"at least {bound}",
        )
        for name, bound in promote.require.items()
        if (interval := winner.metrics[name]).value < bound
    ]


def _text_row(row: dict[str, Any], winner: Cell) -> list[str]:
    mark = ">" if (row["sampler"], row["model"]) == (winner.sampler, winner.model) else ""
    if row["failed"]:
        return [mark, row["sampler"], row["model"], "failed", row["failed"][:60], *[""] * (len(TABLE_METRICS) - 1)]
    values = [f"{row[n]['value']:.3f} [{row[n]['low']:.3f}, {row[n]['high']:.3f}]" for n in TABLE_METRICS]
    return [mark, row["sampler"], row["model"], f"{row['out_of_fold_score']:.4f}", *values]
