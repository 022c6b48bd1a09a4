"""Feast alone, where its own ways go wrong: why training rows and what is published come from our own join."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stepzero.learning.as_known import as_known
from support.features import DAY, GROUP, history_of, rows_of
from support.modules import load_module
from support.stack import ROOT

bench = load_module(ROOT / "benchmarks" / "features.py")


class Feast:
    """Feast alone, on a history as it is: what one gets without our join."""

    def __init__(self, folder: Path, history: pd.DataFrame) -> None:
        self.path = folder / "history.parquet"
        times = {name: pd.to_datetime(history[name], unit="s", utc=True) for name in ("event", "known")}
        history.assign(**times).to_parquet(self.path)
        self.store = bench.open_feast(folder, self.path, key="policy", values=("value",))

    def join(self, rows: pd.DataFrame) -> pd.DataFrame:
        asked = pd.DataFrame(
            {"policy": rows["policy"], "event_timestamp": pd.to_datetime(rows["moment"], unit="s", utc=True)}
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.store.get_historical_features(asked, ["toy:value"]).to_df()

    def online(self, *policies: int) -> list[Any]:
        asked = [{"policy": policy} for policy in policies]
        return list(self.store.get_online_features(["toy:value"], asked).to_dict()["value"])


def test_feast_alone_leaks_what_became_known_later(tmp_path: Path) -> None:
    """An event of day 1 is corrected on day 5: on day 3 nobody knew, but Feast's training row does."""
    history, rows = history_of([(1, 1, 1, 10), (1, 1, 5, 11)]), rows_of([(1, 3)])
    assert Feast(tmp_path, history).join(rows)["value"].tolist() == [11]
    assert as_known(history, rows, GROUP, as_of="moment")["value"].tolist() == [10]


def test_feast_alone_drops_rows_of_which_nothing_is_known_yet(tmp_path: Path) -> None:
    history, rows = history_of([(1, 3, 3, 10), (2, 1, 1, 20)]), rows_of([(1, 2), (2, 2)])
    assert Feast(tmp_path, history).join(rows)["policy"].tolist() == [2]
    found = as_known(history, rows, GROUP, as_of="moment")["value"]
    assert len(found) == 2
    assert np.isnan(found[0])


def test_feast_alone_misses_late_corrections_and_lets_an_older_event_win_online(tmp_path: Path) -> None:
    """Materialising from where it ended does not see a correction of before; written rows win by order, not by time."""
    history = history_of([(1, 1, 1, 20)])
    alone = Feast(tmp_path, history)
    day = [pd.Timestamp(number * DAY, unit="s", tz="UTC").to_pydatetime() for number in range(7)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone.store.materialize(day[0], day[2])
        assert alone.online(1) == [20]
        corrected = history_of([(1, 1, 1, 20), (1, 1, 5, 21)])
        times = {name: pd.to_datetime(corrected[name], unit="s", utc=True) for name in ("event", "known")}
        corrected.assign(**times).to_parquet(alone.path)
        alone.store.materialize_incremental(day[6])
        assert alone.online(1) == [20], "offline it is 21 by now"
        newer = pd.DataFrame({"policy": [1], "value": [30], "event": [day[4]], "known": [day[4]]})
        alone.store.write_to_online_store("toy", newer)
        alone.store.write_to_online_store("toy", newer.assign(value=[1], event=[day[1]]))
        assert alone.online(1) == [1], "an event of day 1 replaced one of day 4"
