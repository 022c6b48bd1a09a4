"""Approval: who decides on a version, and asking a person."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import BaseBranchOperator, Param

from stepzero.spec.load import load_environment
from stepzero.spec.training import resampled_by
from stepzero_airflow.hooks.airflow_api import airflow_api
from stepzero_airflow.operators.plan import run_link
from stepzero_airflow.runs import open_store, pointer_uri, read_if_there, values_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from airflow.sdk import Context

    from stepzero_airflow.hooks.airflow_api import AirflowApi

APPROVE, REJECT = "Approve", "Reject"
SETTLE_SECONDS = 5.0
"""Airflow 3.3 marks a task failed that is answered within a moment of parking."""
_LONGEST_REASON = 1_000
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#|!~])")


def reason_form(*, required: bool = False) -> dict[str, Param]:
    """Return the field that a person may fill in.

    It has no bounds: Airflow checks them only after the answer was given, and then the answer is lost. The next task
    checks it, and says why.
    """
    told = "Kept as evidence with the version." + (" An approval needs one." if required else "")
    return {"reason": Param(None, type=["null", "string"], format="multiline", title="Reason", description=told)}


class ApprovalRoute(BaseBranchOperator):
    """Decide whether a person is asked, and end the waiting of older challengers.

    Args:
        registered: Result reference of the stage `register` (templated).
        plan_task: Task that made the plan; it says who approves.
        person: Task that asks a person.
        straight: Task that writes the decision down.
    """

    template_fields: Sequence[str] = ("registered",)
    custom_operator_name = "branch"

    def __init__(self, *, registered: Any, plan_task: str, person: str, straight: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.registered = registered
        self.plan_task = plan_task
        self.person = person
        self.straight = straight

    def choose_branch(self, context: Context) -> str | None:
        """Return the next task, or None where there is nothing to decide."""
        if self.registered["outcome"] == "FAIL":
            self.log.info("nothing to approve: %s", self.registered["summary"])
            return None
        environment = load_environment()
        values = values_of(open_store(environment), self.registered)
        if values.get("unchanged"):
            self.log.info("the champion is found again: nobody needs to be asked")
            return self.straight
        api = airflow_api(environment)
        if api is not None:
            supersede_older(api, context, self.person, str(values["version"]))
        approval = context["ti"].xcom_pull(task_ids=self.plan_task, key="approval")
        return self.straight if approval == "rule" else self.person


def supersede_older(api: AirflowApi, context: Context, task_id: str, version: str) -> list[str]:
    """Reject what older runs of this DAG wait for; return those runs.

    A newer challenger was compared with the same champion on more data, so that nobody should
    approve the older one by mistake. Where only certain people may answer, it goes on waiting: the
    stage `approve` refuses it then, whatever they say.
    """
    ti, mine = context["ti"], context["dag_run"].run_after
    superseded = []
    for detail in api.waiting_approvals(ti.dag_id, task_id):
        waiting = detail["task_instance"]
        if waiting["dag_run_id"] == ti.run_id or datetime.fromisoformat(waiting["run_after"]) >= mine:
            continue
        _let_it_settle(detail["created_at"])
        if api.answer(waiting, REJECT, f"superseded by version {version}"):
            ti.task.log.info("run %s no longer waits: superseded by version %s", waiting["dag_run_id"], version)
            superseded.append(str(waiting["dag_run_id"]))
        else:
            told = "run %s was answered by somebody else, or goes on waiting for those who may answer it"
            ti.task.log.info(told, waiting["dag_run_id"])
    return superseded


class ApprovalRequest(HITLOperator):
    """Ask a person whether a version may serve; without an answer in time it may not.

    Args:
        registered: Result reference of the stage `register` (templated).
        use_case: Name of the use case.
        plan_task: Task that made the plan; it knows the links.
    """

    template_fields: Collection[str] = (*HITLOperator.template_fields, "registered")
    custom_operator_name = "person"

    def __init__(self, *, registered: Any, use_case: str, plan_task: str, **kwargs: Any) -> None:
        super().__init__(
            subject=f"May the new version of {use_case} serve?",
            options=[APPROVE, REJECT],
            defaults=REJECT,
            **kwargs,
        )
        self.registered = registered
        self.use_case = use_case
        self.plan_task = plan_task
        self.page = ""

    def execute(self, context: Context) -> Any:
        """Say what there is to approve, then wait."""
        environment = load_environment()
        store = open_store(environment)
        values = values_of(store, self.registered)
        told = ("evaluate", "mitigate_decisions")
        judged = [
            read_if_there(store, pointer_uri(self.use_case, context["run_id"], one)).get("result") for one in told
        ]
        links = context["ti"].xcom_pull(task_ids=self.plan_task, key="links") or {}
        self.subject = f"May version {values['version']} of {self.use_case} serve?"
        self.body = approval_body(self.registered, values, links, *(one for one in judged if one))
        base, ti = environment.airflow.base, context["ti"]
        self.page = f"{run_link(base, ti.dag_id, ti.run_id)}/tasks/{ti.task_id}/required_actions"
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Return the answer as plain JSON, as the stage `approve` reads it."""
        answer = super().execute_complete(context, event)
        reason = str((answer["params_input"] or {}).get("reason") or "")[:_LONGEST_REASON]
        return {
            "chosen_options": list(answer["chosen_options"]),
            "params_input": {"reason": reason},
            "responded_at": answer["responded_at"].isoformat(),
            "responded_by_user": answer["responded_by_user"],
        }


def approval_body(
    registered: dict[str, Any], values: dict[str, Any], links: dict[str, str], *judged: dict[str, Any]
) -> str:
    """Return what a person must know to decide, in Markdown; nothing that came from data is taken as Markdown."""
    winner = values.get("winner") or {}
    rows = [
        ("Version", str(values.get("version"))),
        ("Model", f"{winner.get('model', '?')} on rows {resampled_by(winner.get('sampler', '?'))}"),
        ("Champion now", f"version {values['champion']['version']}" if values.get("champion") else "none"),
        *((name.replace("_", " "), _interval(value)) for name, value in (winner.get("metrics") or {}).items()),
        *((f"Gate: {name}", str(said)) for name, said in (values.get("gates") or {}).items()),
    ]
    table = "\n".join(f"| {plain(name)} | {plain(value)} |" for name, value in rows)
    known = {**(values.get("links") or {}), **links}
    shown = " · ".join(f"[{_TITLES[name]}]({known[name]})" for name in _TITLES if known.get(name))
    said = "\n\n".join(plain(str(one["summary"])) for one in (registered, *judged) if one.get("summary"))
    return f"{said}\n\n| | |\n|---|---|\n{table}\n\n{shown}\n\nWithout an answer in time the version is rejected."


_TITLES = {
    "dossier": "Dossier: all that is known of this version",
    "mlflow": "MLflow run with the evaluation",
    "version": "Version in MLflow",
    "airflow": "This run",
}


def _interval(value: Any) -> str:
    if isinstance(value, dict) and {"value", "low", "high"} <= set(value):
        return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def plain(text: str) -> str:
    r"""Return text that Markdown shows as it is, in one line: no link, no picture, no tag, no cell's end.

    >>> print(plain("[x](y) | <b>"))
    \[x\]\(y\) \| \<b\>
    """
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _let_it_settle(created_at: str) -> None:
    age = (datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds()
    if age < SETTLE_SECONDS:
        time.sleep(SETTLE_SECONDS - age)
