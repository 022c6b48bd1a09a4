"""Speed of the quality gate: 25 rules on 1.75 and 17.5 million rows, as ratios to three others.

    python benchmarks/gate.py [--data transactions.parquet] [--copies 1 10] [--repeats 3] [--others-repeats 1]
                              [--without-others]

Measured in one Spark session without ``quick_start``, turn and turn about, the median of the repeats after a round
that warms up:

- `judge`: what the gate does up to its verdict (read, measure, decide), against one aggregate written by hand that
  returns the same numbers, plus the one grouping that a unique key needs. `ratio_to_spark` is this one.
- `stage`: the whole stage, which also writes the accepted rows, against the aggregate and a plain write of the rows.

pandera and Great Expectations judge the same rules in an environment of this benchmark's own (made by uv under
`STEPZERO_HOME/benchmarks`), on the same Spark settings, and on pandas too. `ratio_to_pandera` and
`ratio_to_great_expectations` compare on Spark; figures on pandas, reading the file included, stand beside them.
Session starts are shown apart. The numbers of gate and aggregate are compared before any time is told. The larger
file is the smaller one repeated with other keys. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from _gate_rules import COLUMNS, RULES, aggregate

from stepzero.adapters.ledger import make_batch
from stepzero.adapters.spark import start_session
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.launchers.runtime import spark_environment
from stepzero.spec.load import home_folder, load_environment
from stepzero.spec.plan import Plan
from stepzero.spec.use_case import UseCase
from stepzero.stages.quality import judge, quality_gate

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "shared" / "data" / "simulated_transactions" / "transactions_2018-04_to_2018-09.parquet"
AS_OF = "2018-10-01T00:00:00+00:00"
SHARED_REQUIREMENTS = ["pyspark==3.5.9", "pandas==2.3.3", "pyarrow==18.1.0", "setuptools<81"]
REQUIREMENTS = {
    "pandera": ["pandera[pandas,pyspark]==0.35.0", *SHARED_REQUIREMENTS],
    "great_expectations": ["great-expectations==1.24.1", *SHARED_REQUIREMENTS],
}
"""One environment each: they ask for different releases of NumPy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 10], help="how often the file is repeated")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--others-repeats", type=int, default=1, help="of pandera and Great Expectations")
    parser.add_argument("--memory", default="6g", help="of the Spark driver")
    parser.add_argument("--without-others", action="store_true", help="neither pandera nor Great Expectations")
    asked = parser.parse_args()
    home = home_folder() / "benchmarks"
    environment = load_environment()
    # Millions of rows are worth Java's second compiler; a quick start is for thousands.
    spark = environment.spark.model_copy(update={"memory": asked.memory, "quick_start": False})
    environment = environment.model_copy(update={"spark": spark})
    began = time.perf_counter()
    session = start_session(environment, "benchmark")
    figures: dict[str, Any] = {"rules": len(RULES), "session_start_seconds": round(time.perf_counter() - began, 2)}
    files = {copies: repeated(asked.data, copies, home) for copies in asked.copies}
    sizes = {copies: Measurement(session, environment, folder).run(asked.repeats) for copies, folder in files.items()}
    settings = {key: value for key, value in session.sparkContext.getConf().getAll() if key in SHARED}
    session.stop()
    if not asked.without_others:
        variables = spark_environment(environment)
        for library in REQUIREMENTS:
            python = others_environment(home, library)
            for copies, folder in files.items():
                sizes[copies] |= others(library, python, folder, settings, variables, asked.others_repeats)
    figures |= told(sizes)
    print(json.dumps(figures))


SHARED = (
    "spark.master",
    "spark.driver.memory",
    "spark.driver.extraJavaOptions",
    "spark.sql.shuffle.partitions",
    "spark.sql.session.timeZone",
    "spark.driver.bindAddress",
    "spark.driver.host",
    "spark.ui.enabled",
)


def repeated(data: Path, copies: int, home: Path) -> Path:
    """Return a folder of so many files: the data with keys that differ from file to file."""
    import pyarrow.compute as pc
    from pyarrow import parquet

    folder = home / f"transactions-{copies}"
    if (folder / "_done").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    table = parquet.read_table(data)
    for copy in range(copies):
        shifted = table
        for name, step in (("TRANSACTION_ID", table.num_rows), ("CUSTOMER_ID", 10_000), ("TERMINAL_ID", 20_000)):
            place = shifted.column_names.index(name)
            shifted = shifted.set_column(place, name, pc.add(table[name], copy * step))
        parquet.write_table(shifted, folder / f"part-{copy:02d}.parquet")
    (folder / "_done").touch()
    return folder


