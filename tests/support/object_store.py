"""A real S3-speaking server for tests: OpenStack Swift as `up --with s3` configures it, one for a test session."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from stepzero.cli.services.swift import LOCK, SERVERS, Swift, install
from stepzero.core.errors import SetupError
from stepzero.spec.environment import ObjectStore
from support.stack import ROOT, free_port, wait_for

KEY, SECRET, BUCKET = "stepzero:admin", "a-secret-of-the-tests", "stepzero"


@dataclass(frozen=True)
class Running:
    """Where it is, and how to find it."""

    endpoint: str

    @property
    def variables(self) -> dict[str, str]:
        """Variables by which boto3, s3fs and Spark find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def client(self) -> Any:
        """Return a boto3 client."""
        import boto3

        names = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.endpoint, **names)  # type: ignore[call-overload]


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Start Swift, installed once into the checkout's cache; skip where it cannot be had."""
    home, port = tmp_path_factory.mktemp("swift"), five_free_ports()
    swift = Swift(home, ObjectStore(endpoint=f"http://127.0.0.1:{port}", server="swift"))
    cache = Path(os.environ.get("STEPZERO_HOME") or ROOT / ".stepzero") / "cache"
    swift.environment = cache / "swift-venv"
    if not swift.program("swift-proxy-server").exists():
        try:
            install(swift.environment, ROOT / LOCK)
        except SetupError as error:
            pytest.skip(f"NOT RUN: Swift cannot be installed: {error}")
    swift.write(KEY, SECRET)
    swift.build_rings()
    started = []
    for name in SERVERS:
        with (home / f"{name}.log").open("wb") as log:
            command = swift.command(name)
            started.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
    try:
        for name in SERVERS:
            wait_for(f"swift-{name}", lambda name=name: _answers(swift.health(name)), seconds=90, every=0.1)
        running = Running(swift.declared.endpoint)
        running.client().create_bucket(Bucket=BUCKET)
        yield running
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            process.wait(timeout=20)


def five_free_ports() -> int:
    """Return a port that is free together with the four after it."""
    for _ in range(50):
        first = free_port()
        if first < 65_000 and all(_is_free(first + step) for step in range(1, 5)):
            return first
    msg = "no five free ports in a row"
    raise AssertionError(msg)


def _is_free(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
