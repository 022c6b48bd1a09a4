"""Days of payments sent through the endpoint's own application: a champion, its traffic, and the watch of each day."""

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
from _watch_sources import Source
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
MONITORS = ("data_quality", "data_drift", "prediction_drift", "model_quality", "attribution_drift")


def chance_once() -> None:
    """Let what depends on the reference alone be drawn once, not for each of hundreds of watched days; no pictures."""
    # Pictures take much of a watch's time, and decide nothing.
    watch_drift.columns_picture = watch_model.values_picture = lambda *_: b""  # type: ignore[assignment]
    drift.column_thresholds = _once(  # type: ignore[assignment]
        drift.column_thresholds,
        lambda columns, length, rows, rule: (
            *(part for name, column in columns.items() for part in (name, column.blocks.tobytes())),
            length,
            rows,
            repr(rule),
        ),
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
            float(np.nansum(rows.select_dtypes("number").to_numpy())),
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


class Replay:
    """A champion that serves, days of requests through its application, and the watch of a day."""

    def __init__(self, folder: Path, source: Source, days: dict[int, pd.DataFrame], *, draws: int) -> None:
        self.folder, self.source, self.days = folder, source, days
        self.store = Store(f"file://{folder}/store")
        self.use_case = declared(source, draws)
        self.now = at_noon(source.learned)
        if not self.store.exists(registration_uri(source.name, "1")):
            self.register(self.trained())
        registration = read_registration(self.store, source.name, "1")
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
        features, target = self.source.features, self.source.target
        train = self.between(self.source.warm, self.source.learned - self.source.held_out)
        transformer = Transformer.from_spec(self.use_case.pipeline).fit(train[list(features)])
        estimator = XGBClassifier(n_estimators=80, max_depth=4, learning_rate=0.1, n_jobs=2, random_state=7)
        estimator.fit(transformer.transform(train[list(features)]), train[target])
        threshold = self.source.threshold
        return ScoringModel(features=features, transformer=transformer, estimator=estimator, threshold=threshold)

    def between(self, start: int, end: int) -> pd.DataFrame:
        """Return the rows from one day up to another."""
        return pd.concat([self.days[day] for day in range(start, end)], ignore_index=True)

    def register(self, model: ScoringModel) -> None:
        """Make the reference as the training DAG does, of the last weeks, and register the version."""
        outputs, source = {}, self.source
        border = source.learned - source.held_out
        for side, span in (("train", (source.warm, border)), ("test", (border, source.learned))):
            rows = self.between(*span)
            rows["_row_id"] = [f"{side}{at}" for at in range(len(rows))]
            outputs[side] = write_frame(self.store, f"made/{side}", rows.drop(columns="day"), producer="prepare")
        saved = save_model(self.store, "made/model", model, producer="evaluate")
        inputs = {
            "prepared": given(StageResult(outputs=outputs)),
            "evaluated": given(StageResult(outputs={"model": saved})),
        }
        made = self.stage("reference", self.plan(source.learned), inputs)
        registration = Registration(
            use_case=source.name, version="1", model=saved.to_json(), training_rows=outputs["train"].to_json(),
            threshold=source.threshold, example={}, run="made",
            watched={name: one.to_json() for name, one in made.outputs.items()},
        )  # fmt: skip
        note_registration(self.store, registration)

    def serve(self, day: int, rows: pd.DataFrame | None = None, labels: Any = None) -> None:
        """Send a day's payments through the endpoint's application; their labels become known seven days later."""
        rows = self.days[day] if rows is None else rows
        self.now = at_noon(day)
        name = self.source.name
        capture = Capture(self.store, name, Settings(queue_rows=1_000_000), clock=lambda: self.now)
        served = Served("1", "m", self.model.threshold, self.model)
        ids = sent(name, served, rows[list(self.source.features)], capture, f"d{day}")
        known = rows[self.source.target] if labels is None else labels
        if len(ids):
            made = pd.DataFrame(
                {"id": ids, "label": np.asarray(known)[: len(ids)], "known_at": (self.now + 6.5 * DAY).isoformat()}
            )
            path = self.folder / f"labels-{day}.parquet"
            made.to_parquet(path, index=False)
            land_labels(self.store, name, self.use_case.problem, path)  # type: ignore[arg-type]

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


def declared(source: Source, draws: int) -> UseCase:
    """Return the use case: what is watched, with the budget of one false alarm in thirty days."""
    columns = {**source.features, source.target: "int"}
    data: dict[str, Any] = {
        "name": source.name,
        "problem": {"kind": "classification", "target": source.target, "positive": 1},
        "source": {"format": "parquet", "prefix": f"landing/{source.name}/", "columns": columns},
        "monitors": {
            "false_alarms": {"at_most": 1, "days": 30, "draws": draws},
            "labels": source.labels,
            "attribution_drift": {"rows": 100},
        },
    }
    return UseCase.model_validate(data | ({"pipeline": {"one_hot": source.one_hot}} if source.one_hot else {}))


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
