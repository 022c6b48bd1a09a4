"""The last task of a run: say in one sentence how it ended, where people look."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from stepzero.core.errors import ServiceError
from stepzero.spec.load import load_environment
from stepzero_airflow.hooks.airflow_api import airflow_api
from stepzero_airflow.operators.stage import StageOperator
from stepzero_airflow.runs import open_store, pointer_uri, read_if_there, values_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from stepzero.adapters.store import Store
    from stepzero.spec.environment import Environment

AT_STAGE = {
    "quality_gate": "failed at the gate",
    "prepare": "failed after preparation",
    "evaluate": "not promoted",
    "check_predictions": "not promoted",
    "mitigate_decisions": "not promoted",
    "compare_endpoints": "not promoted",
    "bias": "not promoted",
}
"""Words for a verdict that ended the run, by stage."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended: a word for machines and a sentence for people."""

    outcome: str
    sentence: str
    good: bool


class ReportOperator(StageOperator):
    """Write the outcome into the run's note and into the tracking server.

    It is a teardown: it runs however the run went, never turns a failed run green, and is red where
    the run is.
    """

    custom_operator_name = "report"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(stage="report", **kwargs)

    def perform(self, context: Context) -> dict[str, Any]:
        """Find out how the run ended, and say so."""
        environment = load_environment()
        store = open_store(environment)
        ending = self.ending(context, store)
        self.log.info("%s", ending.sentence)
        links = context["ti"].xcom_pull(task_ids=self.plan_task, key="links") or {}
        problem = self._write_note(environment, context, note(ending, links))
        if read_if_there(store, pointer_uri(self.use_case, self.run_name(context), "plan")):
            status = "FINISHED" if ending.good else "FAILED"
            self.parameters = {"outcome": ending.outcome, "sentence": ending.sentence, "status": status}
            self.launch(context, {}, [])
        if problem is not None:
            raise problem
        if not ending.good:
            # Red like its run, so that "clear only failed" clears it too and the note is written anew.
            raise AirflowFailException(ending.sentence)
        return {"outcome": ending.outcome, "summary": ending.sentence}

    def ending(self, context: Context, store: Store) -> Ending:
        """Return how the run ended, from what its tasks left behind."""
        return find_ending(context, store)

    @staticmethod
    def _write_note(environment: Environment, context: Context, text: str) -> ServiceError | None:
        """Write the run's note; a server that does not answer must not keep MLflow from being told."""
        api = airflow_api(environment)
        try:
            if api is not None:
                api.set_note(context["dag"].dag_id, context["run_id"], text)
        except ServiceError as error:
            return error
        return None


def note(ending: Ending, links: dict[str, str]) -> str:
    """Return the run's note in Markdown: the sentence first, then where to look."""
    shown = f"\n\n[MLflow run]({links['mlflow']})" if links.get("mlflow") else ""
    return f"{ending.sentence}{shown}"


