"""The endpoint as a process of its own: what it answers, what it refuses and how, and swaps under load."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.registry_records import evidence_uri
from stepzero.adapters.store import Store
from stepzero.core.errors import ServiceError, StageError
from stepzero.core.stages import StageInput
from stepzero.spec.environment import Endpoint
from support.champions import World, fit_model, launch_endpoint, make_keys, write_environment
from support.stack import free_port, wait_for

pytestmark = [
    pytest.mark.service,
    # Importing mlflow.pyfunc warns of type hints in MLflow's own models.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

BOTH = ["V1", "Amount"]
TOKEN = "a-long-random-token"
ROW = {"V1": 1.25, "Amount": 99.5}
Start = Callable[..., "subprocess.Popen[bytes]"]


@dataclass
class Running:
    """An endpoint that serves, and how to ask it."""

    url: str
    world: World
    approved: StageInput
    process: subprocess.Popen[bytes]

    def post(self, content: bytes | str, kind: str = "application/json", **headers: str) -> httpx.Response:
        wanted = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind, **headers}
        return httpx.post(f"{self.url}/invocations", content=content, headers=wanted, timeout=20)

    def ping(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.url}/ping", timeout=5).json())


def start(world: World, folder: Path, endpoint_process: Start, **limits: Any) -> tuple[str, subprocess.Popen[bytes]]:
    port, token = free_port(), folder / "token"
    token.write_text(f"{TOKEN}\n")
    world.endpoint = Endpoint(uri=f"http://127.0.0.1:{port}", token_file=str(token), ready_seconds=30, **limits)
    variables = write_environment(folder / "project", world, world.endpoint)
    process = endpoint_process(variables, "--use-case", world.name, "--port", str(port))
    wait_for("the endpoint", lambda: answers(world.endpoint.uri), seconds=60, every=0.1)
    return world.endpoint.uri, process


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ping", timeout=2).status_code in {200, 503}
    except httpx.HTTPError:
        return False


@contextmanager
def serving(
    name: str, mlflow_url: str, rows: pd.DataFrame, folder: Path, **limits: Any
) -> Iterator[tuple[World, str, subprocess.Popen[bytes]]]:
    """Start an endpoint of a world of its own; end it, gracefully."""
    store, signing = Store(f"file://{folder / 'store'}"), make_keys(folder)
    world = World(name=name, store=store, tracking_uri=mlflow_url, rows=rows, signing=signing)

    def launch(variables: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
        return launch_endpoint(folder / "log", variables, *arguments)

    url, process = start(world, folder, launch, **limits)
    yield world, url, process
    process.terminate()
    assert process.wait(timeout=20) == 0, "a graceful stop"


@pytest.fixture(scope="module")
def served(mlflow_url: str, rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One deployed champion for all tests that only ask."""
    folder = tmp_path_factory.mktemp("served")
    with serving("served", mlflow_url, rows, folder, max_body_bytes=20_000, max_rows=50) as (world, url, process):
        approved = world.champion("first", BOTH)
        world.stage("deploy", world.plan("first"), {"approved": approved})
        yield Running(url, world, approved, process)
    assert b"Traceback" not in (folder / "log").read_bytes()


@pytest.fixture(scope="module")
def model(rows: pd.DataFrame) -> Any:
    return fit_model(rows.iloc[:300], BOTH)


def test_a_deployed_version_is_served_and_proved_by_a_prediction(served: Running) -> None:
    deployed = served.world.stage("deploy", served.world.plan("again"), {"approved": served.approved})
    assert deployed.values["deployed"] is True
    assert f"version 1 serves at {served.url}; it scored a test row" in deployed.verdict.sentence()
    assert served.ping() == {
        "use_case": "served",
        "version": "1",
        "model_digest": served.approved.values["model_digest"],
        "problem": None,
    }
    told = httpx.get(f"{served.url}/version", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert (told["features"], told["threshold"]) == ({"V1": "double", "Amount": "double"}, 0.4)


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [ROW, {"V1": -1, "Amount": 3}]},
        {"records": [ROW, {"V1": -1, "Amount": 3}]},
        {"columns": ["Amount", "V1"], "data": [[99.5, 1.25], [3, -1]]},
        {"dataframe_split": {"columns": ["V1", "Amount"], "data": [[1.25, 99.5], [-1, 3]]}},
        [ROW, {"V1": -1, "Amount": 3}],
    ],
)
def test_every_shape_of_json_scores_like_the_model_itself(served: Running, model: Any, body: Any) -> None:
    answer = served.post(json.dumps(body)).json()
    expected = model.score(pd.DataFrame([ROW, {"V1": -1, "Amount": 3}])).tolist()
    assert answer["scores"] == expected
    assert answer["decisions"] == [int(score >= 0.4) for score in expected]
    assert (answer["version"], answer["threshold"]) == ("1", 0.4)


