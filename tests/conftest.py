"""Fixtures that several folders share."""

import functools
from pathlib import Path

import httpx._transports.default as transports
import pytest
from hypothesis import settings

# How long one example takes says more of the machine than of the code.
settings.register_profile("house", deadline=None)
# Where each example is dear; the same properties see all examples on the machine itself.
settings.register_profile("emulated", deadline=None, max_examples=15)
settings.load_profile("house")

# Each `httpx.get` reads all authorities' certificates for a TLS context of its own, in 50 ms of processor time.
# Tests ask servers on loopback, which speak no TLS, thousands of times.
transports.create_ssl_context = functools.cache(transports.create_ssl_context)

pytest_plugins = ["support.stack", "support.browser"]


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be a machine without any Java, for which no wheel brings one either."""
    from stepzero.launchers import runtime

    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(runtime, "_INSTALLED", tmp_path / "jvm")
    monkeypatch.setattr(runtime.platform, "machine", lambda: "aarch64")
