"""What a watch keeps in the store: when labels are ripe, alarms to come back to, and places that one run gets."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stepzero.adapters import watching
from stepzero.adapters.captured import together
from stepzero.adapters.datasets import read_frame, write_frame
from stepzero.adapters.store import Store
from stepzero.adapters.watching import AlarmEntry, RetrainEntry
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import Reference
from stepzero.core.stages import StageResult
from stepzero.core.verdict import Outcome
from stepzero.learning.ripeness import ripeness
from stepzero.spec.monitors import Labels
from stepzero.stages.register_comparison import Finding, compare_with_champion
from support.champions import as_input
from support.traffic import DAY, FIRST, Traffic, make_ages, make_traffic

END = datetime(2026, 11, 10, tzinfo=UTC)
ASKED = Labels(delay_days=7, at_least=50, of_a_class=5)


@pytest.mark.parametrize(
    ("labelled", "frauds", "after", "kind", "why"),
    [
        (100, 20, timedelta(days=7), "classification", None),
        (100, 20, timedelta(days=6, hours=23), "classification", "labels are due on 2026-11-17 00:00"),
        (50, 5, timedelta(days=7), "classification", None),
        (49, 20, timedelta(days=7), "classification", "49 of 50 labels have come"),
        (100, 4, timedelta(days=30), "classification", "4 of 5 rows of a class are labelled"),
        (100, 97, timedelta(days=30), "classification", "3 of 5 rows of a class are labelled"),
        (100, 0, timedelta(days=7), "regression", None),
    ],
)
def test_labels_are_ripe_when_they_are_due_and_enough_of_each_class_have_come(
    labelled: int, frauds: int, after: timedelta, kind: str, why: str | None
) -> None:
    labels = pd.Series([1.0] * frauds + [0.0] * (labelled - frauds) + [None] * (200 - labelled))
    found = ripeness(labels, END, END + after, ASKED, kind)
    assert found.ripe is (why is None)
    assert found.why == (why or f"{labelled} of 200 rows are labelled")
    assert (found.rows, found.labelled) == (200, labelled)


def test_a_window_that_is_due_with_too_few_labels_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"delay_days": 7, "at_least": 301, "of_a_class": 5}
    traffic = make_traffic(tmp_path, monkeypatch, labels=asked)
    traffic.serve(range(12))
    seen = traffic.watch(11, "model_quality")["model_quality"]
    assert seen.verdict is not None
    assert seen.verdict.outcome is Outcome.NOT_YET
    assert "0 of 2 windows that it takes have ripe labels (300 of 301 labels have come)" in seen.verdict.sentence()


def entry(run: str, **more: Any) -> dict[str, Any]:
    return {"number": 1, "at": END.isoformat(), "run": run, "version": "3", "why": "a loss", **more}


def test_an_alarm_is_kept_until_it_is_answered_and_only_once(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}")
    assert watching.remembered(store, "cards") is None
    for run in ("first", "second"):
        watching.remember(store, "cards", AlarmEntry(**entry(run)))
    kept = watching.remembered(store, "cards")
    assert kept is not None
    assert (kept.number, kept.run) == (1, "first"), "an alarm that goes on is one"
    for run in ("third", "third again"):
        watching.settle(store, "cards", run, until=END)
    assert watching.remembered(store, "cards") is None
    assert store.read_json("watch/cards/alarms/000001.over.json") == {"run": "third"}
    watching.remember(store, "cards", AlarmEntry(**entry("fourth")))
    before = END - timedelta(hours=1)
    watching.settle(store, "cards", "an earlier one, tried again", until=before)
    again = watching.remembered(store, "cards")
    assert again is not None
    assert (again.number, again.run) == (2, "fourth")
    assert watching.remembered(store, "cards", until=before) is None, "it had not come yet"


def test_of_many_who_ask_for_a_retrain_at_once_one_gets_it(tmp_path: Path) -> None:
    store, together = Store(f"file://{tmp_path}"), threading.Barrier(8)
    taken: list[str] = []

    def claim(run: str) -> None:
        together.wait()
        if watching.claim_retrain(store, "cards", RetrainEntry(**entry(run), dag_run="retrain__000001")):
            taken.append(run)

    threads = [threading.Thread(target=claim, args=(f"run {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = taken
    assert [one.run for one in watching.retrains(store, "cards")] == [winner]
    assert watching.claim_retrain(store, "cards", watching.retrains(store, "cards")[0]), "a task that is tried again"


def turned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """Return a world in which the model has lost for ten days."""
    traffic = make_traffic(tmp_path, monkeypatch)
    traffic.serve(range(4))
    traffic.serve(range(4, 15), turned=True)
    return traffic


def test_of_two_triages_that_race_one_retrains_and_the_other_keeps_its_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = turned(tmp_path, monkeypatch)
    raced: list[int] = []
    take = watching.claim_retrain

    def claim(store: Store, use_case: str, mine: RetrainEntry) -> bool:
        """Let another run take the place between the decision and the claim."""
        if not raced:
            raced.append(mine.number)
            assert take(store, use_case, mine.model_copy(update={"run": "another", "dag_run": "retrain__another"}))
        return take(store, use_case, mine)

    monkeypatch.setattr(watching, "claim_retrain", claim)
    decided = traffic.watch(12, "model_quality")["triage"].values
    assert raced == [1]
    assert (decided["action"], decided["retrain"]) == ("watch", None)
    assert decided["reasons"][0] == "retrain 1 of 2026-11-14 03:00 still runs: this alarm is remembered"
    kept = watching.remembered(traffic.store, "cards")
    assert kept is not None
    assert (kept.run, kept.version) == ("watch__2026-11-14", "1")
    # The retrain is over, its model was not better: after the rest, the alarm is answered.
    traffic.store.write_json("runs/cards/retrain__another/stages/report/result.json", {})
    traffic.serve(range(15, 18))
    quiet = traffic.watch(17, "data_quality")["triage"].values
    assert quiet["action"] == "retrain"
    assert quiet["reasons"][0].startswith("the alarm of 2026-11-14 03:00 is not answered yet (average_precision")
    assert quiet["retrain"]["number"] == 2
    assert watching.remembered(traffic.store, "cards") is None


def test_an_alarm_about_a_version_that_serves_no_more_is_put_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = make_traffic(tmp_path, monkeypatch)
    watching.remember(
        traffic.store, "cards", AlarmEntry(**entry("earlier") | {"at": FIRST.isoformat(), "version": "0"})
    )
    traffic.serve(range(3))
    decided = traffic.watch(2, "data_quality")["triage"].values
    assert decided["action"] == "nothing"
    assert decided["reasons"] == ["the alarm of 2026-11-01 00:00 was about version 0, which serves no more"]
    assert watching.remembered(traffic.store, "cards") is None


def test_a_triage_that_is_killed_after_it_settled_an_alarm_asks_for_its_retrain_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = make_traffic(tmp_path, monkeypatch)
    traffic.serve(range(3))
    watching.remember(
        traffic.store, "cards", AlarmEntry(**entry("earlier") | {"at": FIRST.isoformat(), "version": "1"})
    )
    settle = watching.settle

    def killed(*arguments: Any, **settings: Any) -> None:
        settle(*arguments, **settings)
        monkeypatch.setattr(watching, "settle", settle)
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "settle", killed)
    with pytest.raises(KeyboardInterrupt):
        traffic.watch(2, "data_quality")
    assert watching.remembered(traffic.store, "cards") is None
    decided = traffic.watch(2, "data_quality")["triage"]
    assert decided.values["action"] == "retrain"
    (claimed,) = watching.retrains(traffic.store, "cards")
    assert decided.values["retrain"] == claimed.model_dump(mode="json")
    assert decided.values["reasons"] == ["the alarm of 2026-11-01 00:00 is not answered yet (a loss)"]
    assert "the alarm of 2026-11-01" in traffic.page(decided)


def test_a_run_that_comes_late_asks_for_no_second_retrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person ran the watch at ten; the scheduler, down at three, makes up for its run while the retrain runs."""
    traffic = turned(tmp_path, monkeypatch)
    plan = traffic.plan(FIRST + 13 * DAY)
    collected = traffic.stage("collect_windows", plan, {})
    seen = {"model_quality": traffic.stage("watch_model_quality", plan, {"collected": collected})}

    def decided(**changes: Any) -> dict[str, Any]:
        return traffic.stage("triage", plan.model_copy(update=changes), seen).values

    backfill = decided(run="watch__backfill", promotes=False)
    assert (backfill["action"], backfill["retrain"]) == ("watch", None)
    assert backfill["reasons"][0] == "the window is long gone, and a run that comes so late asks for no retrain"
    at_ten = (FIRST + 13 * DAY + timedelta(hours=10)).isoformat()
    assert decided(run="watch__by_hand", as_of=at_ten)["retrain"]["number"] == 1
    scheduled = decided()
    assert (scheduled["action"], scheduled["retrain"]) == ("watch", None)
    assert scheduled["reasons"][0] == "retrain 1 of 2026-11-14 10:00 is newer than this run, which asks for none"
    assert watching.remembered(traffic.store, "cards") is None, "that retrain is the answer"


