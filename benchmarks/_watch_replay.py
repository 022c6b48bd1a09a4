"""Half a year of payments sent through the endpoint's application: features, a champion, days of traffic, watches."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
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
from stepzero.adapters.registry_records import Registration, note_registration, read_registration, registration_uri
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageInput, StageResult, find_stage, load_stage
from stepzero.learning import drift, two_samples, window_values
from stepzero.learning.model import ScoringModel, load_model, save_model
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

DAY = timedelta(days=1)
SECONDS = 86_400
WARM, LEARNED = 10, 60
"""Days that only serve as history, and the day on which the model is trained."""
HELD_OUT = 14
"""Days before it that the model does not learn from: the reference of its scores."""
TYPES = ("fuel", "grocery", "online", "travel")
NAME, TARGET = "payments", "TX_FRAUD"
NUMBERS = {
    "TX_AMOUNT": "double", "night": "int", "customer_payments_1d": "int", "customer_payments_7d": "int",
    "customer_mean_amount_7d": "double", "amount_to_usual": "double", "terminal_payments_7d": "int",
    "known_frauds_7d": "int", "known_fraud_share_7d": "double",
}  # fmt: skip
FEATURES = {**NUMBERS, "MERCHANT_TYPE": "string"}
MONITORS = ("data_quality", "data_drift", "prediction_drift", "model_quality", "attribution_drift")


def chance_once() -> None:
    """Let what depends on the reference alone be drawn once, not for each of hundreds of watched days; no pictures."""
    # Pictures take much of a watch's time, and decide nothing.
    watch_drift.columns_picture = watch_model.values_picture = lambda *_: b""  # type: ignore[assignment]
    drift.column_thresholds = _once(  # type: ignore[assignment]
        drift.column_thresholds,
        lambda columns, length, rows, rule: (*columns, length, rows, repr(rule)),
    )
    two_samples.chance_threshold = _once(  # type: ignore[assignment]
        two_samples.chance_threshold,
        lambda rows, *others, **settings: (rows.shape, np.nansum(rows), others[-1], repr(settings)),
    )
    window_values.chance_loss = _once(  # type: ignore[assignment]
        window_values.chance_loss,
        lambda value, rows, size, length, rule: (
            value.__qualname__,
            *rows.columns,
            len(rows),
            size,
            length,
            rule.level,
        ),
    )


def _once(function: Callable[..., Any], key: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}

    def asked(*arguments: Any, **settings: Any) -> Any:
        name = key(*arguments, **settings)
        if name not in known:
            known[name] = function(*arguments, **settings)
        return known[name]

    return asked


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
        self.now = at_noon(LEARNED)
        if not self.store.exists(registration_uri(NAME, "1")):
            self.register(self.trained())
        registration = read_registration(self.store, NAME, "1")
        self.model = load_model(self.store, registration.reference)

    def copy(self, name: str) -> Replay:
        """Return the same world in a store of its own."""
        target = self.folder.parent / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder, target)
        other = object.__new__(Replay)
        other.__dict__ |= {**self.__dict__, "folder": target, "store": Store(f"file://{target}/store")}
        return other

    def trained(self) -> ScoringModel:
        train = pd.concat([self.days[day] for day in range(WARM, LEARNED - HELD_OUT)], ignore_index=True)
        transformer = Transformer.from_spec(self.use_case.pipeline).fit(train[list(FEATURES)])
        estimator = XGBClassifier(n_estimators=80, max_depth=4, learning_rate=0.1, n_jobs=2, random_state=7)
        estimator.fit(transformer.transform(train[list(FEATURES)]), train[TARGET])
        return ScoringModel(features=FEATURES, transformer=transformer, estimator=estimator, threshold=0.3)

    def register(self, model: ScoringModel) -> None:
        """Make the reference as the training DAG does, of the last weeks, and register the version."""
        outputs = {}
        for side, span in (("train", range(WARM, LEARNED - HELD_OUT)), ("test", range(LEARNED - HELD_OUT, LEARNED))):
            rows = pd.concat([self.days[day] for day in span], ignore_index=True)
            rows["_row_id"] = [f"{side}{at}" for at in range(len(rows))]
            outputs[side] = write_frame(self.store, f"made/{side}", rows.drop(columns="day"), producer="prepare")
        saved = save_model(self.store, "made/model", model, producer="evaluate")
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

    def serve(self, day: int, rows: pd.DataFrame | None = None, labels: Any = None) -> None:
        """Send a day's payments through the endpoint's application; their labels become known seven days later."""
        rows = self.days[day] if rows is None else rows
        self.now = at_noon(day)
        capture = Capture(self.store, NAME, Settings(queue_rows=1_000_000), clock=lambda: self.now)
        served = Served("1", "m", self.model.threshold, self.model)
        ids = sent(NAME, served, rows[list(FEATURES)], capture, f"d{day}")
        known = rows[TARGET] if labels is None else labels
        if len(ids):
            made = pd.DataFrame(
                {"id": ids, "label": np.asarray(known)[: len(ids)], "known_at": (self.now + 6.5 * DAY).isoformat()}
            )
            path = self.folder / f"labels-{day}.parquet"
            made.to_parquet(path, index=False)
            land_labels(self.store, NAME, self.use_case.problem, path)  # type: ignore[arg-type]

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
        info = find_stage(name)
        workspace = Workspace(
            store=self.store, environment=Environment(name="local", store=self.store.root),
            plan=View(plan, info.plan, always=("run", "folder", "as_of")),  # type: ignore[arg-type]
            folder=f"results/{name}/{uuid.uuid4().hex}", stage=name,
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


def sent(use_case: str, served: Served, rows: pd.DataFrame, capture: Capture, name: str) -> list[str]:
    """Send rows through the endpoint's own application, and return the ids that it captures them by."""
    watch = SimpleNamespace(use_case=use_case, current=served, problem=None)
    app = make_app(watch, limits=Limits(max_body_bytes=10_000_000), recorder=Recorder(capture))  # type: ignore[arg-type]
    whole = rows.notna().all(axis=1).to_numpy()
    ids: list[str] = [""] * len(rows)

    async def send() -> None:
        """Send whole rows by the thousand, and those with holes one by one, as callers do."""
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://endpoint") as client:
            for number, places in enumerate(requests(whole)):
                records = json.loads(rows.iloc[places].to_json(orient="records"))
                headers = {"X-Request-Id": f"{name}.{number}"}
                answer = await client.post("/invocations", json={"instances": records}, headers=headers)
                assert answer.status_code == (200 if whole[places[0]] else 422), answer.text
                for at, place in enumerate(places):
                    ids[place] = f"{name}.{number}.{at}"

    asyncio.run(send())
    assert capture.flush()
    return ids


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
