"""Dockerfile, compose file and Astro folder: what can be checked without a container engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepzero.core.stages import STAGES
from stepzero.spec.load import load_environment

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))


def _check(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile_has_no_lint() -> None:
    _check(str(BIN / "hadolint"), "Dockerfile")


def test_dockerfile_names_no_architecture_and_takes_java_from_debian() -> None:
    """It is built for linux/amd64 and linux/arm64 alike; only x86-64 has a Java among the wheels."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    instructions = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert re.findall(r"amd64|x86_64|arm64|aarch64|--platform", instructions) == []
    assert "openjdk-17-jre-headless" in (ROOT / "packages.txt").read_text(encoding="utf-8").splitlines()


def test_the_images_user_has_a_name_and_a_home() -> None:
    """Airflow, Hadoop and `getpass` ask for both, and end where there is no entry for the number."""
    instructions = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    user = re.findall(r"^USER (\d+):0$", instructions, flags=re.MULTILINE)[-1]
    made = re.search(rf"getent passwd {user} \|\| useradd (.*) stepzero", instructions.partition(f"USER {user}")[0])
    assert made is not None, f"no user {user} is made before it is used"
    assert {f"--uid {user}", "--gid 0", "--home-dir /stepzero"} <= set(re.findall(r"--\S+(?: [^-]\S*)?", made[1]))


def test_aws_environment_sends_every_stage_to_arm64() -> None:
    aws = load_environment("aws")
    granted = {name: aws.resources(name) for name in STAGES}
    assert {name: one.platform for name, one in granted.items() if one.platform != "linux/arm64"} == {}
    assert {one.pool for one in granted.values()} <= {*aws.pools, "default_pool"}
    for name in ("resample", "tune"):
        assert (granted[name].queue, granted[name].pool) == ("graviton", "graviton")


def test_compose_file_fits_its_schema() -> None:
    _check(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yaml")


def test_compose_services_depend_on_services_that_exist_and_say_how_they_are(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services, f"{name} needs {needed}"
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], f"{name} waits for the health of {needed}"
        assert "healthcheck" in service or service["restart"] == "no", f"{name} says nothing of its health"
    assert {volume.split(":")[0] for service in services.values() for volume in service["volumes"]} <= {
        *compose["volumes"],
        "./dags",
        "./include",
        "./plugins",
    }


def test_compose_publishes_on_loopback_only(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_compose_starts_what_the_environment_names(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPZERO_HOME", "/stepzero")
    environment = load_environment("compose")
    hosts = {environment.tracking.uri, environment.airflow.uri, *(one.uri for one in environment.endpoints.values())}
    assert {host.split("//")[1].split(":")[0] for host in hosts} <= set(compose["services"])
    for name, endpoint in environment.endpoints.items():
        command = compose["services"][endpoint.uri.split("//")[1].split(":")[0]]["command"]
        assert command[command.index("--use-case") + 1] == name
    assert environment.store == "file:///stepzero/store"


def test_compose_links_are_what_is_published(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """No browser of the host knows the names of services, and the published ports may be moved."""
    environment = load_environment("compose")
    servers = [environment.tracking, environment.airflow, *environment.endpoints.values()]
    services = {server.uri: compose["services"][server.uri.split("//")[1].split(":")[0]] for server in servers}
    ports = {uri: re.findall(r":\$\{(\w+):-(\d+)\}:", service["ports"][0])[0] for uri, service in services.items()}
    told = [f"http://localhost:${{{variable}:-{port}}}" for variable, port in ports.values()]
    assert [server.base for server in servers] == [f"http://localhost:{port}" for _, port in ports.values()]
    for number, (variable, port) in enumerate(ports.values(), start=20_000):
        monkeypatch.setenv(variable, str(number))
        for service in compose["services"].values():
            assert service["environment"][variable] == f"${{{variable}:-{port}}}", "whoever makes a link knows the port"
    moved = load_environment("compose")
    assert [server.base for server in (moved.tracking, moved.airflow, *moved.endpoints.values())] == [
        f"http://localhost:{number}" for number in range(20_000, 20_000 + len(servers))
    ]
    assert services[environment.airflow.uri]["environment"]["AIRFLOW__API__BASE_URL"] == told[1]


def test_compose_holds_no_secret(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service["environment"].items():
            secret = re.search(r"FERNET|SECRET|PASSWORD|TOKEN", name)
            assert not secret or str(value).startswith(("cat /stepzero/secrets/", "/stepzero/secrets/")), name


def test_all_airflow_services_share_the_settings_that_must_agree(compose: dict[str, Any]) -> None:
    shared = (
        "API_AUTH__JWT_SECRET_CMD",
        "CORE__FERNET_KEY_CMD",
        "DATABASE__SQL_ALCHEMY_CONN",
    )
    services = [service for name, service in compose["services"].items() if name.startswith("airflow-")]
    assert len(services) == 5
    for name in shared:
        assert len({service["environment"][f"AIRFLOW__{name}"] for service in services}) == 1


def test_airflow_settings_name_the_pools_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPZERO_HOME", "/stepzero")
    settings = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text(encoding="utf-8"))["airflow"]
    environment = load_environment("local")
    assert {pool["pool_name"]: pool["pool_slot"] for pool in settings["pools"]} == {
        name: pool.slots for name, pool in environment.pools.items()
    }
    assert environment.airflow.connection in {one["conn_id"] for one in settings["connections"]}


def test_image_has_what_the_context_lets_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert source in allowed, f"{source} is copied but not in the build context"
                assert (ROOT / source).exists()


def test_packages_bring_the_java_that_spark_needs() -> None:
    assert "openjdk-17-jre-headless" in (ROOT / "packages.txt").read_text(encoding="utf-8").split()


ASTRO = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps([sorted(bag.dags), bag.import_errors]))
"""


def test_the_recipe_for_astro_lets_a_dag_be_imported(tmp_path: Path) -> None:
    """Astro copies the project to AIRFLOW_HOME, which alone is on the path."""
    told = re.search(r"^#   ENV PYTHONPATH=(\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    path = told[1] if told else "/usr/local/airflow"
    for name in ("dags", "include", "plugins"):
        (tmp_path / name).symlink_to(ROOT / name)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "STEPZERO"))}
    settings = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    settings["PYTHONPATH"] = path.replace("/usr/local/airflow", str(tmp_path))
    command = [sys.executable, "-P", "-c", ASTRO, str(tmp_path / "dags" / "abalone_age.py")]
    done = subprocess.run(
        command, env=clean | settings, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [["abalone_age"], {}]
