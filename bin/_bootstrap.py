"""Make the project's Python environment with nothing but Python 3.11 or 3.12 and pip or venv.

Standard library only. What is there already is kept: a start with nothing to do reads the lock and a
stamp and costs milliseconds. It must load on Python 3.7 too, so that an older Python can hand over.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUPPORTED = ((3, 11), (3, 12))
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FREE_GIGABYTES = 5.0
RUNTIME_LOCK = ROOT / "requirements.txt"
TEST_LOCK = ROOT / "requirements" / "test.txt"
UV_LOCK = ROOT / "requirements" / "bootstrap.txt"


class SetupError(Exception):
    """Say in four parts what this machine lacks: what, the value, what is allowed, what to do."""

    def __init__(self, what: str, value: str, allowed: str, action: str) -> None:
        super().__init__(f"{what}: got {value}. Allowed: {allowed}. Do: {action}")


def home_folder() -> Path:
    """Return where local state lives: ``STEPZERO_HOME``, or ``.stepzero`` in the project."""
    return Path(os.environ.get("STEPZERO_HOME") or ROOT / ".stepzero").resolve()


def start(module: str, arguments: list[str]) -> None:
    """Set up what is missing, then become ``python -m module arguments`` in the environment."""
    try:
        python = ensure_environment(home_folder(), tests=False)
    except SetupError as error:
        sys.exit(f"stepzero: {error}")
    command = [str(python), "-P", "-m", module, *arguments]
    os.execve(python, command, command_environment())  # noqa: S606 - no shell is wanted


def command_environment() -> dict[str, str]:
    """Return the variables under which every command of the project runs."""
    paths = [str(ROOT / "include"), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")]
    home = home_folder()
    return {
        **os.environ,
        "STEPZERO_HOME": str(home),
        "STEPZERO_INCLUDE": os.environ.get("STEPZERO_INCLUDE") or str(ROOT / "include"),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PATH": f"{home / 'venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(home / "venv"),
        **without_proxy(),
    }


def without_proxy() -> dict[str, str]:
    """Return the variables that let nobody ask a proxy for an address of this machine; what is excepted stays so."""
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    excepted = [each.strip() for each in given.split(",") if each.strip()]
    if "*" in excepted:
        return {}
    told = ",".join(dict.fromkeys([*excepted, *LOOPBACK]))
    return {"no_proxy": told, "NO_PROXY": told}


def ensure_environment(home: Path, *, tests: bool) -> Path:
    """Return the environment's Python; make or complete the environment first where needed."""
    require_linux()
    if is_ready(home, tests=tests):
        return home / "venv" / "bin" / "python"
    base = supported_python()
    with only_one(home):
        if not is_ready(home, tests=tests):  # somebody else may have made it while we waited
            check_space(home)
            make_environment(home, base, tests=tests)
    return home / "venv" / "bin" / "python"


def require_linux() -> None:
    """Refuse a system on which no stage could run: they are watched and ended by means that Linux alone has."""
    if not sys.platform.startswith("linux"):
        raise SetupError(
            "operating system",
            sys.platform,
            "Linux: stages need its /proc, prctl and pidfd_open",
            "run it on a Linux machine, in WSL 2, or in containers (docker compose up --build)",
        )


def is_ready(home: Path, *, tests: bool) -> bool:
    """Tell whether the stamp says that the environment matches the lock."""
    stamp = read_stamp(home)
    runs = os.access(home / "venv" / "bin" / "python", os.X_OK)
    wanted = lock_digest(RUNTIME_LOCK)
    fits = stamp.get("runtime") == wanted and stamp.get("state") == "ready"
    return runs and fits and (not tests or stamp.get("tests") == lock_digest(TEST_LOCK))


