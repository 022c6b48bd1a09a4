"""Faults injected into half a year of payments, which monitor caught each, how soon, and what the triage decided.

    python benchmarks/watch_matrix.py [--data transactions.parquet] [--rows 1000] [--quiet-days 120] [--fault-days 14]

Simulated card transactions become features of a customer's and a terminal's past. A model learns from the first
weeks; the following days are sent, day by day, through the endpoint's own application and its capture, with labels
seven days later. First the untouched days: what fires there is a false alarm, counted against the declared budget. Then
each fault begins on the same day, in a copy of the store, and the watch of each day after it says what it saw. Rows of
a day are a sample; clocks are replayed, not waited for. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pandas as pd
from xgboost import XGBClassifier

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.labels import land_labels
from stepzero.adapters.registry_records import Registration, note_registration
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageInput, StageResult, find_stage, load_stage
from stepzero.learning.model import ScoringModel, save_model
from stepzero.learning.transform import Transformer
from stepzero.serving.app import Limits, make_app
from stepzero.serving.capture import Capture, Recorder
from stepzero.serving.versions import Served
from stepzero.spec.environment import Capture as Settings
from stepzero.spec.environment import Environment
from stepzero.spec.plan import Batch, Champion, Plan, Watched
from stepzero.spec.use_case import UseCase
from stepzero.spec.view import View
from stepzero.stages import watch_drift, watch_model

DATA = Path(__file__).parents[2] / "shared/data/simulated_transactions/transactions_2018-04_to_2018-09.parquet"
DAY = timedelta(days=1)
SECONDS = 86_400
WARM, LEARNED = 10, 60
"""Days that only serve as history, and the day on which the model is trained."""
TYPES = ("fuel", "grocery", "online", "travel")
NAME, TARGET = "payments", "TX_FRAUD"
NUMBERS = {
    "TX_AMOUNT": "double", "night": "int", "customer_payments_1d": "int", "customer_payments_7d": "int",
    "customer_mean_amount_7d": "double", "amount_to_usual": "double", "terminal_payments_7d": "int",
    "known_frauds_7d": "int", "known_fraud_share_7d": "double",
}  # fmt: skip
FEATURES = {**NUMBERS, "MERCHANT_TYPE": "string"}
MONITORS = ("data_quality", "data_drift", "prediction_drift", "model_quality", "attribution_drift")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rows", type=int, default=1_000, help="payments of a day that are sent")
    parser.add_argument("--quiet-days", type=int, default=120, help="untouched days that are watched")
    parser.add_argument("--first-day", type=int, default=0, help="untouched days that are left out, for a run in parts")
    parser.add_argument("--fault-days", type=int, default=14, help="days that each fault lasts, and is watched")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), help="some of them only")
    parser.add_argument("--draws", type=int, default=150, help="of chance, per threshold")
    asked = parser.parse_args()
    began = time.perf_counter()
    # Pictures take most of a watch's time, and decide nothing.
    watch_drift.columns_picture = watch_model.values_picture = lambda *_: b""  # type: ignore[assignment]
    days = read_days(asked.data, asked.rows, LEARNED + asked.quiet_days + asked.fault_days + 1)
    print(f"{len(days)} days of {asked.rows} payments, {time.perf_counter() - began:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="stepzero-watch-") as folder:
        replay = Replay(Path(folder) / "quiet", days, draws=asked.draws)
        quiet = run_quiet(replay, LEARNED + asked.first_day, LEARNED + asked.quiet_days)
        start = LEARNED + asked.first_day + min(30, (asked.quiet_days - asked.first_day) // 2)
        matrix = {name: run_fault(replay, name, start, asked.fault_days) for name in asked.faults}
    print(table(matrix))
    print(
        json.dumps(
            {"rows_a_day": asked.rows, "quiet": quiet, "matrix": matrix, "seconds": round(time.perf_counter() - began)}
        )
    )


def read_days(path: Path, rows: int, most: int) -> dict[int, pd.DataFrame]:
    """Return a sample of each day's payments with features of what was known before each of them."""
    frame = pd.read_parquet(path)
    frame = frame[frame["TX_TIME_DAYS"] <= most].sort_values("TX_TIME_SECONDS", kind="stable", ignore_index=True)
    made = featured(frame)
    made["day"] = frame["TX_TIME_DAYS"].to_numpy()
    shuffled = made.sample(frac=1, random_state=7)
    return {int(day): part.head(rows).reset_index(drop=True) for day, part in shuffled.groupby("day") if day >= WARM}


