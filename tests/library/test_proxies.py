"""A proxy that the machine declares is for the world outside: nothing of ours asks it for loopback."""

from __future__ import annotations

import http.server
import os
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from stepzero.cli import main
from stepzero.core.loopback import without_proxy
from support.modules import load_module
from support.stack import ROOT

bootstrap: Any = load_module(ROOT / "bin" / "_bootstrap.py")
DEAD = "http://127.0.0.1:9"
LOOPBACK = "127.0.0.1,localhost,::1"


@pytest.fixture(autouse=True)
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare a proxy that does not answer, and no exceptions."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, DEAD)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")


@pytest.fixture
def service() -> Iterator[str]:
    """A service of this machine."""
    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=http_server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http_server.server_port}/"
    http_server.shutdown()
    thread.join()
    http_server.server_close()


class Answers(http.server.BaseHTTPRequestHandler):
    """Answer anything with nothing."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_services_of_this_machine_are_reached_past_a_proxy(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(service)
    monkeypatch.setattr(sys, "argv", ["stepzero", "stage", "--help"])
    with pytest.raises(SystemExit):
        main.main()
    assert httpx.get(service).status_code == httpx.codes.NO_CONTENT
    with urllib.request.urlopen(service) as answer:  # noqa: S310 - it is ours
        assert answer.status == httpx.codes.NO_CONTENT
    assert "http" in urllib.request.getproxies(), "the world outside is asked for through it as before"


@pytest.mark.parametrize(
    ("given", "told"),
    [("", LOOPBACK), ("*", None), (".internal, localhost", ".internal,localhost,127.0.0.1,::1")],
)
def test_exceptions_of_yours_stay(given: str, told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", given)
    expected = {} if told is None else {"no_proxy": told, "NO_PROXY": told}
    assert without_proxy(os.environ) == expected
    found = bootstrap.command_environment()
    assert (found["no_proxy"], found["NO_PROXY"]) == (told or "", told or given), "bin/ says the same"
