"""From a clean clone to the table of results: seconds cold and warm, and the memory of everything that runs.

    python benchmarks/first_result.py [--data FILE] [--keep-cache]

Clones this repository's HEAD into a temporary folder and runs `bin/run --json` there with nothing installed (cold),
then the same again, then once more with all packages but no results, services or databases (warm). Memory is the sum
of the proportional shares (PSS) of all processes that belong to the clone. With --keep-cache the download caches of
pip and uv are used, as on a machine that has set it up before. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from _ports import SERVICES, free_port, port_variables

ROOT = Path(__file__).resolve().parents[1]
GOALS = {"cold_seconds": 600, "warm_seconds": 180, "again_seconds": 60, "peak_memory_gib": 6.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--keep-cache", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stepzero-first-") as folder:
        clone = Path(folder) / "stepzero"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        environment = clean_environment(Path(folder), keep_cache=asked.keep_cache)
        data = ["--data", str(asked.data.resolve())] if asked.data else []
        try:
            with peak_memory(clone / ".stepzero") as memory:
                cold = run(clone, environment, data)
                again = run(clone, environment, data)
            subprocess.run([clone / "bin" / "stepzero", "down"], env=environment, check=True, stdout=sys.stderr)
            forget_results(clone / ".stepzero")
            warm = run(clone, environment, data)
        finally:
            subprocess.run([clone / "bin" / "stepzero", "down"], env=environment, check=False, stdout=sys.stderr)
    figures = {
        "cold_seconds": cold["all_seconds"],
        "warm_seconds": warm["all_seconds"],
        "again_seconds": again["all_seconds"],
        "peak_memory_gib": round(memory["peak"] / 1024**3, 2),
        "champion": cold["champion"],
    }
    print(json.dumps(figures | {"goals": GOALS}))


def forget_results(home: Path) -> None:
    """Leave only what set-up made: no store, no databases, no secrets, nothing that a run could reuse."""
    for path in home.iterdir():
        if path.name not in {"venv", "bootstrap", "cache", "setup.lock"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def clean_environment(folder: Path, *, keep_cache: bool) -> dict[str, str]:
    """Return variables of a user who has nothing of ours: free ports, an empty cache unless kept."""
    ports = port_variables({name: free_port() for name in SERVICES})
    ours = ("STEPZERO_", "AIRFLOW", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    venv = str(Path(sys.executable).parent)
    kept["PATH"] = os.pathsep.join(part for part in kept["PATH"].split(os.pathsep) if part != venv)
    caches = {} if keep_cache else {"UV_CACHE_DIR": str(folder / "uv"), "PIP_CACHE_DIR": str(folder / "pip")}
    return {**kept, **ports, **caches}


def run(clone: Path, environment: dict[str, str], data: list[str]) -> dict[str, Any]:
    """Run the one command and return its JSON, with the seconds from Enter to prompt."""
    began = time.monotonic()
    done = subprocess.run(
        [clone / "bin" / "run", "--json", *data], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    seconds = round(time.monotonic() - began, 1)
    print(done.stdout)
    if done.returncode:
        raise SystemExit(f"bin/run ended with {done.returncode} after {seconds} s")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told | {"all_seconds": seconds}


@contextmanager
def peak_memory(home: Path) -> Iterator[dict[str, int]]:
    """Sample the memory of all processes whose home this is."""
    found, ended = {"peak": 0}, threading.Event()

    def watch() -> None:
        while not ended.wait(2):
            found["peak"] = max(found["peak"], sum(_shares(home)))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _shares(home: Path) -> Iterator[int]:
    for process in psutil.process_iter():
        try:
            if process.environ().get("STEPZERO_HOME") == str(home):
                yield process.memory_full_info().pss
        except (psutil.Error, OSError):
            continue


if __name__ == "__main__":
    main()
