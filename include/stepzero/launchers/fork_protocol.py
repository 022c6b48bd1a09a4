"""What the preloaded server and its clients agree on: where the socket is, what is sent, which code is meant."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from stepzero.core.digests import digest_file, digest_json
from stepzero.spec.load import home_folder
from stepzero.spec.lock import lock_digest

_LENGTH = struct.Struct("!I")
MOST_BYTES = 8 * 1024**2
"""Arguments and environment of a process are far smaller."""


@dataclass(frozen=True, kw_only=True)
class ForkRequest:
    """One stage to run; the file descriptor for its log travels beside it."""

    code: str
    arguments: list[str]
    variables: dict[str, str]
    folder: str
    timeout_seconds: float
    threads: int


def socket_path() -> Path:
    """Return where the server listens."""
    return home_folder() / "run" / "preload.sock"


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a path that fits into a socket's address (108 bytes), however deep the folder is."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def code_digest() -> str:
    """Return what a preloaded process has in memory: the library's sources, the lock, the interpreter.

    Read anew at every call; only the server's start keeps one.
    """
    package = Path(__file__).resolve().parents[1]
    sources = {str(path.relative_to(package)): digest_file(path) for path in sorted(package.rglob("*.py"))}
    return digest_json([str(package), sources, lock_digest(), sys.executable])


def send_request(connection: socket.socket, request: ForkRequest, log: int) -> None:
    """Send a request and the file descriptor that its log goes to."""
    data = json.dumps(asdict(request)).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(data))], [log])
    connection.sendall(data)


def receive_request(connection: socket.socket) -> tuple[ForkRequest, int]:
    """Read a request and its file descriptor.

    Raises:
        ValueError: It is not one.
    """
    head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, 4)
    try:
        size = _size(head, descriptors)
        with connection.makefile("rb") as stream:
            request = ForkRequest(**json.loads(stream.read(size)))
    except (TypeError, ValueError):
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return request, descriptors[0]


def _size(head: bytes, descriptors: list[int]) -> int:
    size = int(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else 0
    if len(descriptors) != 1 or not 0 < size <= MOST_BYTES:
        msg = f"{len(descriptors)} file descriptors and {size} bytes"
        raise ValueError(msg)
    return size


def send_answer(connection: socket.socket, answer: dict[str, object]) -> None:
    """Send one line of JSON."""
    connection.sendall(json.dumps(answer).encode() + b"\n")
