"""Winners replace each other at an endpoint under load: no request may fail, and none may be answered wrongly.

    bin/stepzero bench swap [--data abalone_libsvm.csv] [--requests 10000] [--swaps 12]

The endpoint is `bin/stepzero serve`, a process of its own. Models of the use case abalone_age take turns: each time
the desired state names the next version, as the stage `deploy` does. Four keep-alive connections ask all the while.
What is said of a swap is compared with as long a time just before it, of the same version. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _http_load import Connection, request_of
from _ports import free_port
from _served import NAME, approve, python, running, write_project
from abalone import DATA, USE_CASE, fit, read, split, table

from stepzero.adapters.datasets import write_file
from stepzero.adapters.registry_records import DesiredState, desired_uri
from stepzero.adapters.store import Store, dump_json
from stepzero.generators.abalone import generate
from stepzero.learning.model import ScoringModel, save_model

CONNECTIONS, LONGEST_SWAP = 4, 60.0
MODELS = ("xgboost", "least_absolute_deviations", "random_forest")


@dataclass
class Client:
    """One keep-alive connection that asks for one row again and again; what fails is counted, and it goes on."""

    url: str
    row: dict[str, Any]
    stop: threading.Event
    sent: list[tuple[float, float, bytes]] = field(default_factory=list)
    """When each was sent, the seconds until it was answered, and the answer."""
    failed: list[str] = field(default_factory=list)

    def go_on(self) -> None:
        request, connection = request_of(self.url, json.dumps({"instances": [self.row]}).encode(), {}), None
        while not self.stop.is_set():
            begun = time.perf_counter()
            try:
                connection = connection or Connection(self.url)
                answer = connection.ask(request)
            except (OSError, RuntimeError) as error:
                self.failed.append(str(error)[:300])
                connection = None
            else:
                self.sent.append((begun, time.perf_counter() - begun, answer))
        if connection:
            connection.close()

    def serves(self, version: str) -> bool:
        """Tell whether the last answer was a version's."""
        return bool(self.sent) and f'"version": "{version}"'.encode() in self.sent[-1][2]


@dataclass(frozen=True)
class Swap:
    """One swap, from the moment that another version is desired until every connection has an answer of it."""

    old: str
    new: str
    began: float
    ended: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--requests", type=int, default=10_000, help="at least so many in all")
    parser.add_argument("--swaps", type=int, default=12, help="at least so many")
    asked = parser.parse_args()
    frame = read(asked.data) if asked.data.is_file() else generate()
    parts = split(frame)
    declared = USE_CASE.train.models if USE_CASE.train else {}
    models = {name: fit(name, declared[name], table(parts["train"])) for name in MODELS}
    rows = parts["test"].head(CONNECTIONS)[list(models[MODELS[0]].features)]
    with tempfile.TemporaryDirectory() as name:
        clients, swaps = measure(Path(name), models, rows, asked)
    expected = {name: model.score(rows) for name, model in models.items()}
    told = {"rows": len(frame), **summary(clients, swaps, expected)}
    print(json.dumps(told))


def measure(
    folder: Path, models: dict[str, ScoringModel], rows: pd.DataFrame, asked: argparse.Namespace
) -> tuple[list[Client], list[Swap]]:
    """Let versions take turns under load."""
    store = Store(f"file://{folder / 'store'}")
    references = {name: save_model(store, f"made/{name}", model, producer=name) for name, model in models.items()}
    instances = json.loads(rows.to_json(orient="records", double_precision=15))
    example = write_file(store, "made/example.json", dump_json({"instances": instances}).encode())

    def desire(number: int) -> str:
        """Name the next version, as the stage `deploy` does."""
        version, model = str(number), references[MODELS[number % len(MODELS)]].to_json()
        evidence = approve(store, model, example.to_json(), threshold=None, version=version)
        told = {"use_case": NAME, "version": version, "model": model, "threshold": None}
        desired = DesiredState(**told, example=example.to_json(), evidence_digest=evidence.digest)
        store.write_json(desired_uri(NAME), desired.model_dump(mode="json"))
        return version

    desire(0)
    url = f"http://127.0.0.1:{free_port()}"
    command = python("-m", "stepzero.cli.main", "serve", "--use-case", NAME, "--port", url.rpartition(":")[2])
    stop, swaps = threading.Event(), []
    clients = [Client(f"{url}/invocations", row, stop) for row in instances]
    threads = [threading.Thread(target=client.go_on) for client in clients]
    with running(command, url, folder / "endpoint.log", write_project(folder / "project", store)):
        for thread in threads:
            thread.start()
        try:
            for number in count(1):
                swaps.append(swap(clients, desire, number))
                if number >= asked.swaps and sum(len(client.sent) for client in clients) >= asked.requests:
                    break
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    return clients, swaps


def swap(clients: list[Client], desire: Any, number: int) -> Swap:
    """Wait for some traffic, desire another version, and wait until every connection is answered by it."""
    time.sleep(3.0)
    began = time.perf_counter()
    version = desire(number)
    while not all(client.serves(version) for client in clients):
        if time.perf_counter() - began > LONGEST_SWAP:
            msg = f"version {version} does not serve after {LONGEST_SWAP:g} s; failed: {clients[0].failed[-1:]}"
            raise RuntimeError(msg)
        time.sleep(0.005)
    ended = time.perf_counter()
    old, new = (MODELS[one % len(MODELS)] for one in (number - 1, number))
    print(f"swap {number}: {old} → {new} in {ended - began:.2f} s", flush=True)
    return Swap(old=old, new=new, began=began, ended=ended)


def summary(clients: list[Client], swaps: list[Swap], expected: dict[str, Any]) -> dict[str, Any]:
    """Return what was sent, what failed, and how long answers took during swaps against just before."""
    during, before = [], []
    for client in clients:
        begun, took = (np.array([one[place] for one in client.sent]) for place in (0, 1))
        for one in swaps:
            length = one.ended - one.began
            during.append(took[(begun + took >= one.began) & (begun < one.ended)])
            before.append(took[(begun >= one.began - length) & (begun + took < one.began)])
    times = {"before": np.concatenate(before), "during": np.concatenate(during)}
    wrong = sum(answered_wrongly(client, at, expected) for at, client in enumerate(clients))
    failed = sum(len(client.failed) for client in clients)
    told: dict[str, Any] = {
        "requests": sum(len(client.sent) for client in clients) + failed,
        "failed": failed,
        "answered wrongly": wrong,
        "swaps": len(swaps),
        "seconds of a swap": round(float(np.median([one.ended - one.began for one in swaps])), 2),
    }
    for name, found in times.items():
        told |= {f"requests {name}": len(found)}
        told |= {f"p{share}_ms {name}": round(1000 * float(np.quantile(found, share / 100)), 2) for share in (50, 99)}
        told |= {f"longest_ms {name}": round(1000 * float(found.max()), 2)}
    for key, value in told.items():
        print(f"{key}: {value}")
    return told


def answered_wrongly(client: Client, at: int, expected: dict[str, Any]) -> int:
    """Count answers that are not exactly what the model of the version that they name says."""
    wrong = 0
    for answer in {one[2] for one in client.sent}:
        told = json.loads(answer)
        score = expected[MODELS[int(told["version"]) % len(MODELS)]][at]
        if abs(told["scores"][0] - float(score)) > 1e-9:
            wrong += sum(one[2] == answer for one in client.sent)
    return wrong


if __name__ == "__main__":
    main()
