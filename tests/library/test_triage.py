"""What follows from what monitors saw: the whole matrix of reasons and states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepzero.learning.triage import (
    INCIDENTS,
    LOSS,
    PREDICTED_LOSS,
    SHIFTS,
    Remembered,
    Retrain,
    Signal,
    State,
    decide,
)
from stepzero.spec.monitors import Triage

NOW = datetime(2026, 11, 21, 2, tzinfo=UTC)
POLICY = Triage(cool_down_hours=48, retrains_per_week=2, longest_retrain_hours=24)


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def state(**changes: Any) -> State:
    return State(**{"now": NOW, "version": "3", **changes})


def seen(*kinds: str) -> list[Signal]:
    return [Signal(kind=kind, sentence=f"{kind} was seen") for kind in kinds]


@pytest.mark.parametrize("kind", INCIDENTS)
@pytest.mark.parametrize("others", [(), ("data_drift",), ("data_drift", LOSS)])
def test_an_incident_pages_whatever_else_is_seen(kind: str, others: tuple[str, ...]) -> None:
    told = decide(seen(kind, *others), state(), POLICY)
    assert (told.action, told.kinds) == ("page", (kind,))
    assert told.reasons[0] == f"{kind} was seen"
    assert told.remember == ("loss was seen" if LOSS in others else None), "a loss is not forgotten over it"


@pytest.mark.parametrize("kind", SHIFTS)
def test_a_shift_without_loss_is_watched(kind: str) -> None:
    told = decide(seen(kind), state(labels_reach=True), POLICY)
    assert told.action == "watch"
    assert told.reasons == ("no loss is seen", f"{kind} was seen")
    assert told.sentence() == f"watch: no loss is seen; {kind} was seen"


def test_nothing_is_nothing() -> None:
    assert decide([], state(), POLICY).sentence() == "nothing: no monitor fired"


@pytest.mark.parametrize(
    ("kinds", "reach", "action"),
    [
        ((LOSS,), True, "retrain"),
        ((LOSS, "data_drift"), True, "retrain"),
        ((PREDICTED_LOSS, "data_drift"), False, "retrain"),
        ((PREDICTED_LOSS, "data_drift"), True, "watch"),
        ((PREDICTED_LOSS,), False, "watch"),
    ],
)
def test_a_loss_asks_for_a_retrain_and_a_foretold_one_only_where_labels_are_late(
    kinds: tuple[str, ...], reach: bool, action: str
) -> None:
    assert decide(seen(*kinds), state(labels_reach=reach), POLICY).action == action


def test_never_two_retrains_at_once() -> None:
    running = Retrain(number=1, at=ago(3), version="3")
    told = decide(seen(LOSS), state(retrains=[running]), POLICY)
    assert (told.action, told.remember) == ("watch", "loss was seen")
    assert told.reasons[0] == "retrain 1 of 2026-11-20 23:00 still runs: this alarm is remembered"


@pytest.mark.parametrize("ended", [True, False])
def test_a_run_older_than_the_newest_retrain_asks_for_none(ended: bool) -> None:
    later = Retrain(number=2, at=ago(-7), version="3", ended=ended)
    told = decide(seen(LOSS), state(retrains=[Retrain(number=1, at=ago(200), version="2", ended=True), later]), POLICY)
    assert (told.action, told.remember) == ("watch", None)
    assert told.reasons == (
        "retrain 2 of 2026-11-21 09:00 is newer than this run, which asks for none",
        "loss was seen",
    )


def test_a_window_long_gone_asks_for_no_retrain_and_keeps_no_alarm() -> None:
    told = decide(seen(LOSS), state(is_late=True), POLICY)
    assert (told.action, told.remember) == ("watch", None)
    assert told.reasons[0] == "the window is long gone, and a run that comes so late asks for no retrain"
    paged = decide(seen("volume_drop", LOSS), state(is_late=True), POLICY)
    assert (paged.action, paged.remember) == ("page", None)


def test_a_retrain_that_never_ended_is_taken_for_lost() -> None:
    lost = Retrain(number=1, at=ago(60), version="3")
    assert decide(seen(LOSS), state(retrains=[lost]), POLICY).action == "retrain"


def test_between_two_retrains_there_is_a_rest() -> None:
    over = Retrain(number=1, at=ago(47), version="2", ended=True)
    told = decide(seen(LOSS), state(retrains=[over]), POLICY)
    assert (told.action, told.remember) == ("watch", "loss was seen")
    assert told.reasons[0] == "cooling down until 2026-11-21 03:00: this alarm is remembered"
    assert decide(
        seen(LOSS), state(retrains=[Retrain(number=1, at=ago(48), version="2", ended=True)]), POLICY
    ).action == ("retrain")


def test_when_the_weeks_retrains_are_spent_a_person_must_look() -> None:
    spent = [Retrain(number=at, at=ago(hours), version="2", ended=True) for at, hours in ((1, 160), (2, 50))]
    told = decide(seen(LOSS), state(retrains=spent), POLICY)
    assert (told.action, told.kinds, told.remember) == ("page", ("retrain_budget",), "loss was seen")
    assert told.reasons[0] == "the budget of 2 retrains a week is spent: a person must look"
    assert decide(seen(LOSS), state(retrains=[spent[1]]), POLICY).action == "retrain"
    assert decide(seen(LOSS), state(), Triage(retrains_per_week=0)).action == "page"


def test_an_alarm_during_a_retrain_is_answered_when_it_is_over() -> None:
    kept = Remembered(at=ago(40), version="3", why="loss was seen")
    over = Retrain(number=1, at=ago(50), version="3", ended=True)
    told = decide([], state(retrains=[over], remembered=kept), POLICY)
    assert (told.action, told.forget) == ("retrain", True)
    assert told.reasons == ("the alarm of 2026-11-19 10:00 is not answered yet (loss was seen)",)
    again = decide([], state(retrains=[Retrain(number=1, at=ago(5), version="3")], remembered=kept), POLICY)
    assert (again.action, again.forget) == ("watch", False)
    assert again.remember


def test_an_alarm_about_a_model_that_serves_no_more_is_settled() -> None:
    kept = Remembered(at=ago(40), version="2", why="loss was seen")
    told = decide([], state(remembered=kept), POLICY)
    assert (told.action, told.forget) == ("nothing", True)
    assert told.reasons == ("the alarm of 2026-11-19 10:00 was about version 2, which serves no more",)
    assert decide(seen("data_drift"), state(remembered=kept), POLICY).action == "watch"