class Measurement:
    """The gate and the hand-written aggregate on one folder of Parquet files."""

    def __init__(self, session: Any, environment: Any, folder: Path) -> None:
        self.session, self.folder = session, folder
        self.use_case = UseCase.model_validate(
            {
                "name": "transactions",
                "source": {"format": "parquet", "prefix": "landing/", "columns": COLUMNS},
                "quality": {"rules": RULES},
            }
        )
        self.scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix="scratch-"))
        store = Store(f"file://{self.scratch}")
        uris = [f"file://{path}" for path in sorted(folder.glob("*.parquet"))]
        plan = Plan(
            run="benchmark",
            use_case=self.use_case,
            environment=environment.name,
            batch=make_batch(store, uris),
            as_of=AS_OF,
            fresh_as_of=AS_OF,
            approval="rule",
        )
        self.workspace = Workspace(
            store=store, environment=environment, plan=plan, folder="results/try", stage="quality_gate"
        )
        self.workspace.__dict__["spark"] = session

    def run(self, repeats: int) -> dict[str, Any]:
        """Return seconds of each, the median of the repeats."""
        import shutil

        check_equal(self.judge(), self.aggregate())
        ways = {"judge": self.judge, "aggregate": self.aggregate, "stage": self.stage, "write": self.write}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(repeats + 1):
            for name, way in ways.items():
                took = timed(way)
                if turn:
                    seconds[name].append(took)
                print(f"{self.folder.name} {name}: {took:.2f} s{'' if turn else ' (warm-up)'}", flush=True)
        rows = self.judge()["size"]
        shutil.rmtree(self.scratch)
        return {"rows": int(rows), **{name: statistics.median(values) for name, values in seconds.items()}}

    def judge(self) -> dict[str, float]:
        with ExitStack() as kept:
            done = judge(self.use_case, self.workspace, kept)
        assert not [finding for finding in done.findings if not finding.passed], done.findings
        found = {str(metric): value for metric, value in done.measured.metrics.items()}
        return cast("dict[str, float]", {"size": done.measured.size, **found, **done.measured.profile})

    def stage(self) -> None:
        verdict = quality_gate(self.use_case, {}, self.workspace).verdict
        assert verdict is not None
        assert str(verdict.outcome) == "PASS", verdict.sentence()

    def aggregate(self) -> dict[str, float]:
        return aggregate(self.session.read.parquet(str(self.folder)))

    def write(self) -> None:
        frame = self.session.read.parquet(str(self.folder))
        frame.write.mode("overwrite").option("compression", "zstd").parquet(str(self.scratch / "written"))


def check_equal(gate: dict[str, float], by_hand: dict[str, float]) -> None:
    """Fail where the two did not measure the same."""
    assert set(by_hand) <= set(gate), sorted(set(by_hand) - set(gate))
    for name, value in by_hand.items():
        assert math.isclose(gate[name], value, rel_tol=1e-9), (name, gate[name], value)


def others_environment(home: Path, library: str) -> Path:
    """Return the Python of an environment with one of the others; made once."""
    folder = home / f"gate-{library}"
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join(REQUIREMENTS[library])
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        uv = str(home_folder() / "bootstrap" / "bin" / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--no-project", "--python", "3.11", str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *REQUIREMENTS[library]], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def others(
    library: str, python: Path, folder: Path, settings: dict[str, str], variables: dict[str, str], repeats: int
) -> dict[str, Any]:
    """Return seconds of one of the others on the same files; null where it cannot."""
    found: dict[str, Any] = {}
    for engine in ("spark", "pandas"):
        asked = {"library": library, "engine": engine, "folder": str(folder), "settings": settings}
        command = [str(python), str(HERE / "_gate_others.py"), json.dumps(asked | {"repeats": repeats})]
        environment = {**os.environ, **variables, "PYSPARK_PYTHON": str(python), "PYTHONPATH": str(HERE)}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if done.returncode:
            print(f"{library} on {engine} failed: {done.stderr.strip()[-2000:]}", flush=True)
            found[f"{library}_{engine}"] = None
            continue
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        print(f"{folder.name} {library} on {engine}: {answer}", flush=True)
        found[f"{library}_{engine}"] = answer["seconds"]
    return found


def told(sizes: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return ratios by number of rows: below 1 the gate is faster."""

    def ratios(mine: str, other: Callable[[dict[str, Any]], float | None]) -> dict[str, float | None]:
        values = {str(one["rows"]): (one[mine], other(one)) for one in sizes.values()}
        return {rows: round(own / its, 3) if its else None for rows, (own, its) in values.items()}

    first, last = min(sizes), max(sizes)
    return {
        "ratio_to_spark": ratios("judge", lambda one: one["aggregate"]),
        "ratio_to_pandera": ratios("judge", lambda one: one.get("pandera_spark")),
        "ratio_to_great_expectations": ratios("judge", lambda one: one.get("great_expectations_spark")),
        "ratio_to_pandera_on_pandas": ratios("judge", lambda one: one.get("pandera_pandas")),
        "ratio_to_great_expectations_on_pandas": ratios("judge", lambda one: one.get("great_expectations_pandas")),
        "ratio_of_stage_to_spark": ratios("stage", lambda one: one["aggregate"] + one["write"]),
        "seconds_per_million_rows": {
            str(one["rows"]): round(one["judge"] / one["rows"] * 1e6, 3) for one in sizes.values()
        },
        "growth": round(sizes[last]["judge"] / sizes[first]["judge"], 2),
        "seconds": [
            {name: round(value, 2) if isinstance(value, float) else value for name, value in one.items()}
            for one in sizes.values()
        ],
    }


def timed(way: Callable[[], Any]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
