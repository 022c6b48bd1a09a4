"""Building the lane: an arm64 root folder, the locked wheels, and a Python and a Java that run in emulation.

Everything lies in the user's cache, each part named by the digest of what it was made from: a second run,
in another clone too, builds nothing, and a changed lock builds only the wheels. A part is whole or not there;
nothing that a test computes is kept in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from arm64.lane import bytecode, debian
from arm64.lane.debian import UnavailableError
from stepzero.cli.lock import is_unreachable

ROOT = Path(__file__).resolve().parents[3]
LOCKS = (ROOT / "requirements.txt", ROOT / "requirements" / "test.txt")
PLATFORM = "aarch64-manylinux_2_28"
PYTHON = (3, 11)
_IMAGE = (ROOT / "packages.txt").read_text(encoding="utf-8").splitlines()
PACKAGES = ["python3", "libgomp1", *(line for line in _IMAGE if line and not line.startswith("#"))]
"""Python, and what the container installs for arm64."""
EMULATOR = "qemu-aarch64-static"
PROCESSOR = "neoverse-n1"
"""The core of Graviton2: numerical libraries choose the code they choose there."""
GRAVITON3 = "OPENBLAS_CORETYPE=NEOVERSEV1 exec {emulator} -cpu max,sve256=on,sve-default-vector-length=32"
"""This emulator knows no Neoverse V1, but its vectors of 256 bits; the library is told which code to take."""
_RECIPE = 3
_KEPT_DAYS = 14
_FREE_GIGABYTES = 5.0


@dataclass(frozen=True)
class Lane:
    """A Python and a Java of arm64 that this machine can start like its own."""

    python: Path
    graviton3: Path
    """The same Python with the vectors and the BLAS code of Graviton3."""
    java_home: Path
    packages: list[str]
    """Debian packages with versions, emulator included."""
    seconds: dict[str, float]
    """What was built in this call, and how long it took; empty when warm."""

    def environment(self) -> dict[str, str]:
        """Return the variables of a process in the lane."""
        # The spawn helper is an arm64 program that the kernel here cannot start by itself. Proving Spark's classes
        # sound says nothing of arm64 and is dear when emulated.
        launch = "-Djdk.lang.Process.launchMechanism=FORK"
        launch += " -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return {**kept, "JAVA_HOME": str(self.java_home), "JAVA_TOOL_OPTIONS": launch}


def cache_folder() -> Path:
    """Return where what was built is kept for all clones of a user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepzero" / "arm64"


def build_lane(home: Path) -> Lane:
    """Return the lane, building what is missing with the tools of a home.

    Raises:
        UnavailableError: This machine cannot have it; says why.
    """
    _check_machine()
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{folder} cannot be made ({error.strerror}); set XDG_CACHE_HOME"
        raise UnavailableError(msg) from error
    seconds: dict[str, float] = {}
    with _only_one(folder):
        debian_key = _digest(_RECIPE, debian.SUITE, PACKAGES, platform.machine())
        wheels_key = _digest(_RECIPE, PLATFORM, PYTHON, *(lock.read_text(encoding="utf-8") for lock in LOCKS))
        root = _cached(folder, f"root-{debian_key}", _make_root, seconds)
        wheels = _cached(folder, f"wheels-{wheels_key}", lambda made: _make_wheels(made, home), seconds)
        lane_key = _digest(_RECIPE, debian_key, wheels_key, PROCESSOR, str(folder))
        programs = _cached(folder, f"lane-{lane_key}", lambda made: _make_programs(made, root, wheels), seconds)
    packages = json.loads((root / "packages.json").read_text(encoding="utf-8"))
    return Lane(programs / "bin/python", programs / "bin/python-graviton3", programs / "java", packages, seconds)


