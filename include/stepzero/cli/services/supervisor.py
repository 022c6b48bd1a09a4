"""The process that keeps the services alive; started by `up`, ended by `down`.

It lives in a session of its own, starts every part as a process group, starts again what ends (waiting longer each
time) or gives no sign of life any more, and writes what it knows to a state file that `status` reads.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from stepzero.cli.services.heartbeats import Heartbeats
from stepzero.cli.services.processes import MARK, end, marked

logger = logging.getLogger("stepzero.supervisor")
_TICK_SECONDS = 0.2
_LONGEST_WAIT = 30.0
_GOOD_RUN_SECONDS = 60.0
_GRACE_SECONDS = 8.0
_LARGEST_LOG = 50_000_000


@dataclass
class Child:
    """One part as it runs now."""

    part: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    state: str = "waiting"
    started: float = 0.0
    created: float = 0.0
    restarts: int = 0
    due: float = 0.0
    last_exit: int | None = None
    failures: int = field(default=0)

    @property
    def name(self) -> str:
        """Return the part's name."""
        return str(self.part["name"])

    @property
    def is_once(self) -> bool:
        """Tell whether the part is meant to end."""
        return bool(self.part["health"] == "once")

    def to_json(self) -> dict[str, Any]:
        """Return what `status` shows."""
        pid = self.process.pid if self.process else None
        shown = {name: getattr(self, name) for name in ("state", "started", "created", "restarts", "last_exit")}
        return {"pid": pid, **shown}


class Supervisor:
    """Keep all parts alive until told to stop.

    Args:
        home: ``STEPZERO_HOME``.
        parts: As `Part.to_json` writes them.
        heartbeats: Tells which of them hang.
    """

    def __init__(self, home: Path, parts: list[dict[str, Any]], heartbeats: Heartbeats | None = None) -> None:
        self.home = home
        self.heartbeats = heartbeats or Heartbeats(parts)
        self.children = [Child(part) for part in parts]
        self.stopping = False
        self._written = self._unwritten = ""

    def run(self) -> None:
        """Supervise until SIGTERM, then end every process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self.supervise()

    def supervise(self) -> None:
        """Look after all parts until `stopping` is set, then end every process."""
        while not self.stopping:
            for child in self.children:
                self._try_to_look_after(child)
            self._end_silent()
            self._try_to_write_state()
            time.sleep(_TICK_SECONDS)
        self._end_all()

    def _end_all(self) -> None:
        """Ask the first process of every part, which knows its children best; then kill what is left."""
        running = [child.process for child in self.children if child.process]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and any(process.poll() is None for process in running):
            time.sleep(0.1)
        count = end(lambda: list(marked(self.home)), grace=0)
        logger.info("stopped; %d processes had to be killed", count)

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _try_to_look_after(self, child: Child) -> None:
        """Look after a part; what the machine refuses now (a full disk, too many files) is tried again later."""
        try:
            self._look_after(child)
        except OSError as error:
            self._again_later(child, f"cannot be looked after ({error})")

    def _look_after(self, child: Child) -> None:
        if child.process is None:
            self._start_when_due(child)
            return
        status = child.process.poll()
        if status is not None:
            self._ended(child, status)

    def _end_silent(self) -> None:
        """End what hangs; the next look finds it ended and starts it again."""
        running = {child.name: child for child in self.children if child.process}
        silent = self.heartbeats.silent({name: child.started for name, child in running.items()})
        for name, seconds in silent.items():
            logger.warning("%s gave no sign of life for %.0f s: it is killed, to be started again", name, seconds)
            process = running[name].process
            if process is not None:
                process.kill()

    def _start_when_due(self, child: Child) -> None:
        if child.state == "done" or time.monotonic() < child.due or not self._may_start(child):
            return
        if child.is_once and _is_done(child.part):
            child.state = "done"
            return
        child.process = self._start(child)
        child.state, child.started = "running", time.time()
        child.created = psutil.Process(child.process.pid).create_time()
        logger.info("%s started as process %d", child.name, child.process.pid)

    def _may_start(self, child: Child) -> bool:
        before = child.part["after"]
        return before is None or any(other.name == before and other.state == "done" for other in self.children)

    def _start(self, child: Child) -> subprocess.Popen[bytes]:
        variables = {**os.environ, **child.part["variables"], MARK: child.name}
        path = self.home / "logs" / f"{child.name}.log"
        _cut(path)
        with path.open("ab") as log:
            return subprocess.Popen(
                child.part["command"],
                env=variables,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _ended(self, child: Child, status: int) -> None:
        ran = time.time() - child.started
        child.process, child.last_exit = None, status
        # What a killed scheduler leaves behind would run beside its successor.
        end(lambda: list(marked(self.home, child.name)), grace=0)
        if child.is_once and status == 0:
            Path(child.part["done_file"]).write_text(child.part["done_text"], encoding="utf-8")
            child.state = "done"
            return
        child.failures = 0 if ran > _GOOD_RUN_SECONDS else child.failures
        self._again_later(child, f"ended with status {status} after {ran:.0f} s")

    def _again_later(self, child: Child, why: str) -> None:
        """Start a part again, after a wait that doubles with each failure."""
        child.restarts += 1
        child.failures += 1
        wait = min(_LONGEST_WAIT, 2.0 ** (child.failures - 1))
        child.state, child.due = "waiting", time.monotonic() + wait
        logger.warning("%s %s; again in %.0f s", child.name, why, wait)

    def _try_to_write_state(self) -> None:
        """Write the state; where that cannot be, `status` reads the last one until it can."""
        try:
            self._write_state()
        except OSError as error:
            if str(error) != self._unwritten:  # told once, not five times a second
                logger.error("the state of the services cannot be written (%s); it is tried again", error)
            self._unwritten = str(error)
        else:
            self._unwritten = ""

    def _write_state(self) -> None:
        me = psutil.Process()
        state = {
            "supervisor": {"pid": me.pid, "created": me.create_time()},
            "parts": {child.name: child.to_json() for child in self.children},
        }
        text = json.dumps(state)
        if text != self._written:
            path = self.home / "run" / "state.json"
            part = path.with_suffix(".part")
            part.write_text(text, encoding="utf-8")
            part.replace(path)
            self._written = text


def _is_done(part: dict[str, Any]) -> bool:
    path = Path(part["done_file"])
    return path.is_file() and path.read_text(encoding="utf-8") == part["done_text"]


def _cut(path: Path) -> None:
    """Begin a log file anew when it has grown too long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        path.replace(path.with_suffix(".log.1"))


def main() -> None:
    """Read the parts that `up` wrote and supervise them."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    home = Path(sys.argv[1])
    parts = json.loads((home / "run" / "services.json").read_text(encoding="utf-8"))["parts"]
    Supervisor(home, parts).run()


if __name__ == "__main__":
    main()
