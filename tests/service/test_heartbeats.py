"""A part of Airflow that hangs is killed and started again; one that beats, or that nobody tells of, is left alone."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stepzero.cli.services.heartbeats import Heartbeats
from stepzero.cli.services.parts import Part
from stepzero.cli.services.processes import marked
from stepzero.cli.services.supervisor import Supervisor
from support.stack import wait_for

pytestmark = pytest.mark.service
LONG_AGO, SILENCE = 1_000.0, 300.0


class Told:
    """What the API server says, one answer after the other; the last one stays."""

    def __init__(self, *ages: dict[str, float]) -> None:
        self.ages = list(ages)
        self.asked = 0

    def body(self) -> bytes:
        self.asked += 1
        ages = self.ages.pop(0) if len(self.ages) > 1 else self.ages[0]
        now = datetime.now(UTC)
        beats = {
            field: {"status": "healthy", f"latest_{field}_heartbeat": (now - timedelta(seconds=age)).isoformat()}
            for field, age in ages.items()
        }
        return json.dumps({"metadatabase": {"status": "healthy"}, **beats}).encode()


@contextmanager
def server(told: Told) -> Iterator[str]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(told.body())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def parts(address: str, home: Path) -> list[dict[str, Any]]:
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    own = {"STEPZERO_HOME": str(home)}
    return [
        Part("airflow-api-server", sleep, "airflow:metadatabase", own, address=address).to_json(),
        Part("airflow-scheduler", sleep, "airflow:scheduler", own).to_json(),
        Part("airflow-triggerer", sleep, "airflow:triggerer", own).to_json(),
        Part("mlflow", sleep, "http:http://127.0.0.1:1/", own).to_json(),
    ]


def looks(told: Told, *, started: float, number: int) -> list[dict[str, float]]:
    with server(told) as address:
        heartbeats = Heartbeats(parts(address, Path("/nowhere")), every=0, silence=SILENCE)
        heartbeats._due = 0.0  # as if the time in which services start were over
        running = {one["name"]: started for one in parts(address, Path("/nowhere"))}
        return [heartbeats.silent(running) for _ in range(number)]


def restarted(state: Path) -> dict[str, Any] | None:
    """Return what is known of all parts, once the scheduler was started again."""
    found: dict[str, Any] = json.loads(state.read_text(encoding="utf-8"))["parts"] if state.is_file() else {}
    return found if found and found["airflow-scheduler"]["restarts"] else None


def test_only_what_stays_silent_hangs() -> None:
    begun = datetime.now(UTC).timestamp() - 2 * LONG_AGO
    silent, beats = {"scheduler": LONG_AGO, "triggerer": 1.0}, {"scheduler": 1.0, "triggerer": 1.0}
    first, second, third = looks(Told(silent), started=begun, number=3)
    assert (list(first), list(second)) == ([], ["airflow-scheduler"]), "a machine that woke up is given a second look"
    assert second["airflow-scheduler"] == pytest.approx(LONG_AGO, abs=60)
    assert list(third) == [], "a part that was told of is counted anew"
    assert looks(Told(silent, beats, silent), started=begun, number=3) == [{}, {}, {}]


def test_a_heartbeat_of_the_process_before_is_none_of_this_one() -> None:
    begun = datetime.now(UTC).timestamp() - 10
    assert looks(Told({"scheduler": LONG_AGO, "triggerer": LONG_AGO}), started=begun, number=3) == [{}, {}, {}]


def test_a_silent_server_says_nothing_of_the_others() -> None:
    heartbeats = Heartbeats(parts("http://127.0.0.1:1", Path("/nowhere")), every=0, silence=SILENCE)
    heartbeats._due = 0.0
    assert [heartbeats.silent({"airflow-scheduler": 0.0}) for _ in range(3)] == [{}, {}, {}]


def test_what_hangs_is_started_again(tmp_path: Path) -> None:
    # Beats that lie ahead: only the scheduler, which never beat since it was started, is late at once.
    with server(Told({"scheduler": LONG_AGO, "triggerer": -LONG_AGO})) as address:
        made = parts(address, tmp_path)
        supervisor = Supervisor(tmp_path, made, Heartbeats(made, every=0, silence=0.0))
        (tmp_path / "run").mkdir()
        thread = threading.Thread(target=supervisor.supervise)
        thread.start()
        try:
            state = tmp_path / "run" / "state.json"
            seen = wait_for("a second scheduler", lambda: restarted(state), seconds=60, every=0.1)
            assert seen["airflow-scheduler"]["last_exit"] == -9
            assert [one for one in seen if seen[one]["restarts"]] == ["airflow-scheduler"]
        finally:
            supervisor.stopping = True
            thread.join()
    assert not list(marked(tmp_path))
