"""The endpoint by a record's id: published features, deployed by the stage, asked over HTTP, and explained."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.captured import read_captured
from stepzero.adapters.datasets import write_frame
from stepzero.adapters.labels import join_labels
from stepzero.adapters.store import Store
from stepzero.core.stages import StageInput, StageResult
from stepzero.learning.group_thresholds import GroupThresholds
from stepzero.spec.environment import Capture, Endpoint
from stepzero.spec.load import validate
from stepzero.spec.use_case import UseCase
from support.champions import World, as_input, fit_model, launch_endpoint, make_use_case, write_environment
from support.stack import free_port, wait_for

pytestmark = [
    pytest.mark.service,
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

BOTH = ["V1", "Amount"]
RECORDS = {7: {"V1": 1.25, "Amount": 99.5}, 8: {"V1": -1.0, "Amount": 3.0}}
GROUP = {"record_id": "account", "event_time": "event", "known_time": "known"}


class FeaturedWorld(World):
    """The same small models, their features in two groups."""

    maximum_age: str | None = None

    @property
    def use_case(self) -> UseCase:
        data = make_use_case(self.name).model_dump(mode="json", by_alias=True, exclude={"source"})
        kinds = (
            {"account": "int", "V1": "double", "Class": "int"},
            {"account": "int", "Amount": "double", "woman": "int"},
        )
        sources = [
            {"source": {"format": "csv", "prefix": f"landing/{self.name}/", "columns": columns}} for columns in kinds
        ]
        data["tables"] = dict(zip(("payments", "accounts"), sources, strict=True))
        data["features"] = {"rows": "payments", "groups": {"payments": GROUP, "accounts": GROUP}}
        data["serve"] = {"groups": {"payments": {}, "accounts": {"maximum_age": self.maximum_age, "beside": ["woman"]}}}
        return validate(data, UseCase)

    def publish(self, records: dict[int, dict[str, float]], day: str) -> StageInput:
        """Ingest and publish both groups."""
        frame = pd.DataFrame.from_dict(records, orient="index").rename_axis("account").reset_index()
        frame = frame.assign(woman=frame.get("woman", 0))
        parts = {
            "payments": frame[["account", "V1"]].assign(Class=0),
            "accounts": frame[["account", "Amount", "woman"]],
        }
        plan = self.plan(f"publish-{day}", None).model_copy(update={"as_of": day})
        ingested = {}
        for name, part in parts.items():
            self.tries += 1
            rows = write_frame(self.store, f"made/{name}/{self.tries}", part, producer="test")
            prepared = as_input("prepare_table", StageResult(outputs={"accepted": rows}))
            ingested[name] = self.stage("ingest_features", plan, {"prepared": prepared}, {"group": name})
        return self.stage("publish_features", plan, ingested)


@dataclass
class Asked:
    url: str
    world: FeaturedWorld
    approved: StageInput

    def post(self, body: Any, kind: str = "application/json", query: str = "", accept: str = "") -> httpx.Response:
        content = body if isinstance(body, str) else json.dumps(body)
        headers = {"Content-Type": kind, **({"Accept": accept} if accept else {})}
        return httpx.post(f"{self.url}/invocations{query}", content=content, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def endpoint(mlflow_url: str, rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("featured")
    aside = rows.assign(_woman=np.arange(len(rows)) % 2)  # measured, and no model sees it
    store = Store(f"file://{folder / 'store'}")
    world = FeaturedWorld(name="featured", store=store, tracking_uri=mlflow_url, rows=aside)
    uri = f"http://127.0.0.1:{free_port()}"
    world.endpoint = Endpoint(uri=uri, ready_seconds=60, capture=Capture(flush_seconds=1))
    variables = write_environment(folder / "project", world, world.endpoint)
    arguments = ("--use-case", world.name, "--port", world.endpoint.uri.rpartition(":")[2])
    process: subprocess.Popen[bytes] = launch_endpoint(folder / "log", variables, *arguments)
    wait_for("the endpoint", lambda: answers(world.endpoint.uri if world.endpoint else ""), seconds=60, every=0.1)
    approved = world.champion("first", BOTH)
    deployed = world.stage("deploy", world.plan("first"), {"approved": approved})
    assert "record" not in deployed.values, "nothing is published yet: it is proved by a raw row alone"
    yield Asked(world.endpoint.uri, world, approved)
    process.terminate()
    assert process.wait(timeout=20) == 0, "a graceful stop"
    assert b"Traceback" not in (Path(folder) / "log").read_bytes()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ping", timeout=2).status_code in {200, 503}
    except httpx.HTTPError:
        return False


def expected(rows: pd.DataFrame, *asked: dict[str, float]) -> list[float]:
    return list(fit_model(rows.iloc[:300], BOTH).score(pd.DataFrame(asked)))


def test_a_prediction_by_id_from_the_day_that_its_features_are_published(endpoint: Asked, rows: pd.DataFrame) -> None:
    before = endpoint.post([{"account": 7}])
    assert before.status_code == 503
    assert "feature group payments: got nothing was published yet. Allowed: a group that" in before.text
    assert endpoint.post([RECORDS[7]]).json()["scores"] == expected(rows, RECORDS[7]), (
        "raw features do not wait for that"
    )
    endpoint.world.publish(RECORDS, "2026-11-21T02:00:00+00:00")
    wait_for("what was published", lambda: endpoint.post([{"account": 7}]).status_code == 200, seconds=20, every=0.1)
    raw = {"V1": 0.5, "Amount": 10}
    told = endpoint.post({"instances": [{"account": 8}, raw, {"account": 7}]}).json()
    assert told["scores"] == expected(rows, RECORDS[8], raw, RECORDS[7])
    assert told["looked_up"][1] is None
    assert told["looked_up"][0]["accounts"]["published"] == "2026-11-21T02:00:00+00:00"
    assert told["looked_up"][0]["accounts"]["age_seconds"] > 0
    lines = endpoint.post("account,V1,Amount\n8,,\n,0.5,10\n", "text/csv", accept="text/csv").text.splitlines()
    assert [float(line.split(",")[0]) for line in lines[1:]] == told["scores"][:2]
    unknown = endpoint.post([{"account": 404}])
    assert unknown.status_code == 422
    assert "row 0 field account: got 404. Allowed: an id that feature group payments has: 2" in unknown.text
    endpoint.world.publish({7: {"V1": 2.0, "Amount": 1.0}}, "2026-11-22T02:00:00+00:00")
    changed = wait_for("the newer features", lambda: newer(endpoint), seconds=20, every=0.1)
    assert changed == expected(rows, {"V1": 2.0, "Amount": 1.0})
    version = httpx.get(f"{endpoint.url}/version").json()
    assert version["lookup"] == {
        "record_id": "account",
        "groups": {
            "payments": {"columns": ["V1"], "published": "2026-11-22T02:00:00+00:00"},
            "accounts": {
                "columns": ["Amount"],
                "published": "2026-11-22T02:00:00+00:00",
                "captured_beside": ["woman"],
            },
        },
    }


def test_a_deployment_is_proved_by_id_too(endpoint: Asked, rows: pd.DataFrame) -> None:
    """By what was published last: an earlier run that publishes late, here record 5, does not set that back."""
    endpoint.world.publish({5: {"V1": 0.25, "Amount": 20.0}}, "2026-11-21T02:00:00+00:00")
    deployed = endpoint.world.stage("deploy", endpoint.world.plan("again"), {"approved": endpoint.approved})
    assert deployed.values["record"] == 7
    assert deployed.values["prediction_by_id"] == expected(rows, {"V1": 2.0, "Amount": 1.0})[0]
    assert deployed.verdict is not None
    assert "and account 7 by its published features 0." in deployed.verdict.sentence()


def newer(endpoint: Asked) -> list[float] | None:
    told = endpoint.post([{"account": 7}]).json()
    published = {one["published"] for one in told["looked_up"][0].values()}
    return told["scores"] if published == {"2026-11-22T02:00:00+00:00"} else None


def test_an_explanation_adds_up_to_the_score(endpoint: Asked, rows: pd.DataFrame) -> None:
    asked = {"instances": [RECORDS[8], {"V1": 0.1, "Amount": 50}], "explain": True}
    told = endpoint.post(asked).json()
    assert told["scores"] == expected(rows, *asked["instances"])
    for one, score in zip(told["explanations"], told["scores"], strict=True):
        assert list(one["contributions"]) == BOTH
        assert one["explains"] == "log-odds of the score"
        total = one["base"] + sum(one["contributions"].values())
        assert 1 / (1 + np.exp(-total)) == pytest.approx(score, abs=1e-6)
    by_csv = endpoint.post("V1,Amount\n-1,3\n", "text/csv", query="?explain=true").json()
    assert by_csv["explanations"] == told["explanations"][:1]
    assert "explanations" not in endpoint.post([RECORDS[7]]).json()
    for response, text in (
        (endpoint.post([RECORDS[7]], query="?explain=maybe"), "parameter explain: got 'maybe'. Allowed: true or false"),
        (
            endpoint.post({"instances": [RECORDS[7]], "explain": 1}),
            "field explain of the request: got 1. Allowed: true",
        ),
        (
            endpoint.post([RECORDS[7]], query="?explain=true", accept="text/csv"),
            "header Accept: got 'text/csv'. Allowed",
        ),
    ):
        assert response.status_code == 422
        assert text in response.text


def test_features_older_than_declared_are_refused(endpoint: Asked) -> None:
    """The limit is part of what is deployed: another use-case file changes nothing until then."""
    endpoint.world.publish(RECORDS, "2026-11-21T02:00:00+00:00")
    uri = f"endpoints/{endpoint.world.name}/desired.json"
    desired = endpoint.world.store.read_json(uri)
    assert desired["lookup"]["groups"]["accounts"]["maximum_age"] is None
    limited = json.loads(json.dumps(desired))
    limited["lookup"]["groups"]["accounts"]["maximum_age"] = "PT1H"
    endpoint.world.store.write_json(uri, limited)
    refused = wait_for("the limit", lambda: refusal(endpoint), seconds=20, every=0.1)
    assert "row 0 feature group accounts: got features" in refused
    assert "Allowed: at most 3600 s (serve.groups.accounts.maximum_age)" in refused
    endpoint.world.store.write_json(uri, desired)
    wait_for("no limit", lambda: endpoint.post([{"account": 7}]).status_code == 200, seconds=20, every=0.1)


def refusal(endpoint: Asked) -> str | None:
    answer = endpoint.post([{"account": 7}])
    return str(answer.json()["error"]["message"]) if answer.status_code == 503 else None


def test_a_group_that_no_model_sees_is_captured_beside_and_told_to_nobody(endpoint: Asked, rows: pd.DataFrame) -> None:
    """With the id of the record: labels by it find their rows. A request that brings its features has neither."""
    world, raw = endpoint.world, {"V1": 0.5, "Amount": 11}
    women = {11: RECORDS[7] | {"woman": 1}, 12: RECORDS[8] | {"woman": 0}}
    world.publish(women, "2026-11-22T12:00:00+00:00")
    wait_for("account 11", lambda: endpoint.post([{"account": 11}]).status_code == 200, seconds=20, every=0.1)
    answered = endpoint.post([{"account": 12}, raw])
    assert answered.json()["scores"] == expected(rows, RECORDS[8], raw)
    assert "woman" not in answered.text
    desired = world.store.read_json(f"endpoints/{world.name}/desired.json")
    assert desired["lookup"]["groups"]["accounts"]["beside"] == ["woman"]
    request = answered.headers["X-Stepzero-Request"]
    (found,) = wait_for("the captured rows", lambda: captured(world, request), seconds=20, every=0.1)
    assert found["_record_id"].tolist() == ["12", None]
    assert found["_woman"].tolist()[0] == 0
    assert found["_woman"].isna().tolist() == [False, True]
    assert [name for name in map(str, found) if not name.startswith("_")] == BOTH
    known = pd.DataFrame({"id": ["12"], "label": [1.0], "known_at": [pd.Timestamp("2200-01-01", tz="UTC")]})
    labelled, unclear = join_labels(found, known)
    assert (labelled["label"].fillna(-1).tolist(), unclear) == ([1.0, -1.0], 0)


def captured(world: FeaturedWorld, request: str) -> list[pd.DataFrame]:
    """Return the rows of a request, once they are written."""
    now = datetime.now(UTC)
    rows = read_captured(world.store, world.name, now - timedelta(hours=1), now + timedelta(hours=1))
    mine = rows[rows["_request"] == request].reset_index(drop=True)
    return [mine] if len(mine) else []


def test_each_group_is_decided_on_by_its_own_threshold(endpoint: Asked, rows: pd.DataFrame) -> None:
    """Of a registered, approved and deployed version: by id, where the group is published, and by rows that say it."""
    world, same = endpoint.world, {"V1": 1.25, "Amount": 99.5}
    world.publish({1: same | {"woman": 1}, 2: same | {"woman": 0}}, "2026-11-23T02:00:00+00:00")
    (score,) = expected(rows, same)
    groups = GroupThresholds(
        column="woman", kind="int", values=(1,), disfavoured=score * 0.9, favoured=min(1, score * 1.1)
    )
    approved = world.champion("groups", BOTH, groups=groups)
    deployed = world.stage("deploy", world.plan("groups"), {"approved": approved})
    assert deployed.values["deployed"] is True
    assert deployed.values["record"] == 1, "asked by its id, the group among what is looked up"
    asked = [{"account": 1}, {"account": 2}, same | {"woman": 1}, same | {"woman": 0}]
    told = endpoint.post({"instances": asked}).json()
    assert told["version"] == approved.values["version"]
    assert told["scores"] == [score] * 4
    assert told["thresholds"] == [groups.disfavoured, groups.favoured] * 2
    assert told["decisions"] == [1, 0, 1, 0]
    assert "threshold" not in told
    lines = endpoint.post("account\n1\n2\n", "text/csv", accept="text/csv").text.splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == ["1", "0"]
    unsaid = endpoint.post([same])
    assert unsaid.status_code == 422
    assert "row 0 field woman: got missing" in unsaid.text
    version = httpx.get(f"{endpoint.url}/version").json()
    assert version["group_thresholds"] == groups.to_json()
    assert version["lookup"]["groups"]["accounts"]["columns"] == ["Amount", "woman"]
