"""What the capture of an endpoint loses: under load, at a graceful stop, and when it is killed (-9) under load.

    python benchmarks/capture.py [--kills 3] [--flush-seconds 2] [--seconds 6] [--connections 4]

The endpoint is asked for single rows over several connections, each request by a name of its own. Then it is ended in
the middle of them. What was answered and is not in the store afterwards is lost; how old the oldest lost answer was at
the kill is compared with what is declared: one flush interval, and the seconds that a write of it may take. The last
line is JSON; it ends with 1 where more than that is lost, anything at a graceful stop, or a row is there twice.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import yaml
from _http_load import Connection, request_of
from _ports import free_port
from _served import NAME, fit, make_rows, make_store, python, running, write_project

from stepzero.adapters.captured import ID, read_captured
from stepzero.adapters.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--flush-seconds", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=6.0, help="of load before the end")
    parser.add_argument("--write-seconds", type=float, default=1.0, help="that writing one interval's rows may take")
    parser.add_argument("--connections", type=int, default=4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame, target = make_rows(30)
        store = make_store(folder, frame, fit(frame, target))
        body = json.dumps({"instances": frame.head(1).to_dict("records")}).encode()
        ends = [("stop", signal.SIGTERM)] + [(f"kill {number}", signal.SIGKILL) for number in range(1, asked.kills + 1)]
        told = {what: one_end(folder, store, body, what, how, asked) for what, how in ends}
    for what, found in told.items():
        print(what, ", ".join(f"{key} {value}" for key, value in found.items()))
    kills = [found for what, found in told.items() if what != "stop"]
    longest = max(found["oldest_lost_seconds"] for found in kills)
    twice, at_a_stop = sum(found["twice"] for found in told.values()), told["stop"]["lost"]
    is_kept = longest <= asked.flush_seconds + asked.write_seconds and not twice and not at_a_stop
    print(
        json.dumps(
            {
                "flush_seconds": asked.flush_seconds,
                "write_seconds": asked.write_seconds,
                "lost_at_a_stop": at_a_stop,
                "lost_at_kills": sum(found["lost"] for found in kills),
                "answered_before_kills": sum(found["answered"] for found in kills),
                "oldest_lost_seconds": longest,
                "ratio": round(longest / asked.flush_seconds, 2),
                "twice": twice,
                "within_what_is_declared": is_kept,
                "ends": told,
            }
        )
    )
    raise SystemExit(0 if is_kept else 1)


def one_end(
    folder: Path, store: Store, body: bytes, what: str, how: signal.Signals, asked: argparse.Namespace
) -> dict[str, Any]:
    """Load an endpoint, end it in the middle, and count what it answered and what it kept."""
    url = f"http://127.0.0.1:{free_port()}"
    variables = project(folder / what.replace(" ", "_"), store, url, asked.flush_seconds)
    command = python("-m", "stepzero.cli.main", "serve", "--use-case", NAME, "--port", url.rpartition(":")[2])
    began = datetime.now(UTC) - timedelta(hours=1)
    load = Load(f"{url}/invocations", body, what.replace(" ", ""), asked.connections)
    with running(command, url, folder / f"{what}.log", variables) as server:
        load.begin()
        time.sleep(asked.seconds)
        ended = time.time()
        for one in [*server.children(recursive=True), server]:
            os.kill(one.pid, how)
        psutil.wait_procs([server], timeout=60)
        answered = load.end()
    rows = read_captured(store, NAME, began, datetime.now(UTC) + timedelta(hours=1))
    kept = [name for name in rows[ID] if name.startswith(f"{load.name}-")]
    known = set(kept)
    lost = [at for name, at in answered.items() if f"{name}.0" not in known]
    return {
        "answered": len(answered),
        "per_second": round(len(answered) / asked.seconds),
        "lost": len(lost),
        "oldest_lost_seconds": round(ended - min(lost), 2) if lost else 0.0,
        "twice": len(kept) - len(set(kept)),
    }


class Load:
    """Several connections that ask until the server is gone, and remember when each request was answered."""

    def __init__(self, url: str, body: bytes, name: str, connections: int) -> None:
        self.url, self.body, self.name = url, body, name
        self.answered: list[dict[str, float]] = [{} for _ in range(connections)]
        self.threads = [threading.Thread(target=self._ask, args=(at,)) for at in range(connections)]

    def begin(self) -> None:
        """Begin to ask."""
        for thread in self.threads:
            thread.start()

    def end(self) -> dict[str, float]:
        """Return the names of all answered requests with the moments of their answers; the server is gone."""
        for thread in self.threads:
            thread.join(timeout=60)
        return {name: at for one in self.answered for name, at in one.items()}

    def _ask(self, at: int) -> None:
        connection = Connection(self.url)
        for number in range(10_000_000):
            name = f"{self.name}-{at}-{number}"
            try:
                connection.ask(request_of(self.url, self.body, {"X-Request-Id": name}))
            except (OSError, RuntimeError):
                return
            self.answered[at][name] = time.time()


def project(folder: Path, store: Store, url: str, flush_seconds: float) -> dict[str, str]:
    """Write environment and use case of an endpoint that captures; return the variables that name them."""
    variables = write_project(folder, store)
    endpoint = {"uri": url, "capture": {"flush_seconds": flush_seconds}}
    environment = {"name": "local", "store": store.root, "endpoints": {NAME: endpoint}}
    (folder / "environments/local.yaml").write_text(yaml.safe_dump(environment), encoding="utf-8")
    return variables


if __name__ == "__main__":
    main()