def find_ending(context: Context, store: Store) -> Ending:
    """Return how the run ended, from what its tasks left behind."""
    ti, dag = context["ti"], context["dag"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
    ordered = dag.topological_sort()  # type: ignore[no-untyped-call]
    tasks = [task for task in ordered if not task.is_teardown]
    for task in tasks:
        failed = [name for name, state in states.items() if _is(name, task.task_id) and state == "failed"]
        if failed:
            return _failed(context, task, failed[0])
    done = [task for task in tasks if states.get(task.task_id) == "success" and isinstance(task, StageOperator)]
    results = {task: _pull(context, task.task_id, "return_value") or {} for task in done}
    decided = [task for task in done if task.stage == "deploy" or results[task].get("outcome") == "FAIL"]
    if done and results and _pull_promotes(context, tasks) is False and "evaluate" in {task.stage for task in done}:
        summary = next(str(results[task].get("summary")) for task in done if task.stage == "evaluate")
        told = f"Evaluated, and never promoted, as a backfill is: {summary}{_quarantine(results)}"
        return Ending(outcome="evaluated", sentence=told, good=True)
    if done:
        last = [*done, *decided][-1]
        return _with_contest(_ended(store, last.stage, results[last], _quarantine(results)), results, store)
    skipped = [task.task_id for task in tasks if states.get(task.task_id) == "skipped"]
    if skipped:
        told = "Nothing landed in time, so there was nothing to do."
        return Ending(outcome="nothing landed", sentence=told, good=True)
    return Ending(outcome="ended early", sentence="The run was ended before its first task.", good=False)


def _failed(context: Context, task: Any, name: str) -> Ending:
    index = int(name.rpartition("_")[2]) if name != task.task_id else -1
    said = _pull(context, task.task_id, "verdict", index)
    if said:
        outcome = AT_STAGE.get(str(_stage(task)), f"stopped by {_stage(task)}")
        return Ending(outcome=outcome, sentence=f"{outcome.capitalize()}: {said['sentence']}", good=False)
    error = _pull(context, task.task_id, "error", index)
    told = error["message"] if error else "it was ended from outside, or its process died; its log may tell more."
    return Ending(outcome="error", sentence=f"Error in {name}: {told}", good=False)


def _ended(store: Store, stage: str, result: dict[str, Any], quarantine: str) -> Ending:
    """Return the ending of a run in which nothing failed: the stage that decided says it."""
    summary = str(result.get("summary") or f"{stage} done").removeprefix("FAIL: ")
    if result.get("outcome") == "FAIL":
        outcome, values = _declined(stage, summary), values_of(store, result)
        if values.get("superseded") or "superseded" in str(values.get("why", "")):
            outcome = "superseded"
        return Ending(outcome=outcome, sentence=f"{outcome.capitalize()}: {summary}", good=True)
    outcome = "deployed" if stage == "deploy" else "done"
    return Ending(outcome=outcome, sentence=f"{outcome.capitalize()}: {summary}{quarantine}", good=True)


def _with_contest(ending: Ending, results: dict[StageOperator, dict[str, Any]], store: Store) -> Ending:
    """Say who won, by how much and how sure that is, where models were compared through their endpoints."""
    # The whole sentence: a result's summary is cut where it is long, and this one names all that are tied.
    told = [values_of(store, one)["comparison"] for task, one in results.items() if task.stage == "compare_endpoints"]
    if not told:
        return ending
    # First: the page of a run shows one line of its note.
    word, _, rest = ending.sentence.partition(": ")
    return replace(ending, sentence=f"{word}: {told[0]} {rest}")


def _declined(stage: str, summary: str) -> str:
    if stage == "register":
        return "superseded" if "superseded" in summary else "not better than the champion"
    return "rejected" if stage == "approve" else f"stopped by {stage}"


def _quarantine(results: dict[StageOperator, dict[str, Any]]) -> str:
    """Return a sentence about bad rows where there were some."""
    found = [result["summary"] for result in results.values() if result.get("outcome") == "QUARANTINE"]
    return "".join(f" {summary}" for summary in found)


def _stage(task: Any) -> str | None:
    """Return the stage that a task runs, mapped or not; None for other tasks."""
    if isinstance(task, StageOperator):
        return task.stage
    kwargs = getattr(task, "partial_kwargs", {})
    return str(kwargs["stage"]) if "stage" in kwargs else None


def _is(name: str, task_id: str) -> bool:
    """Tell whether a name in Airflow's list of states is a task's, or one of its mapped instances'."""
    return name == task_id or (name.startswith(f"{task_id}_") and name[len(task_id) + 1 :].isdigit())


def _pull_promotes(context: Context, tasks: list[Any]) -> Any:
    plans = [task.task_id for task in tasks if _stage(task) == "plan"]
    return _pull(context, plans[0], "promotes") if plans else None


def _pull(context: Context, task_id: str, key: str, index: int = -1) -> Any:
    return context["ti"].xcom_pull(task_ids=task_id, key=key, map_indexes=index)
