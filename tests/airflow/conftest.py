"""An Airflow of the tests' own: a home, a database, an API server; the settings must be there before its import."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.scripted import scripted_environment
from support.stack import ROOT, free_port, wait_for

if TYPE_CHECKING:
    from stepzero.adapters.store import Store

HOME = Path(tempfile.mkdtemp(prefix="stepzero-airflow-tests-"))
EXAMPLES = ROOT / "tests" / "airflow" / "dags"
PORT = free_port()
_LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle"
# A bundle for each file: before a run, `dag.test` reads the whole bundle of its DAG again, and writes it down.
_BUNDLES = [
    {"name": path.stem, "classpath": _LOCAL, "kwargs": {"path": str(path)}}
    for folder in (ROOT / "dags", EXAMPLES)
    for path in sorted(folder.glob("*.py"))
]
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(HOME / "passwords.json"),
    "AIRFLOW__API_AUTH__JWT_SECRET": "tests-only-" * 8,
    "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(_BUNDLES),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(HOME / "logs"),
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW_CONN_STEPZERO_AIRFLOW": f"http://admin:secret@127.0.0.1:{PORT}",
    "STEPZERO_AIRFLOW_PORT": str(PORT),
    "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("include", "plugins", "tests")),
}


NOISE = (
    "ignore:GitWildMatchPattern:DeprecationWarning",  # Airflow reads .airflowignore with an older pathspec's name
    "ignore:Using `httpx` with `starlette.testclient`",  # Airflow's in-process API server of dag.test
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Airflow and its dependencies warn about themselves; what is ours stays an error."""
    for item in items:
        if Path(item.fspath).is_relative_to(ROOT / "tests" / "airflow"):
            item.add_marker("airflow")
            for noise in NOISE:
                item.add_marker(pytest.mark.filterwarnings(noise))


@pytest.fixture(scope="session")
def airflow_database() -> Iterator[Path]:
    """A migrated database, once."""
    (HOME / "passwords.json").write_text('{"admin": "secret", "viewer": "secret"}', encoding="utf-8")
    subprocess.run(
        [str(Path(sys.executable).parent / "airflow"), "db", "migrate"], check=True, capture_output=True, timeout=180
    )
    yield HOME
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def api_server(airflow_database: Path) -> Iterator[str]:
    """A real API server on the tests' database."""
    base = f"http://127.0.0.1:{PORT}"
    # Without the API for tasks: runs of `dag.test` bring their own.
    words = ["api-server", "--apps", "core", "--host", "127.0.0.1", "--port", str(PORT)]
    command = [str(Path(sys.executable).parent / "airflow"), *words]
    with (airflow_database / "api.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_for("the API server", lambda: _answers(base), seconds=90)
        yield base
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/api/v2/version", timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An environment whose stages are played by a script; returns its store."""
    return scripted_environment(tmp_path, monkeypatch)


class FakeTaskInstance:
    """As much of Airflow's task instance as an operator uses outside a run."""

    def __init__(self) -> None:
        self.id = "01234567-89ab-cdef-0123-456789abcdef"
        self.try_number, self.map_index = 1, -1
        self.dag_id, self.run_id, self.task_id = "orders", "manual__1", "task"
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        json.dumps(value)
        self.pushed[key] = value

    def xcom_pull(self, task_ids: str, key: str = "return_value", **_: Any) -> Any:
        return self.pushed.get(f"{task_ids}.{key}")


@pytest.fixture
def task_instance() -> FakeTaskInstance:
    return FakeTaskInstance()
