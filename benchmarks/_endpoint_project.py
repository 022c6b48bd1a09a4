"""A project for `endpoint_failures`: a store on S3, a queue of events, and a DAG in which endpoints are real.

What comes before the endpoints is given (`tests/support/rivals_launcher.py`), so that one run takes a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from stepzero.adapters.leases import leased_names  # noqa: E402
from stepzero.launchers.runtime import s3_variables  # noqa: E402
from stepzero.spec.load import load_environment  # noqa: E402
from support.aws import KEYS, connection_to  # noqa: E402 - lies beside, not on the path
from support.object_store import five_free_ports  # noqa: E402
from support.rivals import Rivals, is_open, three_models  # noqa: E402
from support.stack import Stack, wait_for  # noqa: E402

BUCKET, FOLDER = "stepzero", "failures"
STORE, PREFIX, DAG = f"s3://{BUCKET}/{FOLDER}", "landing/abalone_age/", "abalone_age"
LOCAL_DAG, WAITING_DAG = "local_folder", "waiting_run"
POLL_SECONDS, LOCAL_POLL_SECONDS = 20, 5
HEALTHY_SECONDS = 60.0
"""Enough for a process that is to become healthy on two busy cores."""
FLOW = '''
"""Endpoints, each in its own branch."""

from stepzero_airflow import use_case
from stepzero_airflow.arrivals import arrivals, await_arrivals
from stepzero_airflow.endpoints import compare_endpoints
from stepzero_airflow.stages import plan, prepare, quality_gate, train

flow = use_case("abalone_age")


@flow.dag(schedule=[arrivals(flow)])
def abalone_age():
    run = plan(flow, await_arrivals(flow))
    compare_endpoints(run, train(run, prepare(run, quality_gate(run))))


abalone_age()
'''


LOCAL_FLOW = '''
"""Files of a folder of this machine, watched as those of the store are: runs that they start, and one that waits."""

import os

from airflow.sdk import Asset, AssetWatcher, dag

from stepzero_airflow.sensors.arrival import ArrivalSensor
from stepzero_airflow.triggers.arrival import ArrivalTrigger

landed = ArrivalTrigger("file://{folder}", "{name}", "landing/", {seconds})


class FolderSensor(ArrivalSensor):
    """The sensor of every DAG, in an environment whose store is the folder."""

    def execute(self, context):
        os.environ["STEPZERO_ENVIRONMENT"] = "{environment}"
        return super().execute(context)


@dag(schedule=[Asset("{name}", watchers=[AssetWatcher(name="{name}", trigger=landed)])], catchup=False)
def {name}():
    FolderSensor(task_id="claim", use_case="{name}", prefix="landing/", poll_seconds={seconds})


@dag(schedule=None)
def {waiting}():
    FolderSensor(task_id="claim", use_case="{waiting}", prefix="waiting/", poll_seconds={seconds})


{name}()
{waiting}()
'''


class Project(Stack):
    """The product's services on a project of its own.

    Args:
        home: An empty folder.
        aws: Address of a local AWS, for the queue.
    """

    def __init__(self, home: Path, aws: str) -> None:
        super().__init__(home)
        import boto3

        self.sqs: Any = boto3.client("sqs", endpoint_url=aws, **KEYS)  # type: ignore[call-overload]
        self.queue = str(self.sqs.create_queue(QueueName="arrivals")["QueueUrl"])
        self.local = home / "local"
        for name in ("landing", "waiting"):
            (self.local / name).mkdir(parents=True)
        include = home / "project" / "include"
        self._link(include)
        path = include / "environments" / "failures.yaml"
        path.write_text(json.dumps(self._settings()), encoding="utf-8")
        self.environment |= {
            "STEPZERO_INCLUDE": str(include),
            "STEPZERO_ENVIRONMENT": str(path),
            "PYTHONPATH": os.pathsep.join(str(one) for one in (include, ROOT / "plugins")),
            "AIRFLOW_CONN_ARRIVAL_EVENTS": json.dumps(connection_to(aws)),
        }

    def _link(self, include: Path) -> None:
        for name in ("usecases", "environments"):
            (include / name).mkdir(parents=True)
        declared = three_models(healthy_seconds=HEALTHY_SECONDS).model_dump(mode="json", by_alias=True)
        (include / "usecases" / "abalone_age.yaml").write_text(json.dumps(declared), encoding="utf-8")
        (include / "stepzero").symlink_to(ROOT / "include" / "stepzero")
        (include / "jobs").symlink_to(ROOT / "include" / "jobs")
        (include / "support").symlink_to(ROOT / "tests" / "support")
        (include.parent / "plugins").symlink_to(ROOT / "plugins")
        (include.parent / "dags").mkdir()
        folder = include / "environments" / "folder.yaml"
        folder.write_text(json.dumps({"name": "folder", "store": f"file://{self.local}"}), encoding="utf-8")
        local = LOCAL_FLOW.format(
            folder=self.local, name=LOCAL_DAG, waiting=WAITING_DAG, seconds=LOCAL_POLL_SECONDS, environment=folder
        )
        for name, text in ((DAG, FLOW), (LOCAL_DAG, local)):
            (include.parent / "dags" / f"{name}.py").write_text(text.lstrip(), encoding="utf-8")

    def _settings(self) -> dict[str, Any]:
        played = {"launcher": "support.rivals_launcher:launch", "retry_delay_seconds": 1, "retries": 0}
        return {
            "name": "failures",
            "store": STORE,
            "s3": {
                "endpoint": f"http://127.0.0.1:{five_free_ports()}",
                "server": "swift",
                "credentials_file": str(self.home / "secrets" / "s3.json"),
            },
            "tracking": {"uri": "http://tracking.invalid:5000"},
            "airflow": {"uri": self.airflow_url, "connection": "stepzero_airflow"},
            "approval": "rule",
            "arrivals": {"poll_seconds": POLL_SECONDS, "queue": self.queue, "connection": "arrival_events"},
            "pools": {"graviton": {"slots": 2, "description": "Training"}},
            "stages": {"default": played, "remove_endpoint": {**played, "retries": 2}},
        }

    def begin(self) -> Rivals:
        """Start the services; return the rivals of their runs."""
        self.command("up", timeout=400)
        os.environ.update(self.environment)
        os.environ.update(s3_variables(load_environment()))
        wait_for("the DAGs", self._has_dags, every=1)
        return Rivals(self.home, STORE, healthy_seconds=HEALTHY_SECONDS)

    def _has_dags(self) -> bool:
        found = {one["dag_id"] for one in self.airflow("GET", "/dags?limit=100")["dags"]}
        return {DAG, LOCAL_DAG, WAITING_DAG} <= found

    def runs(self, dag: str = DAG) -> list[dict[str, Any]]:
        """Return all runs, the oldest first."""
        found = self.airflow("GET", f"/dags/{dag}/dagRuns?limit=100")["dag_runs"]
        return sorted(found, key=lambda run: str(run["run_after"]))

    def new_runs(self, known: set[str], dag: str = DAG) -> list[dict[str, Any]]:
        """Return runs that were not there."""
        return [run for run in self.runs(dag) if run["dag_run_id"] not in known]

    def named(self, word: str) -> list[psutil.Process]:
        """Return the living processes of a service."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if word in process.cmdline():
                    found.append(process)
        return found

    def kill_triggerer(self) -> None:
        """Kill -9 the triggerer, and what it started."""
        found = self.named("triggerer")
        assert found, "no triggerer runs"
        for process in found:
            process.kill()

    def kill_scheduler(self) -> None:
        """Kill -9 the scheduler; whatever else it started is left alone."""
        found = {process.pid: process for process in self.named("scheduler")}
        first = [process for pid, process in found.items() if process.ppid() not in found]
        assert first, "no scheduler runs"
        for process in first:
            process.kill()

    def land(self, rivals: Rivals, name: str, *, event: bool) -> float:
        """Put one object, and tell the queue as S3 would; return when."""
        rivals.store.write_text(f"{PREFIX}{name}", f"9 1:1 2:0.5 # {name}\n")
        if event:
            self.tell(name)
        return time.monotonic()

    def tell(self, name: str, event: str = "Put") -> None:
        """Tell the queue of an object, as S3 would."""
        key = {"object": {"key": f"{FOLDER}/{PREFIX}{name}"}}
        told = {"Records": [{"eventName": f"ObjectCreated:{event}", "s3": key}]}
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=json.dumps(told))

    def left(self, rivals: Rivals) -> dict[str, int]:
        """Count what is left of any endpoint."""
        log = (self.home / "logs" / "endpoint-host.log").read_text()
        addresses = re.findall(r"starts at (http://\S+) as process", log)
        return {
            "processes": len(rivals.endpoints()),
            "ports": sum(is_open(uri) for uri in addresses),
            "files": len(rivals.store.list("endpoints")),
            "leases": len(leased_names(rivals.store)),
        }
