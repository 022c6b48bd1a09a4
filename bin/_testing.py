"""Run the folders of tests/ and add up what they say. Standard library only.

Two parts run at a time, the longest first, so that both processors are busy to the end. What a part says is kept until
it ends, so that two never speak at once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import _bootstrap

PARTS = ("architecture", "library", "spark", "airflow", "service", "browser", "e2e", "arm64")
NEED_JAVA = ("spark", "airflow", "service", "browser", "e2e", "arm64")
TOGETHER = "browser+e2e"
LONGEST_FIRST = (TOGETHER, "e2e", "spark", "service", "airflow", "arm64", "library", "browser", "architecture")
AT_ONCE = 2
SAYING = threading.Lock()
COUNTS = ("passed", "failed", "errors", "skipped")
NOT_RUN = "NOT RUN: "
"""How a test begins its reason that the machine or the network keeps from running; said again at the very end."""
NO_TESTS = 5
SLOWEST = ("--durations=15", "--durations-min=5")
"""What each part tells of where its time went, for whoever makes it shorter."""
USAGE = f"usage: bin/test [{'|'.join(PARTS)}] [-- pytest arguments]"


def main(arguments: list[str]) -> int:
    """Set up what is missing, run the parts that were asked for, return the exit status."""
    words, extra = split(arguments)
    unknown = [word for word in words if word not in PARTS]
    if unknown:
        _bootstrap.say(f"no such part: {', '.join(unknown)}. {USAGE}")
        return 2
    parts = words or list(PARTS)
    began = time.monotonic()
    try:
        python = _bootstrap.ensure_environment(_bootstrap.home_folder(), tests=True)
    except _bootstrap.SetupError as error:
        _bootstrap.say(str(error))
        return 1
    ready = prepare(python, parts)
    _bootstrap.say(f"set-up: {time.monotonic() - began:.1f} s")
    return run_parts(python, parts, extra) if ready else 1


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the parts asked for, and what pytest is to be told."""
    if "--" not in arguments:
        return arguments, []
    middle = arguments.index("--")
    return arguments[:middle], arguments[middle + 1 :]


def prepare(python: Path, parts: list[str]) -> bool:
    """Fetch what the parts need beyond Python packages; say by name what stays missing."""
    if "browser" in parts:
        ensure_chromium()
    if any(part in NEED_JAVA for part in parts):
        command = [str(python), "-P", "-m", "stepzero.cli.main", "setup"]
        return subprocess.run(command, env=_bootstrap.command_environment(), check=False).returncode == 0
    return True


def ensure_chromium() -> None:
    """Install Chromium where we may; else say that its tests are skipped."""
    if shutil.which("chromium"):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _bootstrap.say("installing chromium with apt-get …")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", "-qq", *words], env=quiet, capture_output=True, check=False)
    if not shutil.which("chromium"):
        _bootstrap.say("browser: skipped, there is no chromium here (apt-get install chromium, as root)")


def run_parts(python: Path, parts: list[str], extra: list[str]) -> int:
    """Run one pytest per part, two at a time; print the time of each and one closing line for all."""
    sums = dict.fromkeys(COUNTS, 0)
    bad, left_out, began = [], [], time.monotonic()
    ordered = sorted(grouped(parts), key=LONGEST_FIRST.index)

    def run_one(part: str) -> None:
        status, counts, reasons = run_part(python, part, extra, alone=len(ordered) == 1)
        with SAYING:
            left_out.extend(f"{part}: {reason}" for reason in reasons)
            for name in COUNTS:
                sums[name] += counts[name]
            if status not in (0, NO_TESTS):
                bad.append(part)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(run_one, ordered))
    for line in left_out:
        _bootstrap.say(line)
    if not sum(sums.values()) and not bad:
        bad.append("nothing ran")
    _bootstrap.say(f"all: {time.monotonic() - began:.1f} s" + (f"; failed: {', '.join(bad)}" if bad else ""))
    print(told(sums), flush=True)
    return 1 if bad else 0


def grouped(parts: list[str]) -> list[str]:
    """Put browser and e2e into one pytest where both run: they share one set of services and its first run."""
    if not {"browser", "e2e"} <= set(parts):
        return parts
    return [TOGETHER if part == "e2e" else part for part in parts if part != "browser"]


def run_part(python: Path, part: str, extra: list[str], *, alone: bool) -> tuple[int, dict[str, int], list[str]]:
    """Run one folder; return pytest's status, what it counted, and why something could not be run.

    Beside others, its words are kept to its end.
    """
    none, began = dict.fromkeys(COUNTS, 0), time.monotonic()
    folders = [_bootstrap.ROOT / "tests" / name for name in part.split("+")]
    if not any(file for folder in folders for file in folder.glob("**/test_*.py")):
        _bootstrap.say(f"{part}: no tests in {folders[0]}")
        return NO_TESTS, none, []
    _bootstrap.say(f"{part}: pytest {' '.join(f'tests/{folder.name}' for folder in folders)}")
    with tempfile.TemporaryDirectory(prefix="stepzero-test-") as reports:
        report, log = Path(reports) / "report.xml", Path(reports) / "log"
        words = [*map(str, folders), f"--junitxml={report}", "-q", *SLOWEST, *workers(part), *extra]
        with log.open("wb") as kept:
            done = subprocess.run(
                [str(python), "-m", "pytest", *words],
                env=_bootstrap.command_environment(),
                cwd=_bootstrap.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=None if alone else kept,
                stderr=None if alone else subprocess.STDOUT,
                check=False,
            )
        counts = read_counts(report) if report.exists() else {**none, "errors": 1}
        reasons = read_reasons(report) if report.exists() else []
        with SAYING:
            sys.stdout.write(log.read_text(encoding="utf-8", errors="replace"))
            sys.stdout.flush()
            if sum(counts.values()):
                _bootstrap.say(f"{part}: {told(counts)} in {time.monotonic() - began:.1f} s")
    return done.returncode, counts, reasons


def workers(part: str) -> list[str]:
    """Return pytest-xdist's arguments: only tests that share nothing run side by side."""
    return ["-n", str(min(4, max(2, os.cpu_count() or 1)))] if part == "library" else []


def read_counts(report: Path) -> dict[str, int]:
    """Return what a JUnit report counts."""
    counts = dict.fromkeys(COUNTS, 0)
    for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 - pytest wrote it just now
        failed, errors, skipped = (int(suite.get(name, 0)) for name in ("failures", "errors", "skipped"))
        counts["failed"] += failed
        counts["errors"] += errors
        counts["skipped"] += skipped
        counts["passed"] += int(suite.get("tests", 0)) - failed - errors - skipped
    return counts


def read_reasons(report: Path) -> list[str]:
    """Return why tests could not be run, each reason once."""
    skipped = ET.parse(report).getroot().iter("skipped")  # noqa: S314 - pytest wrote it just now
    said = (one.get("message", "").strip().partition("\n")[0] for one in skipped)
    return list(dict.fromkeys(line for line in said if line.startswith(NOT_RUN)))


def told(counts: dict[str, int]) -> str:
    """Return counts as pytest would close with them; errors count as failed."""
    failed = counts["failed"] + counts["errors"]
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    return f"{counts['passed']} passed, {failed} failed{skipped}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
