"""Four runs of the watching Dag in the Airflow that runs here, one through each branch, with pictures of the graph.

    bin/run                                                   # services, and a champion that learned generated payments
    bin/stepzero bench watch_runs [--rows 8000] [--cases NAME …] [--pictures FOLDER]

For each case a week and a half of payments that nobody has learned from is sent through the endpoint's own application,
with replayed clocks, into the store of the running services; labels come a week later. Then a run of the Dag is started
as of the night after the last day. `nothing`: payments as ever. `watch`: amounts grow, the champion loses nothing.
`page`: on the last day amounts come in another unit. `retrain`: what was a fraud is none, and the labels say so.
The run of the training Dag that the last one asks for is waited for, with its note and the champion after it: whether
the challenger holds its own is what the gates say. A store remembers retrains, so this is done once in a store. The
last line is JSON: each case with the decision, the tasks that ran and the run's address. Ends with 1 where a decision
is another one, or the retrain says nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
from _watch_replay import DAY, sent

from stepzero.adapters import watching
from stepzero.adapters.labels import land_labels
from stepzero.adapters.registry_records import read_registration
from stepzero.adapters.store import Store
from stepzero.adapters.tracking import Tracking
from stepzero.cli.airflow_api import ENDED, AirflowApi, connect
from stepzero.cli.services.credentials import ADMINISTRATOR, Credentials
from stepzero.execution.first import find_champion
from stepzero.generators import generator_for
from stepzero.learning.model import load_model
from stepzero.serving.capture import Capture
from stepzero.serving.versions import Served
from stepzero.spec.environment import Capture as Settings
from stepzero.spec.load import home_folder, load_environment, load_use_case
from stepzero.spec.plan import run_folder

NAME = "credit_card_fraud"
DAG = f"{NAME}_watch"
APART = timedelta(days=30)
"""Between two cases: none sees another one's days."""
LATE = 7
"""Days until labels are known."""
BRANCHES = ("page", "watch", "retrain", "nothing")
WAIT_SECONDS, RETRAIN_SECONDS = 900, 3_600
RECENT, LABELLED = range(3, 0, -1), range(LATE + 3, LATE, -1)
"""Days before the window's end: those that are judged, and those whose labels are known by then."""


@dataclass(frozen=True)
class Case:
    """What is otherwise than ever."""

    amounts: float = 1.0
    """What amounts of the judged days are multiplied by ..."""
    on: int = len(RECENT)
    """... on so many of them, the last ones."""
    turned: bool = False
    """Whether payments that are as frauds were are none, and others are."""


CASES = {"nothing": Case(), "watch": Case(amounts=1.6), "page": Case(amounts=100, on=1), "retrain": Case(turned=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8_000, help="payments of a day")
    parser.add_argument("--pictures", type=Path, help="where the graphs go; pictures in the home folder if absent")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="some of them only")
    asked = parser.parse_args()
    cases = {name: CASES[name] for name in CASES if name in asked.cases}
    environment = load_environment()
    store, api = Store(environment.store), connect(environment)
    champion = find_champion(NAME, Tracking(environment.tracking))
    assert champion is not None, "no champion: bin/run makes one"
    traffic = Traffic(store, champion.version, asked.rows)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ends = {name: midnight - DAY - place * APART for place, name in enumerate(reversed(cases))}
    for name, case in cases.items():
        print(f"{name}: {traffic.send(ends[name], case)} payments up to {ends[name]:%Y-%m-%d}", flush=True)
    api.wait_for_dag(DAG, print)
    runs = {name: start(api, name, ends[name] + timedelta(hours=3)) for name in cases}
    told = {name: ended(api, run) for name, run in runs.items()}
    folder = asked.pictures or home_folder() / "pictures"
    take_pictures(api, runs, folder)
    for name, one in told.items():
        print(f"{name}: {one['decision']} in {one['seconds']:.0f} s: {one['note']}")
    wrong = [name for name, one in told.items() if one["decision"] != name]
    asks = any(one["decision"] == "retrain" for one in told.values())
    retrain = retrained(api, store, champion.version) if asks else None
    if retrain is not None:
        print(f"{retrain['run']}: {retrain['state']}: {retrain['note']}")
    print(json.dumps({"runs": told, "wrong": wrong, "retrain": retrain, "pictures": str(folder)}))
    silent = "retrain" in cases and (retrain is None or not retrain["note"])
    raise SystemExit(1 if wrong or silent else 0)


