"""The doctor sees made-up breakage and says what to do about it."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from stepzero.cli import doctor_checks as checks
from stepzero.cli.services.control import service_status
from stepzero.cli.services.parts import parts_of
from stepzero.launchers import runtime
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_environment

NOBODY = 65534


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    for name in ("AIRFLOW", "MLFLOW", "ENDPOINT", "ABALONE_AGE", "AUTO_CLAIMS_FRAUD"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            monkeypatch.setenv(f"STEPZERO_{name}_PORT", str(probe.getsockname()[1]))
    return tmp_path


@pytest.fixture
def environment(home: Path) -> Environment:
    return load_environment("local")


def finding(environment: Environment, name: str) -> checks.Finding:
    return next(each for each in checks.all_findings(environment) if each.check == name)


def test_jar_with_other_bytes(environment: Environment, home: Path) -> None:
    (home / "cache").mkdir()
    (home / "cache" / runtime.DEEQU_JAR).write_bytes(b"something else")
    found = finding(environment, "deequ jar")
    assert found.state == checks.PROBLEM
    assert "got SHA-256" in found.found
    assert "delete the file and run bin/stepzero setup" in found.action


def test_taken_port_names_process_and_variable(environment: Environment) -> None:
    port = int(environment.tracking.uri.rpartition(":")[2])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        found = finding(environment, "ports")
    assert found.state == checks.PROBLEM
    assert f"port {port} of mlflow: got taken by process {os.getpid()} (" in found.found
    assert found.action == "stop that process, or choose another port with STEPZERO_MLFLOW_PORT=N"


@pytest.fixture
def somebody(home: Path) -> Iterator[None]:
    """Be a user who may not write here (permissions do not bind root)."""
    home.chmod(0o555)
    if os.geteuid() != 0:
        yield
    else:
        os.seteuid(NOBODY)
        yield
        os.seteuid(0)
    home.chmod(0o755)


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize("name", ["home", "store"])
def test_folder_that_may_not_be_written(environment: Environment, name: str) -> None:
    found = finding(environment, name)
    assert found.state == checks.PROBLEM
    assert "Permission denied" in found.found
    assert found.action


def test_full_disk(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    write = checks.write_probe
    monkeypatch.setattr(checks, "write_probe", lambda path: write(Path("/dev/full")))
    found = finding(environment, "home")
    assert found.state == checks.PROBLEM
    assert f"[Errno {errno.ENOSPC}] No space left on device" in found.found
    assert found.action == "make room, or move STEPZERO_HOME to a larger disk"


def test_little_room_on_the_disk(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "FREE_GIGABYTES", 1e9)
    found = finding(environment, "disk")
    assert found.state == checks.PROBLEM
    assert "GB free under" in found.found
    assert found.action.startswith("make room, at least")


def test_little_memory_is_a_warning(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MEMORY_GIGABYTES", 1e9)
    found = finding(environment, "memory")
    assert found.state == checks.WARNING
    assert "spark.memory" in found.action


@pytest.mark.usefixtures("no_java")
def test_no_java_is_a_problem_with_the_debian_package_to_install(environment: Environment) -> None:
    found = finding(environment, "java")
    assert found.state == checks.PROBLEM
    assert found.found == (
        "Java runtime for Spark: got none (JAVA_HOME is not set, no java on PATH). Allowed: Java 17 (Spark 3.5 with "
        "Arrow fails on newer ones)"
    )
    assert found.action == "apt-get install openjdk-17-jre-headless, or set JAVA_HOME to a Java 17"


@pytest.mark.parametrize(
    ("version", "state", "action"),
    [
        ((3, 10, 2), checks.PROBLEM, "apt-get install python3.11 python3.11-venv, then bin/stepzero again"),
        ((3, 13, 1), checks.PROBLEM, "apt-get install python3.11 python3.11-venv, then bin/stepzero again"),
        ((3, 12, 9), checks.GOOD, ""),
    ],
)
def test_python_that_the_lock_is_not_made_for(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], state: str, action: str
) -> None:
    monkeypatch.setattr(checks, "sys", SimpleNamespace(version_info=version, prefix="/opt/python"))
    found = finding(environment, "python")
    told = ".".join(map(str, version))
    expected = told if state == checks.PROBLEM else f"{told} in /opt/python"
    assert (found.state, found.found, found.action) == (state, expected, action)


def test_services_that_were_started_and_do_not_answer(environment: Environment, home: Path) -> None:
    """The supervisor lives; MLflow's process is up but says nothing, and Airflow's are gone."""
    assert finding(environment, "services").found == "not running (bin/stepzero up starts them)"
    own = psutil.Process()
    part = {"state": "running", "started": own.create_time(), "pid": own.pid, "restarts": 0}
    state = {"supervisor": {"pid": own.pid, "created": own.create_time()}, "parts": {"mlflow": part}}
    (home / "run").mkdir()
    (home / "run" / "state.json").write_text(json.dumps(state), encoding="utf-8")
    found = finding(environment, "services")
    assert found.state == checks.PROBLEM
    told = dict(each.split(" ") for each in found.found.split(", "))
    assert told["mlflow"] == "starting"
    assert {told[f"airflow-{name}"] for name in ("api-server", "scheduler", "dag-processor", "triggerer")} == {"down"}
    assert re.fullmatch(
        rf"read {home}/logs/[a-z-]+\.log; bin/stepzero down, then up, starts all again", found.action
    ), found.action
    tracking = finding(environment, "tracking")
    assert (tracking.state, tracking.action) == (
        checks.PROBLEM,
        "start that server, or correct environment tracking.uri",
    )
    assert tracking.found.startswith(f"{environment.tracking.uri}: ")


def test_other_versions_than_the_lock(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(checks.include_folder() / "environments", project / "include" / "environments")
    (project / "requirements.txt").write_text(
        "pytest==1.0 \\\n    --hash=sha256:0\nno-such-thing==2\n", encoding="utf-8"
    )
    monkeypatch.setenv("STEPZERO_INCLUDE", str(project / "include"))
    found = finding(environment, "packages")
    assert found.state == checks.PROBLEM
    assert ", not 1.0; no-such-thing missing, not 2" in found.found


def test_package_for_another_machine_is_not_missing(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("one==1 ; platform_machine == 'vax' \\\n    --hash=sha256:0\ntwo==2 ; sys_platform == 'linux'\n")
    assert checks.locked_versions(lock) == {"two": "2"}


def test_secrets_that_others_may_read(environment: Environment, home: Path) -> None:
    parts_of(environment)  # as `up` does
    assert finding(environment, "secrets").state == checks.GOOD
    (home / "secrets" / "airflow_passwords.json").chmod(0o644)
    found = finding(environment, "secrets")
    assert found.state == checks.PROBLEM
    assert found.action == f"chmod 600 {home}/secrets/*"


def test_looking_at_a_home_that_was_never_started_makes_nothing_there(environment: Environment, home: Path) -> None:
    parts = [row["name"] for row in service_status(environment)]
    ports = checks.check_ports(environment)
    assert ports.state == checks.GOOD
    assert f"endpoint-abalone_age {os.environ['STEPZERO_ABALONE_AGE_PORT']}" in ports.found
    assert sorted(home.rglob("*")) == []
    assert parts == [part.name for part in parts_of(environment) if part.health != "once"], "and all is looked at"
    assert {path.name for path in home.iterdir()} >= {"secrets", "airflow", "mlflow"}


def test_tracking_server_of_somebody_else_that_is_down(environment: Environment) -> None:
    away = environment.model_copy(
        update={"tracking": environment.tracking.model_copy(update={"uri": "http://0.0.0.0:9"})}
    )
    found = finding(away, "tracking")
    assert found.state == checks.PROBLEM
    assert "correct environment tracking.uri" in found.action


def test_command_exits_with_the_verdict(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "stepzero.cli.main", "doctor", "--json"],
        env={**os.environ, "STEPZERO_HOME": str(home), "PYTHONPATH": str(checks.include_folder())},
        capture_output=True,
        text=True,
        check=False,
    )
    said = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    assert said["healthy"] is False
    assert {each["check"] for each in said["findings"]} == set(checks.CHECKS)
    assert [each["check"] for each in said["findings"] if each["state"] == "problem"] == ["deequ jar"]
