"""Evidently on the columns of the monitors' benchmark; run in an environment of the benchmark's own.

Used as its documentation shows: a report with `ValueDrift` of every column, by one method. The last line is JSON.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    warnings.simplefilter("ignore")
    import pandas as pd
    from evidently import Dataset, Report
    from evidently.metrics import ValueDrift

    asked = json.loads(sys.argv[1])
    frames = {name: pd.read_parquet(Path(asked["folder"]) / f"{name}.parquet") for name in ("reference", "window")}
    reference, window = (Dataset.from_pandas(frames[name]) for name in ("reference", "window"))
    seconds: dict[str, float] = {}
    values: dict[str, dict[str, float]] = {}
    for method in asked["methods"]:
        report = Report([ValueDrift(column=name, method=method) for name in frames["window"].columns])
        took = []
        for _ in range(asked["repeats"]):
            began = time.perf_counter()
            done = report.run(window, reference)
            found = done.dict()
            took.append(time.perf_counter() - began)
        seconds[method] = round(statistics.median(took), 4)
        values[method] = {name: value for name, value in map(read, found["metrics"]) if name}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "values": values, "peak_memory_mb": round(peak)}))


def read(metric: dict[str, Any]) -> tuple[str, float]:
    config = metric.get("config") or {}
    name = config.get("column") or str(metric.get("metric_id", "")).partition("column=")[2].partition(",")[0].rstrip(
        ")"
    )
    return str(name), float(metric["value"])


if __name__ == "__main__":
    main()
