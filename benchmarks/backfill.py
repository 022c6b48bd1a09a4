"""Days made up for by a running Airflow, in order and backwards: the same rows, models, figures and anomaly verdicts.

    python benchmarks/backfill.py [--data transactions.parquet] [--first 2018-05-10] [--days 3] [--share 0.1]
                                  [--home FOLDER]

Two installations, each with services, store and database of its own, get the same days of card transactions (those of a
share of the customers; generated where the file is not there). In each, Airflow is asked for a backfill of `--days`
dates, in the second one backwards. Told are each run's outcome and seconds, whether every stage's result has the same
digest in both (of the gate: the rows that go on), and whether it still has after one date was cleared and ran again.

How far back a day is compared depends on what was judged before it. So the gate's anomaly verdicts, observed values
and bounds are compared with those that `benchmarks/anomalies.py` measures and judges from the same rows, given the
order of the runs. With --home what ran is kept: the same command goes on where it was ended. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from _ports import kept_ports, port_variables
from anomalies import Meter

from stepzero.cli.airflow_api import ENDED, AirflowApi
from stepzero.cli.services.credentials import ADMINISTRATOR, Credentials
from stepzero.core.errors import ServiceError
from stepzero.execution.noted import noted_stages
from stepzero.spec.load import load_use_case
from stepzero.spec.plan import Batch, HistoryPoint
from stepzero.stages.quality_anomalies import judge_anomalies

NAME = "simulated_transactions"
DATA = Path(__file__).parents[2] / "shared" / "data" / NAME
WINDOW = 35
FORM = {"samplers": ["none"], "models": ["xgboost"]}
PATIENCE_SECONDS = 3600
LOCKED_TRIES = 30


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
        expected = expected_anomalies(file, told, Path(folder))
    print(json.dumps({"benchmark": "backfill", "share_of_customers": asked.share, **summary(told, expected)}))


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
        self.ports = kept_ports(home / "ports.json")
        cache = Path(os.environ.get("STEPZERO_HOME") or Path(__file__).parents[1] / ".stepzero") / "cache"
        if cache.is_dir() and not (home / "cache").exists():
            (home / "cache").symlink_to(cache)
        self.environment = {**os.environ, **port_variables(self.ports), "STEPZERO_HOME": str(home)}

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
        told = {day: one | seen(home, one["run"]) for day, one in told.items()}
        if not backwards:
            day = sorted(told)[len(told) // 2]
            told[day]["cleared"] = cleared(airflow, home, told[day]["run"])
    finally:
        installation.command("down")
    kept.write_text(json.dumps(told))
    return told


def cleared(airflow: AirflowApi, home: Path, run: str) -> dict[str, Any]:
    """Clear every task of a run, wait for it to end again, and return what it left then."""
    body = {"dry_run": False, "dag_run_id": run, "only_failed": False, "reset_dag_runs": True}
    airflow.ask("POST", f"/dags/{NAME}/clearTaskInstances", json=body)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := airflow.run(NAME, run))["state"] not in ENDED:
        if time.monotonic() > deadline:
            raise SystemExit(f"the cleared run did not end within {PATIENCE_SECONDS} s")
        time.sleep(2)
    return _told(found) | seen(home, run)


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
    created(airflow, body)
    (home / "asked").touch()


def created(airflow: AirflowApi, body: dict[str, Any]) -> None:
    """Create a backfill; while another of Airflow's processes writes to SQLite it is refused, and nothing is made."""
    for left in reversed(range(LOCKED_TRIES)):
        try:
            airflow.ask("POST", "/backfills", json=body)
        except ServiceError as error:
            if not left or "Database is locked" not in str(error):
                raise
            time.sleep(1)
        else:
            return


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


def seen(home: Path, run: str) -> dict[str, Any]:
    """Return the digest of every stage's result, the gate's anomaly verdicts, and the stages that were computed.

    What the gate says of the run's own day depends on the history; what goes on must not.
    """
    from stepzero.adapters.store import Store

    noted = noted_stages(Store(f"file://{home}/store"), NAME, run)
    stages = [one for one in noted if one.name not in {"plan", "report"}]
    found = {one.name: str(one.result["digest"]) for one in stages}
    (gate,) = [one for one in stages if one.name == "quality_gate"]
    accepted = gate.outputs.get("accepted")
    return {
        "digests": found | {"quality_gate": accepted.digest if accepted else ""},
        "anomalies": gate.values.get("anomalies", []),
        "computed": sorted(one.name for one in stages if not one.pointer["reused"]),
    }


def in_order(days: dict[str, Any]) -> list[str]:
    """Return the days in the order in which their runs began."""
    return sorted(days, key=lambda day: str(days[day]["begun"]))


