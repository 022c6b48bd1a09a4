"""Days made up for by a running Airflow, in order and backwards: the same rows, models and figures.

    python benchmarks/backfill.py [--data transactions.parquet] [--first 2018-05-10] [--days 3] [--share 0.1]
                                  [--home FOLDER]

Two installations, each with services, store and database of its own, get the same days of card transactions (those of a
share of the customers; generated where the file is not there). In each, Airflow is asked for a backfill of `--days`
dates, in the second one backwards. Told are each run's outcome and seconds, and whether every stage's result has the
same digest in both. With --home what ran is kept: the same command goes on where it was ended. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from _ports import free_port

from stepzero.cli.airflow_api import AirflowApi
from stepzero.cli.services.credentials import ADMINISTRATOR, Credentials
from stepzero.execution.noted import noted_stages

NAME = "simulated_transactions"
DATA = Path(__file__).parents[2] / "shared" / "data" / NAME
WINDOW = 35
FORM = {"samplers": ["none"], "models": ["xgboost"]}
PATIENCE_SECONDS = 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--first", default="2018-05-10", help="first date of the backfill")
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.1, help="of the customers")
    parser.add_argument("--home", type=Path, help="where both installations are kept")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stepzero-backfill-") as folder:
        home = (asked.home or Path(folder)).resolve()
        home.mkdir(parents=True, exist_ok=True)
        file = landed_file(home, asked)
        told = {
            order: backfilled(home / order.replace(" ", "_"), file, asked, backwards=order == "backwards")
            for order in ("in order", "backwards")
        }
    print(json.dumps(summary(told)))


def landed_file(home: Path, asked: argparse.Namespace) -> Path:
    """Write the days that the backfill needs as one CSV file."""
    path = home / "payments.csv"
    if path.is_file():
        return path
    first = pd.Timestamp(asked.first) - pd.Timedelta(days=WINDOW - 1)
    end = pd.Timestamp(asked.first) + pd.Timedelta(days=asked.days)
    source = asked.data or next(iter(sorted(DATA.glob("*.parquet"))), None)
    if source is None:
        from stepzero.generators.transactions import generate

        rows = generate(
            rows=1000 * (WINDOW + asked.days - 1), days=WINDOW + asked.days - 1, first_day=str(first.date())
        )
    else:
        rows = pd.read_parquet(source)
        rows = rows[(rows["TX_DATETIME"] >= first) & (rows["TX_DATETIME"] < end)]
        # Whole customers: what a customer did before is part of the features.
        rows = rows[rows["CUSTOMER_ID"].astype(int) % 1000 < asked.share * 1000]
        rows = rows.astype({"TX_FRAUD": int, "TX_FRAUD_SCENARIO": int})
    print(f"{len(rows):,} rows of {source or 'the generator'} from {first.date()} to {end.date()}", flush=True)
    from stepzero.generators import write_csv

    write_csv(path, rows)
    return path


class Installation:
    """Services of their own, on free ports that are kept."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        kept = home / "ports.json"
        if not kept.is_file():
            kept.write_text(json.dumps({name: free_port() for name in ("AIRFLOW", "MLFLOW", "ENDPOINT")}))
        self.ports = json.loads(kept.read_text())
        ports = {f"STEPZERO_{name}_PORT": str(port) for name, port in self.ports.items()}
        cache = Path(os.environ.get("STEPZERO_HOME") or Path(__file__).parents[1] / ".stepzero") / "cache"
        if cache.is_dir() and not (home / "cache").exists():
            (home / "cache").symlink_to(cache)
        self.environment = {**os.environ, **ports, "STEPZERO_HOME": str(home)}

    def command(self, *words: str) -> None:
        """Run a command as a user would."""
        subprocess.run([sys.executable, "-m", "stepzero.cli.main", *words], env=self.environment, check=True)

    def airflow(self) -> AirflowApi:
        """Return a client of its Airflow."""
        password = Credentials(self.home).administrator_password
        return AirflowApi(f"http://127.0.0.1:{self.ports['AIRFLOW']}", ADMINISTRATOR, password)


