"""One of the two machines that are compared: a Python, a store and a tracking server of its own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from arm64.lane.build import ROOT, Lane
from arm64.lane.forks import ForkWatch
from stepzero.adapters.store import Store
from stepzero.cli.services.credentials import Credentials
from stepzero.core.stages import STAGES, Engine, find_stage
from stepzero.execution.execute import pointer_uri
from stepzero.spec.environment import Signing
from support.stack import free_port, wait_for

USE_CASE = "credit_card_fraud"
_TRIES = 4
"""Of a command whose forks the emulator lost."""


class CommandError(Exception):
    """Say which command failed, where, and the end of its log."""


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    status: int
    processor_seconds: float
    """Of all its processes."""
    log: str


@dataclass(frozen=True)
class Started:
    """A command that runs, or has ended."""

    answers: queue.Queue[dict[str, Any]]
    """Where its end will be told."""
    log: Path

    def finish(self) -> Answer:
        """Wait for its end."""
        answer = self.answers.get()
        self.answers.put(answer)  # for whoever asks again
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""
        return Answer(int(answer["status"]), float(answer["processor_seconds"]), text)


class Machine:
    """Run `stepzero` commands on one architecture.

    Args:
        name: ``native`` or ``arm64``.
        home: Its ``STEPZERO_HOME``: store, logs, tracking server.
        cache: The project's cache, which holds the Deequ jar.
        lane: The emulated Python and Java; None is this machine itself.
    """

    def __init__(self, name: str, home: Path, cache: Path, lane: Lane | None = None) -> None:
        self.name, self.home = name, home
        self.ports = {"MLFLOW": free_port(), "ENDPOINT": free_port()}
        self.python = str(lane.python) if lane else sys.executable
        self._lane = lane
        self._children: list[subprocess.Popen[bytes]] = []
        self._waiting: dict[str, queue.Queue[dict[str, Any]]] = {}
        self._driver: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None
        self._write = threading.Lock()
        self._forks: ForkWatch | None = None
        (home / "logs").mkdir(parents=True)
        (home / "cache").symlink_to(cache)
        self.processor_seconds: dict[str, float] = {}
        """What each command used; a busy machine says nothing by the clock."""
        self.store = Store(f"file://{home}/store")
        (home / "secrets").mkdir()
        (home / "secrets" / "endpoint_token").write_text("a token of this test", encoding="utf-8")
        Credentials(home).ensure_keys(
            Signing(
                private_key_file=str(home / "secrets" / "approval_key"),
                public_key_file=str(home / "secrets" / "approval_key.pub"),
            )
        )

    def environment(self) -> dict[str, str]:
        """Return the variables of this machine's processes."""
        base = self._lane.environment() if self._lane else dict(os.environ)
        paths = (ROOT / "include", ROOT / "plugins", ROOT / "tests" / "arm64" / "planted")
        return {
            **base,
            **{f"STEPZERO_{name}_PORT": str(port) for name, port in self.ports.items()},
            "STEPZERO_HOME": str(self.home),
            "STEPZERO_ENVIRONMENT": str(ROOT / "tests" / "arm64" / "lane" / "environment.yaml"),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def start_tracking(self) -> None:
        """Start an MLflow server; it runs natively for either machine, since it computes nothing."""
        folder = self.home / "mlflow"
        folder.mkdir()
        command = [sys.executable, "-P", "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.ports["MLFLOW"])]
        command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
        command += ["--artifacts-destination", (folder / "artifacts").as_uri()]
        self._spawn(command, {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, "mlflow")

    def wait_for_tracking(self) -> None:
        """Wait until the MLflow server answers."""
        url = f"http://127.0.0.1:{self.ports['MLFLOW']}/health"
        wait_for(f"MLflow of {self.name}", lambda: _answers(url))

    @property
    def lost_forks(self) -> int:
        """How many forks the emulator lost; the commands that waited for them were run again."""
        return self._forks.ended if self._forks else 0

    def run(self, *arguments: str, expect: tuple[int, ...] = (0,), together: str = "") -> Answer:
        """Run ``stepzero ARGUMENTS`` and wait; other statuses than expected are errors."""
        for _ in range(_TRIES):
            lost = self.lost_forks
            answer = self.start(*arguments, together=together).finish()
            if answer.status in expect or self.lost_forks == lost:
                break
        if answer.status not in expect:
            msg = f"stepzero {' '.join(arguments)} on {self.name}: status {answer.status}\n{answer.log[-5000:]}"
            raise CommandError(msg)
        return answer

    def start(
        self,
        *arguments: str,
        program: str = "stepzero",
        variables: Mapping[str, str] | None = None,
        together: str = "",
    ) -> Started:
        """Start ``stepzero ARGUMENTS``, or another program that the driver knows.

        Commands with the same `together` share a process, one after the other.
        """
        driver = self._started()
        answers: queue.Queue[dict[str, Any]] = queue.Queue()
        with self._write:
            assert driver.stdin is not None
            words = [program, *arguments[:2]] if program == "stepzero" else [program]
            name = f"{len(self._waiting):03}-{'-'.join(words)}".replace("/", "_").replace(":", ".")
            self._waiting[name] = answers
            log = self.home / "logs" / f"{name}.log"
            asked: dict[str, Any] = {"id": name, "program": program, "arguments": list(arguments), "log": str(log)}
            asked |= {"variables": dict(variables or {}), "together": together}
            driver.stdin.write(json.dumps(asked).encode() + b"\n")
            driver.stdin.flush()
        return Started(answers, log)

    def stage(
        self,
        stage: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run: str = "compared",
        label: str = "",
        parameters: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run a stage by its command and return the reference of its result, as an orchestrator would."""
        arguments = ["stage", stage, "--use-case", USE_CASE, "--run", run, "--attempt", "1"]
        arguments += ["--inputs", json.dumps(dict(inputs or {}))]
        arguments += ["--parameters", json.dumps(dict(parameters or {}))]
        # Stages that need Spark share one, as the tasks of a cluster's application would.
        together = "spark" if _needs_spark(stage) else ""
        answer = self.run(*arguments, "--label", label, together=together)
        self.processor_seconds[f"{stage} {label}".strip()] = answer.processor_seconds
        noted: dict[str, Any] = self.store.read_json(pointer_uri(USE_CASE, run, stage, label))["result"]
        return noted

    def close(self) -> None:
        """End every process of this machine; the driver ends its own children."""
        if self._forks:
            self._forks.close()
        if self._driver and self._driver.stdin:
            with contextlib.suppress(OSError):  # a driver that died reads no more
                self._driver.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._driver.wait(timeout=30)
        for child in self._children:
            for number in (signal.SIGTERM, signal.SIGKILL):
                _signal(child, number)
                try:
                    child.wait(timeout=10)
                    break
                except subprocess.TimeoutExpired:
                    continue
        if self._listener:
            self._listener.join(timeout=10)

    def _started(self) -> subprocess.Popen[bytes]:
        with self._write:
            if self._driver is None:
                command = [self.python, "-P", str(ROOT / "tests" / "arm64" / "lane" / "commands.py")]
                self._driver = self._spawn(command, self.environment(), "driver", pipes=True)
                if self._lane:
                    self._forks = ForkWatch(self._driver.pid, "/bin/java")
                self._listener = threading.Thread(target=self._listen, args=(self._driver,), daemon=True)
                self._listener.start()
        return self._driver

    def _listen(self, driver: subprocess.Popen[bytes]) -> None:
        assert driver.stdout is not None
        with driver.stdout as lines:
            for line in lines:
                answer = json.loads(line)
                if answer["id"] == "imports":
                    self.processor_seconds["imports of all stages"] = float(answer["processor_seconds"])
                if answer["id"] in self._waiting:
                    self._waiting[answer["id"]].put(answer)
        for answers in self._waiting.values():  # it died: let nobody wait for ever
            answers.put({"status": -1, "processor_seconds": 0.0})

    def _spawn(
        self, command: list[str], environment: dict[str, str], name: str, *, pipes: bool = False
    ) -> subprocess.Popen[bytes]:
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                env=environment,
                cwd=self.home,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else log,
                stderr=log,
                start_new_session=True,
            )
        self._children.append(child)
        return child


def _needs_spark(stage: str) -> bool:
    return stage in STAGES and find_stage(stage).engine is Engine.SPARK


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
