"""How long the as-known join takes as rows grow, beside Feast's own join: `bin/stepzero bench features [VERSIONS …]`.

The same Parquet file of versions (20 numbers each, 5 versions a record) and the same rows to look up (one a record) are
joined by ours and by Feast's `get_historical_features` in the same run; reading the file is part of both. On a history
in which everything is known when it happens and every record is known at the moment, Feast is right, and all values
must be equal. On a history with late corrections it is counted how many of Feast's values nobody knew at the moment,
and how many rows it leaves out. `--spark` adds the join on Spark.

Then the online store: 30 features in two groups are published for `--records` records by the stages, and read record
by record in random order, by the endpoint's reader and by Feast's `get_online_features`, in this process; both must say
the same, and every record must be online as it is offline. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _served import RECORD, fit, make_rows, make_store

from stepzero.adapters.datasets import read_frame
from stepzero.adapters.feast_catalogue import load_feast
from stepzero.adapters.feature_replay import FeatureReplay
from stepzero.adapters.online_features import OnlineReader, open_reader
from stepzero.adapters.store import Store
from stepzero.core.references import Reference
from stepzero.learning.as_known import as_known
from stepzero.spec.environment import Environment
from stepzero.spec.features import FeatureGroup

GROUP = FeatureGroup(record_id="record", event_time="event", known_time="known")
FEATURES = [f"f{number:02d}" for number in range(20)]
VERSIONS_OF_A_RECORD, DAYS = 5, 100
START = pd.Timestamp("2026-01-01", tz="UTC")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--spark", action="store_true")
    parser.add_argument("--records", type=int, default=5_000, help="in the online store")
    parser.add_argument("--reads", type=int, default=5_000, help="of one record each")
    asked = parser.parse_args()
    sizes = []
    for count in asked.versions:
        sizes.append(measure(count, asked.repeats, spark=asked.spark))
        print(", ".join(f"{name} {value}" for name, value in sizes[-1].items()))
    online = measure_online(asked.records, asked.reads)
    print("online: " + ", ".join(f"{name} {value}" for name, value in online.items()))
    first, last = sizes[0], sizes[-1]
    growth = np.log(last["ours_seconds"] / first["ours_seconds"]) / np.log(last["versions"] / first["versions"])
    print(
        json.dumps(
            {
                "sizes": sizes,
                "ratio": min(one["ratio"] for one in sizes),
                "growth_exponent": round(float(growth), 2) if len(sizes) > 1 else None,
                "equal": all(one["equal"] for one in sizes),
                "late_corrections": compare_late(sizes[0]["versions"]),
                "online": online,
            }
        )
    )


def measure(count: int, repeats: int, *, spark: bool) -> dict[str, Any]:
    """Join one history by all, and compare their values."""
    history, rows = make(count, late=0.0)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "history.parquet"
        history.to_parquet(path)
        feast = open_feast(Path(name), path)
        seconds, ours = {}, None
        seconds["ours"], ours = best(repeats, lambda: join_ours(path, rows))
        seconds["feast"], theirs = best(repeats, lambda: join_feast(feast, rows))
        if spark:
            seconds["spark"], _ = best(repeats, lambda: join_spark(path, rows, Path(name) / "out"))
    told = {"versions": len(history), "rows": len(rows)} | {
        f"{key}_seconds": round(value, 3) for key, value in seconds.items()
    }
    return told | {"ratio": round(seconds["feast"] / seconds["ours"], 2), "equal": bool(is_equal(ours, theirs))}


def measure_online(records: int, reads: int) -> dict[str, Any]:
    """Return how long one record's features take to be read, and how many records are not online as offline."""
    from stepzero.adapters.feast_catalogue import FeastReader, published_groups

    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame, target = make_rows(30, records)
        store = make_store(Path(name), frame, fit(frame, target))
        settings = Environment(name="local", store=store.root).feature_store
        ours, feast = open_reader(store, settings), FeastReader(store, settings)
        groups = published_groups(store)
        ids = np.random.default_rng(7).integers(0, records, reads).tolist()
        mine, seconds = read_all(ours, list(groups), ids)
        theirs, their_seconds = read_all(feast, list(groups), ids[: max(1, reads // 10)])
        differing = sum(_differing(store, ours, one.group, one.snapshot) for one in groups.values())
    return {
        "records": records,
        "features": frame.shape[1],
        **quantiles(seconds, "ours"),
        **quantiles(their_seconds, "feast"),
        "equal": mine[: len(theirs)] == theirs,
        "differ_offline_and_online": differing,
    }


def read_all(reader: OnlineReader, groups: list[str], ids: list[int]) -> tuple[list[Any], list[float]]:
    """Return what each record is told, and how many seconds it took; the first read, which connects, is not counted."""
    found, seconds = [], []
    for one in [ids[0], *ids]:
        begun = time.perf_counter()
        found.append([reader.read(group, RECORD, [one])[0] for group in groups])
        seconds.append(time.perf_counter() - begun)
    return found[1:], seconds[1:]


def quantiles(seconds: list[float], who: str) -> dict[str, float]:
    """Return quantiles in milliseconds."""
    return {f"{who}_p{share}_ms": round(1000 * float(np.quantile(seconds, share / 100)), 3) for share in (50, 95, 99)}


def _differing(store: Store, reader: OnlineReader, group: str, snapshot: dict[str, Any]) -> int:
    rows = read_frame(store, Reference.from_json(snapshot))
    return int(FeatureReplay.of(reader, group, RECORD, rows).differing.sum())


def compare_late(count: int) -> dict[str, int]:
    """Count what Feast tells of a history in which a fifth of the versions became known long after their event."""
    history, rows = make(count, late=0.2)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "history.parquet"
        history.to_parquet(path)
        ours, theirs = join_ours(path, rows), join_feast(open_feast(Path(name), path), rows)
    merged = ours.merge(theirs, on="record", suffixes=("", "_feast"))
    differing = (merged[FEATURES[0]].fillna(-1) != merged[f"{FEATURES[0]}_feast"].fillna(-1)).sum()
    return {
        "rows": len(rows),
        "feast_leaves_out": len(rows) - len(theirs),
        "feast_tells_what_nobody_knew": int(differing),
    }


def make(count: int, *, late: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a history, shuffled, and one row a record; every record has a version that is known from the first day."""
    generator = np.random.default_rng(7)
    records = count // VERSIONS_OF_A_RECORD
    record = np.repeat(np.arange(records), VERSIONS_OF_A_RECORD)
    number = np.tile(np.arange(VERSIONS_OF_A_RECORD), records)
    # A version a span of days, at its own second: no two of a record share a time.
    day = number * (DAYS // VERSIONS_OF_A_RECORD) + generator.integers(0, DAYS // VERSIONS_OF_A_RECORD, len(record))
    event = (
        START + pd.to_timedelta(np.where(number == 0, 0, day), unit="D") + pd.to_timedelta(record % 86_399, unit="s")
    )
    delay = np.where(generator.random(len(record)) < late, generator.integers(1, DAYS, len(record)), 0)
    history = pd.DataFrame({"record": record, "event": event, "known": event + pd.to_timedelta(delay, unit="D")})
    values = pd.DataFrame(generator.random((len(record), len(FEATURES))), columns=FEATURES)
    whole = pd.concat([history, values], axis=1).sample(frac=1, random_state=7).reset_index(drop=True)
    moment = START + pd.to_timedelta(generator.integers(1, DAYS, records), unit="D") + pd.Timedelta("23:59:59")
    return whole, pd.DataFrame({"record": np.arange(records), "event_timestamp": moment})


def join_ours(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Join as the stage `join_features` does."""
    return pd.concat([rows, as_known(pd.read_parquet(path), rows, GROUP, as_of="event_timestamp")], axis=1)


def join_spark(path: Path, rows: pd.DataFrame, out: Path) -> None:
    """Join as the stage `join_features_spark` does, and write the rows."""
    from stepzero.adapters.spark import start_session
    from stepzero.learning.as_known_spark import as_known_frame
    from stepzero.spec.load import load_environment

    session = start_session(load_environment(), "benchmark")
    rows.to_parquet(path.with_name("rows.parquet"))
    history, asked = session.read.parquet(str(path)), session.read.parquet(str(path.with_name("rows.parquet")))
    as_known_frame(history, asked, GROUP, as_of="event_timestamp").write.mode("overwrite").parquet(str(out))


def join_feast(feast: Any, rows: pd.DataFrame) -> pd.DataFrame:
    """Join as Feast does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: pd.DataFrame = feast.get_historical_features(rows, [f"toy:{name}" for name in FEATURES]).to_df()
    return found


def open_feast(folder: Path, path: Path, *, key: str = "record", values: Sequence[str] = FEATURES) -> Any:
    """Return Feast's store over one Parquet file, as its documentation sets it up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_feast()
        from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
        from feast.types import Float64, Int64

        config = RepoConfig(
            project="benchmark",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": "dask"},
            entity_key_serialization_version=3,
        )
        entity = Entity(name=key, join_keys=[key], value_type=ValueType.INT64)
        source = FileSource(path=str(path), timestamp_field="event", created_timestamp_column="known")
        fields = [Field(name=key, dtype=Int64), *(Field(name=name, dtype=Float64) for name in values)]
        store = FeatureStore(config=config)
        store.apply([entity, FeatureView(name="toy", entities=[entity], schema=fields, source=source)])
    return store


def best(repeats: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the shortest time of several, and the last answer."""
    seconds, answer = float("inf"), None
    for _ in range(repeats):
        begun = time.perf_counter()
        answer = work()
        seconds = min(seconds, time.perf_counter() - begun)
    return seconds, answer


def is_equal(ours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    """Tell whether both have the same rows with the same values, whatever their order."""
    left, right = (frame.sort_values("record")[["record", *FEATURES]].to_numpy() for frame in (ours, theirs))
    return left.shape == right.shape and bool((left == right).all())


if __name__ == "__main__":
    main()
