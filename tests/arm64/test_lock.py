"""The lock serves both architectures: it resolves, carries every hash, and has a file for each.

What a silent package index leaves unknown is not counted as passed: those tests are skipped and say so.
Faults that the check must find are planted in tests/library/test_bootstrap_lock.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from arm64.lane.build import ROOT
from stepzero.cli import lock
from stepzero.cli.lock import check_locks, is_unreachable, require_installable
from stepzero.core.errors import ServiceError
from support.stack import free_port

pytestmark = pytest.mark.timeout(300)
X86_64, AARCH64 = "x86_64-manylinux_2_28", "aarch64-manylinux_2_28"


def test_lock_is_current_and_installs_on_both_architectures(package_index: None) -> None:
    said: list[str] = []
    check_locks(ROOT, said.append)
    assert sum(X86_64 in line for line in said) == 2
    assert sum(AARCH64 in line for line in said) == 2


@pytest.mark.parametrize("platform", [X86_64, AARCH64])
def test_installer_of_the_container_is_there_for_both(platform: str, tmp_path: Path, package_index: None) -> None:
    """The container begins with uv, by hash, whatever machine it is built for."""
    command = [
        "install",
        "--dry-run",
        "--quiet",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--target",
        str(tmp_path),
    ]
    lock._uv(ROOT, [*command, "--python-platform", platform, "-r", "requirements/bootstrap.txt"])


def test_silent_index_is_no_fault_of_the_lock(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ServiceError, match=r"(?s)package index: got .*an index that answers\. Do: check the network"):
        require_installable(project, "3.11", AARCH64)


@pytest.mark.parametrize(
    ("said", "unreachable"),
    [
        ("Request failed after 3 retries\n Failed to fetch: one\n error sending request", True),
        ("hint: Packages were unavailable because the network was disabled.", True),
        ("Failed to fetch: one\n HTTP status server error (503 Service Unavailable)", True),
        ("Failed to fetch: one\n HTTP status client error (404 Not Found)", False),
        ("Because one==1 has no wheels with a matching platform tag", False),
    ],
)
def test_silence_is_told_from_an_answer(said: str, unreachable: bool) -> None:
    assert is_unreachable(said) is unreachable


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the locks that a test may spoil."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    return tmp_path
