"""Served traffic of a small champion, made up day by day, with labels that come later; and a watch of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor

from stepzero.adapters.captured import RECORD
from stepzero.adapters.datasets import read_frame, write_frame
from stepzero.adapters.labels import land_labels
from stepzero.adapters.registry_records import Registration, note_registration
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import Reference, ResultReference
from stepzero.core.stages import StageInput, StageResult, find_stage, load_stage
from stepzero.learning.model import ScoringModel, load_model, save_model
from stepzero.learning.transform import Transformer
from stepzero.measures.checks import Floats
from stepzero.serving.capture import Capture, Exchange
from stepzero.spec.environment import Capture as Settings
from stepzero.spec.environment import Environment
from stepzero.spec.load import validate
from stepzero.spec.plan import Batch, Champion, Plan, Watched
from stepzero.spec.use_case import UseCase
from stepzero.spec.view import View
from support.champions import as_input, fit_model

NAME = "cards"
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROWS = 300
"""Requests of a day."""
Change = Callable[[pd.DataFrame], pd.DataFrame]


def make_rows(rows: int, seed: int, *, turned: bool = False) -> pd.DataFrame:
    """Return payments of which a fifth is fraud; turned round, what told frauds tells the others."""
    generator = np.random.default_rng(seed)
    target = (generator.random(rows) < 0.2).astype(int)
    told = (1 - target) * 2.0 if turned else target * 2.0
    return pd.DataFrame({"V1": generator.normal(told), "Amount": generator.gamma(2.0, 40.0, rows), "Class": target})


def use_case(**monitors: Any) -> UseCase:
    columns = {"V1": "double", "Amount": "double", "Class": "int"}
    watched = {
        "labels": {"delay_days": 7, "at_least": 50, "of_a_class": 5},
        "false_alarms": {"draws": 100},
        "data_drift": {"multivariate": False},
        "attribution_drift": {"rows": 60},
        **monitors,
    }
    data = {
        "name": NAME,
        "problem": {"kind": "classification", "target": "Class", "positive": 1},
        "source": {"format": "csv", "prefix": f"landing/{NAME}/", "columns": columns},
        "train": {"models": {"logistic_regression": {"C": [1.0]}}},
        "monitors": watched,
    }
    return validate(data, UseCase)


class Silent:
    """A tracking server that takes everything and shows nothing."""

    def publish(self, *_: Any) -> str:
        return "parent"


class Traffic:
    """A champion with its reference, days of requests, and the watch of a day.

    What a subclass may have otherwise: the target, the threshold, the rows and the model.

    Args:
        store: Where.
        folder: For files of labels.
        declared: The use case.
    """

    target = "Class"
    threshold: float | None = 0.4

    def __init__(self, store: Store, folder: Path, declared: UseCase | None = None) -> None:
        self.store, self.folder = store, folder
        self.use_case = declared or use_case()
        self.environment = Environment(name="local", store=store.root)
        self.tries = 0
        self.made: dict[str, dict[str, Reference]] = {}
        """By version: its rows, its model, and which rows it learned from."""
        self.version = "1"
        self.model = self.register("1", seed=1)

    def rows(self, rows: int, seed: int, *, turned: bool) -> pd.DataFrame:
        """Return requests with what is true of them."""
        return make_rows(rows, seed, turned=turned)

    def fit(self, train: pd.DataFrame) -> ScoringModel:
        """Return a model."""
        return fit_model(train, ["V1", "Amount"], threshold=0.4)

    def register(self, version: str, *, seed: int, turned: bool = False) -> ScoringModel:
        """Train a version, make its reference, and let it serve."""
        train, test = (self.rows(2_000, seed + at, turned=turned) for at in (0, 100))
        model = self.fit(train)
        folder = f"made/{version}"
        rows = {
            side: frame.assign(_row_id=[f"{side}{at}" for at in range(len(frame))])
            for side, frame in (("train", train), ("test", test))
        }
        outputs = {side: write_frame(self.store, f"{folder}/{side}", one, producer="x") for side, one in rows.items()}
        saved = save_model(self.store, f"{folder}/model", model, producer="x")
        learned = write_frame(self.store, f"{folder}/learned", rows["train"][["_row_id"]], producer="x")
        inputs = {
            "prepared": as_input("prepare", StageResult(outputs=outputs)),
            "evaluated": as_input("evaluate", StageResult(outputs={"model": saved, "training_rows": learned})),
        }
        made = self.stage("reference", self.plan(FIRST), inputs)
        baseline = self.stage("baseline", self.plan(FIRST), {"prepared": inputs["prepared"]})
        registration = Registration(
            use_case=NAME,
            version=version,
            model=saved.to_json(),
            training_rows=learned.to_json(),
            example={},
            threshold=self.threshold,
            run=f"run {version}",
            baseline=baseline.output("baseline").to_json(),
            watched={name: one.to_json() for name, one in made.outputs.items()},
        )
        note_registration(self.store, registration)
        self.made[version] = {**outputs, "model": saved, "training_rows": learned}
        self.version, self.model = version, model
        return load_model(self.store, saved)

    def copy(self, folder: Path) -> Self:
        """Return the same world in a store of its own."""
        shutil.copytree(self.folder, folder)
        other = object.__new__(type(self))
        other.__dict__ |= {**self.__dict__, "folder": folder, "store": Store(f"file://{folder}/store")}
        return other

    def serve(
        self,
        days: range,
        *,
        rows: int = ROWS,
        change: Change | None = None,
        turned: bool = False,
        answer: Callable[[Floats], Floats] = lambda scores: scores,
        refused: tuple[str, ...] = (),
    ) -> None:
        """Answer requests of some days as the endpoint does, and capture them; labels come a week later.

        Args:
            days: Days from `FIRST` on.
            rows: Requests of a day.
            change: What becomes of its rows.
            turned: Whether the target means the opposite.
            answer: What becomes of its scores.
            refused: Why further requests are refused.
        """
        for day in days:
            frame = self.rows(rows, 1_000 + day, turned=turned)
            if change is not None:
                frame = change(frame)
            at = FIRST + day * DAY + timedelta(hours=12)
            capture = Capture(self.store, NAME, Settings(), clock=lambda at=at: at)  # type: ignore[misc]
            features = frame[["V1", "Amount"]]
            whole = features.notna().all(axis=1)
            answered = features[whole].reset_index(drop=True)
            exchange = Exchange(request=f"d{day}", at=at, version=self.version, model="m", threshold=self.threshold)
            exchange.rows, exchange.scores = answered, answer(self.model.score(answered))
            exchange.beside = self.beside(frame[whole], day)
            capture.offer(exchange)
            nothing = "row 0 field V1: got nothing. Allowed: a value (double)"
            for number, told in enumerate([*[nothing] * int((~whole).sum()), *refused]):
                capture.offer(Exchange(request=f"d{day}.refused{number}", at=at, status=422, refused=told))
            assert capture.flush()
            self.label(day, frame[whole][self.target].tolist(), at + 7 * DAY - timedelta(hours=13))

    def beside(self, frame: pd.DataFrame, day: int) -> dict[str, list[Any]]:
        """Return what is captured beside the features."""
        del frame, day
        return {}

    def label(self, day: int, labels: list[float], known_at: datetime) -> None:
        self.land(day, [f"d{day}.{number}" for number in range(len(labels))], labels, known_at)

    def land(self, day: int, ids: list[str], labels: list[float], known_at: datetime) -> None:
        path = self.folder / f"labels{day}.csv"
        pd.DataFrame({"id": ids, "label": labels, "known_at": known_at.isoformat()}).to_csv(path, index=False)
        assert self.use_case.problem is not None
        land_labels(self.store, NAME, self.use_case.problem, path)

    def plan(self, end: datetime, run: str | None = None) -> Plan:
        watched = Watched(start=(end - DAY).isoformat(), end=end.isoformat())
        return Plan(
            run=run or f"watch__{end:%Y-%m-%d}",
            use_case=self.use_case,
            environment="local",
            batch=Batch(partition=f"{end:%Y-%m-%d}", digest="d" * 32, files=()),
            champion=Champion(version=self.version, digest="m"),
            as_of=(end + timedelta(hours=3)).isoformat(),
            approval="rule",
            purpose="watch",
            watched=watched,
        )

    def stage(self, name: str, plan: Plan, inputs: dict[str, StageInput]) -> StageInput:
        """Run a stage as the executor does, without key and reuse."""
        self.tries += 1
        info = find_stage(name)
        workspace = Workspace(
            store=self.store,
            environment=self.environment,
            plan=View(plan, info.plan, always=("run", "folder", "as_of")),  # type: ignore[arg-type]
            folder=f"results/{name}/tries/{self.tries}",
            stage=name,
        )
        view = View(plan.use_case, info.sections, always=("name",))
        result = load_stage(info)(view, inputs, workspace)
        reference = ResultReference(stage=name, uri="x", digest="0" * 32, summary=result.summary)
        made = StageInput(reference=reference, outputs=result.outputs, values=result.values, verdict=result.verdict)
        self.records = result.records
        return made

    def watch(self, day: int, *monitors: str, run: str | None = None) -> dict[str, StageInput]:
        """Watch the window of a day with some monitors, and decide; all of them where none is named."""
        plan = self.plan(FIRST + (day + 1) * DAY, run)
        named = monitors or ("data_quality", "data_drift", "prediction_drift", "model_quality", "attribution_drift")
        seen = {"collected": self.stage("collect_windows", plan, {})}
        for name in named:
            seen[name] = self.stage(f"watch_{name}", plan, {"collected": seen["collected"]})
        return {**seen, "triage": self.stage("triage", plan, seen)}

    def frame_of(self, seen: StageInput, output: str) -> pd.DataFrame:
        return read_frame(self.store, seen.output(output))

    def page(self, seen: StageInput) -> str:
        return self.store.read_text(Reference.from_json(seen.outputs["page"].to_json()).uri)


def grouped(**monitors: Any) -> UseCase:
    """Return the use case with groups that are watched, too: those who pay much."""
    data = use_case(**monitors).model_dump(mode="json", by_alias=True, exclude_unset=True)
    data["bias"] = {"favourable": 0, "facets": {"Amount": {"above": 80}}}
    data["monitors"]["bias"] = {}
    return validate(data, UseCase)


class Aside(Traffic):
    """Payments of accounts whose holders' sex no model sees: it is looked up by the account's id, which labels name."""

    known: Callable[[pd.DataFrame], list[Any]] = staticmethod(lambda frame: frame["_woman"].tolist())
    """What the online store knows of the asked rows."""

    def rows(self, rows: int, seed: int, *, turned: bool) -> pd.DataFrame:
        """Return payments, a third of them by women."""
        woman = np.random.default_rng(seed + 1).random(rows) < 1 / 3
        return super().rows(rows, seed, turned=turned).assign(_woman=woman.astype(int))

    def beside(self, frame: pd.DataFrame, day: int) -> dict[str, list[Any]]:
        """Return each row's account, and whose it is."""
        return {RECORD: [account(day, number) for number in range(len(frame))], "_woman": self.known(frame)}

    def label(self, day: int, labels: list[float], known_at: datetime) -> None:
        """Bring labels by account."""
        ids = [account(day, number) for number in range(len(labels))]
        self.land(day, ids, labels, known_at)