def test_a_day_of_each_type_is_one_table() -> None:
    """What the watch collects window by window is written as one dataset."""
    old = pd.DataFrame({"Kind": ["x", "3"], "V1": [1, 2]})
    none = pd.DataFrame({"Kind": [None, None], "V1": [1, 2]})
    new = pd.DataFrame({"Kind": [1.0, None], "V1": [1.5, 2.0]})
    rows = together([old, new, none])
    assert rows["Kind"].dtype == np.float64
    assert rows["Kind"].dropna().tolist() == [3.0, 1.0]
    assert rows["V1"].tolist() == [1, 2, 1.5, 2, 1, 2]
    assert pa.Table.from_pandas(together([new, old])).schema.field("Kind").type == pa.string()


def test_a_retrained_regression_must_hold_its_own_on_recent_labelled_requests_or_it_is_said_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = make_ages(tmp_path, monkeypatch)
    traffic.serve(range(12))
    plan = traffic.plan(FIRST + 12 * DAY)
    labelled = traffic.stage("collect_windows", plan, {}).output("labelled")
    traffic.register("2", seed=5)

    def finding(rows: Reference | None, outputs: dict[str, Reference]) -> Finding:
        workspace = Workspace(
            store=traffic.store,
            environment=traffic.environment,
            plan=plan.model_copy(update={"compared_on": rows and rows.to_json()}),  # type: ignore[arg-type]
            folder="results/register/tries/1",
            stage="register",
        )
        inputs = {name: as_input(name, StageResult(outputs=outputs)) for name in ("prepared", "evaluated")}
        return compare_with_champion(traffic.use_case, inputs, workspace)

    def compared(rows: Reference) -> str:
        return finding(rows, traffic.made["2"]).sentence

    assert "on 900 recent labelled requests that neither trained on" in compared(labelled)
    rows = read_frame(traffic.store, labelled)
    told = "; not on the recent labelled requests that the watch named: "
    for name, changed, why in (
        ("few", rows.iloc[:29], "29 are left of those that version 1 answered and the challenger did not learn from"),
        ("narrow", rows.drop(columns="Amount"), "they lack Amount, so that nobody can tell which of them were learned"),
    ):
        sentence = compared(write_frame(traffic.store, f"made/{name}", changed, producer="x"))
        assert "rows that neither trained on" in sentence
        assert told + why in sentence

    held = read_frame(traffic.store, traffic.made["2"]["test"])

    def interval(name: str, entity: pd.Series[Any] | None) -> tuple[float, float]:
        told = held if entity is None else held.assign(_split_entity=entity.astype(str))
        test = write_frame(traffic.store, f"made/{name}", told, producer="x")
        figures = finding(None, {**traffic.made["2"], "test": test}).figures
        return figures["low"], figures["high"]

    single = pd.Series(range(len(held)))
    assert interval("single", single) == pytest.approx(interval("rows", None), rel=1e-9)
    assert interval("tens", single // 10) != interval("rows", None), (
        "whole entities are drawn where they are kept apart"
    )
