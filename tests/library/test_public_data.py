"""Fetching public data: the whole file or none, known by its figures, from a server of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stepzero.adapters.public_data import PUBLIC, PublicData, fetch, public_data
from stepzero.cli.app import app
from stepzero.core.errors import InputError, ServiceError

SMALL = PublicData(uri="", licence="free", target="Class", rows=30, positives=4)


def content(rows: int, positives: int) -> bytes:
    lines = ['"Time","Amount","Class"', *(f'{i},1.5,"{int(i < positives)}"' for i in range(rows))]
    return "\n".join(lines).encode() + b"\n"


@pytest.fixture
def served() -> Iterator[Callable[[bytes], str]]:
    """Serve bytes on loopback; the whole promised, half of it sent where told so."""
    servers = []

    def serve(data: bytes, *, cut: bool = False) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if cut else data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/cards.csv"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_whole_file_arrives_with_progress(served: Callable[..., str], tmp_path: Path) -> None:
    told: list[str] = []
    fetch(replace(SMALL, uri=served(content(30, 4))), tmp_path / "data" / "cards.csv", told.append)
    assert (tmp_path / "data" / "cards.csv").read_bytes() == content(30, 4)
    assert told


def test_file_with_other_figures_is_not_kept(served: Callable[..., str], tmp_path: Path) -> None:
    uri = served(content(31, 4))
    with pytest.raises(InputError) as error:
        fetch(replace(SMALL, uri=uri), tmp_path / "cards.csv", lambda _: None)
    assert str(error.value) == (
        f"public data at {uri}: got 31 rows, 4 of them with Class = 1. Allowed: 30 rows, 4 of them with Class = 1. "
        "Do: name a whole copy with --source; nothing was written"
    )
    assert list(tmp_path.iterdir()) == []


def test_cut_connection_leaves_nothing(served: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"Do: check the network, try again later, or name another copy"):
        fetch(replace(SMALL, uri=served(content(30, 4), cut=True)), tmp_path / "cards.csv", lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_golden_67_the_card_data_are_known_by_their_counts(served: Callable[..., str], tmp_path: Path) -> None:
    assert (PUBLIC["credit_card_fraud"].rows, PUBLIC["credit_card_fraud"].positives) == (284_807, 492)
    good, bad = served(content(284_807, 492)), served(content(284_817, 492))
    path = tmp_path / "cards.csv"
    done = CliRunner().invoke(app, ["data", "fetch", "--source", bad, "--output", str(path)])
    assert done.exit_code == 1
    assert not path.exists()
    done = CliRunner().invoke(app, ["data", "fetch", "--source", good, "--output", str(path)])
    assert done.exit_code == 0, done.output
    assert "284,807 rows" in done.output


def test_use_case_without_public_data_is_told() -> None:
    with pytest.raises(
        InputError, match=r"public data of use case credit_card_frau: got .* Allowed: .*credit_card_fraud"
    ):
        public_data("credit_card_frau")