def account(day: int, number: int) -> str:
    """Return whose payment a row is."""
    return str(100_000 * (day + 1) + number)


def set_aside(**sections: Any) -> UseCase:
    """Return the use case of `Aside`: its columns come from two feature groups, one of which knows the sex."""
    data = use_case().model_dump(mode="json", by_alias=True, exclude_unset=True)
    kinds = {"payments": {"V1": "double", "Class": "int"}, "accounts": {"Amount": "double", "woman": "int"}}
    data["tables"] = {
        name: {"source": data["source"] | {"columns": {"account": "int", **columns}}} for name, columns in kinds.items()
    }
    del data["source"]
    group = {"record_id": "account", "event_time": "event", "known_time": "known"}
    data["features"] = {"rows": "payments", "groups": {"payments": group, "accounts": group}}
    data["serve"] = {"groups": {"payments": {}, "accounts": {"beside": ["woman"]}}}
    data["prepare"] = {"set_aside": ["account", "woman"]}
    data["bias"] = {"favourable": 0, "facets": {"woman": 1}, "limits": {"after": {"DPPL": 0.2}}}
    data["monitors"] |= {"bias": {}, "data_drift": None, "prediction_drift": None, "attribution_drift": None}
    return validate({**data, **sections}, UseCase)


class Ages(Traffic):
    """A regression: ages that two measures tell; turned round, they tell less."""

    target = "Age"
    threshold = None

    def rows(self, rows: int, seed: int, *, turned: bool) -> pd.DataFrame:
        """Return measures and ages."""
        generator = np.random.default_rng(seed)
        first, second = generator.normal(size=rows), generator.gamma(2.0, 40.0, rows)
        age = 10 + (-2.0 if turned else 2.0) * first + second / 40 + generator.normal(size=rows)
        return pd.DataFrame({"V1": first, "Amount": second, "Age": age})

    def fit(self, train: pd.DataFrame) -> ScoringModel:
        """Return a small forest."""
        features = train[["V1", "Amount"]]
        transformer = Transformer().fit(features)
        estimator = RandomForestRegressor(n_estimators=20, max_depth=6, random_state=1)
        estimator.fit(transformer.transform(features), train["Age"])
        return ScoringModel(features=dict.fromkeys(features, "double"), transformer=transformer, estimator=estimator)


def ages(**monitors: Any) -> UseCase:
    """Return the use case of `Ages`."""
    data = use_case(**monitors).model_dump(mode="json", by_alias=True, exclude_unset=True)
    data["problem"] = {"kind": "regression", "target": "Age"}
    data["source"]["columns"] = {"V1": "double", "Amount": "double", "Age": "double"}
    data["train"] = {"models": {"random_forest": {}}}
    del data["monitors"]["model_quality"]  # the metric of a classification
    return validate(data, UseCase)


def make_traffic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **monitors: Any) -> Traffic:
    monkeypatch.setattr(Workspace, "tracking", property(lambda _: Silent()))
    return Traffic(Store(f"file://{tmp_path}/store"), tmp_path, use_case(**monitors))


def make_ages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Traffic:
    monkeypatch.setattr(Workspace, "tracking", property(lambda _: Silent()))
    return Ages(Store(f"file://{tmp_path}/store"), tmp_path, ages())
