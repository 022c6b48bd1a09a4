"""Debian packages of any architecture, unpacked into a folder: needs neither root nor a change of the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SUITE = "bookworm"
"""Debian 12: Python 3.11, Java 17 and the C library of the shipped container."""
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class UnavailableError(Exception):
    """Say why the lane cannot be had on this machine."""


def mirror() -> str:
    """Return where packages come from: ``STEPZERO_DEBIAN_MIRROR``, or this machine's own source of packages."""
    if given := os.environ.get("STEPZERO_DEBIAN_MIRROR"):
        return given
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", f"Codename: {SUITE}"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    if not found:
        msg = f"this machine's package sources do not have {SUITE}; set STEPZERO_DEBIAN_MIRROR"
        raise UnavailableError(msg)
    return found[0].rstrip("/")


def check_tools() -> None:
    """Refuse where packages can be neither fetched and verified nor unpacked."""
    missing = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    if not KEYS.is_file():
        missing.append(f"{KEYS} (package debian-archive-keyring)")
    if missing:
        msg = f"this machine lacks {', '.join(missing)}"
        raise UnavailableError(msg)


def unpack(architecture: str, packages: list[str], root: Path, *, dependencies: bool) -> list[str]:
    """Unpack packages below `root` and return ``name_version_architecture`` of each.

    Absolute links are made relative, so that the folder never leads back to this machine's files.
    """
    work = root.parent / f"{root.name}.apt"
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    _fetch(work, architecture, packages, dependencies=dependencies)
    archives = sorted(work.rglob("*.deb"))
    root.mkdir(parents=True)
    for archive in archives:
        _run(["dpkg-deb", "--extract", str(archive), str(root)])
    _make_links_relative(root)
    shutil.rmtree(work)
    return [archive.stem for archive in archives]


def _fetch(work: Path, architecture: str, packages: list[str], *, dependencies: bool) -> None:
    options = _options(work, architecture)
    _run(["apt-get", *options, "--quiet", "update"], cwd=work)
    what = ["--yes", "--download-only", "install"] if dependencies else ["download"]
    _run(["apt-get", *options, "--quiet", *what, *packages], cwd=work)


def _options(work: Path, architecture: str) -> list[str]:
    """Return the options that give apt a state of its own; the machine's proxies stay in force."""
    (work / "status").touch()
    source = f"deb [arch={architecture} signed-by={KEYS}] {mirror()} {SUITE} main\n"
    (work / "sources.list").write_text(source, encoding="utf-8")
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
        "Dir::State": f"{work}/state/",
        "Dir::State::status": f"{work}/status",
        "Dir::Cache": f"{work}/cache/",
        "Dir::Etc::SourceList": f"{work}/sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::Etc::Preferences": "-",
        "Dir::Etc::PreferencesParts": "-",
    }
    return [part for name, value in settings.items() for part in ("--option", f"{name}={value}")]


def _make_links_relative(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_symlink() and path.readlink().is_absolute():
            target = root / path.readlink().relative_to("/")
            path.unlink()
            path.symlink_to(os.path.relpath(target, path.parent))


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        msg = f"{' '.join(command[:1] + command[-3:])} ended with {done.returncode}: {done.stderr.strip()[-600:]}"
        raise UnavailableError(msg)
