"""A lineage server that takes OpenLineage events, and Airflow's own listener that sends them to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class LineageServer:
    """Takes every event; answers 500 to those of some jobs."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.refuses: frozenset[str] = frozenset()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def transport(self) -> dict[str, Any]:
        """What Airflow's setting `[openlineage] transport` is to be."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {"type": "http", "url": url, "endpoint": "api/v1/lineage", "retry": {"total": 0}}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def event(self, job: str, kind: str) -> dict[str, Any]:
        """Return the one event of a job that is of a kind."""
        events = [json.loads(body) for body in self.bodies]
        (found,) = [one for one in events if one["job"]["name"] == job and one["eventType"] == kind]
        return dict(found)


@contextmanager
def transport_to(server: LineageServer, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the provider send its events to the server; it remembers its settings, so it is told to forget them."""
    from airflow.providers.openlineage import conf

    patch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(server.transport))
    # A task's own process is forked for each event; this one has threads, which no fork of it would have.
    patch.setenv("AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD", "True")
    _forget(conf)
    try:
        yield
    finally:
        patch.delenv("AIRFLOW__OPENLINEAGE__TRANSPORT")
        patch.delenv("AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD")
        _forget(conf)


@contextmanager
def listening(patch: pytest.MonkeyPatch) -> Iterator[LineageServer]:
    """Let Airflow's OpenLineage listener hear of tasks that run in this process."""
    from airflow.sdk.listener import get_listener_manager

    # Made before anybody listens: otherwise the provider's plugin would add a listener for good.
    server, manager = LineageServer(), get_listener_manager()
    with transport_to(server, patch):
        from airflow.providers.openlineage.plugins.listener import OpenLineageListener

        listener = OpenLineageListener()
        manager.add_listener(listener)
        try:
            yield server
        finally:
            manager.pm.unregister(listener)
    server.close()


def _forget(conf: Any) -> None:
    for value in vars(conf).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def _handler(server: LineageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            server.bodies.append(body)
            refused = json.loads(body)["job"]["name"] in server.refuses
            self.send_response(500 if refused else 201)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    return Handler
