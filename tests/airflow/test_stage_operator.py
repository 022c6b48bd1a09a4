"""A stage as a task: what is launched, what comes back, and what each exit status means to Airflow."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from stepzero.core.errors import FAULT, TRY_AGAIN, VERDICT_NO, WRONG_USE
from stepzero.launchers.base import TIMED_OUT, Finished
from stepzero_airflow.operators.stage import StageOperator, failure, refuse_after_no
from support.scripted import SCRIPT, played
from support.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from stepzero.adapters.store import Store

OWN = "support.own_stage:count_bytes"
FOUR_PARTS = "folder x: got 'y'. Allowed: z. Do: w"


def make_context(ti: Any) -> Any:
    return {"ti": ti, "run_id": "manual__1", "dag": SimpleNamespace(dag_id="orders"), "params": {}}


def make_operator(stage: str = "prepare", **settings: Any) -> StageOperator:
    return StageOperator(task_id="task", stage=stage, use_case="credit_card_fraud", **settings)


@pytest.mark.parametrize(
    ("finished", "error", "kind"),
    [
        (Finished(status=TRY_AGAIN), {"message": FOUR_PARTS, "retry": True}, AirflowException),
        (Finished(status=FAULT), {"message": FOUR_PARTS, "retry": False}, AirflowFailException),
        (Finished(status=WRONG_USE), {"message": FOUR_PARTS, "retry": False}, AirflowFailException),
        (Finished(status=WRONG_USE), {}, AirflowFailException),
        (Finished(status=128 + signal.SIGKILL), {}, AirflowException),
        (Finished(status=TIMED_OUT, reason="time is over"), {}, AirflowException),
        (Finished(status=FAULT), {}, AirflowException),
    ],
)
def test_failure_says_whether_a_retry_helps(finished: Finished, error: dict[str, Any], kind: type[Exception]) -> None:
    raised = failure("prepare", finished, error)
    assert type(raised) is kind
    assert str(raised) == FOUR_PARTS if error else "stage prepare ended without a word: exit status" in str(raised)


def test_result_reference_is_handed_on_and_small(environment: Store, task_instance: Any) -> None:
    environment.write_json(SCRIPT, {"prepare": {"summary": "s" * 300, "outcome": "PASS"}})
    returned = make_operator(inputs={"checked": {"stage": "quality_gate"}}).execute(make_context(task_instance))
    assert returned["stage"] == "prepare"
    assert environment.exists(returned["uri"])
    assert len(json.dumps(returned)) < 2_000
    ((stage, options),) = played(environment)
    assert stage == "prepare"
    assert options["--use-case"] == "credit_card_fraud"
    assert options["--run"] == "manual__1"
    assert options["--attempt"] == "1-456789abcdef"
    assert json.loads(options["--inputs"]) == {"checked": {"stage": "quality_gate"}}


def test_tasks_that_shared_a_search_count_once(environment: Store, task_instance: Any) -> None:
    several = [{"uri": "a"}, {"uri": "b"}, {"uri": "a"}]
    make_operator("evaluate", inputs={"tuned": several}, once=["tuned"]).execute(make_context(task_instance))
    ((_, options),) = played(environment)
    assert json.loads(options["--inputs"]) == {"tuned": [{"uri": "a"}, {"uri": "b"}]}


def test_mapped_task_takes_its_own_of_a_list(environment: Store, task_instance: Any) -> None:
    several = [{"uri": "a"}, {"uri": "b"}]
    operator = make_operator(
        "tune",
        inputs={"prepared": {"uri": "p"}, "resampled": several},
        pick={"resampled": 1},
        parameters={"sampler": "smote", "model": "xgboost"},
        cell="smote.xgboost",
    )
    operator.execute(make_context(task_instance))
    ((_, options),) = played(environment)
    assert json.loads(options["--inputs"]) == {"prepared": {"uri": "p"}, "resampled": {"uri": "b"}}
    assert json.loads(options["--parameters"]) == {"sampler": "smote", "model": "xgboost"}
    assert options["--label"] == "smote.xgboost"


def test_refusal_fails_with_the_verdict_in_one_sentence(environment: Store, task_instance: Any) -> None:
    environment.write_json(SCRIPT, {"quality_gate": {"status": VERDICT_NO, "outcome": "FAIL", "summary": "the batch"}})
    with pytest.raises(AirflowFailException, match=r"^FAIL: the batch\.$"):
        make_operator("quality_gate").execute(make_context(task_instance))
    assert task_instance.pushed["verdict"]["sentence"] == "FAIL: the batch."


def test_refusal_may_be_handed_on_and_then_skips_what_follows(environment: Store, task_instance: Any) -> None:
    environment.write_json(SCRIPT, {"register": {"status": VERDICT_NO, "outcome": "FAIL", "summary": "worse"}})
    reference = make_operator("register", go_on=True).execute(make_context(task_instance))
    assert reference["outcome"] == "FAIL"
    with pytest.raises(AirflowSkipException, match="registered: worse"):
        make_operator("approve", inputs={"registered": reference}).execute(make_context(task_instance))
    refuse_after_no({"one": {"outcome": "QUARANTINE"}, "many": [{"outcome": None}], "nothing": None})


def test_link_of_the_plan_becomes_a_button(environment: Store, task_instance: Any) -> None:
    task_instance.pushed["arrival.plan.links"] = {"mlflow": "http://mlflow/run"}
    make_operator(plan_task="arrival.plan").execute(make_context(task_instance))
    assert task_instance.pushed["_link_TrackingLink"] == "http://mlflow/run"


def test_error_travels_in_bounded_size(environment: Store, task_instance: Any) -> None:
    error = {"message": "m" * 5_000, "retry": False}
    environment.write_json(SCRIPT, {"prepare": {"status": FAULT, "error": error}})
    with pytest.raises(AirflowFailException):
        make_operator().execute(make_context(task_instance))
    assert len(json.dumps(task_instance.pushed["error"])) < 2_000


def test_unknown_launcher_fails_at_once_and_is_told(
    environment: Store, task_instance: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (tmp_path / "scripted.yaml").read_text(encoding="utf-8")
    (tmp_path / "scripted.yaml").write_text(text.replace("support.scripted:launch", "proces"), encoding="utf-8")
    with pytest.raises(AirflowFailException, match="did you mean 'process'"):
        make_operator().execute(make_context(task_instance))
    assert "stages.*.launcher: got 'proces'" in task_instance.pushed["error"]["message"]


@pytest.fixture
def own_run(environment: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A run with a real plan, and stages as real child processes."""
    from stepzero.execution.planning import PlanRequest, commit_plan, make_plan
    from stepzero.spec.load import load_environment

    text = (tmp_path / "scripted.yaml").read_text(encoding="utf-8")
    (tmp_path / "scripted.yaml").write_text(text.replace("support.scripted:launch", "process"), encoding="utf-8")
    monkeypatch.setenv("STEPZERO_PRELOAD", "0")
    monkeypatch.setenv("STEPZERO_INCLUDE", str(ROOT / "include"))
    environment.write_text("landing/credit_card_fraud/a.csv", "Time\n12\n")
    request = PlanRequest(use_case="credit_card_fraud", run="manual__1", as_of="2026-11-21T02:00:00+00:00")
    commit_plan(environment, make_plan(request, environment, load_environment(), None))
    return environment


