"""The tasks of the watching DAG: its plan, its triage, and what follows of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseBranchOperator, BaseOperator

from stepzero.spec.load import load_environment
from stepzero_airflow.notifiers.message import Message
from stepzero_airflow.notifiers.people import tell
from stepzero_airflow.operators.plan import PlanOperator, as_of_watch, is_late, run_link
from stepzero_airflow.operators.report import Ending, ReportOperator, find_ending
from stepzero_airflow.operators.stage import StageOperator
from stepzero_airflow.runs import open_store, read_if_there, values_of, watch_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from stepzero.adapters.store import Store

PAGE, WATCH, RETRAIN, NOTHING = "page", "watch", "retrain", "nothing"
BRANCHES = (PAGE, WATCH, RETRAIN, NOTHING)


class WatchStageOperator(StageOperator):
    """A stage of the watching DAG; a monitor's verdict is handed on, whatever it says."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"go_on": True, **kwargs})

    def run_name(self, context: Context) -> str:
        """Return the run's name in the store."""
        return watch_run(str(context["run_id"]))

    def perform(self, context: Context) -> dict[str, Any]:
        """Launch the stage; that a monitor before it fired keeps nothing from being seen."""
        return self.launch(context, self._picked(), self.arguments(context))


class WatchPlanOperator(PlanOperator):
    """Freeze which window the run is about, and which champion."""

    def run_name(self, context: Context) -> str:
        """Return the run's name in the store."""
        return watch_run(str(context["run_id"]))

    def arguments(self, context: Context) -> list[str]:
        """Return time, form and links of the run as arguments."""
        link = run_link(load_environment().airflow.base, context["dag"].dag_id, str(context["run_id"]))
        arguments = ["--purpose", "watch", "--as-of", as_of_watch(context), "--links", json.dumps({"airflow": link})]
        if is_late(context):
            arguments += ["--promotes", "false"]
        asked = context["params"].get("window_end")
        return [*arguments, "--form", json.dumps({"window_end": asked})] if asked else arguments


class TriageBranch(BaseBranchOperator):
    """Follow what the triage decided.

    Args:
        decided: Result reference of the stage `triage` (templated).
    """

    template_fields: Sequence[str] = ("decided",)
    custom_operator_name = "branch"

    def __init__(self, *, decided: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.decided = decided

    def choose_branch(self, context: Context) -> str:
        """Return the task to go on with."""
        del context
        values = values_of(open_store(load_environment()), self.decided)
        self.log.info("%s", self.decided["summary"])
        return str(values["action"])


class FollowOperator(BaseOperator):
    """What follows of a decision: people are told of an incident once, and of every retrain.

    Args:
        decided: Result reference of the stage `triage` (templated).
        use_case: Whose traffic is watched.
        plan_task: Task that made the plan; it knows the links.
    """

    template_fields: Sequence[str] = ("decided",)
    custom_operator_name = "follow"

    def __init__(self, *, decided: Any, use_case: str, plan_task: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.decided = decided
        self.use_case = use_case
        self.plan_task = plan_task

    def execute(self, context: Context) -> str:
        """Say what was decided; tell people where that is new."""
        values = values_of(open_store(load_environment()), self.decided)
        if values.get("tell"):
            number = values.get("incident")
            sentence = f"{self.use_case}, incident {number}: {'; '.join(values['reasons'])}"
            self.say(context, sentence, values.get("fired", []))
        elif values.get("incident") is not None:
            self.log.info("incident %s goes on; people were told of it", values["incident"])
        return str(self.decided["summary"])

    def say(self, context: Context, sentence: str, fired: Sequence[str]) -> None:
        """Tell all who are named for a monitor that fired, with the pages, and their pictures, of those that did."""
        noted = context["ti"].xcom_pull(task_ids=self.plan_task, key="links") or {}
        mlflow = noted.get("mlflow", "")
        pages = {one.replace("_", " ").capitalize(): page_address(mlflow, one) for one in ("triage", *fired)}
        links = {"Run": noted.get("airflow", ""), **pages}
        tell(Message(event="fired_monitor", sentence=sentence, links=links), context, self.use_case)


class RetrainOperator(FollowOperator):
    """Trigger the training DAG with the window of data that the policy names; the same retrain is triggered once.

    Args:
        training: Id of the training DAG.
    """

    custom_operator_name = "retrain"

    def __init__(self, *, training: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.training = training

    def execute(self, context: Context) -> str:
        """Trigger the run that the triage claimed.

        Raises:
            DagRunTriggerException: Always: it is how a task asks Airflow to start a run.
        """
        from airflow.sdk.exceptions import DagRunTriggerException
        from airflow.sdk.timezone import utcnow

        values = values_of(open_store(load_environment()), self.decided)
        entry = values["retrain"]
        link = run_link(load_environment().airflow.base, self.training, entry["dag_run"])
        self.log.info("retrain %s: %s", entry["number"], link)
        self.say(context, f"{self.use_case}, retrain {entry['number']} begins: {entry['why']}", values.get("fired", []))
        raise DagRunTriggerException(
            trigger_dag_id=self.training,
            dag_run_id=entry["dag_run"],
            conf=entry["form"],
            logical_date=utcnow(),
            reset_dag_run=False,
            # A task that is tried again finds the run that it started.
            skip_when_already_exists=True,
            wait_for_completion=False,
            allowed_states=["success"],
            failed_states=["failed"],
            poke_interval=60,
            deferrable=False,
        )


class WatchReportOperator(ReportOperator):
    """Write what was decided into the run's note and into the tracking server."""

    def run_name(self, context: Context) -> str:
        """Return the run's name in the store."""
        return watch_run(str(context["run_id"]))

    def ending(self, context: Context, store: Store) -> Ending:
        """Return the triage's decision, or how the run failed before."""
        decided = context["ti"].xcom_pull(task_ids="triage") or {}
        found = find_ending(context, store)
        if not decided or not found.good:
            return found
        action = str(read_if_there(store, decided["uri"]).get("values", {}).get("action"))
        sentence = str(decided["summary"])
        return Ending(outcome=action, sentence=sentence[:1].upper() + sentence[1:], good=True)


def page_address(mlflow: str, monitor: str) -> str:
    """Return the address of a monitor's page among the files of the MLflow run; empty where there is no run.

    >>> page_address("http://here/#/experiments/1/runs/r?workflowType=machine_learning", "triage")
    'http://here/#/experiments/1/runs/r/artifacts/watch/triage.html?workflowType=machine_learning'
    """
    run, mark, rest = mlflow.partition("?")
    return f"{run}/artifacts/watch/{monitor}.html{mark}{rest}" if run else ""