def read_stamp(home: Path) -> dict[str, str]:
    """Return what the last set-up wrote; empty where there was none."""
    try:
        stamp = json.loads((home / "venv" / ".stepzero.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(home: Path, **stamp: str) -> None:
    """Write the stamp in one step."""
    path = home / "venv" / ".stepzero.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(stamp), encoding="utf-8")
    part.replace(path)


def lock_digest(lock: Path) -> str:
    """Return the digest of a lock file."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def supported_python() -> str:
    """Return a Python 3.11 or 3.12 with pip or venv: this one, or one on the path."""
    if sys.version_info[:2] in SUPPORTED:
        return sys.executable
    for minor in ("3.12", "3.11"):
        candidate = shutil.which(f"python{minor}")
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    version = ".".join(str(part) for part in sys.version_info[:3])
    raise SetupError(
        "Python",
        f"{version} ({sys.executable})",
        "Python 3.11 or 3.12",
        "apt-get install python3.11 python3.11-venv (Debian 12: python3 python3-venv), or put one on PATH",
    )


@contextlib.contextmanager
def only_one(home: Path):
    """Hold the set-up lock of this home; tell whoever has to wait."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "setup.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise SetupError(
            f"STEPZERO_HOME {home}",
            error.strerror or str(error),
            "a folder we may write to",
            "chmod it, or set STEPZERO_HOME",
        ) from error
    import fcntl  # here, because Windows has none and is refused in our own words

    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this folder is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_space(home: Path, *, gigabytes: float = FREE_GIGABYTES) -> None:
    """Refuse to begin what cannot end for lack of room (nothing to check where most is installed)."""
    if (home / "venv" / "bin" / "python").exists():
        return
    free = shutil.disk_usage(home).free / 1e9
    if free < gigabytes:
        raise SetupError(
            f"disk space under {home}",
            f"{free:.1f} GB free",
            f"{gigabytes:.0f} GB for Python packages, Java and Spark",
            "make room, or set STEPZERO_HOME to a folder on a larger disk",
        )


def make_environment(home: Path, base: str, *, tests: bool) -> None:
    """Install uv, make the environment, and make it equal to the lock."""
    uv = ensure_uv(home, base)
    venv = home / "venv"
    if not is_sound(home):
        with step(f"making a Python environment in {venv}"):
            shutil.rmtree(venv, ignore_errors=True)
            run([str(uv), "venv", "--quiet", "--no-project", "--python", base, str(venv)])
    # A developer's environment holds the test packages already: completing it must not remove them.
    tests = tests or bool(read_stamp(home).get("tests")) or any(venv.glob("lib/python3.*/site-packages/pytest"))
    locks = [RUNTIME_LOCK, TEST_LOCK] if tests else [RUNTIME_LOCK]
    write_stamp(home, state="making")
    with step(f"installing {' and '.join(str(lock.relative_to(ROOT)) for lock in locks)}"):
        install(uv, venv, locks)
    done = {"tests": lock_digest(TEST_LOCK)} if tests else {}
    write_stamp(home, state="ready", runtime=lock_digest(RUNTIME_LOCK), **done)


def is_sound(home: Path) -> bool:
    """Tell whether an environment is there that was not left half made and whose Python runs."""
    python = home / "venv" / "bin" / "python"
    if read_stamp(home).get("state") == "making" or not (home / "venv" / "pyvenv.cfg").is_file():
        return False
    probe = "import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))"
    try:
        return subprocess.run([str(python), "-c", probe], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def install(uv: Path, venv: Path, locks: list[Path]) -> None:
    """Make the environment equal to the locks; only pyspark, which has no wheel, is built."""
    command = [
        str(uv),
        "pip",
        "sync",
        "--quiet",
        "--compile-bytecode",
        "--require-hashes",
        "--python",
        str(venv / "bin" / "python"),
    ]
    command += ["--only-binary", ":all:", "--no-binary", "pyspark", *map(str, locks)]
    run(command)


def ensure_uv(home: Path, base: str) -> Path:
    """Return the pinned uv, fetched with pip (or a venv's pip) and checked by hash."""
    folder = home / "bootstrap"
    stamp = folder / ".requirements.sha256"
    uv = folder / "bin" / "uv"
    if uv.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == lock_digest(UV_LOCK):
        return uv
    with step("installing uv"):
        shutil.rmtree(folder, ignore_errors=True)
        arguments = ["install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(UV_LOCK)]
        if has_module(base, "pip"):
            run([base, "-m", "pip", *arguments, "--target", str(folder)])
        elif has_module(base, "ensurepip"):
            run([base, "-m", "venv", str(folder)])
            run([str(folder / "bin" / "python"), "-m", "pip", *arguments])
        else:
            raise no_installer(base)
    stamp.write_text(lock_digest(UV_LOCK), encoding="utf-8")
    return uv


def has_module(base: str, name: str) -> bool:
    """Tell whether a Python has a module, without importing it here."""
    if base == sys.executable:
        return importlib.util.find_spec(name) is not None
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run([base, "-c", probe], check=False).returncode == 0


def no_installer(base: str) -> SetupError:
    """Return the error for a Python that can install nothing."""
    return SetupError(
        f"Python packages of {base}",
        "neither pip nor venv (ensurepip)",
        "one of them",
        "apt-get install python3-venv (or python3-pip)",
    )


def run(command: list[str]) -> None:
    """Run a command; a failure becomes an error with the end of what it said."""
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return
    said = (done.stderr.strip() or done.stdout.strip())[-1500:]
    action = "read what it said; check the network and the package index, then start again"
    if "No space left on device" in said or "os error 28" in said:
        action = "make room on the disk, or set STEPZERO_HOME to a larger one, then start again"
    name = " ".join([Path(command[0]).name, *command[1:3]])
    raise SetupError(name, f"status {done.returncode}\n{said}\n", "status 0", action)


@contextlib.contextmanager
def step(what: str):
    """Say what is being done, and how long it took."""
    began = time.monotonic()
    say(f"{what} …")
    yield
    say(f"{what}: {time.monotonic() - began:.1f} s")


def say(line: str) -> None:
    """Write a progress line; the standard output stays free for results."""
    sys.stderr.write(f"stepzero: {line}\n")
    sys.stderr.flush()
