"""Redis for tests: a server of their own where the machine has one, else one that speaks its protocol."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.stack import free_port, wait_for


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Start Redis on a free port of this machine, keeping nothing; yield its address, and end it."""
    pytest.importorskip("redis", reason="NOT RUN: the online store on Redis: its Python client is not installed")
    port, program = free_port(), shutil.which("redis-server")
    with _real(program, port, folder) if program else _played(port):
        wait_for("Redis", lambda: _pongs(port), seconds=30, every=0.05)
        yield f"127.0.0.1:{port}"


@contextmanager
def _real(program: str, port: int, folder: Path) -> Iterator[None]:
    words = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen([*words, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        yield
    finally:
        server.terminate()
        server.wait(timeout=20)


@contextmanager
def _played(port: int) -> Iterator[None]:
    reason = "NOT RUN: the online store on Redis: neither redis-server nor fakeredis is here"
    fakeredis = pytest.importorskip("fakeredis", reason=reason)
    server = fakeredis.TcpFakeServer(("127.0.0.1", port), server_type="redis")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _pongs(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as asked:
            asked.sendall(b"*1\r\n$4\r\nPING\r\n")
            return asked.recv(16).startswith(b"+PONG")
    except OSError:
        return False
