"""The vocabulary of a DAG file: one function per lifecycle stage, each returning what the next one takes.

    batch = await_batch(fraud)          # waits for landed files
    run = plan(fraud, batch)            # freezes the run
    checked = quality_gate(run)         # step zero
    prepared = prepare(run, checked)    # Spark
    explore(run, prepared)              # pictures
    model = train(run, prepared)        # group: resample → tune → evaluate
    version = register(run, model)
    deploy(run, approve(run, version))

A stage of yours stands anywhere between: ``run_stage(run, "my_package.module:function", {"prepared": prepared})``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import TaskGroup, TriggerRule, XComArg, task

from stepzero.core.errors import SpecError, bare
from stepzero_airflow.flow import Flow
from stepzero_airflow.notifiers.people import PeopleNotifier
from stepzero_airflow.operators.approval import ApprovalRequest, ApprovalRoute, reason_form
from stepzero_airflow.operators.gate import GateOperator
from stepzero_airflow.operators.plan import PlanOperator
from stepzero_airflow.operators.register import RegisterOperator
from stepzero_airflow.operators.report import ReportOperator
from stepzero_airflow.operators.stage import StageOperator
from stepzero_airflow.sensors.batch import BatchSensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import BaseNotifier

    from stepzero.spec.environment import StageResources

_MARGIN = timedelta(minutes=5)
"""The launcher ends a stage in time; Airflow's own limit is for a launcher that hangs."""
_LABEL = "{{ task.parameters.values() | join(' · ') }}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has a plan: what all stages after `plan` are called with."""

    flow: Flow
    planned: XComArg

    @property
    def plan_task(self) -> str:
        """Id of the task that makes the plan."""
        return str(self.planned.operator.task_id)  # type: ignore[attr-defined]


def await_batch(flow: Flow, *, poll_seconds: float = 10, wait_hours: float = 22) -> XComArg:
    """Wait, without a worker, until files have landed that no run has accepted yet.

    Args:
        flow: The use case.
        poll_seconds: Time between two looks at the landing folder.
        wait_hours: After that a scheduled run is skipped.
    """
    source = flow.spec.source
    if source is None:
        raise SpecError(
            f"{flow.source}: source",
            value=bare("none"),
            allowed="a source section, which says where files land",
            action="add one, or give `quality_gate` a dataset",
        )
    with TaskGroup("arrival", tooltip="Waits for landed files and freezes the run's plan"):
        sensor = BatchSensor(
            task_id="await_batch",
            use_case=flow.name,
            prefix=source.prefix,
            daily=source.partition is not None,
            poll_seconds=poll_seconds,
            wait_hours=wait_hours,
            doc_md=f"Waits for new files under `{source.prefix}`. Listing and ledger decide what is new.",
        )
    return _output(sensor)


def plan(flow: Flow, batch: XComArg) -> Run:
    """Freeze the run: spec with the form's changes, batch, window, champion. All later stages read that."""
    with batch.operator.task_group:  # type: ignore[attr-defined]
        operator = PlanOperator(
            task_id="plan",
            use_case=flow.name,
            source=flow.source,
            uris=batch,
            doc_md="Writes `plan.json`: nothing changes under a running run.",
            **_resources(flow, "plan"),
        )
    return Run(flow=flow, planned=_output(operator))


def quality_gate(run: Run | Flow, *, dataset: str | None = None) -> XComArg:
    """Judge the batch before anything else sees it: PASS, QUARANTINE (split) or FAIL (the run stops here).

    Args:
        run: A run that has a plan; or a use case with nothing but a `quality` section, for the
            gate alone in a DAG of yours.
        dataset: With a use case: what to judge, ``file:///folder/x.parquet`` or a landing prefix (templated).
    """
    if isinstance(run, Flow):
        return _gate_alone(run, dataset)
    gate = _stage(run, "quality_gate", {}, doc_md="Step zero: Deequ measures, the declared bounds decide.")
    run.planned >> gate
    return _output(gate)


