"""Days in any order, and again: the same rows, models and figures; and no column that looks ahead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.landing import land_days
from stepzero.adapters.ledger import accepted_batches, was_refused
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import RuleError, StageError
from stepzero.core.references import ResultReference
from stepzero.execution.execute import Request, execute
from stepzero.execution.lineage import Version, lineage
from stepzero.execution.noted import noted_stages
from stepzero.execution.planning import PlanRequest, commit_plan, make_plan
from stepzero.execution.verification import verify_run
from stepzero.generators import to_csv
from stepzero.generators.transactions import generate
from stepzero.spec.load import load_environment, load_use_case
from stepzero.spec.use_case import UseCase
from support.gate import Gate
from support.runs import Silent

pytestmark = pytest.mark.usefixtures("few_rows")
NAME = "simulated_transactions"
SQL = """
SELECT *, count(1) OVER (PARTITION BY TERMINAL_ID ORDER BY unix_timestamp(TX_DATETIME)
  RANGE BETWEEN 86400 PRECEDING AND 1 PRECEDING) AS terminal_payments
FROM accepted
"""
AHEAD = SQL.replace("86400 PRECEDING AND 1 PRECEDING", "86400 PRECEDING AND 86400 FOLLOWING")
DAYS = ("2018-04-05", "2018-04-06", "2018-04-07")


def few_days(**sections: Any) -> UseCase:
    """Return the shipped use case with a window of three days and one small model."""
    data = load_use_case(NAME).model_dump(mode="json", by_alias=True)
    data["source"]["window"] = {"days": 3}
    data["quality"] |= {"rules": [{"rule": "size", "at_least": 30}], "anomalies": []}
    data["prepare"] |= {"sql": SQL, "drop": ["TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_FRAUD_SCENARIO"]}
    data["split"] |= {"test_days": 1, "gap_days": 0.25}
    data["resample"] = ["none"]
    data["train"] |= {"models": {"decision_tree": {"grid": {"max_depth": [3]}}}}
    data["evaluate"] |= {"bootstrap": 50, "explain": []}
    for name, section in sections.items():
        data[name] |= section
    return UseCase.model_validate(data)


def zoned(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows whose times Parquet stores as Spark reads them from CSV."""
    return frame.assign(TX_DATETIME=frame["TX_DATETIME"].dt.tz_localize("UTC").astype("datetime64[us, UTC]"))


def payments() -> pd.DataFrame:
    """Return seven days; every tenth payment is called fraud, for a few days of simulation have none to speak of."""
    frame = generate(rows=1400, seed=5, days=7)
    frame["TX_FRAUD"] = (frame["TRANSACTION_ID"] % 10 == 0).astype(int)
    return frame


class Daily:
    """A store of its own, and runs of days in it."""

    def __init__(self, folder: Path, spark: Any, monkeypatch: pytest.MonkeyPatch, use_case: UseCase) -> None:
        self.store = Store(f"file://{folder}/store")
        self.environment, self.use_case = load_environment("local"), use_case
        monkeypatch.setattr("stepzero.execution.planning.load_use_case", lambda _: use_case)
        monkeypatch.setattr(Workspace, "tracking", property(lambda _: Silent()))
        monkeypatch.setattr(Workspace, "spark", property(lambda _: spark))

    def land(self, frame: pd.DataFrame, folder: Path) -> dict[str, str]:
        assert self.use_case.source is not None
        path = folder / "payments.csv"
        path.write_bytes(to_csv(frame))
        return land_days(self.store, self.use_case.source, path)

    def plan(self, day: str, run: str) -> Any:
        asked = PlanRequest(use_case=NAME, run=run, as_of="2026-11-26T00:00:00+00:00", partition=day, promotes=False)
        return commit_plan(self.store, make_plan(asked, self.store, self.environment, None))

    def stage(self, run: str, stage: str, inputs: Any, label: str = "", **parameters: str) -> ResultReference:
        request = Request(
            stage=stage, use_case=NAME, run=run, attempt=f"1-{run}", inputs=inputs, parameters=parameters, label=label
        )
        return execute(request, self.store, self.environment)

    def run(self, day: str, suffix: str = "") -> dict[str, str]:
        """Run a day up to its rows, the middle one up to its evaluation; return the digest of every stage's result.

        What is learned depends on the rows alone: that is proved where nothing else is looked at.
        """
        run = f"{day}{suffix}"
        self.plan(day, run)
        checked = self.stage(run, "quality_gate", {})
        prepared = self.stage(run, "prepare", {"checked": checked})
        if day == DAYS[1]:
            self.learn(run, prepared)
        return {one.name: str(one.result["digest"]) for one in noted_stages(self.store, NAME, run)}

    def learn(self, run: str, prepared: ResultReference) -> None:
        """Run what learns from a day's rows."""
        resampled = self.stage(run, "resample", {"prepared": prepared}, "none", sampler="none")
        cell = {"sampler": "none", "model": "decision_tree"}
        given = {"prepared": prepared, "resampled": resampled}
        tuned = self.stage(run, "tune", given, "none.decision_tree", **cell)
        self.stage(run, "evaluate", {"prepared": prepared, "tuned": [tuned]})


