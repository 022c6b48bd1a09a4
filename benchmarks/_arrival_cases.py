"""What starts a run and what does not, in the Airflow of `endpoint_failures`: objects in S3."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
from _endpoint_project import BUCKET, DAG, FOLDER, POLL_SECONDS, PREFIX, Project

from stepzero.adapters.store import Store
from support.rivals import Rivals
from support.rivals_launcher import HELD, HOLDING
from support.stack import wait_for

BURST = 50
KILLED: dict[int, Callable[[Project], None]] = {17: Project.kill_triggerer, 34: Project.kill_scheduler}
"""Before which object which service is killed."""
PART = 5 * 2**20
"""The smallest part of an upload in several but the last."""
TWO_LOOKS = 2 * POLL_SECONDS + 5
"""Nothing can be waited for where nothing is to happen."""
CLAIM_SECONDS = 300
"""A run may have to wait for its turn."""


@dataclass(frozen=True)
class Case:
    """Something that arrives.

    Attributes:
        land: Does it, and returns the names that a run has to claim; none where no run is to start.
        log: What the watcher must have said of it.
    """

    name: str
    land: Callable[[Place], list[str]]
    log: str = ""


class Place:
    """Where objects land.

    Args:
        project: The running project.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.s3: Any = boto3.client("s3")
        self.upload = ""

    def address(self, name: str) -> dict[str, str]:
        """Return bucket and key."""
        return {"Bucket": BUCKET, "Key": f"{FOLDER}/{PREFIX}{name}"}

    def put(self, name: str, body: bytes, *, event: bool = True) -> list[str]:
        """Put an object."""
        self.s3.put_object(**self.address(name), Body=body)
        if event:
            self.project.tell(name)
        return [name]

    def copy(self, name: str, source: str) -> list[str]:
        """Copy an object on the server."""
        self.s3.copy_object(**self.address(name), CopySource=self.address(source))
        self.project.tell(name, "Copy")
        return [name]

    def begin(self, name: str) -> list[str]:
        """Send the first part of an object, and no more."""
        self.upload = str(self.s3.create_multipart_upload(**self.address(name))["UploadId"])
        self._part(name, 1, b"9 1:1\n" * (PART // 6 + 1))
        self.project.tell(name, "Put")  # S3 would not: even who is told finds nothing
        return []

    def complete(self, name: str) -> list[str]:
        """Send the last part."""
        self._part(name, 2, b"8 1:2\n")
        sent = self.s3.list_parts(**self.address(name), UploadId=self.upload)["Parts"]
        parts = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in sent]
        self.s3.complete_multipart_upload(**self.address(name), UploadId=self.upload, MultipartUpload={"Parts": parts})
        self.project.tell(name, "CompleteMultipartUpload")
        return [name]

    def _part(self, name: str, number: int, body: bytes) -> None:
        self.s3.upload_part(**self.address(name), UploadId=self.upload, PartNumber=number, Body=body)


def nothing(names: list[str]) -> list[str]:
    """Return no name, whatever was landed."""
    del names
    return []


ROWS = b"9 1:1 2:0.5\n"
STARTING = (
    Case("object put, S3 tells the queue", lambda place: place.put("put.libsvm", ROWS)),
    Case("object put, nobody tells: found by looking", lambda place: place.put("seen.libsvm", ROWS, event=False)),
    Case("object copied", lambda place: place.copy("copy.libsvm", "put.libsvm")),
    Case("object put in parts, completed", lambda place: place.complete("parts.libsvm")),
    Case("other content under the same key", lambda place: place.put("put.libsvm", b"8 1:2\n")),
)
STARTING_NONE = (
    Case("the same object again (same ETag)", lambda place: nothing(place.put("put.libsvm", ROWS))),
    Case(
        "folder marker",
        lambda place: nothing(place.put("day/", b"")),
        "landing/abalone_age/day/ is not taken: a folder",
    ),
    Case("empty object", lambda place: nothing(place.put("empty.libsvm", b"")), "empty.libsvm is not taken: empty"),
    Case("object put in parts, half of them there", lambda place: place.begin("parts.libsvm")),
)


DURING = Case(
    "object put while the run of another goes on, and stands still", lambda place: place.put("during.libsvm", ROWS)
)


def try_arrivals(project: Project, rivals: Rivals) -> list[dict[str, Any]]:
    """Let things arrive, and count the runs that each of them started."""
    begun, place = known_runs(project), Place(project)
    rows = [_one(project, rivals, place, STARTING[0])]
    rows += _none(project, place)
    rows += [_one(project, rivals, place, case) for case in STARTING[1:]]
    late = len(project.new_runs(begun)) - len(STARTING)
    assert late == 0, f"{late} runs that nobody asked for"
    return rows


def _one(project: Project, rivals: Rivals, place: Place, case: Case) -> dict[str, Any]:
    known = known_runs(project)
    before = owners_of(rivals.store)
    names = case.land(place)
    landed = time.monotonic()
    new = wait_for("a claim", lambda: _claimed_since(rivals, names, before), seconds=CLAIM_SECONDS, every=1)
    return row(case.name, len(project.new_runs(known)), round(time.monotonic() - landed), claimed=len(new))


def _none(project: Project, place: Place) -> list[dict[str, Any]]:
    """Let everything arrive that is to start nothing, and look for longer than two looks of the watcher."""
    known = known_runs(project)
    for case in STARTING_NONE:
        case.land(place)
    time.sleep(TWO_LOOKS)
    started = len(project.new_runs(known))
    log = _said(project)
    return [row(case.name, started, TWO_LOOKS, **_reason(case, log)) for case in STARTING_NONE]


def _reason(case: Case, log: str) -> dict[str, Any]:
    return {"said in the log": case.log in log} if case.log else {}


def _said(project: Project) -> str:
    """Return every log of Airflow: the watcher's is among them."""
    found = [path for folder in ("logs", "airflow") for path in (project.home / folder).rglob("*.log")]
    return "".join(path.read_text(errors="replace") for path in found if path.is_file())


def try_during(project: Project, rivals: Rivals) -> list[dict[str, Any]]:
    """Let an object arrive while a run of another one stands still; earlier runs would count as active ones, too."""
    wait_for("the end of earlier runs", lambda: not _active(project), seconds=CLAIM_SECONDS, every=1)
    rivals.store.remove(HOLDING)
    rivals.store.write_json(HELD, {"task": "lease_endpoint xgboost"})
    try:
        project.land(rivals, "first.libsvm", event=True)
        wait_for("a run that stands still", lambda: rivals.store.exists(HOLDING), seconds=CLAIM_SECONDS, every=1)
        return [_one(project, rivals, Place(project), DURING)]
    finally:
        rivals.store.remove(HELD)


def _active(project: Project) -> list[dict[str, Any]]:
    return [run for run in project.runs() if run["state"] not in {"success", "failed"}]


def try_burst(project: Project, rivals: Rivals) -> list[dict[str, Any]]:
    """Land many objects, of which the queue hears every other, and kill triggerer and scheduler in their midst."""
    before = known_runs(project)
    names = [f"burst-{number}.libsvm" for number in range(BURST)]
    landed = time.monotonic()
    for number, name in enumerate(names):
        if number in KILLED:
            KILLED[number](project)
        project.land(rivals, name, event=number % 2 == 0)
    wait_for("claims", lambda: set(names) <= set(owners_of(rivals.store)), seconds=CLAIM_SECONDS, every=1)
    seconds = round(time.monotonic() - landed)
    owners = {name: runs for name, runs in owners_of(rivals.store).items() if name in names}
    return [burst_row("objects", len(project.new_runs(before)), seconds, owners)]


def burst_row(what: str, started: int, seconds: float, owners: dict[str, list[str]]) -> dict[str, Any]:
    """Return the row of a burst, of which each file must have one owner."""
    assert all(len(runs) == 1 for runs in owners.values()), "claimed twice"
    by = {run for runs in owners.values() for run in runs}
    name = f"{BURST} {what} in a burst, triggerer and scheduler killed -9 in their midst"
    return row(name, started, seconds, **{"claimed": len(owners), "by runs": len(by)})


def known_runs(project: Project, dag: str = DAG) -> set[str]:
    """Return the ids of all runs there are."""
    return {str(run["dag_run_id"]) for run in project.runs(dag)}


def owners_of(store: Store, dag: str = DAG) -> dict[str, list[str]]:
    """Return which runs claimed each file, one run for each version of it."""
    found: dict[str, list[str]] = {}
    for uri in store.list(f"arrivals/{dag}"):
        if "/runs/" not in uri:
            told = store.read_json(uri)
            found.setdefault(str(told["uri"]).rpartition("/")[2], []).append(str(told["run"]))
    return found


def _claimed_since(rivals: Rivals, names: list[str], before: dict[str, list[str]]) -> list[str]:
    """Return the names, once a run has claimed every one of them that had not."""
    now = owners_of(rivals.store)
    return names if all(len(now.get(name, [])) == len(before.get(name, [])) + 1 for name in names) else []


def row(arrival: str, started: int, seconds: float, **more: Any) -> dict[str, Any]:
    """Return a row of the table, and say it."""
    told = {"arrival": arrival, "runs started": started, "seconds": seconds, **more}
    print(told, flush=True)
    return told
