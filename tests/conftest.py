"""Fixtures that several folders share."""

from pathlib import Path

import pytest
from hypothesis import settings

# How long one example takes says more of the machine than of the code.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

pytest_plugins = ["support.stack", "support.browser"]


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be a machine without any Java, for which no wheel brings one either."""
    from stepzero.launchers import runtime

    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(runtime, "_INSTALLED", tmp_path / "jvm")
    monkeypatch.setattr(runtime.platform, "machine", lambda: "aarch64")