def test_three_days_in_any_order_and_again_give_the_same(
    tmp_path: Path, spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered = Daily(tmp_path / "ordered", spark, monkeypatch, few_days())
    landed = ordered.land(payments(), tmp_path)
    assert list(landed) == [f"2018-04-{day:02}" for day in range(1, 8)]
    assert all(uri.startswith(f"landing/{NAME}/{day}/") for day, uri in landed.items())
    before = {day: ordered.run(day) for day in DAYS}
    mixed = Daily(tmp_path / "mixed", spark, monkeypatch, few_days())
    mixed.land(payments(), tmp_path)
    after = {day: mixed.run(day) for day in reversed(DAYS)}
    assert before == after
    assert {"tune none.decision_tree", "evaluate"} <= set(before[DAYS[1]])
    assert len({digests["prepare"] for digests in before.values()}) == 3, "three days are three windows"
    assert {"days 2018-04-03", "days 2018-04-04"} <= set(before[DAYS[0]])
    again = ordered.run(DAYS[1], "-again")
    assert again == before[DAYS[1]]
    judged = ordered.store.list(f"results/{NAME}/quality_gate")
    committed = [uri for uri in judged if "/result-" in uri and ".published" not in uri]
    assert len(committed) == 5, "each day is judged once, whichever runs it is in"
    checks = verify_run(ordered.store, ordered.environment, NAME, DAYS[2], stages=("days", "prepare"))
    assert {check.outcome for check in checks} == {"same"}
    assert len(checks) == 3


def test_a_day_that_failed_is_no_part_of_a_window_and_a_backfill_promotes_nothing(
    tmp_path: Path, spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepzero.adapters.registry_records import Registration
    from stepzero.core.errors import PromotionError

    daily = Daily(tmp_path, spark, monkeypatch, few_days())
    frame = payments()
    few = (frame["TX_TIME_DAYS"] == 4) & (frame["TRANSACTION_ID"] % 30 > 0)
    daily.land(frame[~few], tmp_path)
    plan = daily.plan(DAYS[2], "r")
    assert [batch.partition for batch in plan.days] == ["2018-04-05", "2018-04-06"]
    checked = daily.stage("r", "quality_gate", {})
    prepared = daily.stage("r", "prepare", {"checked": checked})
    days = frame.loc[~few & frame["TX_TIME_DAYS"].isin([5, 6])]
    noted = {one.name: one for one in noted_stages(daily.store, NAME, "r")}
    assert noted["days 2018-04-05"].result["verdict"]["outcome"] == "FAIL"
    assert [was_refused(daily.store, NAME, day) for day in (*plan.days, plan.batch)] == [True, False, False]
    assert [one.partition for one in accepted_batches(daily.store, NAME)] == ["2018-04-06", "2018-04-07"]
    assert noted["prepare"].values["rows"] == len(days)
    nothing = {"uri": "", "digest": "", "kind": "file", "rows": None}
    registration = Registration(
        use_case=NAME, version="1", model=nothing, training_rows=nothing, example=nothing, threshold=None, run="r"
    )
    window = lineage(Version(registration, daily.store))["data"]["window"]
    assert [one["partition"] for one in window] == ["2018-04-05", "2018-04-06"]
    with pytest.raises(
        PromotionError, match=r"stage register of run r: got a backfill\. Allowed: a run for the newest"
    ):
        daily.stage("r", "register", {"prepared": prepared, "evaluated": prepared})


def test_a_day_that_its_own_run_refused_by_its_history_is_no_part_of_later_windows_or_bounds(
    tmp_path: Path, spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlike = {"metric": "mean", "column": "TX_AMOUNT", "strategy": "relative_change", "at_most": 2.0}
    daily = Daily(tmp_path, spark, monkeypatch, few_days(quality={"anomalies": [unlike]}))
    frame = payments()
    frame.loc[frame["TX_TIME_DAYS"] == 4, "TX_AMOUNT"] *= 100
    daily.land(frame, tmp_path)
    daily.plan("2018-04-04", "first")
    daily.stage("first", "quality_gate", {})
    overtaken = daily.plan("2018-04-06", "overtaken")
    assert [day.partition for day in overtaken.days] == ["2018-04-04", "2018-04-05"]
    daily.plan("2018-04-05", "unlike")
    refused = daily.stage("unlike", "quality_gate", {})
    assert refused.outcome == "FAIL"
    assert "relative_change of mean of TX_AMOUNT" in refused.summary
    # Planned before the refusal: it looks at that day by itself, and accepts it for its own rows.
    daily.stage("overtaken", "quality_gate", {})
    assert noted_stages(daily.store, NAME, "overtaken")[1].result["verdict"]["outcome"] == "PASS"
    later = daily.plan("2018-04-06", "later")
    assert [one.partition for one in accepted_batches(daily.store, NAME)][-2:] == ["2018-04-04", "2018-04-06"]
    assert [day.partition for day in later.days] == ["2018-04-04"]
    assert [(point.partition, point.accepted) for point in later.history][-2:] == [
        ("2018-04-04", True),
        ("2018-04-05", False),
    ]
    assert daily.stage("later", "quality_gate", {}).outcome == "PASS", "its bounds come from the day that was accepted"


def test_shipped_columns_are_what_pandas_says_and_look_back_only(gate: Gate) -> None:
    use_case = load_use_case(NAME)
    frame = generate(rows=6000, seed=2, days=35)
    result = gate.prepare_frame(zoned(frame), use_case)
    train, test = (gate.frame(result.outputs[side]) for side in ("train", "test"))
    both = pd.concat([train, test])
    assert both["_split_time"].min() >= frame["TX_TIME_SECONDS"].min() + pd.Timestamp("2018-04-11").timestamp()
    assert test["_split_time"].min() - train["_split_time"].max() >= 3 * 86_400
    random = np.random.default_rng(0)
    names = both.merge(
        frame.assign(_split_time=frame["TX_DATETIME"].map(pd.Timestamp.timestamp)), on=["_split_time", "TX_AMOUNT"]
    )
    for row in names.iloc[random.choice(len(names), 60, replace=False)].itertuples():
        back = row._asdict()
        own = frame[(frame["CUSTOMER_ID"] == row.CUSTOMER_ID) & (frame["TX_TIME_SECONDS"] < row.TX_TIME_SECONDS)]
        week = own[own["TX_TIME_SECONDS"] >= row.TX_TIME_SECONDS - 7 * 86_400]
        assert back["customer_payments_7d"] == len(week)
        mean = round(week["TX_AMOUNT"] * 100).sum() / 100 / len(week) if len(week) else 0
        assert back["customer_mean_amount_7d"] == pytest.approx(mean)
        there = frame[frame["TERMINAL_ID"] == row.TERMINAL_ID]
        known = there[
            there["TX_TIME_SECONDS"].between(row.TX_TIME_SECONDS - 10 * 86_400, row.TX_TIME_SECONDS - 3 * 86_400)
        ]
        assert back["known_frauds_7d"] == known["TX_FRAUD"].sum()
    assert not {"CUSTOMER_ID", "TERMINAL_ID", "TX_FRAUD_SCENARIO", "TRANSACTION_ID"} & set(train.columns)


def test_a_column_that_looks_ahead_is_seen(gate: Gate) -> None:
    frame = zoned(payments())
    with pytest.raises(StageError) as raised:
        gate.prepare_frame(frame, few_days(prepare={"sql": AHEAD}))
    assert "rows before the test have other values once the test's rows are there" in str(raised.value)
    derived = {"later": "lead(TX_AMOUNT) OVER (PARTITION BY CUSTOMER_ID ORDER BY TX_DATETIME, TRANSACTION_ID)"}
    with pytest.raises(StageError, match="columns that look back only"):
        gate.prepare_frame(frame, few_days(prepare={"sql": None, "derive": derived}))
    assert gate.prepare_frame(frame, few_days()).values["rows"] == len(frame)


@pytest.mark.parametrize(
    ("statement", "error", "told"),
    [
        (
            "SELECT *, nothing FROM accepted",
            RuleError,
            "prepare.sql: got SELECT *, nothing FROM accepted …. Allowed: one",
        ),
        ("SELECT TX_AMOUNT FROM accepted", RuleError, "prepare.sql: got '_row_id'"),
        ("SELECT * FROM accepted UNION ALL SELECT * FROM accepted", StageError, "rows that were not accepted, or more"),
    ],
)
def test_statements_that_cannot_be_are_told(gate: Gate, statement: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error) as raised:
        gate.prepare_frame(zoned(payments()).head(50), few_days(prepare={"sql": statement}))
    assert told in str(raised.value)