def featured(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the features: every window ends before its payment, frauds are known three days later."""
    second = frame["TX_TIME_SECONDS"].to_numpy(dtype=np.int64)
    customer = frame["CUSTOMER_ID"].astype("int64").to_numpy()
    terminal = frame["TERMINAL_ID"].astype("int64").to_numpy()
    amount, fraud = frame["TX_AMOUNT"].to_numpy(dtype=np.float64), frame[TARGET].to_numpy(dtype=np.float64)
    ones = np.ones(len(frame))
    payments_7d, sum_7d = (within(customer, second, values, 7, 0) for values in (ones, amount))
    known, known_frauds = (within(terminal, second, values, 10, 3) for values in (ones, fraud))
    usual = np.divide(sum_7d, payments_7d, out=np.zeros(len(frame)), where=payments_7d > 0)
    return pd.DataFrame(
        {
            "TX_AMOUNT": amount,
            "night": (second // 3600 % 24 < 6).astype("int64"),
            "customer_payments_1d": within(customer, second, ones, 1, 0).astype("int64"),
            "customer_payments_7d": payments_7d.astype("int64"),
            "customer_mean_amount_7d": usual,
            "amount_to_usual": np.divide(amount, usual, out=np.ones(len(frame)), where=usual > 0),
            "terminal_payments_7d": within(terminal, second, ones, 7, 0).astype("int64"),
            "known_frauds_7d": known_frauds.round().astype("int64"),
            "known_fraud_share_7d": np.divide(known_frauds, known, out=np.zeros(len(frame)), where=known > 0),
            "MERCHANT_TYPE": np.asarray(TYPES)[terminal % len(TYPES)],
            TARGET: fraud.astype("int64"),
            "_split_time": second.astype(np.float64),
        }
    )


def within(entity: Any, second: Any, values: Any, since_days: int, until_days: int) -> Any:
    """Return the sum of an entity's values from so many days before a payment until so many days before it."""
    order = np.lexsort((second, entity))
    key = entity[order] * 10**9 + second[order]
    total = np.r_[0.0, np.cumsum(values[order])]
    low = np.searchsorted(key, np.maximum(key - since_days * SECONDS, entity[order] * 10**9), side="left")
    high = np.searchsorted(key, np.maximum(key - until_days * SECONDS, entity[order] * 10**9), side="left")
    found = np.empty(len(key))
    found[order] = total[np.maximum(high, low)] - total[low]
    return found


class Replay:
    """A champion that serves, days of requests through its application, and the watch of a day."""

    def __init__(self, folder: Path, days: dict[int, pd.DataFrame], *, draws: int) -> None:
        self.folder, self.days = folder, days
        self.store = Store(f"file://{folder}/store")
        self.use_case = declared(draws)
        self.model, self.served, self.tries, self.now = self.trained(), "", 0, at_noon(LEARNED)
        self.registration = self.registered()

    def copy(self, name: str) -> Replay:
        """Return the same world in a store of its own."""
        target = self.folder.parent / name
        shutil.copytree(self.folder, target)
        other = object.__new__(Replay)
        other.__dict__ |= {**self.__dict__, "folder": target, "store": Store(f"file://{target}/store")}
        return other

    def trained(self) -> ScoringModel:
        train = pd.concat([self.days[day] for day in range(WARM, LEARNED - 14)], ignore_index=True)
        transformer = Transformer.from_spec(self.use_case.pipeline).fit(train[list(FEATURES)])
        estimator = XGBClassifier(n_estimators=80, max_depth=4, learning_rate=0.1, n_jobs=2, random_state=7)
        estimator.fit(transformer.transform(train[list(FEATURES)]), train[TARGET])
        return ScoringModel(features=FEATURES, transformer=transformer, estimator=estimator, threshold=0.3)

    def registered(self) -> Registration:
        """Make the reference as the training DAG does, of the last weeks, and register the version."""
        outputs = {}
        for side, span in (("train", range(WARM, LEARNED - 14)), ("test", range(LEARNED - 14, LEARNED))):
            rows = pd.concat([self.days[day] for day in span], ignore_index=True)
            rows["_row_id"] = [f"{side}{at}" for at in range(len(rows))]
            outputs[side] = write_frame(self.store, f"made/{side}", rows.drop(columns="day"), producer="prepare")
        saved = save_model(self.store, "made/model", self.model, producer="evaluate")
        inputs = {
            "prepared": given(StageResult(outputs=outputs)),
            "evaluated": given(StageResult(outputs={"model": saved})),
        }
        made = self.stage("reference", self.plan(LEARNED), inputs)
        registration = Registration(
            use_case=NAME, version="1", model=saved.to_json(), training_rows=outputs["train"].to_json(), example={},
            threshold=0.3, run="made", watched={name: one.to_json() for name, one in made.outputs.items()},
        )  # fmt: skip
        note_registration(self.store, registration)
        return registration

    def serve(self, day: int, rows: pd.DataFrame | None = None, labels: Any = None) -> None:
        """Send a day's payments through the endpoint's application; their labels become known seven days later."""
        rows = self.days[day] if rows is None else rows
        self.now = at_noon(day)
        capture = Capture(self.store, NAME, Settings(queue_rows=1_000_000), clock=lambda: self.now)
        ids = asyncio.run(self.asked(day, rows[list(FEATURES)], capture))
        assert capture.flush()
        known = rows[TARGET] if labels is None else labels
        if len(ids):
            made = pd.DataFrame(
                {"id": ids, "label": np.asarray(known)[: len(ids)], "known_at": (self.now + 6.5 * DAY).isoformat()}
            )
            path = self.folder / f"labels-{day}.parquet"
            made.to_parquet(path, index=False)
            land_labels(self.store, NAME, self.use_case.problem, path)  # type: ignore[arg-type]

    async def asked(self, day: int, rows: pd.DataFrame, capture: Capture) -> list[str]:
        """Send whole rows by the thousand, and those with holes one by one, as callers do."""
        served = Served("1", "m", self.model.threshold, self.model)
        watch = SimpleNamespace(use_case=NAME, current=served, problem=None)
        app = make_app(watch, limits=Limits(max_body_bytes=10_000_000), recorder=Recorder(capture))  # type: ignore[arg-type]
        whole = rows.notna().all(axis=1).to_numpy()
        ids: list[str] = [""] * len(rows)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://endpoint") as client:
            for number, places in enumerate(requests(whole)):
                records = json.loads(rows.iloc[places].to_json(orient="records"))
                name = f"d{day}.{number}"
                answer = await client.post("/invocations", json={"instances": records}, headers={"X-Request-Id": name})
                assert answer.status_code == (200 if whole[places[0]] else 422), answer.text
                for at, place in enumerate(places):
                    ids[place] = f"{name}.{at}"
        return ids

    def watch(self, day: int) -> dict[str, StageInput]:
        """Watch the window of a day with all monitors, and decide."""
        plan = self.plan(day + 1)
        seen = {"collected": self.stage("collect_windows", plan, {})}
        for name in MONITORS:
            seen[name] = self.stage(f"watch_{name}", plan, {"collected": seen["collected"]})
        return {**seen, "triage": self.stage("triage", plan, seen)}

    def plan(self, day: int) -> Plan:
        end = at_noon(day) - DAY / 2
        return Plan(
            run=f"watch-{day}", use_case=self.use_case, environment="local",
            batch=Batch(partition=f"{day}", digest="d" * 32, files=()), champion=Champion(version="1", digest="m"),
            as_of=(end + timedelta(hours=3)).isoformat(), approval="rule", purpose="watch",
            watched=Watched(start=(end - DAY).isoformat(), end=end.isoformat()),
        )  # fmt: skip

    def stage(self, name: str, plan: Plan, inputs: dict[str, StageInput]) -> StageInput:
        self.tries += 1
        info = find_stage(name)
        workspace = Workspace(
            store=self.store, environment=Environment(name="local", store=self.store.root),
            plan=View(plan, info.plan, always=("run", "folder", "as_of")),  # type: ignore[arg-type]
            folder=f"results/{name}/{self.tries}", stage=name,
        )  # fmt: skip
        workspace.log.setLevel("ERROR")
        return given(load_stage(info)(View(plan.use_case, info.sections, always=("name",)), inputs, workspace))


def declared(draws: int) -> UseCase:
    """Return the use case: what is watched, with the budget of one false alarm in thirty days."""
    return UseCase.model_validate(
        {
            "name": NAME,
            "problem": {"kind": "classification", "target": TARGET, "positive": 1},
            "source": {"format": "parquet", "prefix": "landing/payments/", "columns": {**FEATURES, TARGET: "int"}},
            "pipeline": {"one_hot": {"MERCHANT_TYPE": list(TYPES)}},
            "monitors": {
                "false_alarms": {"at_most": 1, "days": 30, "draws": draws},
                "labels": {"delay_days": 7, "at_least": 200, "of_a_class": 5},
                "attribution_drift": {"rows": 100},
            },
        }
    )


def given(result: StageResult) -> StageInput:
    reference = ResultReference(stage="x", uri="x", digest="0", summary=result.summary)
    return StageInput(reference=reference, outputs=result.outputs, values=result.values, verdict=result.verdict)


def at_noon(day: int) -> datetime:
    return datetime(2018, 4, 1, 12, tzinfo=UTC) + day * DAY


def requests(whole: Any) -> Iterable[Any]:
    """Yield positions: rows without holes by the thousand, the others one by one."""
    full = np.flatnonzero(whole)
    yield from (full[at : at + 1_000] for at in range(0, len(full), 1_000))
    yield from np.flatnonzero(~whole)[:, None]


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


def run_quiet(replay: Replay, first: int, last: int) -> dict[str, Any]:
    """Watch untouched days; an alarm is a day on which a monitor fires and did not the day before."""
    alarms, decisions, before = (
        dict.fromkeys(MONITORS, 0),
        dict.fromkeys(("page", "watch", "retrain", "nothing"), 0),
        set(),
    )
    for day in range(first, last):
        replay.serve(day)
        if day < first + 3:
            continue
        seen = replay.watch(day)
        fired = {name for name in MONITORS if str(seen[name].verdict.outcome) == "FAIL"}  # type: ignore[union-attr]
        for name in fired - before:
            alarms[name] += 1
            print(f"day {day}: {name}: {seen[name].reference.summary[:200]}", flush=True)
        before = fired
        if day % 10 == 0:
            print(f"day {day}: {alarms}", flush=True)
        decisions[seen["triage"].values["action"]] += 1
    days = last - first - 3
    total = sum(alarms.values())
    per_month = round(total / days * 30, 2)
    print(f"{days} untouched days: {total} false alarms, {per_month} in 30 days; the budget is 1", flush=True)
    return {
        "days": days,
        "false_alarms": alarms,
        "false_alarms_in_30_days": per_month,
        "budget": 1,
        "decisions": decisions,
    }


def run_fault(replay: Replay, name: str, start: int, days: int) -> dict[str, Any]:
    """Inject a fault from a day on, in a copy of the store as it was then, and watch each day."""
    other = replay.copy("".join(letter if letter.isalnum() else "_" for letter in name))
    forget(other, start)
    caught: dict[str, int] = {}
    decided: dict[str, int] = {}
    for number, day in enumerate(range(start, start + days), 1):
        rows, labels = FAULTS[name](other.days[day], number)
        other.serve(day, rows, labels)
        seen = other.watch(day)
        for monitor in MONITORS:
            if str(seen[monitor].verdict.outcome) == "FAIL":  # type: ignore[union-attr]
                caught.setdefault(monitor, number)
        decided.setdefault(seen["triage"].values["action"], number)
    shutil.rmtree(other.folder)
    decided.pop("nothing", None)
    print(f"{name}: caught {caught}, decided {decided}", flush=True)
    return {"caught_by_after_windows": caught, "decisions_after_windows": decided}


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


def table(matrix: dict[str, Any]) -> str:
    lines = [f"{'fault':24} {'caught by (window)':64} decided (window)"]
    for name, told in matrix.items():
        caught, decided = (
            ", ".join(f"{one} ({at})" for one, at in sorted(told[key].items(), key=lambda item: item[1])) or "nothing"
            for key in ("caught_by_after_windows", "decisions_after_windows")
        )
        lines.append(f"{name:24} {caught:64} {decided}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
