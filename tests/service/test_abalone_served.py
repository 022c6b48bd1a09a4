"""A regression from its evaluation to the production endpoint, and a swap of winners under load."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.datasets import read_frame
from stepzero.core.stages import StageInput, StageResult
from stepzero.learning.model import load_model
from stepzero.spec.environment import Endpoint
from stepzero.spec.use_case import UseCase
from support.abalone import AbaloneBench, abalones
from support.champions import World, as_input, write_environment
from support.stack import free_port, wait_for

pytestmark = [
    pytest.mark.service,
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
log = logging.getLogger("stepzero")
REQUESTS = 600
MODELS = {"least_absolute_deviations": {}, "random_forest": {"n_estimators": [30], "min_samples_leaf": [4]}}

SECTIONS: dict[str, Any] = {"train": {"models": MODELS}, "compare": {"tie": []}, "evaluate": {"bootstrap": 200}}


class AbaloneWorld(World):
    """The world of champions, of abalones."""

    @property
    def use_case(self) -> UseCase:
        """The shipped use case with two quick models."""
        data = abalones(**SECTIONS).model_dump(mode="json", by_alias=True)
        return UseCase.model_validate(data | {"name": self.name})


class Load:
    """Clients that ask one row again and again, from several threads.

    Args:
        uri: The endpoint.
        row: What is asked.
    """

    def __init__(self, uri: str, row: dict[str, Any]) -> None:
        self.uri, self.row = uri, row
        self.seen: list[tuple[int, str, float]] = []
        self.times: list[tuple[float, float]] = []
        """When each request was sent, and how long it took."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def told(self, swap: float) -> str:
        """Say how many failed, and how long the slowest took before the swap and from its begin on."""
        failed = sum(status != 200 for status, _, _ in self.seen)
        parts = [np.array([took for sent, took in self.times if (sent >= swap) is late]) for late in (False, True)]
        slow = [f"{len(part)} with p99 {1000 * np.quantile(part, 0.99):.1f} ms" for part in parts]
        return f"{len(self.seen)} requests, {failed} failed; before the swap {slow[0]}, from its begin on {slow[1]}"

    def _ask(self) -> None:
        with httpx.Client(timeout=30, trust_env=False) as client:
            while not self._stop.is_set():
                begun = time.perf_counter()
                answer = client.post(f"{self.uri}/invocations", json={"instances": [self.row]})
                self.times.append((begun, time.perf_counter() - begun))
                told = answer.json()
                self.seen.append((answer.status_code, told.get("version", ""), told.get("scores", [np.nan])[0]))


def test_winners_replace_each_other_without_a_failed_request(
    mlflow_url: str, tmp_path: Path, endpoint_process: Callable[..., Any]
) -> None:
    bench = AbaloneBench(tmp_path / "store", **SECTIONS)
    world = AbaloneWorld(name="t_abalone_served", store=bench.store, tracking_uri=mlflow_url, rows=pd.DataFrame())
    port = free_port()
    world.endpoint = Endpoint(uri=f"http://127.0.0.1:{port}", ready_seconds=60)
    variables = write_environment(tmp_path / "project", world, world.endpoint)
    endpoint_process(variables, "--use-case", world.name, "--port", str(port))
    resampled = bench.resample("none")
    linear, forest = (evaluated(bench, name, resampled) for name in MODELS)
    assert promote(world, "first", bench, linear).values["deployed"] is True
    row = first_row(bench, linear)
    assert row["Sex"] in {"M", "F", "I"}

    with Load(world.endpoint.uri, row) as load:
        wait_for("requests before the swap", lambda: len(load.seen) > REQUESTS // 3, seconds=120, every=0.1)
        swap = time.perf_counter()
        assert promote(world, "second", bench, forest).values["deployed"] is True
        wait_for(
            "requests after it", lambda: len(load.seen) > REQUESTS and load.seen[-1][1] == "2", seconds=120, every=0.1
        )
    log.info("%s", load.told(swap))
    expected = {
        version: load_model(bench.store, one.output("model")).score(pd.DataFrame([row]))[0]
        for version, one in (("1", linear), ("2", forest))
    }
    assert {status for status, _, _ in load.seen} == {200}, load.told(swap)
    assert {version for _, version, _ in load.seen} == {"1", "2"}
    assert all(score == pytest.approx(expected[version], abs=1e-12) for _, version, score in load.seen)


def first_row(bench: AbaloneBench, found: StageInput) -> dict[str, Any]:
    """Return a test row as a caller sends it."""
    test = read_frame(bench.store, bench.prepared.output("test"))
    row = {name: test[name].iloc[0] for name in load_model(bench.store, found.output("model")).features}
    return {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}


def evaluated(bench: AbaloneBench, model: str, resampled: StageResult) -> StageInput:
    """Return what `evaluate` finds where only one model was tuned."""
    return as_input("evaluate", bench.evaluate(bench.tune("none", model, resampled)))


def promote(world: World, run: str, bench: AbaloneBench, found: StageInput) -> StageInput:
    """Register, approve and deploy; the comparison with the champion is of numbers."""
    plan = world.plan(run)
    baseline = world.stage("baseline", plan, {"prepared": bench.prepared})
    inputs = {"prepared": bench.prepared, "evaluated": found, "baseline": baseline}
    registered = world.stage("register", plan, inputs)
    comparison = registered.values["comparison"]
    if plan.champion:
        assert comparison["metric"] == "rmse"
        assert "positives" not in comparison
        assert comparison["low"] <= comparison["difference"] <= comparison["high"]
        assert comparison["difference"] > 0, "positive where the challenger is better, also of an error"
    page = world.store.read_text(registered.output("dossier_page").uri)
    assert "RMSE" in page
    assert "Predictions against the truth" in page
    approved = world.stage("approve", plan, {"registered": registered}, {"decision": "rule"})
    return world.stage("deploy", plan, {"approved": approved})