def load_module(path: Path) -> ModuleType:
    """Return a module that lies outside of all packages."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _check_machine() -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        msg = f"it compares with Linux on x86-64, and this is {sys.platform} on {platform.machine()}"
        raise UnavailableError(msg)
    if sys.version_info[:2] != PYTHON:
        msg = f"Debian {debian.SUITE} has Python 3.11 for arm64, and this is Python {platform.python_version()}"
        raise UnavailableError(msg)
    debian.check_tools()


def _cached(folder: Path, name: str, make: Callable[[Path], None], seconds: dict[str, float]) -> Path:
    """Return a finished folder, made under another name first so that half of one is never used."""
    path = folder / name
    if not path.is_dir():
        _check_space(folder)
        began = time.monotonic()
        part = folder / f"{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(folder / f"{name}.part.apt", ignore_errors=True)
        part.mkdir()
        make(part)
        part.rename(path)
        seconds[name.partition("-")[0]] = round(time.monotonic() - began, 1)
    os.utime(path)
    _forget_old(folder)
    return path


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free / 1e9
    if free < _FREE_GIGABYTES:
        msg = f"{folder} has {free:.1f} GB free and needs {_FREE_GIGABYTES:.0f}; make room, or set XDG_CACHE_HOME"
        raise UnavailableError(msg)


def _forget_old(folder: Path) -> None:
    """Remove what no clone has used for long; other clones may have other locks."""
    oldest = time.time() - _KEPT_DAYS * 86_400
    for made in folder.iterdir():
        if made.is_dir() and made.stat().st_mtime < oldest:
            shutil.rmtree(made)


def _make_root(folder: Path) -> None:
    packages = debian.unpack("arm64", PACKAGES, folder / "arm64", dependencies=True)
    packages += debian.unpack("amd64", ["qemu-user-static"], folder / "emulator", dependencies=False)
    for program in (folder / "emulator/usr/bin").iterdir():
        if program.name != EMULATOR:  # of some forty processors, 300 MB
            program.unlink()
    (folder / "packages.json").write_text(json.dumps(packages, indent=1), encoding="utf-8")


def _make_wheels(folder: Path, home: Path) -> None:
    uv = load_module(ROOT / "bin" / "_bootstrap.py").ensure_uv(home, sys.executable)
    command = [str(uv), "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--python", sys.executable, "--python-version", "3.11", "--python-platform", PLATFORM]
    # pyspark comes as a source archive only; pure Python and jars, it is built here once for all machines.
    command += ["--only-binary", ":all:", "--no-binary", "pyspark", "--target", str(folder)]
    done = subprocess.run(
        [*command, *(f"--requirements={lock}" for lock in LOCKS)], capture_output=True, text=True, check=False
    )
    if done.returncode and is_unreachable(done.stderr):
        msg = f"the package index does not answer: {done.stderr.strip()[-600:]}"
        raise UnavailableError(msg)
    if done.returncode:
        # Not "unavailable": a wheel that is missing for arm64 is a fault of the lock.
        msg = f"the lock does not install for {PLATFORM}:\n{done.stderr[-2000:]}"
        raise RuntimeError(msg)
    bytecode.fill(folder, Path(sysconfig.get_path("purelib")))


def _make_programs(folder: Path, root: Path, wheels: Path) -> None:
    """Write a Python environment and a Java home whose programs are emulated."""
    final = folder.with_name(folder.name.removesuffix(".part"))
    emulator = f"{root}/emulator/usr/bin/{EMULATOR}"
    python = f"-L {root}/arm64 -0 {final}/bin/python {root}/arm64/usr/bin/python3.11"
    java = f"{root}/arm64/usr/lib/jvm/java-17-openjdk-arm64"
    for part in ("bin", "lib/python3.11", "java/bin"):
        (folder / part).mkdir(parents=True)
    (folder / "lib/python3.11/site-packages").symlink_to(wheels)
    settings = f"home = {root}/arm64/usr/bin\ninclude-system-site-packages = false\n"
    (folder / "pyvenv.cfg").write_text(settings, encoding="utf-8")
    (folder / "java/release").write_text((Path(java) / "release").read_text(encoding="utf-8"), encoding="utf-8")
    _write_program(folder / "bin/python", f"exec {emulator} -cpu {PROCESSOR} {python}")
    _write_program(folder / "bin/python-graviton3", f"{GRAVITON3.format(emulator=emulator)} {python}")
    _write_program(folder / "java/bin/java", f"exec {emulator} -cpu {PROCESSOR} -L {root}/arm64 {java}/bin/java")
    (folder / "bin/python3").symlink_to("python")


def _write_program(path: Path, line: str) -> None:
    path.write_text(f'#!/bin/sh\n{line} "$@"\n', encoding="utf-8")
    path.chmod(0o755)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
