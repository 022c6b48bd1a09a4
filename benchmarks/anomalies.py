"""How often each anomaly rule flags real days, and which injected faults it finds.

    python benchmarks/anomalies.py [--data transactions.parquet] [--fault-days 8]

Six months of simulated card transactions become 183 daily batches in one Spark session. Every rule is alone: its
history is what it accepted itself, so a rule that locks itself out shows it. Then each fault is injected into
single days, judged by the history before that day. A fault counts as found where the same rule lets that day pass as
it was: a rule that flags every day finds nothing. Measuring and judging are the functions that the gate calls.

Deequ's own strategies judge the same series as ours do, every day that has a history: told is how many verdicts are
the same. Rules that the use case declares are marked *. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _deequ_anomalies import detects, strategy_of
from pydantic import TypeAdapter

from stepzero.adapters.deequ_metrics import measure_metrics
from stepzero.adapters.spark import start_session
from stepzero.spec.anomalies import KnownAnomaly
from stepzero.spec.load import load_environment, load_use_case
from stepzero.spec.plan import Batch, HistoryPoint
from stepzero.stages.quality_anomalies import compared_values, judge_anomalies

DATA = Path(__file__).parents[2] / "shared/data/simulated_transactions/transactions_2018-04_to_2018-09.parquet"
DAYS_A_MONTH = 365.25 / 12
AMOUNT, SCENARIO, TIME = "TX_AMOUNT", "TX_FRAUD_SCENARIO", "TX_DATETIME"
RULES: dict[str, dict[str, Any]] = {
    "size, 0.5 to 2 times": {"metric": "size", "strategy": "relative_change", "at_least": 0.5, "at_most": 2},
    "size, rolling 3 sd": {"metric": "size", "strategy": "rolling_normal"},
    "size, seasonal 5 sd": {"metric": "size", "strategy": "holt_winters"},
    "size, seasonal 1.96 sd (Deequ)": {"metric": "size", "strategy": "holt_winters", "deviations": 1.96},
    "amounts there": {"metric": "completeness", "column": AMOUNT, "strategy": "absolute_change", "at_least": -0.01},
    "amount mean, rolling 3 sd": {"metric": "mean", "column": AMOUNT, "strategy": "rolling_normal"},
    "amount mean, rolling 4 sd": {"metric": "mean", "column": AMOUNT, "strategy": "rolling_normal", "deviations": 4},
    "amount spread, 0.5 to 2 times": {
        "metric": "standard_deviation", "column": AMOUNT, "strategy": "relative_change", "at_least": 0.5, "at_most": 2,
    },
    "scenarios, none more": {
        "metric": "distinct_count", "column": SCENARIO, "strategy": "absolute_change", "at_most": 0,
    },
    "scenarios, rolling 3 sd": {
        "metric": "distinct_count", "column": SCENARIO, "strategy": "rolling_normal", "tolerance": 0.5,
    },
    "newest time, half a day on": {
        "metric": "maximum", "column": TIME, "strategy": "absolute_change", "at_least": 43_200,
    },
    "ids once": {
        "metric": "uniqueness", "column": "TRANSACTION_ID", "strategy": "absolute_change", "at_least": -0.001,
    },
    "fraud share, rolling 3 sd": {"metric": "share", "predicate": "TX_FRAUD = 1", "strategy": "rolling_normal"},
}  # fmt: skip


def some(rows: pd.DataFrame, share: float) -> np.ndarray:
    return np.random.default_rng(1).random(len(rows)) < share


FAULTS: dict[str, Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]] = {
    "volume_drop": lambda day, _: day.sample(frac=0.4, random_state=1),
    "null_burst": lambda day, _: day.assign(**{AMOUNT: day[AMOUNT].mask(some(day, 0.05))}),
    "unit_change": lambda day, _: day.assign(**{AMOUNT: day[AMOUNT] * 100}),
    "duplicated_file": lambda day, _: pd.concat([day, day]),
    "stale_file": lambda _, before: before,
    "new_category": lambda day, _: day.assign(**{SCENARIO: day[SCENARIO].mask(some(day, 0.01), 9)}),
    "shifted_distribution": lambda day, _: day.assign(**{AMOUNT: day[AMOUNT] * 1.1}),
}
"""From a day's rows and those of the day before to a faulty day."""


class Meter:
    """Measures a day as the gate does, from a file."""

    def __init__(self, folder: Path, rules: list[Any]) -> None:
        self.folder, self.rules = folder, rules
        self.session = start_session(load_environment(), "anomalies")
        self.seconds: list[float] = []

    def measure(self, frame: pd.DataFrame) -> dict[str, float]:
        path = self.folder / f"{len(self.seconds)}.parquet"
        frame.to_parquet(path, index=False, coerce_timestamps="us")
        began = time.monotonic()
        rows = self.session.read.parquet(str(path)).cache()
        measured = measure_metrics(self.session, rows, self.rules)
        rows.unpersist()
        self.seconds.append(time.monotonic() - began)
        return measured


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one rule, alone, said of all days."""

    severity: str
    flagged: list[str] = field(default_factory=list)
    """Clean days."""
    passed: list[str] = field(default_factory=list)
    """Days with faults that it lets pass as they were."""
    found: dict[str, list[str]] = field(default_factory=dict)
    """Of those, by fault, the days that it flags with the fault."""
    as_deequ: tuple[int, int] | None = None
    """Days on which Deequ's strategy gives the same verdict, and days with a history; None: it has no such strategy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--fault-days", type=int, default=8)
    given = parser.parse_args()
    rules = all_rules()
    frame = pd.read_parquet(given.data)
    days = {str(day): rows for day, rows in frame.groupby(frame[TIME].dt.date)}
    names = list(days)
    chosen = [names[int(place)] for place in np.linspace(40, len(names) - 1, given.fault_days)]
    with tempfile.TemporaryDirectory() as folder:
        meter = Meter(Path(folder), list(rules.values()))
        clean = {name: meter.measure(rows) for name, rows in days.items()}
        broken = {
            fault: {day: meter.measure(inject(days[day], days[names[names.index(day) - 1]])) for day in chosen}
            for fault, inject in FAULTS.items()
        }
        table = {name: judge_rule(meter.session, rule, clean, broken) for name, rule in rules.items()}
        meter.session.stop()
    show(table, len(names))
    print(json.dumps(figures(table, len(names), chosen, meter.seconds)))


