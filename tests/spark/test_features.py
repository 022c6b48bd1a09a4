"""Feature groups on Spark: the same answers as in memory, on the same battery and through the same stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError
from stepzero.learning.as_known import snapshot
from stepzero.learning.as_known_spark import (
    as_known_frame,
    read_history_frame,
    snapshot_frame,
    training_frame,
)
from support.claims import claims_file
from support.features import (
    DAY,
    DAYS,
    GROUP,
    VALUES,
    Runs,
    expected,
    history_of,
    plain,
    random_history,
    random_rows,
    rows_of,
    use_case_of,
)

pytestmark = pytest.mark.usefixtures("few_rows")


def frames(spark: Any, store: Store, history: pd.DataFrame, rows: pd.DataFrame) -> tuple[Any, Any]:
    """Return both as Spark reads them from the store, which is how they come."""
    made = [write_frame(store, f"made/{name}", frame, producer="test") for name, frame in (("h", history), ("r", rows))]
    return read_history_frame(spark, store, made[:1]), read_history_frame(spark, store, made[1:])


def test_random_histories_are_looked_up_as_the_definition_says_it(spark: Any, tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}")
    history, rows = random_history(400, 4), random_rows(400, 4)
    told, asked = frames(spark, store, history, rows)
    found = as_known_frame(told, asked, GROUP, as_of="moment").toPandas().sort_values("row")
    wanted = expected(history, rows.sort_values("row"))
    assert len(found) == len(rows)
    assert found["_there"].tolist() == [one is not None for one in wanted]
    known = found[found["_there"]].to_dict("records")
    assert [plain(one) for one in known] == [one for one in wanted if one is not None]
    assert found.loc[~found["_there"], VALUES].isna().all(axis=None)
    moment = pd.Timestamp(3 * DAY, unit="s")
    in_memory = snapshot(history, GROUP, as_of=moment, times=True)
    on_spark = snapshot_frame(told, GROUP, as_of=moment, times=True).orderBy("policy").toPandas()
    assert len(on_spark) == len(in_memory)
    for name in ["policy", "_event_time", "_known_time"]:
        left, right = (pd.Series(frame[name]).astype(str).str[:10].tolist() for frame in (on_spark, in_memory))
        assert left == right, name
    assert [plain(one) for one in on_spark.to_dict("records")] == [plain(one) for one in in_memory.to_dict("records")]


def test_golden_37_both_versions_ingested_twice_give_one_row_for_each_policy(spark: Any, tmp_path: Path) -> None:
    """As of any moment, in memory and on Spark, through the stages; nothing known later is ever seen."""
    joined = pd.read_csv(claims_file("dataset.csv")).rename(columns={"policy_id": "policy"})
    runs, ingested = Runs(tmp_path, use_case_of(), spark), {}
    for group in ("claims", "customers"):
        source = pd.read_csv(claims_file(f"{group}_preprocessed.csv"), nrows=1).rename(columns={"policy_id": "policy"})
        versions = joined[list(source.columns)].drop_duplicates().sort_values(list(source.columns))
        second = versions.duplicated("policy").to_numpy()
        when = {"when": 1.0} if group == "claims" else {}
        for day, part in zip(DAYS, (versions[~second], versions[second]), strict=False):
            for times in ("once", "twice"):
                done = runs.ingest(group, part.assign(**when), day)
                assert done.values["new"] == (0 if times == "twice" else done.values["rows"]), (group, day)
                ingested[group, day] = done
    frames_by_day = []
    for day in DAYS[:2]:
        both = [
            runs.join(ingested["claims", day], ingested["customers", day], stage)
            for stage in ("join_features", "join_features_spark")
        ]
        assert all(len(frame) == 5000 and frame["policy"].is_unique for frame in both)
        columns = [name for name in both[0].columns if not name.startswith("_")]
        pd.testing.assert_frame_equal(
            both[0][columns], both[1].sort_values("policy")[columns].reset_index(drop=True), check_dtype=False
        )
        frames_by_day.append(both[0][columns])
    assert not frames_by_day[0].equals(frames_by_day[1])


def test_a_history_of_several_datasets_may_have_whole_numbers_in_one_and_holes_in_another(
    spark: Any, tmp_path: Path
) -> None:
    store = Store(f"file://{tmp_path}")
    whole = history_of([(1, 1, 1, 10)])
    holed = history_of([(1, 2, 2, 20), (2, 2, 2, 0)]).astype({"value": "float64"})
    holed.loc[1, "value"] = None
    made = [write_frame(store, f"made/{number}", frame, producer="test") for number, frame in enumerate((whole, holed))]
    history = read_history_frame(spark, store, made)
    rows = spark.createDataFrame(rows_of([(1, 1), (1, 2), (2, 3), (9, 3)]))
    joined, missing, count = training_frame(rows, {"toy": (GROUP, history)}, as_of="moment")
    assert (missing, count) == ({"toy": 1}, 4)
    found = {(row["policy"], row["moment"] // DAY): row["value"] for row in joined.collect()}
    assert found == {(1, 1): 10.0, (1, 2): 20.0, (2, 3): None, (9, 3): None}


def test_what_is_missing_is_told(spark: Any) -> None:
    history = spark.createDataFrame(history_of([(1, 1, 1, 10)]))
    rows = spark.createDataFrame(rows_of([(1, 1)]))
    with pytest.raises(InputError, match=r"history of a feature group, column known: got missing\. Allowed: one of"):
        as_known_frame(history.drop("known"), rows, GROUP, as_of="moment")
    with pytest.raises(InputError, match=r"rows to look up, column momnt: got missing\. Allowed: did you mean"):
        as_known_frame(history, rows, GROUP, as_of="momnt")
    with pytest.raises(InputError, match=r"column moment: got 1 rows without a value, or with one that is no time"):
        as_known_frame(history, rows.selectExpr("policy", "'soon' AS moment"), GROUP, as_of="moment")
    with pytest.raises(InputError, match=r"feature group toy: got columns that are there already: value\."):
        training_frame(rows.selectExpr("*", "1 AS value"), {"toy": (GROUP, history)}, as_of="moment")
    with pytest.raises(InputError, match="history of a feature group: got empty"):
        read_history_frame(spark, Store("memory://none"), [])
