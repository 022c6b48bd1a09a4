"""What services are started with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepzero.cli.services.parts import parts_of
from stepzero.spec.load import include_folder, load_environment


def test_services_find_a_package_of_yours_that_is_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    include, yours = str(include_folder()), str(tmp_path / "yours")
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([include, str(include_folder().parent / "plugins"), "", yours]))
    paths = {part.variables["PYTHONPATH"] for part in parts_of(load_environment())}
    assert paths == {os.pathsep.join([include, yours])}, "Airflow puts our plugins there itself"


def test_no_second_endpoint_host_beside_the_one_of_the_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stepzero run` in the scheduler's container starts what is missing there: two hosts would fail each other's."""
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    assert [part.name for part in parts_of(load_environment("compose"))] == ["preload"]
    assert [part.name for part in parts_of(load_environment("local"))][-1] == "endpoint-host"
