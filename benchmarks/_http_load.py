"""A client that costs little: requests made before, one keep-alive connection each, only what is needed is read."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from urllib.parse import urlsplit


class Connection:
    """One keep-alive connection to a server of this machine."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def ask(self, request: bytes) -> bytes:
        """Send a request and return the answer's body; any other status than 200 is an error."""
        self._socket.sendall(request)
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, rest = self._read.partition(b"\r\n\r\n")
        self._read = rest
        length = next(
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        while len(self._read) < length:
            self._more()
        body, self._read = self._read[:length], self._read[length:]
        if head.split(b" ", 2)[1] != b"200":
            msg = f"{head!r} {body[:500]!r}"
            raise RuntimeError(msg)
        return body

    def _more(self) -> None:
        piece = self._socket.recv(65_536)
        if not piece:
            msg = f"the server closed the connection after {self._read!r}"
            raise RuntimeError(msg)
        self._read += piece

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def request_of(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a POST request as it goes over the wire."""
    parts = urlsplit(url)
    told = {"Host": parts.netloc, "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def latencies(url: str, requests: Sequence[bytes], count: int, warm_up: int = 100) -> list[float]:
    """Return the seconds of single requests, one after the other."""
    connection, seconds = Connection(url), []
    for number in range(warm_up + count):
        begun = time.perf_counter()
        connection.ask(requests[number % len(requests)])
        seconds.append(time.perf_counter() - begun)
    connection.close()
    return seconds[warm_up:]


def throughput(url: str, requests: Sequence[bytes], seconds: float, connections: int = 4) -> float:
    """Return answers a second, of several connections at once."""
    counts, end = [0] * connections, time.perf_counter() + seconds

    def go_on(own: int) -> None:
        connection = Connection(url)
        while time.perf_counter() < end:
            connection.ask(requests[(own + counts[own]) % len(requests)])
            counts[own] += 1
        connection.close()

    workers = [threading.Thread(target=go_on, args=(own,)) for own in range(connections)]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - begun)
