"""`stepzero results RUN`: the table of a finished run, and how to print it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from stepzero.adapters.store import Store
from stepzero.cli.run_results import METRICS, NUMBER_METRICS, RunResults, find_run
from stepzero.spec.load import load_environment
from stepzero.spec.training import resampled_by

_HEADINGS = {"f1": "F1", "roc_auc": "ROC AUC", "average_precision": "average precision", "rmse": "RMSE", "mae": "MAE",
             "r2": "R²"}  # fmt: skip


def results(
    run: Annotated[str, typer.Argument(help="Id of a run, or latest.")] = "latest",
    *,
    use_case: Annotated[str | None, typer.Option(help="Needed where two use cases have a run of this id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for machines.")] = False,
) -> None:
    """Show what a run found."""
    store = Store(load_environment().store)
    found = RunResults(store, *find_run(store, run, use_case))
    if as_json:
        typer.echo(json.dumps(to_json(found)))
    else:
        print_results(found)


def to_json(found: RunResults) -> dict[str, Any]:
    """Return everything that `results --json` shows."""
    stages = {end.name: found.values(end.stage, end.label) for end in found.ends if end.pointer}
    return {
        "use_case": found.use_case,
        "run": found.run,
        "outcome": found.outcome,
        "verdict": found.verdict,
        "champion": found.champion,
        "table": found.table,
        "stages": stages,
        "links": found.links,
    }


_WIDTH = 130
"""Columns that the whole table needs."""


def print_results(found: RunResults) -> None:
    """Print table, champion and verdict."""
    from rich.console import Console

    # A figure that is cut is worse than a line that wraps.
    console = Console(width=max(Console().width, _WIDTH))
    if found.table:
        console.print(_table(found))
    for sentence in [*_contest(found), *_mitigation(found)]:
        console.print(sentence, markup=False, highlight=False)
    if found.verdict:
        console.print(found.verdict, markup=False, highlight=False)
    winner = found.champion
    if winner:
        line = "" if winner["threshold"] is None else f", threshold {winner['threshold']:.4g}"
        if groups := winner.get("groups"):
            line = (
                f", threshold {groups['disfavoured']:.4g} for {groups['column']}, {groups['favoured']:.4g} for others"
            )
        console.print(
            f"champion: version {winner['version']}, {winner['model']} on rows {resampled_by(winner['sampler'])}{line}",
            markup=False,
            highlight=False,
        )
    console.print(f"{found.use_case} {found.run}: {found.outcome}", markup=False, highlight=False)


def _mitigation(found: RunResults) -> list[str]:
    """Return what mitigation did to the bias of decisions, in one sentence that names what went further away."""
    told = found.values("mitigate_decisions").get("mitigation")
    return [f"{told['method']} by {told['facet']}, {told['what']}: {told['sentence']}"] if told else []


def _contest(found: RunResults) -> list[str]:
    """Return what a comparison through endpoints said, and what three random rows would have."""
    told = found.values("compare_endpoints")
    contest = told.get("contest") or {}
    sentences = [_live(told), contest.get("sentence"), (contest.get("coin_toss") or {}).get("sentence")]
    return [one for one in [*sentences, (told.get("untouched") or {}).get("sentence")] if one]


def _live(told: dict[str, Any]) -> str:
    """Return what each model said of a few rows that all were asked live."""
    shown = told.get("shown") or {}
    rows: list[dict[str, Any]] = next(iter(shown.values()), [])
    if not rows:
        return ""
    truth = ", ".join(f"{one['truth']:g}" for one in rows)
    said = {model: ", ".join(f"{one['predicted']:.1f}" for one in asked) for model, asked in shown.items()}
    heard = "; ".join(f"{model} {numbers}" for model, numbers in said.items())
    return f"Test rows asked live, which decide nothing: true {truth}; {heard}."


def _table(found: RunResults) -> Any:
    from rich.table import Table

    winner = found.judged.get("winner") or {}
    table = Table(box=None, title="On rows that no training step has seen", title_justify="left")
    numbers = any(isinstance(row.get("rmse"), dict) for row in found.table)
    names = NUMBER_METRICS if numbers else METRICS
    for heading in ("resampler", "model", *(_HEADINGS.get(name, name) for name in names)):
        table.add_column(heading, no_wrap=True)
    for row in sorted(found.table, key=_place):
        best = (row["sampler"], row["model"]) == (winner.get("sampler"), winner.get("model"))
        cells = [_cell(row.get(name)) for name in names]
        table.add_row(row["sampler"], row["model"], *cells, style="bold green" if best else None)
    return table


def _place(row: dict[str, Any]) -> float:
    """Return what rows are sorted by: the best first, failed ones last."""
    if isinstance(row.get("rmse"), dict):
        return float(row["rmse"]["value"])
    return -_value(row.get("average_precision"))


def _cell(metric: Any) -> str:
    if not isinstance(metric, dict) or metric.get("value") is None:
        return "–"
    return f"{metric['value']:.3f} ({metric['low']:.2f}–{metric['high']:.2f})"


def _value(metric: Any) -> float:
    return float(metric["value"]) if isinstance(metric, dict) and metric.get("value") is not None else -1.0