def test_stage_of_ones_own_runs_as_a_process(
    own_run: Store, task_instance: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = make_operator(OWN).execute(make_context(task_instance))
    assert reference["summary"] == "8 bytes landed"
    assert reference["outcome"] == "PASS"
    assert own_run.read_json(reference["uri"])["values"] == {"bytes": 8}
    said = capsys.readouterr().out
    assert re.search(r"\[warning *\] counted 8 bytes", said), said
    assert f"$ stepzero stage {OWN} --use-case credit_card_fraud" in said


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("fault", AirflowFailException, "own stage: got it was asked to. Allowed: nothing. Do: do not ask"),
        ("retry", AirflowException, "own stage: got it was asked to"),
        ("bug", AirflowFailException, "RuntimeError: unforeseen"),
    ],
)
def test_errors_of_a_process_keep_their_words(
    own_run: Store, task_instance: Any, how: str, kind: type[Exception], text: str
) -> None:
    with pytest.raises(AirflowException) as raised:
        make_operator(OWN, parameters={"fail": how}).execute(make_context(task_instance))
    assert type(raised.value) is kind
    assert text in str(raised.value)


def test_refusal_of_a_process(own_run: Store, task_instance: Any) -> None:
    with pytest.raises(AirflowFailException, match=r"^FAIL: the landed bytes: bytes: observed 8, allowed at most 3\.$"):
        make_operator(OWN, parameters={"limit": "3"}).execute(make_context(task_instance))


def test_kill_ends_what_was_launched(environment: Store, task_instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Airflow does it: a signal handler that calls `on_kill` while the stage runs."""
    from stepzero.launchers import base
    from stepzero.launchers.process import run_watched

    started: list[float] = []

    def sleep_long(resources: Any, argv: Any, env: Any, log_line: Any) -> Finished:
        started.append(time.monotonic())
        command = ["/bin/sh", "-c", "echo INFO begun; exec sleep 4321"]
        return run_watched(command, os.environ, timeout_seconds=60, log_line=log_line)

    monkeypatch.setattr(base, "find_launcher", lambda name: sleep_long)
    operator = make_operator()
    before = signal.signal(signal.SIGUSR1, lambda *_: operator.on_kill())
    try:
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(AirflowException, match="told to end"):
            operator.execute(make_context(task_instance))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - started[0] < 15
    assert "4321" not in _command_lines()
    operator.on_kill()


def _command_lines() -> str:
    import psutil

    return " ".join(" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))


def test_only_the_stage_that_approves_is_given_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import Connection

    from stepzero.spec.environment import Environment, Signing
    from stepzero_airflow.operators.stage import _secrets

    monkeypatch.setattr(Connection, "get", lambda name: SimpleNamespace(password=f"secret of {name}"))
    environment = Environment(
        name="aws",
        store="s3://x",
        secrets={"KEY": "key", "OTHER": "other"},
        signing=Signing(private_key_variable="KEY", public_key_file="pub"),
    )
    assert _secrets(environment, "tune") == {"OTHER": "secret of other"}
    assert _secrets(environment, "approve") == {"KEY": "secret of key", "OTHER": "secret of other"}