def prepare(run: Run, checked: XComArg) -> XComArg:
    """Unite the batch with its window, drop duplicates, derive columns and split, on Spark."""
    return _output(_stage(run, "prepare", {"checked": checked}))


def batch_skew(run: Run, checked: XComArg, **settings: Any) -> XComArg:
    """Compare the batch's accepted rows with those that the champion learned from, on Spark; a shift says no.

    Args:
        run: A run that has a plan.
        checked: What `quality_gate` returned.
        settings: Further arguments of the operator; ``go_on=True`` hands a shift on instead of failing the run.
    """
    return _output(_stage(run, "batch_skew", {"checked": checked}, **settings))


def prepare_table(run: Run, checked: XComArg, table: str) -> XComArg:
    """Do the declared transforms of one of several tables, on Spark; `checked` is what the gate said of its rows."""
    settings: dict[str, Any] = {"task_id": f"prepare_{table}", "parameters": {"table": table}, "cell": table}
    return _output(_stage(run, "prepare_table", {"checked": checked}, **settings))


def join_tables(run: Run, **tables: XComArg) -> XComArg:
    """Join prepared tables, given by their names, as `join` declares; takes the place of `checked` in `prepare`."""
    return _output(_stage(run, "join_tables", tables))


def ingest_features(run: Run, prepared: XComArg, group: str) -> XComArg:
    """Add what is new in a prepared table to the history of its feature group."""
    settings: dict[str, Any] = {"task_id": f"ingest_{group}", "parameters": {"group": group}, "cell": group}
    return _output(_stage(run, "ingest_features", {"prepared": prepared}, **settings))


def join_features(run: Run, **groups: XComArg) -> XComArg:
    """Put training rows together as known at their moments; takes the place of `checked` in `prepare`."""
    return _output(_stage(run, "join_features", groups))


def join_features_spark(run: Run, **groups: XComArg) -> XComArg:
    """Do what `join_features` does, on Spark: for histories that no memory holds."""
    return _output(_stage(run, "join_features_spark", groups))


def explore(run: Run, prepared: XComArg) -> XComArg:
    """Draw class balance, distributions and correlation of the training rows."""
    return _output(_stage(run, "explore", {"prepared": prepared}))


def bias(run: Run, prepared: XComArg, model: XComArg | None = None, *, compared: XComArg | None = None) -> XComArg:
    """Measure bias of the training labels, or with `model` of its predictions; beyond a limit the run stops here.

    Let what promotes wait for it: ``bias(run, prepared, model) >> version``.

    Args:
        run: A run that has a plan.
        prepared: What `prepare` or `mitigate` returned.
        model: What `train` returned.
        compared: Another result of this function, to be shown side by side.
    """
    more = {} if compared is None else {"compared": compared}
    if model is None:
        return _output(_stage(run, "bias", {"prepared": prepared, **more}, task_id="bias_before", cell="before"))
    inputs = {"prepared": prepared, "evaluated": model, **more}
    return _output(_stage(run, "bias", inputs, task_id="bias_after", cell="after"))


def mitigate(run: Run, prepared: XComArg) -> XComArg:
    """Weigh or repeat training rows as `bias.mitigate` says; takes the place of `prepared` in what follows."""
    return _output(_stage(run, "mitigate", {"prepared": prepared}))


def train(run: Run, prepared: XComArg) -> XComArg:
    """Resample inside the folds, tune every sampler × model, and evaluate the winner on untouched rows."""
    with TaskGroup("train", tooltip="Resamples inside the folds, tunes every sampler × model, evaluates the winner"):
        every_sampler = samplers(run.plan_task)
        every_cell = cells(run.plan_task, run.flow.resources("tune").workers)
        # Beside `prepare`, not after it; but nothing of a group runs on a batch that was refused.
        for before in prepared.operator.upstream_list:  # type: ignore[attr-defined]
            before >> [every_sampler, every_cell]
        resampled = _mapped(run, "resample", {"prepared": prepared}).expand_kwargs(every_sampler)
        inputs = {"prepared": prepared, "resampled": resampled.output}
        tuned = _mapped(run, "tune", inputs).expand_kwargs(every_cell)
        evaluated = _stage(run, "evaluate", {"prepared": prepared, "tuned": tuned.output}, once=["tuned"])
        _stage(run, "baseline", {"prepared": prepared})
        if run.flow.spec.monitors is not None:
            _stage(run, "reference", {"prepared": prepared, "evaluated": _output(evaluated)})
    return _output(evaluated)


