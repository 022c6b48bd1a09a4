"""Each monitor fires on its own fault and on nothing else: faults against all monitors, and labels that come late."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.stages import StageInput
from stepzero.core.verdict import Outcome
from support.traffic import Silent, Traffic, grouped

QUIET, LATE = 12, 9
"""Days before a fault begins, and days after which two windows of it have labels."""
MONITORS = ("data_quality", "data_drift", "prediction_drift", "model_quality", "bias", "attribution_drift")

ASKED: dict[str, Any] = {"false_alarms": {"draws": 60}, "attribution_drift": {"rows": 300}}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    """Return a world in which nothing has happened yet; its pictures are looked at elsewhere."""
    folder = tmp_path_factory.mktemp("quiet")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Workspace, "tracking", property(lambda _: Silent()))
        for place in ("watch_drift.columns_picture", "watch_model.values_picture"):
            patched.setattr(f"stepzero.stages.{place}", lambda *_: None)
        made = Traffic(Store(f"file://{folder}/store"), folder, grouped(**ASKED))
        made.serve(range(QUIET))
        yield made


@pytest.fixture
def traffic(quiet: Traffic, tmp_path: Path) -> Traffic:
    return quiet.copy(tmp_path / "world")


def kinds(seen: dict[str, StageInput]) -> set[str]:
    return {signal["kind"] for one in seen.values() for signal in one.values.get("signals", [])}


def by_group(rows: pd.DataFrame) -> pd.DataFrame:
    """Give those who pay much the larger of the same values, mostly: no column looks otherwise by itself."""
    noise = np.random.default_rng(len(rows)).normal(size=len(rows))
    order = np.argsort(np.argsort(2.0 * (rows["Amount"] > 80) + noise))
    return rows.assign(V1=np.sort(rows["V1"].to_numpy())[order])


def sharper(scores: Any) -> Any:
    return scores**2 / (scores**2 + (1 - scores) ** 2)


def enormous(rows: pd.DataFrame) -> pd.DataFrame:
    """Let one payment of 150 be enormous: too few for any share of a column, enough to move the mean score."""
    return rows.assign(Amount=rows["Amount"].where(rows.index % 150 > 0, 1e6))


def shuffled(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(Class=np.random.default_rng(1).permutation(rows["Class"]))


def squeezed(rows: pd.DataFrame) -> pd.DataFrame:
    """Bring all payments near the line between frauds and others; their order stays."""
    return rows.assign(V1=rows["V1"] * 0.2 + 0.6)


FAULTS: dict[str, tuple[dict[str, Any], int, set[str], str]] = {
    "nothing": ({}, 3, set(), "nothing"),
    "another unit": ({"change": lambda rows: rows.assign(Amount=rows["Amount"] * 100)}, 1, {"unit_change"}, "page"),
    "nulls in a third": (
        {"change": lambda rows: rows.assign(V1=rows["V1"].where(rows.index % 3 > 0))}, 1, {"missing_values"}, "page",
    ),
    "another schema": (
        {"refused": ("row 0 field Rate: unknown. Allowed: V1, Amount",) * 40},
        1, {"upstream_schema"}, "page",
    ),
    "few requests": ({"rows": 60}, 1, {"volume_drop"}, "page"),
    "many requests": ({"rows": 3_000}, 1, {"volume_surge"}, "page"),
    "amounts grow": ({"change": lambda rows: rows.assign(Amount=rows["Amount"] + 60)}, 2, {"data_drift"}, "watch"),
    "other scores": ({"answer": sharper}, 2, {"prediction_drift"}, "watch"),
    "two features swap importance": ({"change": enormous}, 2, {"attribution_drift"}, "watch"),
    "a group is decided on otherwise": ({"change": by_group}, 2, {"bias_drift"}, "watch"),
    "labels mean something else": ({"change": shuffled}, LATE, {"loss"}, "retrain"),
    "all near the line": (
        {"change": squeezed}, 2, {"data_drift", "prediction_drift", "predicted_loss"}, "retrain",
    ),
}  # fmt: skip
"""What is otherwise from a day on, how many days of it there are, what fires then, and what is decided."""


@pytest.mark.parametrize("fault", FAULTS)
def test_each_monitor_fires_on_its_own_fault_and_on_nothing_else(traffic: Traffic, fault: str) -> None:
    settings, days, expected, action = FAULTS[fault]
    traffic.serve(range(QUIET, QUIET + days), **settings)
    seen = traffic.watch(QUIET + days - 1, *MONITORS)
    assert kinds(seen) == expected, {name: one.reference.summary for name, one in seen.items()}
    decided = seen["triage"].values
    paged = action == "page"
    assert (decided["action"], decided["tell"], decided["incident"] == 1) == (action, paged, paged)
    assert (seen["data_quality"].verdict.outcome is Outcome.FAIL) is paged
    assert f"{action}: " in traffic.page(seen["triage"])


def test_the_order_of_features_is_compared_by_ranks_where_that_is_declared(traffic: Traffic) -> None:
    traffic.use_case = grouped(**ASKED | {"attribution_drift": {"by": "rank_correlation", "rows": 300}})
    traffic.serve(range(QUIET, QUIET + 2), change=enormous)
    seen = traffic.watch(QUIET, "attribution_drift")
    assert kinds(seen) == set(), "one day is none"
    seen = traffic.watch(QUIET + 1, "attribution_drift")
    assert kinds(seen) == {"attribution_drift"}
    assert seen["attribution_drift"].values["order"] == ["Amount", "V1"]
    told = seen["attribution_drift"].verdict.sentence()
    assert "rank_correlation: observed -1.000 in the newest window, below in 2 of 3" in told


def test_a_foretold_loss_asks_for_a_retrain_before_labels_come_however_long_the_watch_has_run(traffic: Traffic) -> None:
    shifted = range(QUIET, QUIET + LATE)
    traffic.serve(shifted, change=squeezed)
    early = traffic.watch(QUIET + 1, *MONITORS)
    assert early["model_quality"].values["labels_ripe"], "those of quiet days are known"
    assert not early["model_quality"].values["labels_reach"]
    assert early["triage"].values["action"] == "retrain"
    late = traffic.watch(shifted[-1], *MONITORS)
    assert kinds(late) == kinds(early), "the scores foretell as before, and labels say that the order is as good"
    assert late["model_quality"].values["labels_reach"]
    decided = late["triage"].values
    assert (decided["action"], decided["reasons"][0]) == ("watch", "no loss is seen")
