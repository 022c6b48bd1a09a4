"""Faults injected into days of payments: which monitor caught each, how soon, and what the triage decided.

    python benchmarks/watch_matrix.py [--source transactions|cards] [--data FILE] [--rows 1000] [--minutes 11]
                                      [--stretches 3]

`transactions`: simulated payments of half a year become features of a customer's and a terminal's past; a model learns
from the first two months. `cards`: real card payments, dealt out to days at random, for the file covers two of them; a
model learns from the first half. The days that follow are sent, one by one, through the endpoint's own application and
its capture, with labels seven days later. What reaches the triage on untouched days is a false alarm. Those of
statistical monitors, warnings too, are counted against the declared budget; what data quality says is told beside it:
its bounds are declared, and no chance is drawn for them. Each fault begins on the same day, in a copy of the store, and
the watch of each day after it says what it saw; what the same day without the fault fires, too, caught nothing. Rows of
a day are a sample; clocks are replayed, not waited for.

`--stretches` watches further quiet stretches, each with a champion and a reference of its own: half-years that the
project's generator makes by another seed; `cards` deals the same payments out anew. What is known without them is
printed before they begin. What is done is kept: ended in the middle, it goes on there (`--anew` begins again). The last
line is JSON; it ends with 1 where a fault's first decision is another one than is wanted.
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
from _watch_replay import DAY, MONITORS, Replay, at_noon, chance_once
from _watch_sources import SOURCES
from scipy import stats

from stepzero.adapters.registry_records import read_registration
from stepzero.learning.drift_power import MOST_WINDOWS, detection_delays
from stepzero.measures.drift import DriftColumn
from stepzero.stages.watch_results import rule_of

MEASURED = (
    "stepzero.stages.reference",
    "stepzero.stages.collect_windows",
    "stepzero.stages.watch_rows",
    "stepzero.stages.watch_drift",
    "stepzero.stages.watch_model",
    "stepzero.stages.triage",
    "stepzero.serving.app",
    "stepzero.generators.transactions",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=list(SOURCES), default="transactions")
    parser.add_argument("--data", type=Path, help="the source's file, where it is elsewhere")
    parser.add_argument("--rows", type=int, help="payments of a day that are sent")
    parser.add_argument("--last-day", type=int, help="of the untouched days that are watched")
    parser.add_argument("--stretches", type=int, default=0, help="further quiet ones")
    parser.add_argument("--fault-days", type=int, help="days that each fault lasts, and is watched")
    parser.add_argument("--faults", nargs="*", help="some of them only")
    parser.add_argument("--draws", type=int, default=150, help="of chance, per threshold")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after a part when they are over; go on later")
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    asked = parser.parse_args()
    source = SOURCES[asked.source]
    asked.data, asked.rows = asked.data or source.data, asked.rows or source.rows
    asked.fault_days = asked.fault_days or source.fault_days
    chance_once()
    settings = {name: getattr(asked, name) for name in ("source", "rows", "draws", "fault_days")}
    kept = Kept(Path(__file__), settings, files=[asked.data], modules=MEASURED, anew=asked.anew)
    parts = Parts(kept, time.monotonic() + asked.minutes * 60)
    replay = served(parts, asked)
    faults = asked.faults or list(source.faults)
    matrix = {name: parts.get(f"fault {name}", lambda name=name: run_fault(replay, name, asked)) for name in faults}
    quiet = [quiet_days(replay, parts, asked)]  # in the order of time: what one day leaves behind, the next one knows
    undisturbed(matrix, replay, parts, asked)
    print(table(matrix))
    power = parts.get("power", lambda: detected(replay, asked.rows))
    wrong = [name for name, one in matrix.items() if one["first_decision"] != one["wanted"]]
    told = {"source": asked.source, "rows_a_day": asked.rows, "matrix": matrix, "power": power, "wrong": wrong}
    print(json.dumps({**told, "quiet": counted(quiet)}), flush=True)
    for stretch in range(1, asked.stretches + 1):
        quiet.append(quiet_days(served(parts, asked, stretch), parts, asked, stretch))
        print(json.dumps({**told, "quiet": counted(quiet)}), flush=True)
    raise SystemExit(1 if wrong else 0)


class Parts:
    """What is kept, until the time is over."""

    def __init__(self, kept: Kept, until: float) -> None:
        self.kept, self.until = kept, until

    def get(self, part: str, compute: Callable[[], Any]) -> Any:
        """Return a part, or end where none is to be begun any more."""
        if time.monotonic() > self.until:
            raise SystemExit(f"the time is over before {part}: run it again, and it goes on here")
        return self.kept.get(part, compute)


def served(parts: Parts, asked: argparse.Namespace, stretch: int = 0) -> Replay:
    """Return the world in which all untouched days of a stretch were served; made once."""
    name = f"world {stretch}" if stretch else "world"
    folder, source = parts.kept.folder / name.replace(" ", "_"), SOURCES[asked.source]

    def serve() -> int:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        days = source.read(asked.data, asked.rows, stretch)
        pd.concat(days.values()).to_parquet(folder / "days.parquet", index=False)
        replay = Replay(folder, source, days, draws=asked.draws)
        for day in range(source.learned, max(days) + 1):
            replay.serve(day)
        return max(days)

    parts.get(name, serve)
    rows = pd.read_parquet(folder / "days.parquet")
    days = {int(day): part.reset_index(drop=True) for day, part in rows.groupby("day")}  # type: ignore[call-overload]
    return Replay(folder, source, days, draws=asked.draws)


def untouched(replay: Replay, parts: Parts, day: int, stretch: int = 0) -> dict[str, Any]:
    """Return what the watch of a day without a fault says."""
    name = f"stretch {stretch} day {day}" if stretch else f"day {day}"
    found: dict[str, Any] = parts.get(name, lambda: told(replay.watch(day)))
    return found


def quiet_days(replay: Replay, parts: Parts, asked: argparse.Namespace, stretch: int = 0) -> dict[int, dict[str, Any]]:
    """Watch the untouched days of a stretch."""
    end = max(replay.days) + 1
    days = range(replay.source.learned + 3, min(asked.last_day or end, end))
    return {day: untouched(replay, parts, day, stretch) for day in days}


def undisturbed(matrix: dict[str, Any], replay: Replay, parts: Parts, asked: argparse.Namespace) -> None:
    """Add by what each fault was caught: not by what the same days fire without it."""
    days = range(replay.source.first_faulty, replay.source.first_faulty + asked.fault_days)
    ever = {number: set(untouched(replay, parts, day)["kinds"]) for number, day in enumerate(days, 1)}
    for one in matrix.values():
        caught: dict[str, int] = {}
        for number, kinds in sorted((int(number), kinds) for number, kinds in one["fired_on"].items()):
            for kind in sorted(set(kinds) - ever[number]):
                caught.setdefault(kind, number)
        one["caught_by_after_windows"] = caught
        one["fires_without_it"] = sorted({kind for kinds in one["fired_on"].values() for kind in kinds} - set(caught))


def counted(stretches: list[dict[int, dict[str, Any]]]) -> dict[str, Any]:
    """Count what reached the triage on untouched days: that of statistical monitors against the budget."""
    alarms = [alarms_of(days) for days in stretches]
    days = sum(map(len, stretches))
    by_chance = [[one for one in found if not is_declared(one["kind"])] for found in alarms]
    per_month = in_30_days([len(found) for found in by_chance], days)
    print(f"{days} untouched days: {sum(map(len, by_chance))} false alarms, {per_month} in 30 days; the budget is 1")
    for number, found in enumerate(alarms):
        for one in found:
            print(f"  stretch {number}, day {one['day']}: {one['kind']}: {one['said']}")
    actions = [seen["action"] for one in stretches for seen in one.values()]
    return {
        "days": days,
        "budget_in_30_days": 1,
        "in_30_days": per_month,
        "alarms": by_chance,
        "by_declared_bounds": [[one for one in found if is_declared(one["kind"])] for found in alarms],
        "decisions": {action: actions.count(action) for action in ("page", "watch", "retrain", "nothing")},
    }


def alarms_of(days: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what of following days begins: a kind of signal that the day before did not have."""
    alarms: list[dict[str, Any]] = []
    before: set[str] = set()
    for day, seen in days.items():
        new = sorted(set(seen["kinds"]) - before)
        alarms += [{"day": day, "kind": kind, "said": seen["said"][kind]} for kind in new]
        before = set(seen["kinds"])
    return alarms


