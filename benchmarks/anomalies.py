"""How often each anomaly rule flags real days, and which injected faults it finds.

    python benchmarks/anomalies.py [--data transactions.parquet] [--fault-days 8]

Six months of simulated card transactions become 183 daily batches in one Spark session. Every rule is alone: its
history is what it accepted itself, so a rule that locks itself out shows it. Then each fault is injected into
single days, judged by the history before that day. Measuring and judging are the functions that the gate calls.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from stepzero.adapters.deequ_metrics import measure_metrics
from stepzero.adapters.spark import start_session
from stepzero.spec.anomalies import KnownAnomaly
from stepzero.spec.load import load_environment
from stepzero.spec.plan import Batch, HistoryPoint
from stepzero.stages.quality_anomalies import judge_anomalies

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--fault-days", type=int, default=8)
    given = parser.parse_args()
    rules = {name: TypeAdapter(KnownAnomaly).validate_python(rule) for name, rule in RULES.items()}
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
        meter.session.stop()
    table = {name: judge_rule(rule, clean, broken) for name, rule in rules.items()}
    show(table, len(names), len(chosen))
    print(json.dumps(figures(table, len(names), len(chosen), meter.seconds)))


def judge_rule(rule: Any, clean: dict[str, Any], broken: dict[str, Any]) -> dict[str, Any]:
    """Return the clean days that a rule flags, and how many faulty days of each kind."""
    accepted: list[HistoryPoint] = []
    before: dict[str, list[HistoryPoint]] = {}
    flagged = []
    for day, metrics in clean.items():
        before[day] = list(accepted)
        if passes(rule, day, metrics, accepted):
            accepted.append(HistoryPoint(partition=day, values=metrics))
        else:
            flagged.append(day)
    found = {
        fault: sum(not passes(rule, day, metrics, before[day]) for day, metrics in days.items())
        for fault, days in broken.items()
    }
    return {"flagged": flagged, "found": found}


def passes(rule: Any, day: str, metrics: dict[str, float], history: list[HistoryPoint]) -> bool:
    batch = Batch(partition=day, digest=day, files=())
    (judged,) = judge_anomalies([rule], metrics, history, batch)
    return judged.passed


def show(table: dict[str, Any], days: int, faulty: int) -> None:
    lines = {
        name: {
            "clean days flagged": len(row["flagged"]),
            "a month": round(len(row["flagged"]) / days * DAYS_A_MONTH, 2),
            **{fault.replace("_", " "): f"{number}/{faulty}" for fault, number in row["found"].items()},
        }
        for name, row in table.items()
    }
    print(f"{days} daily batches; faults injected into {faulty} days each")
    print(pd.DataFrame(lines).T.to_string())
    for name, row in table.items():
        if row["flagged"]:
            print(f"{name} flags {', '.join(row['flagged'][:8])}{' ...' if len(row['flagged']) > 8 else ''}")


def figures(table: dict[str, Any], days: int, faulty: int, seconds: list[float]) -> dict[str, Any]:
    return {
        "days": days,
        "fault_days": faulty,
        "median_seconds_a_day": round(float(np.median(seconds)), 2),
        "false_alarms_a_month": {
            name: round(len(row["flagged"]) / days * DAYS_A_MONTH, 2) for name, row in table.items()
        },
        "found": {name: row["found"] for name, row in table.items()},
        "faults_found_by_some_rule": {fault: max(row["found"][fault] for row in table.values()) for fault in FAULTS},
    }


if __name__ == "__main__":
    main()