class Traffic:
    """Payments that nobody has learned from, answered by the champion."""

    def __init__(self, store: Store, version: str, rows: int) -> None:
        registration = read_registration(store, NAME, version)
        model = load_model(store, registration.reference)
        self.store, self.use_case, self.rows, self.seed = store, load_use_case(NAME), rows, 1_000
        self.features = list(model.features)
        self.served = Served(version, registration.model_digest, registration.threshold, model)

    def send(self, end: datetime, case: Case) -> int:
        """Send the days of a case; return how many payments they were."""
        for ago in [*LABELLED, *RECENT]:
            rows, at = self.payments(), end - ago * DAY + DAY / 2
            target = rows[self.use_case.problem.target].to_numpy()  # type: ignore[union-attr]
            if ago <= case.on:
                rows["Amount"] *= case.amounts
            capture = Capture(self.store, NAME, Settings(queue_rows=1_000_000), clock=lambda at=at: at)  # type: ignore[misc]
            # Ids are of this moment, so that a second try of the benchmark has its own.
            ids = sent(NAME, self.served, rows[self.features], capture, f"{at:%Y%m%d}.{time.time_ns()}")
            self.label(ids, np.roll(target, 1) if case.turned else target, at + (LATE - 0.5) * DAY)
        return self.rows * (len(LABELLED) + len(RECENT))

    def payments(self) -> pd.DataFrame:
        """Return another day's payments, with as many frauds as there truly are."""
        self.seed += 1
        share = self.use_case.weight.base_rate  # type: ignore[union-attr]
        assert share is not None
        generator: Any = generator_for(NAME)
        rows: pd.DataFrame = generator.generate(rows=self.rows, seed=self.seed, frauds=round(self.rows * share))
        return rows

    def label(self, ids: list[str], labels: Any, known_at: datetime) -> None:
        """Land labels as a person would."""
        with tempfile.TemporaryDirectory(prefix="stepzero-") as folder:
            path = Path(folder) / "labels.parquet"
            made = {"id": ids, "label": labels, "known_at": known_at.isoformat()}
            pd.DataFrame(made).to_parquet(path, index=False)
            land_labels(self.store, NAME, self.use_case.problem, path)  # type: ignore[arg-type]


def start(api: AirflowApi, name: str, at: datetime) -> str:
    """Start a run as of a moment, and return its id."""
    asked = {
        "dag_run_id": f"{name}__{datetime.now(UTC):%Y%m%dT%H%M%S}",
        "logical_date": None,
        "run_after": at.isoformat(),
        "conf": {},
    }
    return str(api.ask("POST", f"/dags/{DAG}/dagRuns", json=asked)["dag_run_id"])


def retrained(api: AirflowApi, store: Store, before: str) -> dict[str, Any]:
    """Wait for the run of the training Dag that the watch asked for; return its note, and who is the champion then.

    A challenger that does not hold its own on the labelled requests is no failure of the watch: the run says so.
    """
    newest = watching.retrains(store, NAME)[-1]
    told = wait(api, NAME, newest.dag_run, RETRAIN_SECONDS)
    champion = find_champion(NAME, Tracking(load_environment().tracking))
    report = read_if_there(store, f"{run_folder(NAME, newest.dag_run)}/plan.json")
    return {
        "run": newest.dag_run,
        "state": told["state"],
        "note": told["note"],
        "reason": report.get("reason"),
        "compared_on_rows": (report.get("compared_on") or {}).get("rows"),
        "champion_before": before,
        "champion_after": champion.version if champion else None,
        "link": api.link(NAME, newest.dag_run),
    }


def read_if_there(store: Store, uri: str) -> dict[str, Any]:
    return dict(store.read_json(uri)) if store.exists(uri) else {}


def wait(api: AirflowApi, dag: str, run: str, seconds: float) -> dict[str, Any]:
    """Wait for the end of a run."""
    deadline = time.monotonic() + seconds
    while (told := api.run(dag, run))["state"] not in ENDED:
        assert time.monotonic() < deadline, f"{run} does not end"
        time.sleep(2)
    return told


def ended(api: AirflowApi, run: str) -> dict[str, Any]:
    """Wait for the end of a run, and return what became of it."""
    told = wait(api, DAG, run, WAIT_SECONDS)
    tasks = {task["task_id"]: task["state"] for task in api.tasks(DAG, run)}
    (decision,) = [name for name in BRANCHES if tasks[name] == "success"]
    seconds = (datetime.fromisoformat(told["end_date"]) - datetime.fromisoformat(told["start_date"])).total_seconds()
    kept = {"decision": decision, "state": told["state"], "note": told["note"], "seconds": seconds}
    return {**kept, "tasks": tasks, "link": api.link(DAG, run)}


def take_pictures(api: AirflowApi, runs: dict[str, str], folder: Path) -> None:
    """Keep the graph of each run as a person sees it, where there is a Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no pictures: no chromium here")
        return
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    user = {"username": ADMINISTRATOR, "password": Credentials(home_folder()).administrator_password}
    token = str(httpx.post(f"{api.uri}/auth/token", json=user, timeout=60).raise_for_status().json()["access_token"])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US", timezone_id="UTC")
        context.add_cookies([{"name": "_token", "value": token, "url": api.uri}])
        context.add_init_script("localStorage.setItem('default_dag_view', '\"graph\"')")
        page = context.new_page()
        for name, run in runs.items():
            page.goto(api.link(DAG, run))
            page.locator(".react-flow__node").first.wait_for(timeout=120_000)
            page.wait_for_timeout(2_000)
            page.screenshot(path=folder / f"watch_{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
