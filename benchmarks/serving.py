"""How long one prediction takes at a running endpoint: `bin/stepzero bench serving` after `bin/run`.

One keep-alive connection, one row a request, JSON in and out, through the token check. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import httpx
import numpy as np

from stepzero.adapters.registry_records import DesiredState, desired_uri
from stepzero.adapters.store import Store
from stepzero.core.references import Reference
from stepzero.spec.load import load_environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--use-case", default="credit_card_fraud")
    parser.add_argument("--requests", type=int, default=1000)
    asked = parser.parse_args()
    environment = load_environment()
    store, endpoint = Store(environment.store), environment.endpoints[asked.use_case]
    desired = DesiredState.model_validate(store.read_json(desired_uri(asked.use_case)))
    row = store.read_json(Reference.from_json(desired.example).uri)["instances"][0]
    token = Path(endpoint.token_file).read_text(encoding="utf-8").strip() if endpoint.token_file else ""
    body = json.dumps({"instances": [row]})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with httpx.Client(headers=headers, timeout=30) as client:
        _wait(client, f"{endpoint.uri}/ping")
        seconds = [_ask(client, f"{endpoint.uri}/invocations", body) for _ in range(asked.requests + 50)][50:]
    p50, p95, p99 = (round(1000 * float(value), 2) for value in np.quantile(seconds, [0.5, 0.95, 0.99]))
    print(f"{asked.requests} single predictions: p50 {p50} ms, p95 {p95} ms, p99 {p99} ms")
    print(json.dumps({"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "requests": asked.requests}))


def _wait(client: httpx.Client, url: str) -> None:
    deadline = time.monotonic() + 60
    while client.get(url).status_code != httpx.codes.OK and time.monotonic() < deadline:
        time.sleep(0.2)


def _ask(client: httpx.Client, url: str, body: str) -> float:
    begun = time.perf_counter()
    client.post(url, content=body).raise_for_status()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
