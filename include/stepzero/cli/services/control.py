"""Bringing the services up and down, and asking how they are."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stepzero.cli.services.credentials import Credentials
from stepzero.cli.services.health import HealthProbe
from stepzero.cli.services.parts import Part, log_file, module_command, parts_of, shown_parts
from stepzero.cli.services.pools import ensure_pools
from stepzero.cli.services.ports import require_free_ports
from stepzero.cli.services.processes import MARK, alive, end, marked, proportional_memory
from stepzero.cli.services.swift import ensure_bucket
from stepzero.core.errors import ServiceError, SetupError, bare
from stepzero.launchers.fork_protocol import code_digest
from stepzero.spec.environment import Environment
from stepzero.spec.load import home_folder

Say = Callable[[str], None]
_START_SECONDS = 240.0
_STOP_SECONDS = 20.0
_SUPERVISOR_SECONDS = 60.0
_STOPPED = "stopped while they were being started"
_FAILURES = 3
_LOG_LINES = 15


def start_services(environment: Environment, say: Say) -> float:
    """Bring everything up and wait until it is healthy; quick where it is already. Return the seconds it took.

    Raises:
        SetupError: A port is taken, or the home folder cannot be written.
        ServiceError: A part does not become healthy (its log's end is in the message), or somebody stops them.
    """
    began = time.monotonic()
    home = home_folder()
    parts = parts_of(environment)
    with _only_one(home):
        if not _runs_already(home, parts, say):
            _clear(home)
            require_free_ports(parts, home)
            _wait_for_supervisor(home, _launch(home, parts))
    _wait_until_healthy(environment, parts, say, began)
    return time.monotonic() - began


def stop_services(say: Say) -> int:
    """End the supervisor and every process that the services started. Return how many there were."""
    home = home_folder()
    count = len(list(marked(home)))
    if count:
        say(f"stopping {count} processes")
    _clear(home)
    return count


def service_status(environment: Environment) -> list[dict[str, Any]]:
    """Return how each part is: name, state, process, seconds up, restarts, memory, address, log."""
    home = home_folder()
    parts = [part for part in shown_parts(environment) if part.health != "once"]
    state = read_state(home)
    probe = HealthProbe(parts, state.get("parts", {}))
    return [_row(part, state.get("parts", {}).get(part.name, {}), probe, home) for part in parts]


def read_state(home: Path) -> dict[str, Any]:
    """Return what the supervisor wrote; empty where none runs."""
    try:
        state = json.loads((home / "run" / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    supervisor = state.get("supervisor", {})
    return state if alive(supervisor.get("pid", -1), supervisor.get("created", 0.0)) else {}


def _row(part: Part, state: dict[str, Any], probe: HealthProbe, home: Path) -> dict[str, Any]:
    running = state.get("state") == "running"
    healthy = probe.is_healthy(part)
    told = "healthy" if healthy else "starting" if running else "restarting" if state else "down"
    return {
        "name": part.name,
        "state": told,
        "pid": state.get("pid"),
        "seconds": round(time.time() - state["started"]) if running else None,
        "restarts": state.get("restarts", 0),
        "memory_mib": round(proportional_memory(list(marked(home, part.name))) / 2**20) if running else None,
        "address": part.address,
        "log": str(log_file(part.name)),
    }


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Let two `up` at the same time start one set of services."""
    try:
        for name in ("run", "logs"):
            (home / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (home / "run" / "up.lock").open("a", encoding="utf-8")
    except OSError as error:
        raise SetupError(
            f"STEPZERO_HOME {home}",
            value=bare(error.strerror or error),
            allowed="a folder we may write to",
            action="chmod it, or set STEPZERO_HOME to another folder",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _runs_already(home: Path, parts: list[Part], say: Say) -> bool:
    if not read_state(home):
        return False
    if (home / "run" / "services.json").read_text(encoding="utf-8") == _document(parts):
        return True
    say("settings or code changed since the services were started: starting them again")
    return False


def _launch(home: Path, parts: list[Part]) -> subprocess.Popen[bytes]:
    path = home / "run" / "services.json"
    path.touch(mode=0o600)
    path.write_text(_document(parts), encoding="utf-8")
    variables = {**os.environ, **parts[0].variables, MARK: "supervisor", "STEPZERO_HOME": str(home)}
    with log_file("supervisor").open("ab") as log:
        return subprocess.Popen(
            module_command("stepzero.cli.services.supervisor", str(home)),
            env=variables,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_for_supervisor(home: Path, supervisor: subprocess.Popen[bytes]) -> None:
    """Wait until the supervisor says that it is there: another `up` that found no state would end it."""
    deadline = time.monotonic() + _SUPERVISOR_SECONDS
    while not read_state(home):
        if supervisor.poll() is not None:
            raise _without_supervisor(home, _STOPPED)
        if time.monotonic() > deadline:
            raise _without_supervisor(home, f"no word of their supervisor after {_SUPERVISOR_SECONDS:.0f} s")
        time.sleep(0.1)


def _document(parts: list[Part]) -> str:
    # The code counts: Airflow's processes keep modules in memory that no longer fit the files.
    return json.dumps({"parts": [part.to_json() for part in parts], "code": code_digest()}, sort_keys=True)


def _clear(home: Path) -> None:
    """End the supervisor in good order, then whatever is left of its parts (also of one that was killed)."""
    state = read_state(home)
    if state:
        pid = state["supervisor"]["pid"]
        end(lambda: [process for process in marked(home, "supervisor") if process.pid == pid], grace=_STOP_SECONDS)
    end(lambda: list(marked(home)), grace=2)
    (home / "run" / "state.json").unlink(missing_ok=True)


def _wait_until_healthy(environment: Environment, parts: list[Part], say: Say, began: float) -> None:
    waiting = {part.name: part for part in parts}
    while waiting:
        states = _states(home_folder())
        probe = HealthProbe(parts, states)
        for part in list(waiting.values()):
            if probe.is_healthy(part):
                _welcome(environment, waiting.pop(part.name), say, began)
            elif _gave_up(part, states, began, say):
                say(f"{part.name:<28} does not start; see {log_file(part.name)}")
                waiting.pop(part.name)
        if waiting:
            time.sleep(0.4)


def _states(home: Path) -> dict[str, dict[str, Any]]:
    """Return the supervisor's state of each part; wait for another `up` that starts all again."""
    state = read_state(home)
    if not state:
        with _only_one(home):
            state = read_state(home)
    if not state:
        raise _without_supervisor(home, _STOPPED)
    parts: dict[str, dict[str, Any]] = state["parts"]
    return parts


def _without_supervisor(home: Path, problem: str) -> ServiceError:
    return ServiceError(
        f"services of {home}",
        value=bare(problem),
        allowed="a supervisor that keeps them until bin/stepzero down",
        action=f"bin/stepzero up; if nobody stopped them, read {log_file('supervisor')} first",
    )


def _welcome(environment: Environment, part: Part, say: Say, began: float) -> None:
    if part.name == "swift-proxy":
        ensure_bucket(environment)
    if part.name == "airflow-api-server":
        ensure_pools(environment, Credentials(home_folder()))
    verb = "done" if part.health == "once" else "healthy"
    say(f"{part.name:<28} {verb:<8} {time.monotonic() - began:5.1f} s  {part.address or ''}".rstrip())


def _gave_up(part: Part, states: dict[str, dict[str, Any]], began: float, say: Say) -> bool:
    """Tell whether an optional part is not worth waiting for; raise for one that is needed."""
    restarts = states.get(part.name, {}).get("restarts", 0)
    late = time.monotonic() - began > _START_SECONDS
    if restarts < _FAILURES and not late:
        return False
    if not part.required:
        return True
    problem = f"ended {restarts} times" if restarts >= _FAILURES else f"not healthy after {_START_SECONDS:.0f} s"
    say(f"the log of {part.name} ends with:\n{_log_end(part)}")
    raise ServiceError(
        f"service {part.name}",
        value=bare(problem),
        allowed="a part that starts and answers",
        action=f"read {log_file(part.name)}, run bin/stepzero doctor, then bin/stepzero up",
    )


def _log_end(part: Part) -> str:
    try:
        lines = log_file(part.name).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(f"  {line[:200]}" for line in lines[-_LOG_LINES:])
