"""Faults injected into half a year of payments, which monitor caught each, how soon, and what the triage decided.

    python benchmarks/watch_matrix.py [--data transactions.parquet] [--rows 1000] [--fault-days 14] [--minutes 11]

Simulated card transactions become features of a customer's and a terminal's past. A model learns from the first two
months; the four that follow are sent, day by day, through the endpoint's own application and its capture, with labels
seven days later. First the untouched days: what fires there is a false alarm, counted against the declared budget. Then
each fault begins on the same day, in a copy of the store, and the watch of each day after it says what it saw. Rows of
a day are a sample; clocks are replayed, not waited for. What is done is kept: ended in the middle, it goes on there
(`--anew` begins again). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _kept import Kept
from _watch_replay import (
    DAY,
    FEATURES,
    LEARNED,
    MONITORS,
    NAME,
    TARGET,
    Replay,
    at_noon,
    chance_once,
    read_days,
)
from scipy import stats

from stepzero.adapters.registry_records import read_registration
from stepzero.learning.drift_power import MOST_WINDOWS, detection_delays
from stepzero.measures.drift import DriftColumn
from stepzero.stages.watch_results import rule_of

DATA = (
    Path(__file__).resolve().parents[2] / "shared/data/simulated_transactions/transactions_2018-04_to_2018-09.parquet"
)
LAST = 183
"""Days that the data have."""
FIRST_FAULTY = LEARNED + 30
MEASURED = (
    "stepzero.stages.reference",
    "stepzero.stages.collect_windows",
    "stepzero.stages.watch_rows",
    "stepzero.stages.watch_drift",
    "stepzero.stages.watch_model",
    "stepzero.stages.triage",
    "stepzero.serving.app",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rows", type=int, default=1_000, help="payments of a day that are sent")
    parser.add_argument("--last-day", type=int, default=LAST, help="of the untouched days that are watched")
    parser.add_argument("--fault-days", type=int, default=14, help="days that each fault lasts, and is watched")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS), help="some of them only")
    parser.add_argument("--draws", type=int, default=150, help="of chance, per threshold")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after a part when they are over; go on later")
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    asked = parser.parse_args()
    chance_once()
    settings = {"rows": asked.rows, "draws": asked.draws, "fault_days": asked.fault_days}
    kept = Kept(Path(__file__), settings, files=[asked.data], modules=MEASURED, anew=asked.anew)
    parts = Parts(kept, time.monotonic() + asked.minutes * 60)
    replay = served(parts, asked)
    matrix = {
        name: parts.get(f"fault {name}", lambda name=name: run_fault(replay, name, asked)) for name in asked.faults
    }
    print(table(matrix))
    quiet = run_quiet(replay, parts, asked.last_day)
    power = parts.get("power", lambda: detected(replay, asked.rows))
    print(json.dumps({"rows_a_day": asked.rows, "quiet": quiet, "matrix": matrix, "power": power}))


class Parts:
    """What is kept, until the time is over."""

    def __init__(self, kept: Kept, until: float) -> None:
        self.kept, self.until = kept, until

    def get(self, part: str, compute: Callable[[], Any]) -> Any:
        """Return a part, or end where none is to be begun any more."""
        if time.monotonic() > self.until:
            raise SystemExit(f"the time is over before {part}: run it again, and it goes on here")
        return self.kept.get(part, compute)


def served(parts: Parts, asked: argparse.Namespace) -> Replay:
    """Return the world in which all untouched days were served; made once."""
    folder = parts.kept.folder / "world"

    def serve() -> int:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        days = read_days(asked.data, asked.rows, LAST)
        pd.concat(days.values()).to_parquet(folder / "days.parquet", index=False)
        replay = Replay(folder, days, draws=asked.draws)
        for day in range(LEARNED, max(days) + 1):
            replay.serve(day)
        return max(days)

    last = parts.get("world", serve)
    rows = pd.read_parquet(folder / "days.parquet")
    days = {int(day): part.reset_index(drop=True) for day, part in rows.groupby("day")}  # type: ignore[call-overload]
    asked.last_day = min(asked.last_day, last + 1)
    return Replay(folder, days, draws=asked.draws)


def run_quiet(replay: Replay, parts: Parts, last: int) -> dict[str, Any]:
    """Watch untouched days; an alarm is a day on which a monitor fires and did not the day before."""
    days = {day: parts.get(f"day {day}", lambda day=day: told(replay.watch(day))) for day in range(LEARNED + 3, last)}
    alarms: list[dict[str, Any]] = []
    decisions = dict.fromkeys(("page", "watch", "retrain", "nothing"), 0)
    before: set[str] = set()
    for day, seen in days.items():
        fired = set(seen["fired"])
        alarms += [{"day": day, "monitor": name, "said": seen["said"][name]} for name in sorted(fired - before)]
        before = fired
        decisions[seen["action"]] += 1
    low, high = (
        stats.chi2.ppf([0.025], 2 * len(alarms))[0] / 2 if alarms else 0.0,
        stats.chi2.ppf(0.975, 2 * len(alarms) + 2) / 2,
    )
    per_month = {"value": len(alarms), "low": low, "high": high}
    per_month = {name: round(float(value) / len(days) * 30, 2) for name, value in per_month.items()}
    print(f"{len(days)} untouched days: {len(alarms)} false alarms, {per_month} in 30 days; the budget is 1")
    for one in alarms:
        print(f"  day {one['day']}: {one['monitor']}: {one['said']}")
    return {
        "days": len(days),
        "budget_in_30_days": 1,
        "in_30_days": per_month,
        "alarms": alarms,
        "decisions": decisions,
    }


def told(seen: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a watched day."""
    fired = [name for name in MONITORS if str(seen[name].verdict.outcome) == "FAIL"]
    triage = seen["triage"]
    return {
        "fired": fired,
        "said": {name: seen[name].reference.summary[:300] for name in fired},
        "action": triage.values["action"],
        "why": triage.reference.summary[:500],
    }