def check_predictions(run: Run, model: XComArg) -> XComArg:
    """Judge the winner's predictions on held-out rows by the rules of `quality.predictions`; a FAIL stops the run."""
    prepared = model.operator.inputs["prepared"]  # type: ignore[attr-defined]
    return _output(_stage(run, "check_predictions", {"prepared": prepared, "evaluated": model}))


def register(run: Run, model: XComArg) -> XComArg:
    """Register the winner as a version and compare it with the champion; the champion may stay."""
    prepared = model.operator.inputs["prepared"]  # type: ignore[attr-defined]
    inputs = {"prepared": prepared, "evaluated": model}
    trained = model.operator.inputs.get("evaluated", model)  # type: ignore[attr-defined]
    # The version's dossier tells what the gate said, where the flow has one.
    checked = (prepared.operator.inputs or {}).get("checked")
    if checked is not None:
        inputs["checked"] = checked
    group = trained.operator.task_group
    for name in ("baseline", "reference"):
        if group and (kept := group.children.get(group.child_id(name))):
            inputs[name] = _output(kept)
    operator = RegisterOperator(
        task_id="register",
        stage="register",
        use_case=run.flow.name,
        plan_task=run.plan_task,
        inputs=inputs,
        go_on=True,
        **_resources(run.flow, "register"),
    )
    return _output(operator)


def approve(run: Run, version: XComArg, *, notifiers: Sequence[BaseNotifier] = ()) -> XComArg:
    """Let the rule or a person decide on a version, and write the evidence.

    A newer challenger ends the waiting of older ones. A rejection is no failure: what follows is skipped.

    Args:
        run: A run that has a plan.
        version: What `register` returned.
        notifiers: Tell a person that they are asked, instead of those whom the environment names for
            `waiting_approval`. Templates know ``task.subject`` and ``task.page``.
    """
    flow = run.flow
    with TaskGroup("approve", tooltip="By rule, or by a person in Required Actions; the evidence is kept") as group:
        person, record = f"{group.group_id}.person", f"{group.group_id}.record"
        route = ApprovalRoute(
            task_id="route", registered=version, plan_task=run.plan_task, person=person, straight=record
        )
        asked = ApprovalRequest(
            task_id="person",
            registered=version,
            use_case=flow.name,
            plan_task=run.plan_task,
            params=reason_form(),
            notifiers=list(notifiers) or [_asks()],
            response_timeout=timedelta(hours=flow.spec.promote.approval_timeout_hours),
        )
        # Where a person was asked and the answer is lost, the stage refuses "rule".
        answer = f"ti.xcom_pull(task_ids='{person}')"
        decision = f"{{{{ ({answer} | tojson) if {answer} else 'rule' }}}}"
        settings = {"task_id": "record", "go_on": True, "trigger_rule": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS}
        recorded = _stage(run, "approve", {"registered": version}, parameters={"decision": decision}, **settings)
        route >> [asked, recorded]
        asked >> recorded
    return _output(recorded)


def _asks() -> PeopleNotifier:
    return PeopleNotifier(event="waiting_approval", sentence="{{ task.subject }}", links={"Answer": "{{ task.page }}"})


def deploy(run: Run, approved: XComArg) -> XComArg:
    """Let the endpoint serve the approved version, and make a prediction on it."""
    return _output(_stage(run, "deploy", {"approved": approved}))


