"""One lifecycle stage as an Airflow task: it launches `stepzero stage NAME`, and reads what that noted in the store."""

from __future__ import annotations

import json
import logging
import shlex
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from stepzero.core.errors import DONE, VERDICT_NO, WRONG_USE, StepzeroError
from stepzero.spec.load import load_environment
from stepzero_airflow.links.report import ReportLink, report_address
from stepzero_airflow.links.tracking import TrackingLink
from stepzero_airflow.notifiers.message import Message
from stepzero_airflow.notifiers.people import tell
from stepzero_airflow.open_lineage import Launched, stage_lineage
from stepzero_airflow.runs import LONGEST_TEXT, error_uri, open_store, pointer_uri, read_if_there, verdict_sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import BaseOperatorLink, Context

    from stepzero.launchers.base import Finished
    from stepzero.spec.environment import Environment

GATE = "quality_gate"
_LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}


class StageOperator(BaseOperator):
    """Run a stage where the environment says, and hand on a reference to its result.

    Args:
        stage: Name of a stage of ours, or ``package.module:function`` of yours.
        use_case: Name of the use case.
        inputs: Input name → result reference of an earlier task, or a list of them (templated).
        pick: Input name → which of its list to take; for mapped tasks.
        once: Inputs whose list is read as a set: tasks that shared a search all hand on its one result.
        parameters: What a mapped task varies, for example ``{"sampler": "smote"}`` (templated).
        cell: Tells mapped tasks of one stage apart in the store (templated).
        go_on: Whether a verdict that says no is handed on instead of failing the run. Stages that
            get such a reference as an input are skipped.
        plan_task: Task that made the plan; it knows the links.
    """

    template_fields: Sequence[str] = ("inputs", "parameters", "cell")
    template_fields_renderers: ClassVar[dict[str, str]] = {"inputs": "json", "parameters": "json"}
    operator_extra_links: Sequence[BaseOperatorLink] = (TrackingLink(),)
    custom_operator_name = "stage"

    def __init__(  # noqa: PLR0913 - an operator has one argument for each thing that a DAG file says
        self,
        *,
        stage: str,
        use_case: str,
        inputs: Mapping[str, Any] | None = None,
        pick: Mapping[str, int] | None = None,
        once: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
        cell: str = "",
        go_on: bool = False,
        plan_task: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if stage == GATE:
            self.operator_extra_links = (TrackingLink(), ReportLink())
        self.stage = stage
        self.use_case = use_case
        self.inputs = inputs
        self.pick = pick
        self.once = once
        self.parameters = parameters
        self.cell = cell
        self.go_on = go_on
        self.plan_task = plan_task
        self._launching = False
        self._launched: Launched | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Do the work; an error of ours fails the task at once unless a retry helps, and the report can tell it."""
        try:
            return self.perform(context)
        except StepzeroError as error:
            self._tell(context, str(error))
            raise (AirflowException if error.retry else AirflowFailException)(str(error)) from error

    def perform(self, context: Context) -> dict[str, Any]:
        """Launch the stage and return its result reference."""
        inputs = self._picked()
        refuse_after_no(inputs)
        return self.launch(context, inputs, self.arguments(context))

    def arguments(self, context: Context) -> list[str]:
        """Return arguments of this kind of stage beyond those that all have."""
        del context
        return []

    def run_name(self, context: Context) -> str:
        """Return the run's name in the store."""
        return str(context["run_id"])

    def use_case_file(self) -> str:
        """Return how the stage finds the use case; after the plan, its name is enough."""
        return self.use_case

    def settle(self, context: Context, pointer: dict[str, Any]) -> dict[str, Any]:
        """Return what is handed on of a finished stage's pointer."""
        del context
        return dict(pointer["result"])

    def launch(self, context: Context, inputs: Mapping[str, Any], extra: list[str]) -> dict[str, Any]:
        """Run the command, wait for its end, and turn its exit status into Airflow's words."""
        environment = load_environment()
        run, attempt = self.run_name(context), attempt_name(context)
        self._launched = Launched(self.use_case, run, self.stage, self._table, inputs, "")
        argv = self._argv(run, attempt, inputs, extra)
        self.log.info("$ stepzero stage %s", shlex.join(argv))
        finished = self._finished(environment, argv)
        self.log.info("%s: %s", self.stage, finished.sentence())
        store = open_store(environment)
        uri = pointer_uri(self.use_case, run, self.stage, self.cell)
        if finished.status in {DONE, VERDICT_NO}:
            handed_on = self.settle(context, read_if_there(store, uri))
            self._launched = self._launched._replace(pointer=uri)
            self._show_link(context)
            if finished.status == VERDICT_NO:
                self._say_no(context, handed_on, verdict_sentence(store, handed_on))
            return handed_on
        error = read_if_there(store, error_uri(uri, attempt))
        self._tell(context, _message(self.stage, finished, error))
        raise failure(self.stage, finished, error)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the data sets that were read and written; Airflow's OpenLineage provider asks, where one listens.

        It asks of a failed task, too: what it read is known, and what it wrote where a verdict said no.
        """
        del task_instance
        return stage_lineage(open_store(load_environment()), self._launched) if self._launched else None

    def on_kill(self) -> None:
        """End the launched stage: leaving the launcher ends all that it started."""
        if self._launching:
            self._launching = False
            raise AirflowException(f"stage {self.stage} was told to end; what it started is ended")

    def _picked(self) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for name, value in (self.inputs or {}).items():
            chosen = value[self.pick[name]] if self.pick and name in self.pick else value
            # A task that was skipped handed nothing on: among several it is none of them.
            inputs[name] = chosen if chosen is None or isinstance(chosen, dict) else [one for one in chosen if one]
            if name in self.once:
                inputs[name] = list({one["uri"]: one for one in inputs[name]}.values())
        return inputs

    def _argv(self, run: str, attempt: str, inputs: Mapping[str, Any], extra: list[str]) -> list[str]:
        argv = [self.stage, "--use-case", self.use_case_file(), "--run", run, "--attempt", attempt]
        for option, value in (("--inputs", inputs), ("--parameters", self.parameters)):
            if value:
                argv += [option, json.dumps(value, sort_keys=True)]
        return [*argv, *(["--label", self.cell] if self.cell else []), *extra]

    def _finished(self, environment: Environment, argv: list[str]) -> Finished:
        from stepzero.launchers.base import find_launcher

        resources = environment.resources(self.stage)
        start = find_launcher(resources.launcher)
        self._launching = True
        try:
            return start(resources, argv, _secrets(environment, self.stage), self._pass_on)
        finally:
            self._launching = False

    def _pass_on(self, line: str) -> None:
        """Write a line of the stage to the task's log, at the level that it begins with."""
        word, _, rest = line.partition(" ")
        if word in _LEVELS and rest:
            self.log.log(_LEVELS[word], "%s", rest)
        elif line:
            self.log.info("%s", line)

    @staticmethod
    def _tell(context: Context, message: str) -> None:
        context["ti"].xcom_push("error", {"message": message[:LONGEST_TEXT]})

    def _say_no(self, context: Context, reference: dict[str, Any], sentence: str) -> None:
        context["ti"].xcom_push("verdict", {"sentence": sentence[:LONGEST_TEXT], "result": reference})
        if not self.go_on:
            if self.stage != "release":  # who asked for it is looking on
                told = f"{self.use_case}: {sentence}"
                tell(Message(event="failed_gate", sentence=told, links=self._links(context)), context, self.use_case)
            raise AirflowFailException(sentence)
        self.log.warning("%s What follows is skipped.", sentence)

    def _show_link(self, context: Context) -> None:
        noted = context["ti"].xcom_pull(task_ids=self.plan_task or self.task_id, key="links", map_indexes=-1) or {}
        if noted.get("mlflow"):
            context["ti"].xcom_push(TrackingLink().xcom_key, noted["mlflow"])
        if noted.get("mlflow") and self.stage == GATE:
            report = report_address(noted["mlflow"], self._table)
            self.log.info("Quality report: %s", report)
            context["ti"].xcom_push(ReportLink().xcom_key, report)

    @property
    def _table(self) -> str:
        return str((self.parameters or {}).get("table", ""))

    def _links(self, context: Context) -> dict[str, str]:
        """Return title → address of where to look when a verdict said no."""
        noted = context["ti"].xcom_pull(task_ids=self.plan_task or self.task_id, key="links", map_indexes=-1) or {}
        report = {"Quality report": report_address(noted.get("mlflow", ""), self._table)} if self.stage == GATE else {}
        return {"Run": noted.get("airflow", ""), **report, "MLflow run": noted.get("mlflow", "")}


def refuse_after_no(inputs: Mapping[str, Any]) -> None:
    """Skip a task whose input comes with a verdict that says no.

    Raises:
        AirflowSkipException: One of the inputs does.
    """
    for name, value in inputs.items():
        for reference in value if isinstance(value, list) else [value]:
            if isinstance(reference, dict) and reference.get("outcome") == "FAIL":
                raise AirflowSkipException(f"{name}: {reference.get('summary') or 'the verdict says no'}")


def attempt_name(context: Context) -> str:
    """Return a name that no other try has, of this run or of another: tries of one key share a folder."""
    ti = context["ti"]
    return f"{ti.try_number}-{str(ti.id).replace('-', '')[-12:]}"


def failure(stage: str, finished: Finished, error: Mapping[str, Any]) -> AirflowException:
    """Return the exception that makes Airflow retry, or not, with the stage's own words."""
    message = _message(stage, finished, error)
    # Without a note, something outside ended it: memory, a kill, a lost JVM.
    may_help = bool(error["retry"]) if "retry" in error else finished.status != WRONG_USE
    return AirflowException(message) if may_help or finished.retry else AirflowFailException(message)


def _message(stage: str, finished: Finished, error: Mapping[str, Any]) -> str:
    return str(error.get("message") or f"stage {stage} ended without a word: {finished.sentence()}; see the log above")


def _secrets(environment: Environment, stage: str) -> dict[str, str]:
    """Resolve declared secrets from Airflow connections; they travel to a child in memory only.

    The key that signs evidence is for the stage `approve` alone: user code runs in others.
    """
    from airflow.sdk import Connection

    key = environment.signing.private_key_variable if environment.signing else None
    wanted = {name: one for name, one in environment.secrets.items() if name != key or stage == "approve"}
    return {name: Connection.get(connection).password or "" for name, connection in wanted.items()}
