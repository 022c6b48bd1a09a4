"""What `status` says of services: one answer that comes too late is asked for again."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stepzero.cli.services.health import HealthProbe
from stepzero.cli.services.parts import Part

SECONDS = 0.4
AIRFLOW = ("metadatabase", "scheduler", "triggerer", "dag_processor")


@contextmanager
def busy_server(late: int) -> Iterator[tuple[str, Counter[str]]]:
    """Answer the first so many requests for each page too late; count them."""
    asked, over = Counter[str](), threading.Event()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked[self.path] += 1
            if asked[self.path] <= late:
                over.wait(3 * SECONDS)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({name: {"status": "healthy"} for name in AIRFLOW}).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", asked
    finally:
        over.set()
        http.shutdown()
        thread.join()
        http.server_close()


def healthy(address: str) -> set[str]:
    """Return which parts are healthy at one look."""
    parts = [Part(f"airflow-{name}", [], f"airflow:{name}") for name in AIRFLOW[1:]]
    parts += [
        Part("airflow-api-server", [], "airflow:metadatabase", address=address),
        Part("mlflow", [], f"http:{address}/health"),
        Part("endpoint", [], f"answers:{address}/ping"),
    ]
    running = {"state": "running", "started": datetime.now(UTC).timestamp()}
    probe = HealthProbe(parts, {part.name: running for part in parts}, seconds=SECONDS)
    return {part.name for part in parts if probe.is_healthy(part)}


def test_one_late_answer_is_asked_for_again() -> None:
    with busy_server(late=1) as (address, _):
        assert len(healthy(address)) == 6


def test_who_is_always_late_is_not_healthy() -> None:
    with busy_server(late=9) as (address, asked):
        assert healthy(address) == set()
    assert asked == {"/api/v2/monitor/health": 2, "/health": 2, "/ping": 2}, "Airflow once for all of its parts"