def all_rules() -> dict[str, Any]:
    """Return the rules by name; those of the use case are marked."""
    named = {name: TypeAdapter(KnownAnomaly).validate_python(rule) for name, rule in RULES.items()}
    for rule in load_use_case("simulated_transactions").quality.anomalies:
        named[f"* {rule.key}, {rule.strategy}"] = rule
    return named


def judge_rule(session: Any, rule: Any, clean: dict[str, Any], broken: dict[str, Any]) -> Judged:
    """Let a rule judge all clean days in their order, then each faulty day by the history before it."""
    accepted: list[HistoryPoint] = []
    before: dict[str, list[HistoryPoint]] = {}
    flagged = []
    for day, metrics in clean.items():
        before[day] = list(accepted)
        if passes(rule, day, metrics, accepted):
            accepted.append(HistoryPoint(partition=day, values=metrics))
        else:
            flagged.append(day)
    passed = sorted({day for days in broken.values() for day in days} - set(flagged))
    found = {
        fault: [day for day in passed if not passes(rule, day, days[day], before[day])]
        for fault, days in broken.items()
    }
    as_deequ = compare(session, rule, clean, before)
    return Judged(severity=rule.severity, flagged=flagged, passed=passed, found=found, as_deequ=as_deequ)


def passes(rule: Any, day: str, metrics: dict[str, float], history: list[HistoryPoint]) -> bool:
    (judged,) = judge_anomalies([rule], metrics, history, as_batch(day))
    return judged.passed


def as_batch(day: str) -> Batch:
    return Batch(partition=day, digest=day, files=())


def compare(session: Any, rule: Any, clean: dict[str, Any], before: dict[str, Any]) -> tuple[int, int] | None:
    """Count the days on which Deequ's own strategy says what ours does; a tolerance is ours alone and left out."""
    strategy = strategy_of(session, rule)
    if strategy is None:
        return None
    plain = rule.model_copy(update={"tolerance": 0})
    same = compared = 0
    for day, metrics in clean.items():
        (judged,) = judge_anomalies([plain], metrics, before[day], as_batch(day))
        if not judged.bounds.known or judged.observed is None:
            continue
        series = [*compared_values(plain, before[day], as_batch(day)), judged.observed]
        same += detects(session, strategy, series) != judged.passed
        compared += 1
    return same, compared


def a_month(row: Judged, days: int) -> float:
    return round(len(row.flagged) / days * DAYS_A_MONTH, 2)


def show(table: dict[str, Judged], days: int) -> None:
    lines = {
        name: {
            "": row.severity,
            "clean days flagged": len(row.flagged),
            "a month": a_month(row, days),
            **{fault.replace("_", " "): f"{len(found)}/{len(row.passed)}" for fault, found in row.found.items()},
            "as Deequ": "-" if row.as_deequ is None else "{}/{}".format(*row.as_deequ),
        }
        for name, row in table.items()
    }
    print(
        f"{days} daily batches; of the days with a fault, those flagged, of those that the same rule passes without it"
    )
    print(pd.DataFrame(lines).T.to_string())
    for name, row in table.items():
        if row.flagged:
            print(f"{name} flags {', '.join(row.flagged[:8])}{' ...' if len(row.flagged) > 8 else ''}")


def figures(table: dict[str, Judged], days: int, chosen: list[str], seconds: list[float]) -> dict[str, Any]:
    shipped = {name: row for name, row in table.items() if name.startswith("*")}
    refusing = [row for row in shipped.values() if row.severity == "error"]
    return {
        "days": days,
        "fault_days": len(chosen),
        "median_seconds_a_day": round(float(np.median(seconds)), 2),
        "clean_days_flagged": {name: len(row.flagged) for name, row in table.items()},
        "false_alarms_a_month": {name: a_month(row, days) for name, row in table.items()},
        "found": {name: {fault: len(found) for fault, found in row.found.items()} for name, row in table.items()},
        "days_judged": {name: len(row.passed) for name, row in table.items()},
        "faults_found_by_some_rule": {fault: found_by(table.values(), fault) for fault in FAULTS},
        "faults_found_by_the_use_case": {fault: found_by(shipped.values(), fault) for fault in FAULTS},
        "faults_refused_by_the_use_case": {fault: found_by(refusing, fault) for fault in FAULTS},
        "clean_days_refused_by_the_use_case": len({day for row in refusing for day in row.flagged}),
        "as_deequ": {name: list(row.as_deequ) for name, row in table.items() if row.as_deequ is not None},
    }


def found_by(rows: Iterable[Judged], fault: str) -> int:
    """Count the days whose fault some rule finds."""
    return len({day for row in rows for day in row.found[fault]})


if __name__ == "__main__":
    main()
