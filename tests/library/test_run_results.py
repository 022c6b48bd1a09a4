"""What `run`, `results` and `why` say of a run, read from the store alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stepzero.adapters.store import Store
from stepzero.cli.main import app
from stepzero.cli.run_results import RunResults, find_run
from stepzero.core.errors import InputError
from stepzero.spec.load import load_environment
from support import toy

INTERVAL = {"value": 0.8, "low": 0.7, "high": 0.9}
WINNER = {"sampler": "smote", "model": "xgboost", "threshold": 0.41, "metrics": {"f1": INTERVAL}}
ROW = {"sampler": "smote", "model": "xgboost"} | dict.fromkeys(
    ("f1", "precision", "recall", "roc_auc", "average_precision"), INTERVAL
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    store = Store(load_environment("local").store)
    toy.write_plan(store, toy.make_plan())
    return store


def note(store: Store, stage: str, outcome: str | None = None, label: str = "result", **values: Any) -> None:
    """Note a finished stage as `execute` does."""
    reasons = [
        {"rule": "size", "column": None, "observed": "3", "bound": "at least 10", "severity": "error", "rows": None}
    ]
    verdict = {"outcome": outcome, "subject": stage, "reasons": reasons if outcome == "FAIL" else [], "links": {}}
    uri = f"results/toy/{stage}/{label}.json"
    store.write_json(uri, {"values": values, "verdict": verdict if outcome else None, "summary": f"{stage} is done"})
    reference = {"stage": stage, "uri": uri, "digest": "d", "outcome": outcome, "summary": ""}
    pointer = {"result": reference, "why": "reused: nothing it depends on changed", "key_parts": {"code": "abc"}}
    store.write_json(f"runs/toy/r1/stages/{stage}/{label}.json", pointer)


def good_run(store: Store) -> None:
    note(store, "quality_gate", "PASS", rows=3)
    note(store, "tune", label="smote.xgboost", trials=[])
    note(store, "evaluate", "PASS", table=[ROW], winner=WINNER)
    note(store, "register", "PASS", version="7")
    note(store, "approve", "PASS", approved=True)
    note(store, "deploy", "PASS")


def test_gates_of_several_tables_are_told_each(store: Store) -> None:
    for label in ("claims", "customers"):
        note(store, "quality_gate", "PASS", label=label)
    assert RunResults(store, "toy", "r1").verdict == "PASS: quality_gate.\nPASS: quality_gate."
    note(store, "quality_gate", "FAIL", label="customers")
    found = RunResults(store, "toy", "r1")
    assert (found.outcome, found.exit_status) == ("failed at the gate", 10)
    assert "size" in found.verdict
    assert found.verdict.startswith("FAIL")


def test_bias_beyond_a_limit_is_no_promotion(store: Store) -> None:
    note(store, "quality_gate", "PASS")
    note(store, "evaluate", "PASS", table=[ROW], winner=WINNER)
    note(store, "bias", "FAIL", label="after")
    found = RunResults(store, "toy", "r1")
    assert (found.outcome, found.exit_status) == ("not promoted", 10)
    assert found.verdict.startswith("FAIL: bias")


def test_deployed(store: Store) -> None:
    good_run(store)
    found = RunResults(store, "toy", "r1")
    assert (found.outcome, found.exit_status) == ("deployed", 0)
    assert found.verdict == "PASS: quality_gate."
    assert found.champion == {
        "sampler": "smote", "model": "xgboost", "version": "7", "threshold": 0.41, "metrics": {"f1": 0.8},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "outcome"),
    [
        ("quality_gate", "failed at the gate"),
        ("evaluate", "not promoted"),
        ("register", "not better than the champion"),
        ("approve", "rejected"),
    ],
)
def test_a_verdict_that_says_no_is_10_and_named(store: Store, stage: str, outcome: str) -> None:
    good_run(store)
    store.remove("runs/toy/r1/stages/deploy")
    note(store, stage, "FAIL")
    found = RunResults(store, "toy", "r1")
    assert (found.outcome, found.exit_status) == (outcome, 10)
    assert found.verdict == f"FAIL: {stage}: size: observed 3, allowed at least 10."
    assert found.champion is None


def test_a_bad_day_of_the_window_refuses_no_run_and_a_backfill_is_evaluated(store: Store) -> None:
    note(store, "days", "FAIL", label="2018-05-09")
    note(store, "quality_gate", "PASS", rows=3)
    note(store, "evaluate", "PASS", table=[ROW], winner=WINNER)
    store.write_json(
        "runs/toy/r1/stages/plan/result.json", {"result": {"stage": "plan"}, "values": {"promotes": False}}
    )
    found = RunResults(store, "toy", "r1")
    assert (found.outcome, found.exit_status) == ("evaluated", 0)


def test_quarantine_is_a_success_that_shows(store: Store) -> None:
    good_run(store)
    note(store, "quality_gate", "QUARANTINE")
    found = RunResults(store, "toy", "r1")
    assert (found.outcome, found.exit_status) == ("deployed", 0)
    assert found.verdict.startswith("QUARANTINE")


@pytest.mark.parametrize(("retry", "status"), [(True, 75), (False, 1)])
def test_an_error_is_named_with_its_stage(store: Store, retry: bool, status: int) -> None:
    note(store, "quality_gate", "PASS")
    for number, word in ((2, "older"), (10, "newest")):
        error = {"message": f"the {word} error", "retry": retry}
        store.write_json(f"runs/toy/r1/stages/tune/smote.xgboost.error-{number}-abc.json", error)
    found = RunResults(store, "toy", "r1")
    assert (found.outcome, found.exit_status) == ("failed at tune smote.xgboost", status)
    assert found.verdict == "tune smote.xgboost: the newest error"


def test_an_error_that_a_retry_made_good_does_not_count(store: Store) -> None:
    good_run(store)
    store.write_json("runs/toy/r1/stages/deploy/result.error-1.json", {"message": "once", "retry": True})
    assert RunResults(store, "toy", "r1").outcome == "deployed"


def test_a_run_without_training_is_finished(store: Store) -> None:
    note(store, "quality_gate", "PASS")
    assert (RunResults(store, "toy", "r1").outcome, RunResults(store, "toy", "r1").exit_status) == ("finished", 0)


def test_run_that_never_began(store: Store) -> None:
    assert (RunResults(store, "toy", "r1").outcome, RunResults(store, "toy", "r1").exit_status) == ("not started", 1)


def test_latest_run_and_an_unknown_one(store: Store) -> None:
    later = toy.make_plan("manual__2026-11-22T10:00:00+00:00").model_copy(update={"as_of": "2026-11-22T10:00:00+00:00"})
    toy.write_plan(store, later)
    assert find_run(store, "latest") == ("toy", "manual__2026-11-22T10:00:00+00:00")
    assert find_run(store, "manual__2026-11-22T10:00:00+00:00") == ("toy", "manual__2026-11-22T10:00:00+00:00")
    assert find_run(store, "r1", "toy") == ("toy", "r1")
    with pytest.raises(InputError, match=r"run r2: got not in the store\. Allowed: a run that has a plan"):
        find_run(store, "r2")


def test_results_command(store: Store) -> None:
    good_run(store)
    shown = CliRunner().invoke(app, ["results", "r1"])
    assert shown.exit_code == 0, shown.output
    assert "0.800 (0.70–0.90)" in shown.output
    assert "champion: version 7, xgboost on rows resampled by smote, threshold 0.41" in shown.output
    told = json.loads(CliRunner().invoke(app, ["results", "r1", "--json"]).output)
    assert told["table"] == [ROW]
    assert told["stages"]["quality_gate"] == {"rows": 3}
    assert told["stages"]["tune smote.xgboost"] == {"trials": []}


def test_results_of_a_comparison_show_the_rows_that_were_asked_live(store: Store) -> None:
    good_run(store)
    asked = {"truth": 18.0, "predicted": 16.58}, {"truth": 9.0, "predicted": 9.1}
    other = {"truth": 18.0, "predicted": 21.81}, {"truth": 9.0, "predicted": 8.0}
    toss = {"sentence": "Three random rows say nothing."}
    contest = {"sentence": "xgboost wins.", "coin_toss": toss}
    note(store, "compare_endpoints", "PASS", contest=contest, shown={"xgboost": asked, "line": other})
    said = CliRunner().invoke(app, ["results", "r1"]).output
    live = "asked live, which decide nothing: true 18, 9; xgboost 16.6, 9.1; line 21.8, 8.0."
    assert f"{live}\nxgboost wins.\nThree random" in said


def test_why_command(store: Store) -> None:
    good_run(store)
    assert (
        CliRunner().invoke(app, ["why", "r1", "evaluate"]).output == "evaluate: reused: nothing it depends on changed\n"
    )
    assert "  code: abc" in CliRunner().invoke(app, ["why", "latest", "evaluate", "--parts"]).output
    failed = CliRunner().invoke(app, ["why", "r1", "evalute"])
    assert failed.exit_code == 1
    assert "stage evalute of run r1: got not run. Allowed: did you mean 'evaluate'?" in failed.output


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["run", "--data", "/nowhere/x.csv"], 1, "data file /nowhere/x.csv: got no such file"),
        (["run", "--use-case", "creditcard"], 2, "use case creditcard: got 'creditcard'"),
        (["run", "--model", "xgbost"], 2, "form.models: got 'xgbost'. Allowed: did you mean 'xgboost'?"),
        (["run", "--folds", "1"], 2, "Invalid value for '--folds'"),
        (["bench", "tunning"], 1, "benchmark tunning: got 'tunning'"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_wrong_use_is_told_before_anything_starts(
    arguments: list[str], status: int, text: str, store: Store, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == status, done.output
    assert text in done.output
    assert sorted(tmp_path.rglob("*")) == before


def test_help_lists_every_command_without_heavy_imports() -> None:
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    for name in ("run", "why", "plan", "results", "stages", "data", "stage", "up", "down", "status"):
        assert f"  {name} " in shown.output


def test_data_commands(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    made = CliRunner().invoke(app, ["data", "generate", "--rows", "500", "--output", str(path)])
    assert made.exit_code == 0, made.output
    landed = CliRunner().invoke(app, ["data", "land", "credit_card_fraud", str(path)]).output.strip()
    assert store.read_text(landed) == path.read_text()
    kinds = CliRunner().invoke(app, ["data", "generate", "--bad", "list"]).output.split()
    assert "unknown_class" in kinds
