"""`lock`: pin every package with its hashes, for x86-64 and aarch64."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from stepzero.core.errors import ServiceError, SetupError, bare
from stepzero.spec.load import home_folder, include_folder

PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
PYTHONS = ("3.11", "3.12")
# PySpark comes as a source archive only: pure Python and jars.
_BINARY = ("--only-binary", ":all:", "--no-binary", "pyspark")
_UNREACHABLE = ("error sending request", "request failed after", "timed out", "network was disabled", "server error (5")
_LOCKS = {
    "requirements.txt": "requirements/core.in",
    "requirements/test.txt": "requirements/test.in",
    "requirements/s3.txt": "requirements/s3.in",
}
_ENVIRONMENTS = (("requirements.txt", "requirements/test.txt"), ("requirements/s3.txt",))
"""Locks that are installed together."""


def lock(
    *,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; verify hashes and both platforms.")] = False,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Take the newest versions that fit.")] = False,
) -> None:
    """Write requirements.txt, requirements/test.txt and requirements/s3.txt anew from requirements/*.in."""
    project = include_folder().parent
    if check:
        check_locks(project, typer.echo)
        return
    for target, source in _LOCKS.items():
        compile_lock(project, source, project / target, upgrade=upgrade)
        typer.echo(f"{target}: {count_packages(project / target)} packages")


def check_locks(project: Path, say: Callable[[str], None]) -> None:
    """Verify that each lock is current, has a hash for every package, and installs on both platforms.

    Raises:
        SetupError: One does not; says which and why.
        ServiceError: The package index does not answer; nothing is known of the lock.
    """
    for target, source in _LOCKS.items():
        require_hashes(project / target)
        _require_current(project, source, project / target)
        say(f"{target}: current, {count_packages(project / target)} packages with hashes")
    for python in PYTHONS:
        for platform in PLATFORMS:
            require_installable(project, python, platform)
            say(f"Python {python} on {platform}: every package has a file for it")


def compile_lock(project: Path, source: str, target: Path, *, upgrade: bool = False) -> None:
    """Resolve one input file for all platforms into a lock; versions stay unless they must move."""
    command = ["compile", source, "--universal", "--python-version", PYTHONS[0], "--generate-hashes"]
    command += ["--override", "requirements/overrides.txt", "--no-annotate", "--no-header"]
    command += ["--quiet", "--output-file", str(target), *(["--upgrade"] if upgrade else [])]
    _uv(project, command)


def require_hashes(path: Path) -> None:
    """Check that every package of a lock has a SHA-256.

    Raises:
        SetupError: One has none.
    """
    bare_lines = [entry.split()[0] for entry in _entries(path) if "--hash=sha256:" not in entry]
    if bare_lines:
        raise SetupError(
            f"{path.name} {bare_lines[0]}",
            value=bare("no hash"),
            allowed="at least one --hash=sha256:… for every package",
            action="bin/stepzero lock",
        )


def require_installable(project: Path, python: str, platform: str) -> None:
    """Ask uv what it would install there, hashes required.

    Raises:
        SetupError: Some package has no file for that platform.
    """
    with tempfile.TemporaryDirectory() as empty:
        command = ["install", "--dry-run", "--no-deps", "--require-hashes", "--target", empty, "--quiet"]
        command += ["--python-version", python, "--python-platform", platform, *_BINARY]
        for together in _ENVIRONMENTS:
            _uv(project, [*command, *(word for target in together for word in ("-r", target))])


def is_unreachable(said: str) -> bool:
    """Tell whether uv failed for want of an answer; what an index answered, such as "not found", says of the lock."""
    text = said.lower()
    return any(words in text for words in _UNREACHABLE) and "client error (4" not in text


def count_packages(path: Path) -> int:
    """Return how many packages a lock pins."""
    return len(_entries(path))


def _require_current(project: Path, source: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / target.name
        shutil.copy(target, fresh)
        compile_lock(project, source, fresh)
        now, then = set(_entries(fresh)), set(_entries(target))
    differ = sorted(entry.split()[0] for entry in now ^ then)
    if differ:
        raise SetupError(
            f"{target.name}",
            value=bare(f"not what {source} resolves to: {', '.join(differ[:5])}"),
            allowed="a lock made from its input file",
            action="bin/stepzero lock",
        )


def _entries(path: Path) -> list[str]:
    """Return one text per package, its hashes included."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _uv(project: Path, arguments: list[str]) -> None:
    own = home_folder() / "bootstrap" / "bin" / "uv"
    program = str(own) if own.is_file() else shutil.which("uv")
    if program is None:
        raise SetupError(
            "uv", value=bare("not found"), allowed=str(own), action="run bin/stepzero once, it installs uv"
        )
    variables = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(
        [program, "pip", *arguments], cwd=project, env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode != 0 and is_unreachable(done.stderr):
        raise ServiceError(
            "package index",
            value=bare(done.stderr.strip()[-180:]),
            allowed="an index that answers",
            action="check the network, then try again",
        )
    if done.returncode != 0:
        raise SetupError(
            f"uv pip {arguments[0]} {' '.join(arguments[1:3])}",
            value=bare(done.stderr.strip()[-180:]),
            allowed="a set of versions that fits",
            action=f"correct requirements/*.in; all it said: {done.stderr.strip()[-1500:]}",
        )