def run_fault(replay: Replay, name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Inject a fault from a day on, in a copy of the store as it was then, and watch each day."""
    other = replay.copy("".join(letter if letter.isalnum() else "_" for letter in name))
    forget(other, FIRST_FAULTY)
    caught: dict[str, int] = {}
    decided: dict[str, int] = {}
    why: dict[str, str] = {}
    for number, day in enumerate(range(FIRST_FAULTY, FIRST_FAULTY + asked.fault_days), 1):
        rows, labels = FAULTS[name](other.days[day], number)
        other.serve(day, rows, labels)
        seen = told(other.watch(day))
        for monitor in seen["fired"]:
            caught.setdefault(monitor, number)
        decided.setdefault(seen["action"], number)
        why.setdefault(seen["action"], seen["why"])
    shutil.rmtree(other.folder)
    for found in (decided, why):
        found.pop("nothing", None)
    print(f"{name}: caught {caught}, decided {decided}", flush=True)
    first = min(decided, key=lambda action: decided[action]) if decided else "nothing"
    return {
        "caught_by_after_windows": caught,
        "decisions_after_windows": decided,
        "first_decision": first,
        "wanted": WANTED[name],
        "why": why,
    }


Change = Callable[[pd.DataFrame, int], "tuple[pd.DataFrame, Any]"]


def holes(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(TX_AMOUNT=rows["TX_AMOUNT"].where(np.arange(len(rows)) % 3 > 0))


def swapped(rows: pd.DataFrame) -> pd.DataFrame:
    """Give frauds the features of other payments, and those the features of frauds."""
    fraud = np.flatnonzero(rows[TARGET] == 1)
    others = np.flatnonzero(rows[TARGET] == 0)[: len(fraud)]
    order = np.arange(len(rows))
    order[np.r_[fraud, others]] = np.r_[others, fraud]
    return pd.concat([rows[list(FEATURES)].iloc[order].reset_index(drop=True), rows[[TARGET]]], axis=1)


def flipped(rows: pd.DataFrame) -> Any:
    """Return labels of which half of the frauds, and as many others, are the other way round."""
    label = rows[TARGET].to_numpy().copy()
    fraud, others = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    label[fraud[::2]], label[others[: len(fraud[::2])]] = 0, 1
    return label


FAULTS: dict[str, Change] = {
    "unit x100": lambda rows, _: (rows.assign(TX_AMOUNT=rows["TX_AMOUNT"] * 100), None),
    "nulls in a third": lambda rows, _: (holes(rows), None),
    "a merchant type gone": lambda rows, _: (rows[rows["MERCHANT_TYPE"] != "online"].reset_index(drop=True), None),
    "fraud pattern swapped": lambda rows, _: (swapped(rows), None),
    "amounts grow 3% a day": lambda rows, day: (rows.assign(TX_AMOUNT=rows["TX_AMOUNT"] * 1.03**day), None),
    "labels flipped": lambda rows, _: (rows, flipped(rows)),
    "traffic x10": lambda rows, _: (pd.concat([rows] * 10, ignore_index=True), None),
    "capture stopped": lambda rows, _: (rows.head(0), None),
}
WANTED = {
    "unit x100": "page",
    "nulls in a third": "page",
    "a merchant type gone": "watch",
    "fraud pattern swapped": "retrain",
    "amounts grow 3% a day": "watch",
    "labels flipped": "retrain",
    "traffic x10": "page",
    "capture stopped": "page",
}
"""What the rules of the triage are there for: broken rows page, a shift without loss is watched, a loss retrains."""


def forget(replay: Replay, start: int) -> None:
    """Take away what was captured, labelled and decided from a day on."""
    border = at_noon(start) - DAY / 2
    for uri in replay.store.list("captured"):
        if datetime.fromisoformat(uri.split("/")[2] + ":00+00:00") >= border:
            replay.store.remove(uri)
    for uri in replay.store.list("labels"):
        if datetime.fromisoformat(uri.split("/")[2] + "T00:00:00+00:00") >= border + 7 * DAY:
            replay.store.remove(uri)
    replay.store.remove("watch")


def detected(replay: Replay, rows: int) -> dict[str, Any]:
    """Return how many windows it takes until a shift of the amount is seen, by its size in standard deviations."""
    monitors = replay.use_case.monitors
    files = read_registration(replay.store, NAME, "1").watched
    told = replay.store.read_json(files["reference"]["uri"])
    columns = {name: DriftColumn.from_json(data) for name, data in told["columns"].items()}
    rule = rule_of(monitors, monitors.data_drift, share=0.5)  # type: ignore[union-attr]
    delays = detection_delays(columns, "TX_AMOUNT", rule, rows=rows, length=3)
    middle = {str(size): float(np.median(one)) for size, one in delays.items()}
    print(f"windows until a shift of TX_AMOUNT is seen, by its size in standard deviations (14: not seen): {middle}")
    return {"column": "TX_AMOUNT", "median_windows": middle, "not_seen": MOST_WINDOWS}


def table(matrix: dict[str, Any]) -> str:
    lines = [f"{'fault':24} {'caught by (window)':64} {'decided (window)':30} wanted"]
    for name, one in matrix.items():
        caught, decided = (
            ", ".join(f"{what} ({at})" for what, at in sorted(one[key].items(), key=lambda item: item[1])) or "nothing"
            for key in ("caught_by_after_windows", "decisions_after_windows")
        )
        lines.append(f"{name:24} {caught:64} {decided:30} {one['wanted']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
