"""pandera and Great Expectations on the rules of the gate's benchmark; run in an environment of the benchmark's own.

Each is used as its documentation shows, with the settings under which it does least: no sample of bad rows is asked
for. What one of them has no word for is left out and named in the answer. The last line is JSON.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _gate_rules import BETWEEN, CORRELATION, KEYS, MEDIAN, METRICS, ONE_OF, ROWS, SQL

COMPLETE = [*KEYS, "TX_AMOUNT"]
PANDAS = {
    "fraud has a scenario": lambda frame: (frame["TX_FRAUD"] == 1) == (frame["TX_FRAUD_SCENARIO"] > 0),
    "days are of seconds": lambda frame: frame["TX_TIME_DAYS"] == frame["TX_TIME_SECONDS"] // 86400,
    "large amounts are frauds": lambda frame: (frame["TX_AMOUNT"] <= 220) | (frame["TX_FRAUD"] == 1),
    "time is of the half year": lambda frame: frame["TX_DATETIME"].between("2018-04-01", "2018-10-01", "left"),
}


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    asked = json.loads(sys.argv[1])
    began = time.perf_counter()
    way, left_out = WAYS[asked["library"], asked["engine"]](asked)
    start = time.perf_counter() - began
    seconds = []
    for _ in range(asked["repeats"] + 1):
        began = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - began)
    answer = {"seconds": statistics.median(seconds[1:]), "start": round(start, 2), "left_out": left_out}
    print(json.dumps(answer))


Way = tuple[Callable[[], None], list[str]]


def spark_session(asked: dict[str, Any]) -> Any:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(asked["library"])
    for key, value in asked["settings"].items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def read_spark(session: Any, folder: str) -> Any:
    """Read the rows with their bytes as integers: neither library takes a byte for a number."""
    frame = session.read.parquet(folder)
    for name in ("TX_FRAUD", "TX_FRAUD_SCENARIO"):
        frame = frame.withColumn(name, frame[name].cast("int"))
    return frame


def read_pandas(folder: str) -> Any:
    import pandas as pd

    return pd.concat([pd.read_parquet(path) for path in sorted(Path(folder).glob("*.parquet"))], ignore_index=True)


def pandera_pandas(asked: dict[str, Any]) -> Way:
    import pandera.pandas as pa

    numbers: dict[str, Callable[[Any], float]] = {
        "min": lambda values: values.min(),
        "max": lambda values: values.max(),
        "mean": lambda values: values.mean(),
        "sum": lambda values: values.sum(),
        "standard_deviation": lambda values: values.std(ddof=0),
        "quantile": lambda values: values.median(),
    }

    def bounded(kind: str, low: float, high: float) -> Any:
        return pa.Check(lambda values: low <= numbers[kind](values) <= high, name=kind)

    checks: dict[str, list[Any]] = {name: [pa.Check.in_range(*bounds)] for name, bounds in BETWEEN.items()}
    for name, values in ONE_OF.items():
        checks.setdefault(name, []).append(pa.Check.isin(values))
    for (kind, name), bounds in {**METRICS, ("quantile", "TX_AMOUNT"): MEDIAN}.items():
        checks.setdefault(name, []).append(bounded(kind, *bounds))
    names = [*checks, *(name for name in COMPLETE if name not in checks)]
    columns = {
        name: pa.Column(checks=checks.get(name), nullable=name not in COMPLETE, unique=name == "TRANSACTION_ID")
        for name in names
    }
    whole = [pa.Check(predicate, name=name) for name, predicate in PANDAS.items()]
    whole.append(pa.Check(lambda frame: ROWS[0] <= len(frame) <= ROWS[1], name="size"))
    pair = ["TX_TIME_SECONDS", "TX_TIME_DAYS"]
    whole.append(pa.Check(lambda frame: frame[pair[0]].corr(frame[pair[1]]) >= CORRELATION, name="correlation"))
    schema = pa.DataFrameSchema(columns, checks=whole)
    return lambda: schema.validate(read_pandas(asked["folder"]), lazy=True) is None, []


def pandera_spark(asked: dict[str, Any]) -> Way:
    import pandera.pyspark as pa
    from pyspark.sql import functions as f

    session = spark_session(asked)

    def complies(found: Any, *, predicate: str) -> bool:
        return found.dataframe.filter(f"NOT ({predicate})").limit(1).count() == 0

    def bounded(found: Any, *, kind: str, low: float, high: float) -> bool:
        functions: dict[str, Any] = {"mean": f.avg, "standard_deviation": f.stddev_pop, "size": f.count}
        functions["quantile"] = lambda name: f.percentile_approx(name, 0.5, 1000)
        functions["correlation"] = lambda _: f.corr("TX_TIME_SECONDS", "TX_TIME_DAYS")
        function = functions.get(kind) or getattr(f, kind)
        return low <= found.dataframe.agg(function(found.column_name)).first()[0] <= high

    def schema(frame: Any) -> Any:
        kinds = {field.name: field.dataType for field in frame.schema.fields}
        checks: dict[str, list[Any]] = {name: [pa.Check.in_range(*bounds)] for name, bounds in BETWEEN.items()}
        for name, values in ONE_OF.items():
            checks.setdefault(name, []).append(pa.Check.isin(values))
        numbers = {**METRICS, ("quantile", "TX_AMOUNT"): MEDIAN, ("size", "TRANSACTION_ID"): ROWS}
        numbers["correlation", "TX_TIME_DAYS"] = (CORRELATION, 1.0)
        for (kind, name), (low, high) in numbers.items():
            checks.setdefault(name, []).append(pa.Check(bounded, kind=kind, low=low, high=high))
        checks["TX_AMOUNT"] += [pa.Check(complies, predicate=predicate) for predicate in SQL.values()]
        names = [*checks, *(name for name in COMPLETE if name not in checks)]
        columns = {name: pa.Column(kinds[name], checks.get(name), nullable=name not in COMPLETE) for name in names}
        return pa.DataFrameSchema(columns, unique=["TRANSACTION_ID"])

    def run() -> None:
        frame = read_spark(session, asked["folder"])
        found = schema(frame).validate(frame)
        assert not found.pandera.errors, found.pandera.errors

    return run, []


def great_expectations(asked: dict[str, Any]) -> Way:
    import great_expectations as gx
    import great_expectations.expectations as gxe

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    on_spark = asked["engine"] == "spark"
    session = spark_session(asked) if on_spark else None
    sources = context.data_sources
    source = sources.add_spark("rows") if on_spark else sources.add_pandas("rows")
    batch = source.add_dataframe_asset("batch").add_batch_definition_whole_dataframe("all")
    kinds = {
        "min": gxe.ExpectColumnMinToBeBetween,
        "max": gxe.ExpectColumnMaxToBeBetween,
        "mean": gxe.ExpectColumnMeanToBeBetween,
        "sum": gxe.ExpectColumnSumToBeBetween,
        "standard_deviation": gxe.ExpectColumnStdevToBeBetween,
    }
    asks: list[Any] = [gxe.ExpectTableRowCountToBeBetween(min_value=ROWS[0], max_value=ROWS[1])]
    asks += [gxe.ExpectColumnValuesToNotBeNull(column=name) for name in COMPLETE]
    asks.append(gxe.ExpectColumnValuesToBeUnique(column="TRANSACTION_ID"))
    for name, (low, high) in BETWEEN.items():
        asks.append(gxe.ExpectColumnValuesToBeBetween(column=name, min_value=low, max_value=high))
    asks += [gxe.ExpectColumnValuesToBeInSet(column=name, value_set=values) for name, values in ONE_OF.items()]
    for (kind, name), (low, high) in METRICS.items():
        asks.append(kinds[kind](column=name, min_value=low, max_value=high))
    asks.append(gxe.ExpectColumnMedianToBeBetween(column="TX_AMOUNT", min_value=MEDIAN[0], max_value=MEDIAN[1]))
    left_out = ["correlation"]
    if on_spark:
        asks += [
            gxe.UnexpectedRowsExpectation(unexpected_rows_query="SELECT * FROM {batch} WHERE NOT (" + predicate + ")")  # noqa: S608 - our own rules
            for predicate in SQL.values()
        ]
    else:
        left_out += list(SQL)
    suite = gx.ExpectationSuite(name="rules", expectations=asks)

    def run() -> None:
        frame = read_spark(session, asked["folder"]) if session else read_pandas(asked["folder"])
        given = batch.get_batch(batch_parameters={"dataframe": frame})
        answer = given.validate(suite, result_format="BOOLEAN_ONLY")
        assert answer.success, [one for one in answer.results if not one.success]

    return run, left_out


WAYS: dict[tuple[str, str], Callable[[dict[str, Any]], Way]] = {
    ("pandera", "pandas"): pandera_pandas,
    ("pandera", "spark"): pandera_spark,
    ("great_expectations", "pandas"): great_expectations,
    ("great_expectations", "spark"): great_expectations,
}

if __name__ == "__main__":
    main()
