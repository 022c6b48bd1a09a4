"""Monitors on served days: quiet days stay quiet, each fault is seen by its own monitor, and the triage decides."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.store import Store
from stepzero.cli.run_results import find_run
from stepzero.core.errors import InputError, SpecError
from stepzero.core.verdict import Outcome
from stepzero.execution.watching import window_end
from stepzero.learning.drift import Rule
from stepzero.learning.triage import Signal
from stepzero.learning.window_values import Fallen, judge_metric, metric_value
from stepzero.spec.load import validate
from stepzero.spec.monitors import Monitors, RetrainWindow
from stepzero.spec.use_case import UseCase
from stepzero.stages import watch_model
from stepzero.stages.triage import retrain_form
from stepzero.stages.watch_results import level_of
from support.modules import load_module
from support.stack import ROOT
from support.traffic import DAY, FIRST, ROWS, Traffic, ages, make_ages, make_traffic, use_case


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    """A champion with its reference, made once: nobody has asked it anything."""
    with pytest.MonkeyPatch.context() as patched:
        yield make_traffic(tmp_path_factory.mktemp("registered"), patched)


@pytest.fixture
def traffic(registered: Traffic, tmp_path: Path) -> Traffic:
    return registered.copy(tmp_path / "world")


def kinds(seen: dict[str, Any]) -> set[str]:
    return {signal["kind"] for one in seen.values() for signal in one.values.get("signals", [])}


def test_quiet_days_are_quiet_and_quality_waits_for_its_labels(traffic: Traffic) -> None:
    traffic.serve(range(6))
    early = traffic.watch(5)
    assert kinds(early) == set()
    assert early["triage"].values["action"] == "nothing"
    quality = early["model_quality"]
    assert quality.verdict.outcome is Outcome.NOT_YET
    assert "0 of 2 windows that it takes have ripe labels" in quality.verdict.sentence()
    assert quality.values["labels_ripe"] is False
    traffic.serve(range(6, 12))
    late = traffic.watch(11)
    assert kinds(late) == set()
    assert {name: str(one.verdict.outcome) for name, one in late.items() if one.verdict} == {
        "data_quality": "PASS",
        "data_drift": "PASS",
        "prediction_drift": "PASS",
        "model_quality": "PASS",
        "attribution_drift": "PASS",
        "triage": "PASS",
    }
    assert late["model_quality"].values["labels_ripe"] is True
    (newest, *_) = reversed(late["model_quality"].values["intervals"])
    assert newest["low"] <= newest["value"] <= newest["high"]
    page = traffic.page(late["model_quality"])
    assert "data:image/png;base64," in page
    assert "average_precision" in page


def test_what_is_measured_and_what_is_foretold_share_one_part_of_the_budget(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic.serve(range(12))
    levels: dict[str, float] = {}

    def noting(name: str, judge: Any) -> Any:
        def judged(*arguments: Any, **settings: Any) -> Any:
            levels[name] = next(one.level for one in arguments if isinstance(one, Rule))
            return judge(*arguments, **settings)

        return judged

    for name in ("judge_metric", "judge_values"):
        monkeypatch.setattr(watch_model, name, noting(name, getattr(watch_model, name)))
    whole = level_of(traffic.use_case.monitors)
    assert whole == pytest.approx(1 / 30 / 4), "four monitors, one evaluation a day"
    traffic.watch(11, "model_quality")
    assert levels == {"judge_metric": pytest.approx(whole / 2), "judge_values": pytest.approx(whole / 2)}
    levels.clear()
    traffic.watch(5, "model_quality")
    assert levels == {"judge_values": pytest.approx(whole)}, "no labels are ripe"
    levels.clear()
    traffic.use_case = use_case(model_quality={"predicted": False})
    traffic.watch(11, "model_quality")
    assert levels == {"judge_metric": pytest.approx(whole)}, "nothing is foretold"


def test_quiet_days_are_counted_by_all_that_reaches_the_triage() -> None:
    """A foretold loss is a warning, and yet an alarm; what breaks declared bounds is counted, but apart."""
    matrix = load_module(ROOT / "benchmarks" / "watch_matrix.py")
    foretold = Signal(kind="predicted_loss", sentence="expected_f1 fell")
    fewer = Signal(kind="volume_drop", sentence="3 rows")

    def day(**signals: list[Signal]) -> dict[str, Any]:
        seen: dict[str, Any] = {
            name: SimpleNamespace(values={"signals": [one.to_json() for one in signals.get(name, [])]})
            for name in matrix.MONITORS
        }
        decided = SimpleNamespace(values={"action": "watch"}, reference=SimpleNamespace(summary="why"))
        return dict(matrix.told({**seen, "triage": decided}))

    days = [day(), day(model_quality=[foretold]), day(model_quality=[foretold], data_quality=[fewer]), day()]
    found = matrix.counted([dict(enumerate(days * 15)), dict(enumerate([day()] * 60))])
    assert found["days"] == 120
    assert [len(one) for one in found["alarms"]] == [15, 0], "what goes on is one alarm"
    assert found["alarms"][0][0] == {"day": 1, "kind": "model_quality: predicted_loss", "said": "expected_f1 fell"}
    assert [len(one) for one in found["by_declared_bounds"]] == [15, 0]
    assert found["in_30_days"]["value"] == 3.75
    assert found["in_30_days"]["low"] == 0, "all in one of two stretches: nobody knows"


def test_the_interval_of_quiet_stretches_is_the_wider_of_two() -> None:
    matrix = load_module(ROOT / "benchmarks" / "watch_matrix.py")
    assert matrix.in_30_days([2], 120) == {"value": 0.5, "low": 0.06, "high": 1.81}
    assert matrix.in_30_days([0, 0, 0, 0], 480) == {"value": 0.0, "low": 0.0, "high": 0.23}
    assert matrix.in_30_days([2, 2, 2, 2], 480)["high"] == round(15.763 / 16, 2), "alike stretches: single alarms count"
    assert matrix.in_30_days([8, 0, 0, 0], 480)["high"] == round((8 + 3.182 * 4 * 2) / 16, 2), "else the stretches"


def test_a_day_without_a_request_is_an_incident(traffic: Traffic) -> None:
    traffic.serve(range(5))
    seen = traffic.watch(5)
    assert kinds(seen) == {"volume_drop"}
    assert seen["data_drift"].verdict.outcome is Outcome.NOT_YET
    assert "0 answered rows in the newest window" in seen["data_drift"].verdict.sentence()
    assert seen["triage"].values["action"] == "page"


def test_people_are_told_once_of_an_incident_and_again_of_another_kind(traffic: Traffic) -> None:
    traffic.serve(range(5))
    traffic.serve(range(5, 7), change=lambda rows: rows.assign(Amount=rows["Amount"] * 100))
    first, second = (traffic.watch(day, "data_quality")["triage"].values for day in (5, 6))
    assert [(one["incident"], one["tell"]) for one in (first, second)] == [(1, True), (1, False)]
    again = traffic.watch(5, "data_quality", run="watch__2026-11-07")["triage"].values
    assert again["tell"] is False or again["incident"] == 1
    traffic.serve(range(7, 8), change=lambda rows: rows.assign(V1=rows["V1"].where(rows.index % 3 > 0)))
    third = traffic.watch(7, "data_quality")["triage"].values
    assert (third["incident"], third["tell"]) == (2, True)
    traffic.serve(range(8, 9))
    assert traffic.watch(8, "data_quality")["triage"].values["action"] == "nothing"
    traffic.serve(range(9, 10), change=lambda rows: rows.assign(Amount=rows["Amount"] * 100))
    fourth = traffic.watch(9, "data_quality")["triage"].values
    assert (fourth["incident"], fourth["tell"]) == (3, True)


def test_a_shift_that_costs_nothing_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = make_traffic(tmp_path, monkeypatch, data_drift={"multivariate": True})
    traffic.serve(range(4))
    traffic.serve(range(4, 16), change=lambda rows: rows.assign(Amount=rows["Amount"] + 60))
    seen = traffic.watch(4, "data_drift", "model_quality")
    assert kinds(seen) == set(), "one day is none"
    seen = traffic.watch(14, "data_drift", "model_quality")
    assert kinds(seen) == {"data_drift", "multivariate_drift"}
    assert [one["column"] for one in seen["data_drift"].values["signals"]] == ["Amount", None]
    assert seen["triage"].values["action"] == "watch"
    page = traffic.page(seen["data_drift"])
    assert "Amount" in page
    assert "one evaluation of all columns together" in page


def test_when_what_tells_frauds_turns_round_a_retrain_is_asked_for_once_the_labels_are_ripe(traffic: Traffic) -> None:
    traffic.serve(range(5))
    traffic.serve(range(5, 16), turned=True)
    assert traffic.watch(8, "data_quality", "model_quality")["triage"].values["action"] == "nothing"
    assert traffic.watch(12, "model_quality")["triage"].values["action"] == "nothing", "one ripe day is none"
    seen = traffic.watch(13, "model_quality")
    assert "loss" in kinds(seen)
    decided = seen["triage"].values
    assert decided["action"] == "retrain"
    assert decided["retrain"]["number"] == 1
    assert decided["retrain"]["dag_run"].startswith("retrain__000001__2026-11-15T03:00")
    assert decided["retrain"]["form"]["reason"].startswith("the watch asked for it: average_precision: observed")
    assert set(decided["retrain"]["form"]["compared_on"]) == {"uri", "digest", "kind", "rows"}
    again = traffic.watch(13, "model_quality")["triage"].values
    assert again["retrain"] == decided["retrain"], "a task that is tried again asks for the same retrain"
    other = traffic.watch(14, "model_quality")["triage"].values
    assert other["action"] == "watch"
    assert "retrain 1 of 2026-11-15 03:00 still runs" in other["reasons"][0] or "cooling down" in other["reasons"][0]


def test_a_new_champion_is_watched_against_its_own_reference(traffic: Traffic) -> None:
    traffic.serve(range(4))
    traffic.serve(range(4, 8), turned=True)
    assert "data_drift" in kinds(traffic.watch(7, "data_drift", "prediction_drift"))
    traffic.register("2", seed=7, turned=True)
    traffic.serve(range(8, 11), turned=True)
    seen = traffic.watch(10, "data_drift", "prediction_drift", "model_quality")
    assert kinds(seen) == set()
    assert "against those of version 2" in seen["data_drift"].verdict.sentence()
    assert seen["model_quality"].verdict.outcome is Outcome.NOT_YET, "nothing that version 2 answered is labelled"


def test_without_a_champion_nothing_is_called_good(traffic: Traffic) -> None:
    traffic.serve(range(3))
    plan = traffic.plan(FIRST).model_copy(update={"champion": None})
    collected = traffic.stage("collect_windows", traffic.plan(FIRST), {})
    for name in ("data_drift", "prediction_drift", "model_quality", "attribution_drift"):
        seen = traffic.stage(f"watch_{name}", plan, {"collected": collected})
        assert seen.verdict.outcome is Outcome.NOT_YET
        assert "no champion yet" in seen.verdict.sentence()


def test_volumes_are_counted_window_by_window(traffic: Traffic) -> None:
    traffic.serve(range(3))
    collected = traffic.watch(2, "data_quality")["collected"]
    assert collected.values["before"][-3:] == [0, ROWS, ROWS]
    assert [one["rows"] for one in collected.values["windows"]] == [ROWS, ROWS, ROWS]


def test_a_column_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r"monitors.data_drift.ignore.*did you mean 'Amount'"):
        use_case(data_drift={"ignore": ["Amout"]})
    traffic = make_traffic(tmp_path, monkeypatch, data_drift={"columns": ["Class"], "multivariate": False})
    traffic.serve(range(3))
    with pytest.raises(InputError, match=r"monitors.data_drift: got 'Class'. Allowed: a feature of the model"):
        traffic.watch(2, "data_drift")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"window_hours": 5}, "hours that divide a day, or whole days"),
        ({"judged": {"at_least": 4, "of": 3}}, "4 of 3 windows is never"),
        ({"triage": {"window": {"use": "recent"}}}, "use: recent with batches"),
        ({"triage": {"window": {"half_life": 0}}}, "triage.window.half_life"),
        ({"labels": {"delay": 3}}, "did you mean 'delay_days'"),
        ({"data_drift": {"distances": ["psi"]}}, "population_stability_index"),
    ],
)
def test_a_section_that_says_the_impossible_is_refused(data: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        validate(data, Monitors)


def test_decisions_count_as_they_were_made() -> None:
    rows = {"_label": np.array([1.0, 1, 0, 0]), "_score": np.array([0.9, 0.3, 0.6, 0.1])}
    assert metric_value("f1", 0.5)(rows) == pytest.approx(0.5)
    by_group = {**rows, "_decision": np.array([1.0, 1, 0, 0])}
    assert metric_value("f1", 0.5)(by_group) == 1.0
    assert metric_value("mae", None)(rows) == pytest.approx(-0.375)
    assert np.isnan(metric_value("r2", None)({name: values[:1] for name, values in rows.items()}))


def scored(lost: int, false: int) -> pd.DataFrame:
    """A dozen frauds of which some score low, and two thousand payments of which some score high."""
    score = np.r_[np.linspace(0.0, 0.4, 2_000), np.linspace(0.6, 0.99, 12)]
    score[:false], score[2_000 : 2_000 + lost] = 0.995, 0.01
    return pd.DataFrame({"_score": score, "_label": np.r_[np.zeros(2_000), np.ones(12)]})


def test_a_window_whose_own_interval_holds_what_is_expected_is_no_loss() -> None:
    """The reference has no payment that scores high: it cannot know how often one does."""
    reference = scored(0, 0).assign(_weight=1.0, _block=0)
    rule = Rule(at_least=2, level=0.008, draws=50, seed=7, names=(), smallest={})

    def judged(lost: int, false: int) -> Fallen:
        windows = [scored(lost, false)] * 3
        fallen, intervals = judge_metric(
            "average_precision", None, reference, windows, rule, smallest=0.02, confidence=0.95
        )
        assert fallen.highs == [one.high for one in intervals]
        return fallen

    unlucky, worse = judged(0, 1), judged(8, 1)
    assert (unlucky.reference, unlucky.allowed) == (1.0, 0.02), "chance drawn from it changes nothing"
    assert unlucky.values[-1] < unlucky.low
    assert not unlucky.fires
    assert worse.fires
    assert (unlucky.over, worse.over) == (0, 3)


def test_the_policy_names_the_window_of_a_retrain() -> None:
    assert retrain_form(RetrainWindow()) == {}
    assert retrain_form(RetrainWindow(use="all")) == {"window": "all"}
    recent = RetrainWindow(use="recent", batches=7, half_life=3)
    assert retrain_form(recent) == {"window": "recent", "recent_batches": 7, "half_life": 3}
    told = (
        r"train.models.logistic_regression: got 'no sample_weight'. Allowed: sample_weight: true for every model where "
    )
    with pytest.raises(SpecError, match=told + "monitors.triage.window.half_life weighs rows by their age"):
        use_case(triage={"window": {"half_life": 3}})


def test_captured_requests_are_compared_with_the_training_rows_and_refused_ones_are_not(traffic: Traffic) -> None:
    traffic.serve(range(3), change=lambda rows: rows.assign(V1=rows["V1"].where(rows.index % 3 > 0)))
    plan = traffic.plan(FIRST + 3 * DAY)
    collected = traffic.stage("collect_windows", plan, {})
    assert len(traffic.frame_of(collected, "captured")) == 3 * ROWS
    same = traffic.stage("captured_skew", plan, {"captured": collected})
    assert same.verdict.outcome is Outcome.PASS, "holes that were refused are no missing values"
    assert same.values == {"rows": 2 * ROWS, "columns": 2, "shifted": []}
    traffic.serve(range(3, 6), change=lambda rows: rows.assign(Amount=rows["Amount"] + 100))
    plan = traffic.plan(FIRST + 6 * DAY)
    moved = traffic.stage("captured_skew", plan, {"captured": traffic.stage("collect_windows", plan, {})})
    assert moved.verdict.outcome is Outcome.FAIL
    assert moved.values["shifted"] == ["Amount"]
    nothing = traffic.plan(FIRST + 60 * DAY)
    told = traffic.stage("captured_skew", nothing, {"captured": traffic.stage("collect_windows", nothing, {})})
    assert told.verdict.sentence() == "NOT YET: skew not judged, no request was answered."


def test_groups_are_watched_only_where_they_are_declared() -> None:
    data = use_case().model_dump(mode="json", by_alias=True)
    data["monitors"]["bias"] = {}
    with pytest.raises(SpecError, match="a bias section, which declares groups"):
        validate(data, UseCase)


def test_decisions_of_groups_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = make_traffic(tmp_path, monkeypatch)
    data = traffic.use_case.model_dump(mode="json", by_alias=True)
    data["bias"] = {"favourable": 0, "facets": {"Amount": {"above": 80}}, "limits": {"after": {"DPPL": 0.3}}}
    data["monitors"]["bias"] = {}
    traffic.use_case = validate(data, UseCase)
    traffic.register("2", seed=3)

    def tilted(rows: pd.DataFrame) -> pd.DataFrame:
        """Those who pay much look like frauds."""
        return rows.assign(V1=rows["V1"] + 3.0 * (rows["Amount"] > 80))

    traffic.serve(range(4))
    assert kinds(traffic.watch(3, "bias")) == set()
    traffic.serve(range(4, 14), change=tilted)
    seen = traffic.watch(6, "bias")
    assert kinds(seen) == {"bias_drift"}
    assert seen["triage"].values["action"] == "watch"
    late = traffic.watch(13, "bias")
    assert "bias_limit" in kinds(late), "with labels, the declared limit is judged"
    assert late["triage"].values["action"] == "page"


def test_predicted_numbers_are_watched_by_their_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = make_ages(tmp_path, monkeypatch)
    assert traffic.use_case.monitors is not None
    assert traffic.use_case.monitors.model_quality is not None
    assert traffic.use_case.monitors.model_quality.metric == "rmse"
    traffic.serve(range(12))
    quiet = traffic.watch(11)
    assert kinds(quiet) == set()
    assert {str(one.verdict.outcome) for one in quiet.values() if one.verdict} == {"PASS"}
    (error,) = [one["value"] for one in quiet["model_quality"].values["intervals"][-1:]]
    assert 0.9 < error < 1.4, "an error, and no error turned round"
    traffic.serve(range(12, 23), turned=True)
    assert kinds(traffic.watch(14, "model_quality")) == set(), "their labels are not known yet"
    seen = traffic.watch(20, "model_quality", "prediction_drift")
    assert kinds(seen) == {"loss"}, "the predictions are as ever, but wrong"
    assert "surely above in 2 of 3" in seen["model_quality"].verdict.sentence()
    assert seen["triage"].values["action"] == "retrain"
    data = ages().model_dump(mode="json", by_alias=True)
    data["monitors"]["model_quality"]["metric"] = "f1"
    with pytest.raises(SpecError, match=r"monitors.model_quality.metric: got 'f1'. Allowed: a metric for regression"):
        validate(data, UseCase)


def test_the_latest_run_is_none_of_the_watch(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store")
    for run, as_of, purpose in (("trained", "2026-11-20", "lifecycle"), ("watch__x", "2026-11-21", "watch")):
        plan = {"run": run, "as_of": as_of, "purpose": purpose}
        store.write_json(f"runs/cards/{run}/plan.json", plan)
    assert find_run(store, "latest") == ("cards", "trained")


@pytest.mark.parametrize(
    ("as_of", "hours", "asked", "end"),
    [
        ("2026-11-21T03:00:00+00:00", 24, None, "2026-11-21T00:00:00+00:00"),
        ("2026-11-21T03:10:00+00:00", 1, None, "2026-11-21T03:00:00+00:00"),
        ("2026-11-21T03:00:00+00:00", 24, "2026-11-19T23:00:00", "2026-11-19T00:00:00+00:00"),
        ("2026-11-21T03:00:00+00:00", 6, "2026-11-21T01:00:00+02:00", "2026-11-20T18:00:00+00:00"),
    ],
)
def test_windows_begin_at_midnight(as_of: str, hours: int, asked: str | None, end: str) -> None:
    assert window_end(datetime.fromisoformat(as_of), hours, asked).isoformat() == end


def test_a_window_that_is_not_over_is_refused() -> None:
    now = datetime.fromisoformat("2026-11-21T03:00:00+00:00")
    with pytest.raises(InputError, match=r"form.window_end: got '2026-11-22'. Allowed: a time before the run's"):
        window_end(now, 24, "2026-11-22")
    with pytest.raises(InputError, match=r"form.window_end: got 'soon'. Allowed: ISO 8601"):
        window_end(now, 24, "soon")