def is_declared(kind: str) -> bool:
    """Tell whether a signal comes of declared bounds, which are no part of the budget."""
    return kind.startswith("data_quality: ")


def in_30_days(alarms: list[int], days: int) -> dict[str, float]:
    """Return alarms in thirty days with a 95% interval.

    Of two intervals the wider ends: alarms that come one by one (Garwood, "Fiducial Limits for the Poisson
    Distribution", 1936), and Student's over stretches, for the days of one share a champion and a reference.

    Args:
        alarms: Of each stretch; all are equally long.
        days: Of all stretches together.
    """
    total, stretches = sum(alarms), len(alarms)
    low = float(stats.chi2.ppf(0.025, 2 * total)) / 2 if total else 0.0
    high = float(stats.chi2.ppf(0.975, 2 * total + 2)) / 2
    if stretches > 1:
        half = float(stats.t.ppf(0.975, stretches - 1) * np.std(alarms, ddof=1) * np.sqrt(stretches))
        low, high = max(min(low, total - half), 0.0), max(high, total + half)
    named = {"value": total, "low": low, "high": high}
    return {name: round(float(value) / days * 30, 2) for name, value in named.items()}


def told(seen: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a watched day: every signal that reaches the triage, also one of a warning."""
    triage = seen["triage"]
    said: dict[str, str] = {}
    for name in MONITORS:
        for signal in seen[name].values["signals"]:
            said.setdefault(f"{name}: {signal['kind']}", signal["sentence"][:300])
    return {
        "kinds": sorted(said),
        "said": said,
        "action": triage.values["action"],
        "why": triage.reference.summary[:500],
    }


def run_fault(replay: Replay, name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Inject a fault from a day on, in a copy of the store as it was then, and watch each day."""
    other = replay.copy("".join(letter if letter.isalnum() else "_" for letter in name))
    fault, first_faulty = replay.source.faults[name], replay.source.first_faulty
    forget(other, first_faulty)
    fired: dict[int, list[str]] = {}
    decided: dict[str, int] = {}
    why: dict[str, str] = {}
    for number, day in enumerate(range(first_faulty, first_faulty + asked.fault_days), 1):
        rows, labels = fault.change(other.days[day], number)
        other.serve(day, rows, labels)
        seen = told(other.watch(day))
        fired[number] = seen["kinds"]
        decided.setdefault(seen["action"], number)
        why.setdefault(seen["action"], seen["why"])
    shutil.rmtree(other.folder)
    for found in (decided, why):
        found.pop("nothing", None)
    print(f"{name}: decided {decided}", flush=True)
    first = min(decided, key=lambda action: decided[action]) if decided else "nothing"
    return {
        "fired_on": fired,
        "decisions_after_windows": decided,
        "first_decision": first,
        "wanted": fault.wanted,
        "why": why,
    }


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
    monitors, amount = replay.use_case.monitors, replay.source.amount
    files = read_registration(replay.store, replay.source.name, "1").watched
    told = replay.store.read_json(files["reference"]["uri"])
    columns = {name: DriftColumn.from_json(data) for name, data in told["columns"].items()}
    rule = rule_of(monitors, monitors.data_drift, share=0.5)  # type: ignore[union-attr]
    delays = detection_delays(columns, amount, rule, rows=rows, length=3)
    middle = {str(size): float(np.median(one)) for size, one in delays.items()}
    print(f"windows until a shift of {amount} is seen, by its size in standard deviations (14: not seen): {middle}")
    return {"column": amount, "median_windows": middle, "not_seen": MOST_WINDOWS}


def table(matrix: dict[str, Any]) -> str:
    lines = [f"{'fault':24} {'caught by monitor: signal (window)':110} {'decided (window)':30} wanted"]
    for name, one in matrix.items():
        caught, decided = (
            ", ".join(f"{what} ({at})" for what, at in sorted(one[key].items(), key=lambda item: item[1])) or "nothing"
            for key in ("caught_by_after_windows", "decisions_after_windows")
        )
        lines.append(f"{name:24} {caught:110} {decided:30} {one['wanted']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