def test_csv_in_and_csv_out(served: Running, model: Any) -> None:
    answer = served.post("Amount,V1\n99.5,1.25\n3,-1\n", "text/csv; charset=utf-8", Accept="text/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["x-stepzero-version"] == "1"
    expected = model.score(pd.DataFrame([ROW, {"V1": -1, "Amount": 3}])).tolist()
    lines = [f"{score!r},{int(score >= 0.4)},1" for score in expected]
    assert answer.text.splitlines() == ["score,decision,version", *lines]


J, C = "application/json", "text/csv"
REFUSED: dict[str, tuple[str | bytes, str, int, str]] = {
    "bad JSON": ("{", J, 400, "request body: got Expecting property name enclosed"),
    "NaN": ('[{"V1": NaN, "Amount": 1}]', J, 400, "got NaN is not JSON. Allowed: JSON"),
    "another shape": ('{"rows": 1}', J, 400, "request body: got {'rows': 1}. Allowed: {\"instances\""),
    "a number": ("7", J, 400, "request body: got 7."),
    "no rows": ('{"instances": []}', J, 422, "rows of the request: got 0. Allowed: 1 to 50"),
    "missing": (
        '[{"V1": 1}]',
        J,
        422,
        "row 0 field Amount: got missing. Allowed: a value (double). Do: send all of V1, Amount",
    ),
    "extra": ('[{"V1": 1, "Amount": 1, "Amout": 2}]', J, 422, "field Amout: got 2. Allowed: did you mean 'Amount'?"),
    "text": ('[{"V1": "x", "Amount": 1}]', J, 422, "row 0 field V1: got 'x'. Allowed: a number (double)"),
    "boolean": ('[{"V1": true, "Amount": 1}]', J, 422, "row 0 field V1: got True. Allowed: a number"),
    "null": (
        '[{"V1": null, "Amount": 1}]',
        J,
        422,
        "field V1: got nothing. Allowed: a value (double); the model was",
    ),
    "too large": ('[{"V1": 1e999, "Amount": 1}]', J, 422, "row 0 field V1: got inf. Allowed: a finite number"),
    "short row": (
        '{"columns": ["V1", "Amount"], "data": [[1, 2], [1]]}',
        J,
        422,
        "row 1: got [1]. Allowed: a list of 2",
    ),
    "CSV text": ("V1,Amount\n1,2\n1,much\n", C, 422, "row 1 field Amount: got 'much'. Allowed: a number (double)"),
    "CSV nan": ("V1,Amount\nnan,2\n", C, 422, "row 0 field V1: got 'nan'. Allowed: a finite number"),
    "CSV inf": ("V1,Amount\n-inf,2\n", C, 422, "row 0 field V1: got '-inf'. Allowed: a finite number"),
    "CSV hole": ("V1,Amount\n,2\n", C, 422, "row 0 field V1: got nothing."),
    "CSV short": ("V1,Amount\n1\n", C, 422, "row 0: got ['1']. Allowed: a list of 2 values"),
    "CSV no header": ("1,2\n3,4\n", C, 422, "row 0 field V1: got missing."),
    "CSV nothing": ("", C, 400, "request body: got nothing. Allowed: CSV with a header"),
    "CSV quotes": ('V1,Amount\n"1,2\n', C, 400, "request body: got unexpected end of data"),
    "CSV bytes": (b"\xff\xfe\x00", C, 400, "Allowed: CSV in UTF-8 with a header"),
    "another type": ("<a/>", "text/xml", 415, "content type: got 'text/xml'. Allowed: application/json or text/csv"),
    "too many rows": (json.dumps([ROW] * 51), J, 413, "rows of the request: got 51. Allowed: 1 to 50"),
    "too many bytes": (b" " * 20_001, J, 413, "request body: got 20001 bytes or more. Allowed: at most 20000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_scored_is_refused_in_four_parts(served: Running, case: str) -> None:
    body, kind, status, text = REFUSED[case]
    answer = served.post(body, kind)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert text in error["message"]
    assert all(error[part] for part in ("what", "value", "allowed", "action"))
    assert "Traceback" not in answer.text


def test_a_body_without_length_is_cut_off_at_the_limit(served: Running) -> None:
    pieces = (b" " * 1_000 for _ in range(100))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.post(f"{served.url}/invocations", content=pieces, headers=headers).status_code == 413


@pytest.mark.parametrize("shown", [None, "Bearer wrong", TOKEN, "Bearer ü"])
@pytest.mark.parametrize("path", ["/invocations", "/version"])
def test_without_the_token_nothing_is_answered(served: Running, path: str, shown: str | None) -> None:
    headers = {"Authorization": shown.encode()} if shown else {}
    method = "POST" if path == "/invocations" else "GET"
    answer = httpx.request(method, f"{served.url}{path}", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Allowed: Bearer and the endpoint's token" in answer.json()["error"]["message"]


def test_an_unknown_page_is_told_in_the_same_way(served: Running) -> None:
    answer = httpx.get(f"{served.url}/predict")
    assert answer.status_code == 404
    assert answer.json()["error"]["allowed"] == "GET /ping, GET /version, POST /invocations"


def test_single_predictions_are_quick(served: Running) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(headers=headers) as client:
        times = []
        for _ in range(200):
            begun = time.perf_counter()
            client.post(f"{served.url}/invocations", json={"instances": [ROW]}).raise_for_status()
            times.append(time.perf_counter() - begun)
    assert np.median(times) < 0.1


@pytest.fixture(scope="module")
def swapping(mlflow_url: str, rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Version 1 serves, and version 2 is approved but not deployed."""
    with serving("swapping", mlflow_url, rows, tmp_path_factory.mktemp("swapping")) as (world, url, process):
        first = world.champion("first", [])
        world.stage("deploy", world.plan("first"), {"approved": first})
        yield Running(url, world, world.champion("second", BOTH), process)


def test_a_broken_desired_state_leaves_the_former_version_serving(swapping: Running) -> None:
    url, world, second = swapping.url, swapping.world, swapping.approved
    model = next(world.store.files.glob(f"{world.store.path(second.values['model']['uri'])}/*.pkl").__iter__())
    whole = Path(model).read_bytes()
    Path(model).write_bytes(b"something else")
    with pytest.raises(Exception, match="digest"):
        world.stage("deploy", world.plan("second"), {"approved": second})
    desired = world.store.read_json(f"endpoints/{world.name}/desired.json")
    broken = desired | {"version": "2", "model": second.values["model"]}
    for uri, content, text in (
        ("two", broken | {"evidence_digest": second.values["evidence_digest"]}, "as it was written"),
        ("three", desired | {"version": "3"}, f"no file {evidence_uri(world.name, '3')} in the store"),
        ("four", {"version": 1}, "what the stage deploy writes"),
    ):
        world.store.write_json(f"endpoints/{world.name}/desired.json", content)
        said = wait_for(uri, lambda text=text: _problem(url, text), seconds=15, every=0.1)
        assert said["version"] == "1"
        answer = swapping.post(json.dumps({"instances": [ROW]}))
        assert (answer.status_code, answer.json()["version"]) == (200, "1")
    world.store.write_json(f"endpoints/{world.name}/desired.json", desired)
    wait_for("recovery", lambda: swapping.ping()["problem"] is None, seconds=15, every=0.1)
    Path(model).write_bytes(whole)


def test_a_swap_under_load_fails_no_request(swapping: Running) -> None:
    """After the broken states above: version 2 as it was approved serves all the same."""
    url, world = swapping.url, swapping.world
    expected = {
        version: fit_model(world.rows.iloc[:300], features).score(pd.DataFrame([ROW]))[0]
        for version, features in (("1", []), ("2", BOTH))
    }
    seen: list[tuple[int, str, float]] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20) as client:
            while not stop.is_set():
                answer = client.post(f"{url}/invocations", json={"instances": [ROW]})
                told = answer.json()
                seen.append((answer.status_code, told.get("version", ""), told.get("scores", [0.0])[0]))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    world.stage("deploy", world.plan("second"), {"approved": swapping.approved})
    wait_for("requests after the swap", lambda: len(seen) > 300 and seen[-1][1] == "2", seconds=30, every=0.1)
    stop.set()
    for asker in askers:
        asker.join()
    assert {status for status, _, _ in seen} == {200}
    assert {version for _, version, _ in seen} == {"1", "2"}
    assert all(score == expected[version] for _, version, score in seen), "score and version belong together"


def _problem(url: str, text: str) -> dict[str, Any] | None:
    answer = httpx.get(f"{url}/ping")
    said = answer.json()
    return said if answer.status_code == 200 and text in ((said["problem"] or {}).get("message") or "") else None


def test_from_the_first_start_to_a_restart(world: World, tmp_path: Path, endpoint_process: Start) -> None:
    url, process = start(world, tmp_path, endpoint_process)
    ping = httpx.get(f"{url}/ping")
    assert (ping.status_code, ping.json()["version"]) == (503, None), "nothing is deployed yet"
    answer = httpx.post(f"{url}/invocations", json={}, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 503
    assert "got no version is deployed yet" in answer.json()["error"]["message"]
    approved = world.champion("first", BOTH)
    (tmp_path / "token").write_text("another")
    with pytest.raises(ServiceError, match=r"prediction at .*: got 401"):
        world.stage("deploy", world.plan("first"), {"approved": approved})
    (tmp_path / "token").unlink()
    with pytest.raises(StageError, match=r"token file .*: got No such file or directory"):
        world.stage("deploy", world.plan("first"), {"approved": approved})
    process.kill()
    process.wait(timeout=10)
    url, _ = start(world, tmp_path, endpoint_process)
    wait_for("version 1", lambda: httpx.get(f"{url}/ping").json()["version"] == "1", seconds=30, every=0.1)


def test_an_endpoint_that_does_not_answer_is_told(served: Running) -> None:
    silent = Endpoint(uri=f"http://127.0.0.1:{free_port()}", ready_seconds=1)
    world = replace(served.world, endpoint=silent, tries=1_000)
    with pytest.raises(ServiceError) as error:
        world.stage("deploy", world.plan("first"), {"approved": served.approved})
    assert f"endpoint {silent.uri}: got after 1 s it says" in str(error.value)
    assert "start it (`bin/stepzero up`), then clear the task" in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "token_file", "text"),
    [
        (["--host", "0.0.0.0"], None, "endpoint on 0.0.0.0: got no token_file. Allowed: a token on any address"),  # noqa: S104
        ([], "/nowhere/token", "token file /nowhere/token: got No such file or directory"),
        (["--use-case", "tt"], None, "use case tt: got 'tt'. Allowed: "),
    ],
)
def test_it_does_not_start_unguarded(
    world: World, tmp_path: Path, endpoint_process: Start, arguments: list[str], token_file: str | None, text: str
) -> None:
    variables = write_environment(tmp_path, world, Endpoint(token_file=token_file))
    process = endpoint_process(variables, "--use-case", world.name, "--port", str(free_port()), *arguments)
    assert process.wait(timeout=60) != 0
    log = (tmp_path / "serve-0.log").read_text()
    assert text in log
    assert "Traceback" not in log


def test_a_taken_port_is_told(served: Running, tmp_path: Path, endpoint_process: Start) -> None:
    port = served.url.rpartition(":")[2]
    variables = write_environment(tmp_path, served.world, Endpoint())
    process = endpoint_process(variables, "--use-case", "served", "--port", port)
    assert process.wait(timeout=60) != 0
    assert f"endpoint at 127.0.0.1:{port}: got Address already in use" in (tmp_path / "serve-0.log").read_text()
