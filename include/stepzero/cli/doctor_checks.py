"""What usually goes wrong on a machine, each looked at by one function."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from stepzero.core.errors import SetupError, StepzeroError, bare, is_disk_full
from stepzero.launchers.runtime import deequ_jar, java_home
from stepzero.spec.environment import Environment
from stepzero.spec.load import home_folder, include_folder

GOOD, WARNING, PROBLEM = "good", "warning", "problem"
FREE_GIGABYTES = 2.0
MEMORY_GIGABYTES = 3.0
_PYTHONS = ((3, 11), (3, 12))
_PROBE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Finding:
    """What one check saw, and what to do about it."""

    check: str
    state: str
    found: str
    action: str = ""


Check = Callable[[Environment], Finding]


def all_findings(environment: Environment) -> Iterator[Finding]:
    """Run every check; an error of ours becomes a problem with its own advice."""
    for name, check in CHECKS.items():
        try:
            yield check(environment)
        except StepzeroError as error:
            yield Finding(name, PROBLEM, str(error).partition(". Do: ")[0], error.action)
        except OSError as error:
            yield _from_system(name, error)


def check_python(environment: Environment) -> Finding:
    """Check the version of this Python."""
    del environment
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] in _PYTHONS:
        return Finding("python", GOOD, f"{version} in {sys.prefix}")
    return Finding("python", PROBLEM, version, "apt-get install python3.11 python3.11-venv, then bin/stepzero again")


def check_packages(environment: Environment) -> Finding:
    """Compare what is installed with the lock."""
    del environment
    lock = include_folder().parent / "requirements.txt"
    if not lock.is_file():
        return Finding("packages", GOOD, "installed from wheels; there is no lock here")
    wanted = locked_versions(lock)
    differ = [
        f"{name} {_installed(name) or 'missing'}, not {version}"
        for name, version in wanted.items()
        if _installed(name) != version
    ]
    if not differ:
        return Finding("packages", GOOD, f"{len(wanted)} as in {lock.name}")
    more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
    action = (
        f"rm {home_folder() / 'venv' / '.stepzero.json'}; the next bin/stepzero makes the environment equal to the lock"
    )
    return Finding("packages", PROBLEM, "; ".join(differ[:3]) + more, action)


def check_java(environment: Environment) -> Finding:
    """Find the Java that Spark would use."""
    del environment
    return Finding("java", GOOD, f"Java 17 in {java_home()}")


def check_jar(environment: Environment) -> Finding:
    """Check the Deequ jar and its digest."""
    jar = deequ_jar(environment)
    known = "path of your own" if environment.spark.deequ_jar else "SHA-256 as pinned"
    return Finding("deequ jar", GOOD, f"{jar} ({known})")


def check_home(environment: Environment) -> Finding:
    """Write a file where local state lives."""
    del environment
    home = home_folder()
    home.mkdir(parents=True, exist_ok=True)
    probe = home / f".doctor-{uuid.uuid4().hex}"
    try:
        write_probe(probe)
    finally:
        probe.unlink(missing_ok=True)
    return Finding("home", GOOD, f"{home} can be written")


def check_store(environment: Environment) -> Finding:
    """Write, read and remove a file in the store."""
    from stepzero.adapters.store import Store

    store, uri = Store(environment.store), f"doctor/{uuid.uuid4().hex}.json"
    try:
        store.write_json(uri, {"probe": True})
        store.read_json(uri)
    finally:
        if store.exists(uri):
            store.files.rm(store.path(uri))
    return Finding("store", GOOD, f"{environment.store} can be written and read")


def check_disk(environment: Environment) -> Finding:
    """Look at the room below the home folder."""
    del environment
    free = shutil.disk_usage(_existing(home_folder())).free / 1e9
    if free >= FREE_GIGABYTES:
        return Finding("disk", GOOD, f"{free:.0f} GB free")
    action = f"make room, at least {FREE_GIGABYTES:.0f} GB, or set STEPZERO_HOME to a folder on a larger disk"
    return Finding("disk", PROBLEM, f"{free:.1f} GB free under {home_folder()}", action)


def check_memory(environment: Environment) -> Finding:
    """Look at the memory that is left, or that our own services use already."""
    del environment
    available = psutil.virtual_memory().available / 1e9
    if available >= MEMORY_GIGABYTES:
        return Finding("memory", GOOD, f"{available:.0f} GB available")
    action = "stop other programs, or make environment spark.memory smaller; a run takes about 4 GB"
    return Finding("memory", WARNING, f"{available:.1f} GB available", action)


def check_secrets(environment: Environment) -> Finding:
    """Check that nobody else may read the secrets."""
    del environment
    folder = home_folder() / "secrets"
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    loose = [path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if not loose:
        return Finding("secrets", GOOD, f"{len(files)} files for their owner alone")
    return Finding("secrets", PROBLEM, f"others may read {loose[0]}", f"chmod 600 {folder}/*")


def check_ports(environment: Environment) -> Finding:
    """Look who listens where our services want to."""
    from stepzero.cli.services.parts import shown_parts
    from stepzero.cli.services.ports import require_free_ports

    parts = [part for part in shown_parts(environment) if part.port]
    require_free_ports(parts, home_folder())
    return Finding("ports", GOOD, ", ".join(f"{part.name} {part.port}" for part in parts) or "none needed")


def check_services(environment: Environment) -> Finding:
    """Ask the services how they are, where they were started."""
    from stepzero.cli.services.control import read_state, service_status

    if not read_state(home_folder()):
        return Finding("services", GOOD, "not running (bin/stepzero up starts them)")
    bad = [row for row in service_status(environment) if row["state"] != "healthy"]
    if not bad:
        return Finding("services", GOOD, "all healthy")
    found = ", ".join(f"{row['name']} {row['state']}" for row in bad)
    return Finding("services", PROBLEM, found, f"read {bad[0]['log']}; bin/stepzero down, then up, starts all again")


def check_tracking(environment: Environment) -> Finding:
    """Ask the MLflow server, unless it is one of ours that is not running."""
    import httpx

    from stepzero.cli.services.control import read_state
    from stepzero.cli.services.parts import is_local

    uri = environment.tracking.uri
    if is_local(uri) and not read_state(home_folder()):
        return Finding("tracking", GOOD, f"{uri} starts with the services")
    try:
        status = httpx.get(f"{uri.rstrip('/')}/health", timeout=5, trust_env=not is_local(uri)).status_code
    except httpx.HTTPError as error:
        return Finding("tracking", PROBLEM, f"{uri}: {error}", "start that server, or correct environment tracking.uri")
    if status != httpx.codes.OK:
        return Finding("tracking", PROBLEM, f"{uri}/health answers {status}", "look at the server's log")
    return Finding("tracking", GOOD, f"{uri} answers")


def check_champions(environment: Environment) -> Finding:
    """Compare the alias of every champion with what was approved last; anybody may move an alias in MLflow."""
    from stepzero.adapters.registry_succession import moved_by_hand
    from stepzero.adapters.store import Store
    from stepzero.adapters.tracking import Tracking
    from stepzero.cli.services.control import read_state
    from stepzero.cli.services.parts import is_local

    store = Store(environment.store)
    names = sorted({uri.split("/")[1] for uri in store.list("registry") if "/successions/" in uri})
    if not names:
        return Finding("champions", GOOD, "nothing was approved yet")
    if is_local(environment.tracking.uri) and not read_state(home_folder()):
        return Finding("champions", GOOD, f"{', '.join(names)}: looked at when the services run")
    registry = Tracking(environment.tracking).registry
    moved = {name: told for name in names if (told := moved_by_hand(store, registry, name))}
    if not moved:
        return Finding("champions", GOOD, f"{', '.join(names)}: as approved")
    found = "; ".join(f"{name}: alias champion shows {told}" for name, told in moved.items())
    return Finding("champions", PROBLEM, found, "set the alias back in MLflow; only a run and an approval change it")


def check_signing(environment: Environment) -> Finding:
    """See whether evidence of approvals is signed, and by which key."""
    if environment.signing is None:
        action = "declare `signing` in the environment file: without it, who may write to the store may approve"
        return Finding("signing", WARNING, "evidence of approvals is not signed", action)
    from stepzero.adapters.signing import key_name

    if not Path(environment.signing.public_key_file).exists():
        return Finding("signing", GOOD, "keys are made with the services")
    return Finding("signing", GOOD, f"evidence is signed by key {key_name(environment.signing)}")


def write_probe(path: Path) -> None:
    """Write a small file and see that the disk took it."""
    with path.open("wb") as file:
        file.write(b"\0" * _PROBE_BYTES)
        file.flush()
        os.fsync(file.fileno())


def locked_versions(lock: Path) -> dict[str, str]:
    """Return the packages of a lock that are meant for this machine, with their versions."""
    from packaging.requirements import Requirement

    lines = [line.rstrip("\\ ") for line in lock.read_text(encoding="utf-8").splitlines() if line[:1].isalnum()]
    wanted = [Requirement(line) for line in lines]
    if not wanted:
        raise SetupError(str(lock), value=bare("no packages"), allowed="a lock", action="bin/stepzero lock")
    fitting = [each for each in wanted if each.marker is None or each.marker.evaluate()]
    return {each.name: next(iter(each.specifier)).version for each in fitting}


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _from_system(name: str, error: OSError) -> Finding:
    if is_disk_full(error):
        return Finding(name, PROBLEM, f"no room left: {error}", "make room, or move STEPZERO_HOME to a larger disk")
    action = f"make {error.filename or home_folder()} writable for this user, or set STEPZERO_HOME"
    return Finding(name, PROBLEM, str(error), action)


CHECKS: dict[str, Check] = {
    "python": check_python,
    "packages": check_packages,
    "java": check_java,
    "deequ jar": check_jar,
    "home": check_home,
    "store": check_store,
    "disk": check_disk,
    "memory": check_memory,
    "secrets": check_secrets,
    "ports": check_ports,
    "services": check_services,
    "tracking": check_tracking,
    "signing": check_signing,
    "champions": check_champions,
}
