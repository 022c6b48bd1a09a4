"""Pools are made although Airflow's database is locked for a moment, and a lasting failure is told."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stepzero.cli.services import pools
from stepzero.cli.services.credentials import Credentials
from stepzero.core.errors import ServiceError, SetupError
from stepzero.spec.environment import Airflow, Environment, Pool


@pytest.mark.parametrize("fault", ["status 500", "no answer"])
@pytest.mark.parametrize(("locked", "made"), [(2, True), (99, False)])
def test_pool_is_tried_again_while_the_database_is_locked(
    locked: int, made: bool, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            busy = self.path.endswith("/pools") and asked.count(self.path) <= locked
            if busy and fault == "no answer":
                self.close_connection = True
                return
            self.send_response(500 if busy else 201)
            self.end_headers()
            self.wfile.write(b'{"access_token": "t"}')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    monkeypatch.setattr(pools, "PAUSE_SECONDS", 0.0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        uri = f"http://127.0.0.1:{server.server_port}"
        environment = Environment(
            name="local", store=f"file://{tmp_path}", airflow=Airflow(uri=uri), pools={"graviton": Pool(slots=2)}
        )
        credentials = Credentials(tmp_path)
        credentials.ensure(environment)
        if made:
            pools.ensure_pools(environment, credentials)
        else:
            with pytest.raises(ServiceError, match=r"Allowed: an API server that creates pools"):
                pools.ensure_pools(environment, credentials)
        assert asked.count("/api/v2/pools") == (locked + 1 if made else pools.TRIES)
    finally:
        server.shutdown()
        server.server_close()


def test_home_without_services_is_told_in_four_parts(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as told:
        _ = Credentials(tmp_path).administrator_password
    assert told.value.to_json()["value"] == "not there"
    assert "airflow_passwords.json" in str(told.value)
    assert "Do: bin/stepzero up, or set STEPZERO_HOME to the home of those that run" in str(told.value)
