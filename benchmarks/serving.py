"""One prediction at our endpoint and at MLflow's own server, the same XGBoost model: `bin/stepzero bench serving`.

Each server is bound to one core and asked from another, over keep-alive connections: single rows one after the other
for latency, four connections at once for throughput. Ours is asked with all features, by id with features from the
online store, and with an explanation. `--running USE_CASE` instead asks the endpoint that `bin/run` left running.
The last line is JSON; ratios say how much MLflow's server takes for what ours does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _http_load import latencies, request_of, throughput
from _ports import free_port
from _served import NAME, RECORD, fit, make_rows, make_store, memory, python, running, write_project

from stepzero.adapters.registry_records import DesiredState, desired_uri
from stepzero.adapters.store import Store
from stepzero.core.references import Reference
from stepzero.spec.load import load_environment

ROWS = 500
"""Different rows that are asked for in turn."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--running", metavar="USE_CASE", help="ask the endpoint that runs, and no other server")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement of throughput")
    parser.add_argument("--columns", type=int, default=30)
    asked = parser.parse_args()
    if asked.running:
        print(json.dumps(measure_running(asked.running, asked.requests)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame, target = make_rows(asked.columns)
        estimator = fit(frame, target)
        told = {**measure_ours(folder, frame, estimator, asked), **measure_theirs(folder, frame, estimator, asked)}
    for kind, figures in told.items():
        print(kind, ", ".join(f"{key} {value}" for key, value in figures.items()))
    print(json.dumps(compare(told) | {"columns": asked.columns, "requests": asked.requests}))


def compare(told: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return all figures, and how many times ours MLflow's are."""
    theirs = told["mlflow"]
    ratios = {}
    for kind in ("raw", "by_id"):
        ratios[f"p99_ratio_{kind}"] = round(theirs["p99_ms"] / told[kind]["p99_ms"], 2)
        ratios[f"throughput_ratio_{kind}"] = round(told[kind]["per_second"] / theirs["per_second"], 2)
    return {**told, **ratios, "memory_ratio": round(theirs["memory_mb"] / told["raw"]["memory_mb"], 2)}


def measure_ours(folder: Path, frame: pd.DataFrame, estimator: Any, asked: argparse.Namespace) -> dict[str, Any]:
    """Ask our endpoint in three ways."""
    store = make_store(folder, frame, estimator)
    url = f"http://127.0.0.1:{free_port()}"
    command = python("-m", "stepzero.cli.main", "serve", "--use-case", NAME, "--port", url.rpartition(":")[2])
    rows = frame.head(ROWS)
    bodies: dict[str, list[dict[str, Any]]] = {
        "raw": [{"instances": [row]} for row in rows.to_dict("records")],
        "by_id": [{"instances": [{RECORD: number}]} for number in range(ROWS)],
        "explained": [{"instances": [row], "explain": True} for row in rows.to_dict("records")],
    }
    expected = estimator.predict_proba(rows.to_numpy())[:, 1]
    found = {}
    with running(command, url, folder / "ours.log", write_project(folder / "project", store)) as server:
        for kind, one in bodies.items():
            found[kind] = measure(f"{url}/invocations", one, asked) | {"memory_mb": round(memory(server), 1)}
            _must_be_right(f"{url}/invocations", one, expected)
    return found


def measure_theirs(folder: Path, frame: pd.DataFrame, estimator: Any, asked: argparse.Namespace) -> dict[str, Any]:
    """Ask MLflow's server for the same model."""
    import mlflow.xgboost

    mlflow.xgboost.save_model(estimator, str(folder / "model"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = python("-m", "mlflow", "models", "serve", "-m", str(folder / "model"), "-p", str(port))
    command += ["-h", "127.0.0.1", "--env-manager", "local"]
    rows = frame.head(ROWS).to_dict("split")
    bodies = [{"dataframe_split": {"columns": rows["columns"], "data": [row]}} for row in rows["data"]]
    with running(command, url, folder / "theirs.log", {"MLFLOW_DISABLE_TELEMETRY": "true"}) as server:
        found = measure(f"{url}/invocations", bodies, asked) | {"memory_mb": round(memory(server), 1)}
    return {"mlflow": found}


def measure(url: str, bodies: list[dict[str, Any]], asked: argparse.Namespace) -> dict[str, float]:
    """Return how long single requests take, and how many are answered in a second."""
    requests = [request_of(url, json.dumps(body).encode(), {}) for body in bodies]
    told = quantiles(latencies(url, requests, asked.requests))
    return told | {"per_second": round(throughput(url, requests, asked.seconds), 1)}


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Return quantiles in milliseconds."""
    return {f"p{share}_ms": round(1000 * float(np.quantile(seconds, share / 100)), 3) for share in (50, 95, 99)}


def _must_be_right(url: str, bodies: list[dict[str, Any]], expected: Any) -> None:
    """A quick wrong answer is no figure."""
    import httpx

    for body, score in zip(bodies[:50], expected[:50], strict=True):
        (found,) = httpx.post(url, json=body, timeout=60).json()["scores"]
        if found != float(score):
            msg = f"{body}: {found} instead of {score}"
            raise RuntimeError(msg)


def measure_running(use_case: str, count: int) -> dict[str, Any]:
    """Ask the endpoint that runs for its example row."""
    environment = load_environment()
    store, endpoint = Store(environment.store), environment.endpoints[use_case]
    desired = DesiredState.model_validate(store.read_json(desired_uri(use_case)))
    row = store.read_json(Reference.from_json(desired.example).uri)["instances"][0]
    token = Path(endpoint.token_file).read_text(encoding="utf-8").strip() if endpoint.token_file else ""
    url = f"{endpoint.uri}/invocations"
    request = request_of(url, json.dumps({"instances": [row]}).encode(), {"Authorization": f"Bearer {token}"})
    told = quantiles(latencies(url, [request], count))
    print(f"{count} single predictions: " + ", ".join(f"{name} {value}" for name, value in told.items()))
    return told | {"requests": count}


if __name__ == "__main__":
    main()
