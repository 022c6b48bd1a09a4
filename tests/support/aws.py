"""A local AWS for interfaces that no server here speaks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


@contextmanager
def local_aws() -> Iterator[str]:
    """Start a local AWS on a free port; yield its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def connection_to(address: str) -> dict[str, Any]:
    """Return an Airflow connection to a local AWS."""
    extra = {"endpoint_url": address, "region_name": "us-east-1"}
    return {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