def report(run: Run, *last: XComArg) -> XComArg:
    """Say how the run ended, in its note and in MLflow; runs after `last`, whatever became of them."""
    operator = ReportOperator(
        task_id="report", use_case=run.flow.name, plan_task=run.plan_task, **_resources(run.flow, "report")
    )
    operator.as_teardown(on_failure_fail_dagrun=False)
    for one in last:
        one >> operator
    return _output(operator)


def run_stage(run: Run, stage: str, inputs: Mapping[str, XComArg] | None = None, **settings: Any) -> XComArg:
    """Run a stage of yours, named ``package.module:function``, as any of ours.

    Args:
        run: A run that has a plan.
        stage: The function; it is marked by `stepzero.core.stages.stage`.
        inputs: Input name → what an earlier stage returned.
        settings: Further arguments of the operator: ``task_id``, ``parameters``, ``go_on``, ``retries`` ...
    """
    operator = _stage(run, stage, dict(inputs or {}), **settings)
    if not inputs:
        run.planned >> operator
    return _output(operator)


@task(retries=2)
def samplers(plan_task: str, **context: Any) -> list[dict[str, Any]]:
    """Return what `resample` is mapped over."""
    names = context["ti"].xcom_pull(task_ids=plan_task, key="samplers")
    return [{"parameters": {"sampler": name}, "cell": name} for name in names]


@task(retries=2)
def cells(plan_task: str, workers: int, **context: Any) -> list[dict[str, Any]]:
    """Return what `tune` is mapped over: every sampler × model, each with the resampled rows that it takes.

    Several workers of one cell are the same task several times: the stage's key is the same, so they meet
    at its work and share the search; the first who is done commits the result, the others find it.
    """
    ti = context["ti"]
    names = list(ti.xcom_pull(task_ids=plan_task, key="samplers"))
    return [
        {
            "parameters": cell,
            "cell": f"{cell['sampler']}.{cell['model']}",
            "pick": {"resampled": names.index(cell["sampler"])},
        }
        for cell in ti.xcom_pull(task_ids=plan_task, key="cells")
        for _ in range(workers)
    ]


def _gate_alone(flow: Flow, dataset: str | None) -> XComArg:
    if dataset is None:
        raise SpecError(
            f"quality_gate of {flow.name}",
            value=bare("no dataset"),
            allowed="file:///folder/x.parquet, s3://bucket/x.parquet, or a landing prefix of the store",
            action="give `dataset=`, or call it with a run that has a plan",
        )
    gate = GateOperator(
        task_id="quality_gate",
        use_case=flow.name,
        source=flow.source,
        uris=[dataset],
        **_resources(flow, "quality_gate"),
    )
    return _output(gate)


def _stage(run: Run, stage: str, inputs: Mapping[str, Any], **settings: Any) -> StageOperator:
    named = {"task_id": stage.rpartition(":")[2] or stage} | _resources(run.flow, stage) | settings
    return StageOperator(stage=stage, use_case=run.flow.name, plan_task=run.plan_task, inputs=inputs, **named)


def _mapped(run: Run, stage: str, inputs: Mapping[str, Any]) -> Any:
    return StageOperator.partial(
        task_id=stage,
        stage=stage,
        use_case=run.flow.name,
        plan_task=run.plan_task,
        inputs=inputs,
        map_index_template=_LABEL,
        **_resources(run.flow, stage),
    )


def _resources(flow: Flow, stage: str) -> dict[str, Any]:
    return resources(flow.resources(stage))


def resources(granted: StageResources) -> dict[str, Any]:
    """Return where a stage waits for its turn, how long it may take and how often it is tried, as Airflow takes it."""
    return {
        "pool": granted.pool,
        "pool_slots": granted.slots,
        "retries": granted.retries,
        "retry_delay": timedelta(seconds=granted.retry_delay_seconds),
        "retry_exponential_backoff": 2.0,
        "execution_timeout": timedelta(minutes=granted.timeout_minutes) + _MARGIN,
        **({"queue": granted.queue} if granted.queue else {}),
    }


def _output(operator: Any) -> XComArg:
    output: XComArg = operator.output
    return output
