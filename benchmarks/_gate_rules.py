"""The 25 rules of the gate's benchmark, and the aggregate that a person would write for them by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

COLUMNS = {
    "TRANSACTION_ID": "bigint",
    "TX_DATETIME": "timestamp",
    "CUSTOMER_ID": "bigint",
    "TERMINAL_ID": "bigint",
    "TX_AMOUNT": "double",
    "TX_TIME_SECONDS": "bigint",
    "TX_TIME_DAYS": "bigint",
    "TX_FRAUD": "int",
    "TX_FRAUD_SCENARIO": "int",
}
KEYS = ["TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID"]
SQL = {
    "fraud has a scenario": "(TX_FRAUD = 1) = (TX_FRAUD_SCENARIO > 0)",
    "days are of seconds": "TX_TIME_DAYS = floor(TX_TIME_SECONDS / 86400)",
    "large amounts are frauds": "TX_AMOUNT <= 220 OR TX_FRAUD = 1",
    "time is of the half year": "TX_DATETIME >= timestamp'2018-04-01' AND TX_DATETIME < timestamp'2018-10-01'",
}
"""Name of a compliance rule → Spark SQL that is true for good rows."""
BETWEEN: dict[str, tuple[float, float]] = {
    "TX_AMOUNT": (0, 5_000),
    "CUSTOMER_ID": (0, 1_000_000),
    "TERMINAL_ID": (0, 1_000_000),
    "TX_TIME_SECONDS": (0, 16_000_000),
    "TX_TIME_DAYS": (0, 183),
}
ONE_OF = {"TX_FRAUD": [0, 1], "TX_FRAUD_SCENARIO": [0, 1, 2, 3]}
METRICS: dict[tuple[str, str], tuple[float, float]] = {
    ("min", "TX_AMOUNT"): (0, 1),
    ("max", "TX_AMOUNT"): (100, 5_000),
    ("mean", "TX_AMOUNT"): (40, 70),
    ("sum", "TX_AMOUNT"): (1_000_000, 10_000_000_000),
    ("standard_deviation", "TX_AMOUNT"): (20, 80),
    ("mean", "TX_FRAUD"): (0.001, 0.02),
    ("max", "TX_TIME_DAYS"): (182, 183),
    ("standard_deviation", "TX_TIME_DAYS"): (40, 60),
}
ROWS, MEDIAN, CORRELATION = (1_000_000, 100_000_000), (30, 60), 0.99

RULES: list[dict[str, Any]] = [
    {"rule": "size", "at_least": ROWS[0], "at_most": ROWS[1]},
    {"rule": "complete", "columns": KEYS},
    {"rule": "complete", "columns": ["TX_AMOUNT"]},
    {"rule": "unique", "columns": ["TRANSACTION_ID"]},
    *({"rule": "between", "column": name, "at_least": low, "at_most": high} for name, (low, high) in BETWEEN.items()),
    *({"rule": "one_of", "column": name, "values": values} for name, values in ONE_OF.items()),
    *({"rule": "compliance", "name": name, "predicate": predicate} for name, predicate in SQL.items()),
    *(
        {"rule": kind, "column": name, "at_least": low, "at_most": high}
        for (kind, name), (low, high) in METRICS.items()
    ),
    {"rule": "quantile", "column": "TX_AMOUNT", "quantile": 0.5, "at_least": MEDIAN[0], "at_most": MEDIAN[1]},
    {"rule": "correlation", "columns": ["TX_TIME_SECONDS", "TX_TIME_DAYS"], "at_least": CORRELATION},
]
PROFILED = [name for name in COLUMNS if name != "TX_DATETIME"]


def aggregate(frame: DataFrame) -> dict[str, float]:
    """Return what the gate returns, by one aggregate and, for the key, one grouping."""
    from pyspark.sql import functions as f

    named: dict[str, Any] = {"size": f.count("*")}
    bad = [" OR ".join(f"{name} IS NULL" for name in KEYS), "TX_AMOUNT IS NULL"]
    bad += [f"{name} < {low} OR {name} > {high}" for name, (low, high) in BETWEEN.items()]
    bad += [f"{name} NOT IN ({', '.join(map(str, values))})" for name, values in ONE_OF.items()]
    bad += [f"NOT coalesce({predicate}, false)" for predicate in SQL.values()]
    counts = [f.sum(f.expr(predicate).cast("int")).alias(f"bad {i}") for i, predicate in enumerate(bad)]
    for name in PROFILED:
        numbers = {"Mean": f.avg, "Minimum": f.min, "Maximum": f.max, "StandardDeviation": f.stddev_pop}
        named |= {f"{kind} of {name}": function(name) for kind, function in numbers.items()}
    for name in COLUMNS:
        if name in {*KEYS, *PROFILED}:
            named[f"Completeness of {name}"] = f.avg(f.col(name).isNotNull().cast("double"))
    named["sum of TX_AMOUNT"] = f.sum("TX_AMOUNT")
    named["quantile of TX_AMOUNT"] = f.percentile_approx("TX_AMOUNT", 0.5, 1000)
    named["correlation of TX_TIME_SECONDS, TX_TIME_DAYS"] = f.corr("TX_TIME_SECONDS", "TX_TIME_DAYS")
    row = frame.agg(*counts, *(column.alias(name) for name, column in named.items())).first()
    assert row is not None
    assert not any(row[f"bad {i}"] for i in range(len(bad)))
    twice = frame.groupBy("TRANSACTION_ID").count().agg(f.sum((f.col("count") == 1).cast("long"))).first()
    assert twice is not None
    found = {name: float(row[name]) for name in named}
    return found | {"uniqueness of TRANSACTION_ID": twice[0] / found["size"]}