def expected_anomalies(file: Path, told: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the verdicts that each day should have had: measured and judged outside Airflow, from the same file."""
    rules = load_use_case(NAME).quality.anomalies
    rows = pd.read_csv(file, parse_dates=["TX_DATETIME"])
    meter = Meter(folder, list(rules))
    metrics = {str(day): meter.measure(part) for day, part in rows.groupby(rows["TX_DATETIME"].dt.date)}
    meter.session.stop()
    return {order: _expected(in_order(days), metrics, rules) for order, days in told.items()}


def _expected(order: list[str], metrics: dict[str, Any], rules: Any) -> dict[str, list[dict[str, Any]]]:
    """Judge days as they ran: each against the days of earlier windows and the days that ran before it."""
    accepted: dict[str, bool] = {}
    found = {}
    for day in order:
        history = [
            HistoryPoint(partition=one, values=metrics[one], accepted=accepted[one])
            for one in sorted(accepted)
            if one < day
        ]
        batch = Batch(partition=day, digest=day, files=())
        judged = judge_anomalies(rules, metrics[day], history, batch, times=["TX_DATETIME"])
        found[day] = [one.to_json() for one in judged]
        first = str((pd.Timestamp(day) - pd.Timedelta(days=WINDOW - 1)).date())
        accepted = {one: True for one in metrics if first <= one < day} | accepted
        accepted[day] = all(one.passed or one.rule.severity == "warning" for one in judged)
    return found


def differing_anomalies(told: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Print every verdict, and return those that are not as expected."""
    found = []
    for order, days in told.items():
        for day in in_order(days):
            ours, theirs = days[day]["anomalies"], expected[order][day]
            for one in ours:
                bounds = f"{_number(one['low'])} to {_number(one['high'])} from {one['points']} of {one['needed']}"
                verdict = "passes" if one["passed"] else "is flagged"
                print(f"{order}: {day} {one['metric']} ({one['strategy']}): {one['observed']:.6g}, {bounds}: {verdict}")
            if len(ours) != len(theirs):
                found.append(f"{order} {day}: {len(ours)} verdicts, expected {len(theirs)}")
            found += [
                f"{order} {day} {one['metric']}: {one}, expected {other}"
                for one, other in zip(ours, theirs, strict=False)
                if not _alike(one, other)
            ]
    return found


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two verdicts say the same; sums of fractions end in other digits by the order of rows."""
    return one.keys() == other.keys() and all(
        math.isclose(value, other[name], rel_tol=1e-9)
        if isinstance(value, float) and isinstance(other[name], float)
        else value == other[name]
        for name, value in one.items()
    )


def _number(value: float | None) -> str:
    return "…" if value is None else f"{value:.6g}"


def summary(told: dict[str, dict[str, Any]], expected: dict[str, Any]) -> dict[str, Any]:
    """Print what became of each day, and return the figures."""
    one, two = told["in order"], told["backwards"]
    for order, days in told.items():
        for day in in_order(days):
            run = days[day]
            print(f"{order}: {day} {run['state']} in {run['seconds']} s: {str(run['note']).splitlines()[0]}")
    verdicts = [verdict for days in told.values() for run in days.values() for verdict in run["anomalies"]]
    return {
        "dates": sorted(one),
        "orders": {order: in_order(days) for order, days in told.items()},
        "states": sorted({run["state"] for days in told.values() for run in days.values()}),
        "stages_compared": sum(len(run["digests"]) for run in one.values()),
        "differing": [name for day in one for name in _differing(day, one[day]["digests"], two[day]["digests"])],
        "cleared": {day: _cleared(day, run) for day, run in one.items() if "cleared" in run},
        "anomaly_verdicts": len(verdicts),
        "anomaly_verdicts_with_bounds": sum(verdict["points"] >= verdict["needed"] for verdict in verdicts),
        "anomalies_flagged": sum(not verdict["passed"] for verdict in verdicts),
        "anomalies_differing": differing_anomalies(told, expected),
        "seconds": {order: [run["seconds"] for _, run in sorted(days.items())] for order, days in told.items()},
    }


def _differing(day: str, one: dict[str, str], two: dict[str, str]) -> list[str]:
    return [f"{day} {name}" for name in sorted({*one, *two}) if one.get(name) != two.get(name)]


def _cleared(day: str, run: dict[str, Any]) -> dict[str, Any]:
    """Return how a run that was cleared ended, and what is other than before."""
    again = run["cleared"]
    other = _differing(day, run["digests"], again["digests"])
    if again["anomalies"] != run["anomalies"]:
        other.append(f"{day} anomalies")
    return {
        "state": again["state"],
        "differing": other,
        "stages_computed_again": again["computed"],
        "seconds": again["seconds"],
    }


if __name__ == "__main__":
    main()