def backfilled(home: Path, file: Path, asked: argparse.Namespace, *, backwards: bool) -> dict[str, Any]:
    """Let Airflow make up for the dates, and return what became of each."""
    kept = home / "told.json"
    if kept.is_file():
        print(f"{home.name}: kept from before", flush=True)
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    installation = Installation(home)
    installation.command("up")
    try:
        if not (home / "landed").is_file():
            installation.command("data", "land", NAME, str(file))
            (home / "landed").touch()
        airflow = installation.airflow()
        airflow.wait_for_dag(NAME, print)
        ask_for(airflow, home, asked, backwards=backwards)
        told = watch(airflow, asked.days)
    finally:
        installation.command("down")
    told = {day: one | {"digests": digests(home, one["run"])} for day, one in told.items()}
    kept.write_text(json.dumps(told))
    return told


def ask_for(airflow: AirflowApi, home: Path, asked: argparse.Namespace, *, backwards: bool) -> None:
    """Create the backfill, once."""
    if (home / "asked").is_file():
        return
    first = date.fromisoformat(asked.first)
    # A day's run begins at 02:00 of the day, as its schedule says.
    begin = datetime(first.year, first.month, first.day, 2, tzinfo=UTC)
    body = {
        "dag_id": NAME,
        "from_date": begin.isoformat(),
        "to_date": (begin + timedelta(days=asked.days - 1)).isoformat(),
        "run_backwards": backwards,
        "reprocess_behavior": "none",
        "max_active_runs": 1,
        "dag_run_conf": FORM,
    }
    airflow.ask("POST", "/backfills", json=body)
    (home / "asked").touch()


def watch(airflow: AirflowApi, days: int) -> dict[str, dict[str, Any]]:
    """Wait until all runs have ended; return state, note and seconds by the day that each took."""
    deadline, last = time.monotonic() + PATIENCE_SECONDS, ""
    while time.monotonic() < deadline:
        runs = airflow.ask("GET", f"/dags/{NAME}/dagRuns?run_type=backfill&limit=100")["dag_runs"]
        line = ", ".join(f"{run['data_interval_start'][:10]} {run['state']}" for run in runs)
        if line != last:
            print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)
            last = line
        if len(runs) == days and all(run["state"] in {"success", "failed"} for run in runs):
            return {run["data_interval_start"][:10]: _told(run) for run in runs}
        time.sleep(2)
    raise SystemExit(f"the backfill did not end within {PATIENCE_SECONDS} s: {last}")


def _told(run: dict[str, Any]) -> dict[str, Any]:
    begun, ended = (datetime.fromisoformat(run[name]) for name in ("start_date", "end_date"))
    seconds = round((ended - begun).total_seconds(), 1)
    return {"run": run["dag_run_id"], "state": run["state"], "note": run["note"], "begun": run["start_date"],
            "seconds": seconds}  # fmt: skip


def digests(home: Path, run: str) -> dict[str, str]:
    """Return the digest of every stage's result."""
    from stepzero.adapters.store import Store

    noted = noted_stages(Store(f"file://{home}/store"), NAME, run)
    return {one.name: str(one.result["digest"]) for one in noted if one.name not in {"plan", "report"}}


def summary(told: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Print what became of each day, and return the last line."""
    one, two = told["in order"], told["backwards"]
    for order, days in told.items():
        for day, run in sorted(days.items(), key=lambda pair: pair[1]["begun"]):
            print(f"{order}: {day} {run['state']} in {run['seconds']} s: {str(run['note']).splitlines()[0]}")
    differing = [
        f"{day} {name}"
        for day in one
        for name in sorted({*one[day]["digests"], *two[day]["digests"]})
        if one[day]["digests"].get(name) != two[day]["digests"].get(name)
    ]
    return {
        "benchmark": "backfill",
        "dates": sorted(one),
        "orders": {order: [day for day, _ in sorted(days.items(), key=lambda p: p[1]["begun"])]
                   for order, days in told.items()},
        "states": sorted({run["state"] for days in told.values() for run in days.values()}),
        "stages_compared": sum(len(run["digests"]) for run in one.values()),
        "differing": differing,
        "seconds": {order: [run["seconds"] for _, run in sorted(days.items())] for order, days in told.items()},
    }  # fmt: skip


if __name__ == "__main__":
    main()
