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

from contextlib import nullcontext
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
from stepzero_airflow.sensors.batch import BatchSensor
from stepzero_airflow.steps import Run
from stepzero_airflow.steps import mapped as _mapped
from stepzero_airflow.steps import output as _output
from stepzero_airflow.steps import stage_resources as _resources
from stepzero_airflow.steps import step as _stage
from stepzero_airflow.tables import gates_before

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from airflow.sdk import BaseNotifier


def await_batch(flow: Flow, *, poll_seconds: float = 10, wait_hours: float = 22) -> XComArg:
    """Wait, without a worker, until files have landed that no run has judged yet.

    Args:
        flow: The use case.
        poll_seconds: Time between two looks at the landing folder.
        wait_hours: After that a scheduled run is skipped.
    """
    source = flow.spec.source
    tables = {name: table.source.prefix for name, table in flow.spec.tables.items()}
    if source is None and not tables:
        raise SpecError(
            f"{flow.source}: source",
            value=bare("none"),
            allowed="a source section, or tables, which say where files land",
            action="add one, or give `quality_gate` a dataset",
        )
    with TaskGroup("arrival", tooltip="Waits for landed files and freezes the run's plan"):
        sensor = BatchSensor(
            task_id="await_batch",
            use_case=flow.name,
            prefix=source.prefix if source else "",
            daily=source is not None and source.partition is not None,
            tables=tables or None,
            poll_seconds=poll_seconds,
            wait_hours=wait_hours,
            doc_md=f"Waits for new files under {_quoted(tables.values() if source is None else [source.prefix])}. "
            "Listing and ledger decide what is new.",
        )
    return _output(sensor)


def _quoted(prefixes: Iterable[str]) -> str:
    return " and ".join(f"`{prefix}`" for prefix in prefixes)


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


def score_batch(run: Run, checked: XComArg) -> XComArg:
    """Score the batch's accepted rows with the champion, on Spark; the scores are found by partition."""
    return _output(_stage(run, "score_batch", {"checked": checked}))


def explore(run: Run, prepared: XComArg) -> XComArg:
    """Draw class balance, distributions and correlation of the training rows."""
    return _output(_stage(run, "explore", {"prepared": prepared}))


def bias(run: Run, prepared: XComArg, model: XComArg | None = None, *, compared: XComArg | None = None) -> XComArg:
    """Measure bias of the training labels, or with `model` of its predictions; beyond a limit the run stops here.

    Hand the results to `register`: it waits for them, and they become part of the version's dossier. Of a model, the
    task stands in the group that trained it.

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
    with _group_of(model):
        return _output(_stage(run, "bias", inputs, task_id="bias_after", cell="after"))


def mitigate(run: Run, prepared: XComArg, model: XComArg | None = None) -> XComArg:
    """Mitigate bias as `bias.mitigate` says, of rows before `train` and, with `model`, of decisions after it.

    What is returned takes the place of `prepared`, or of `model`, in what follows. A flow calls it at both places, so
    that the method is chosen in the use case: ``reweighing`` and ``oversampling`` change rows, and then it is measured
    what that did to decisions; ``thresholds`` leave rows as they are. Where a use case declares none, there is no
    step, and what was given is returned.

    Args:
        run: A run that has a plan.
        prepared: What `prepare` returned; with `model`, what this returned for it.
        model: What `train` returned; the task stands in its group.
    """
    declared = run.flow.spec.bias.mitigate if run.flow.spec.bias else None
    if model is None:
        changes_rows = declared is not None and declared.method != "thresholds"
        return _output(_stage(run, "mitigate", {"prepared": prepared})) if changes_rows else prepared
    if declared is None:
        return model
    inputs = {"prepared": prepared, "evaluated": model, "tuned": model.operator.inputs["tuned"]}  # type: ignore[attr-defined]
    with _group_of(model):
        return _output(_stage(run, "mitigate_decisions", inputs, once=["tuned"]))


def train(run: Run, prepared: XComArg, *, after: Sequence[XComArg] = ()) -> XComArg:
    """Resample inside the folds, tune every sampler × model, and evaluate the winner on untouched rows.

    Args:
        run: A run that has a plan.
        prepared: What `prepare` or `mitigate` returned.
        after: What must have ended well before anything is learned, such as `bias` of the labels.
    """
    with TaskGroup("train", tooltip="Resamples inside the folds, tunes every sampler × model, evaluates the winner"):
        every_sampler = samplers(run.plan_task)
        every_cell = cells(run.plan_task, run.flow.resources("tune").workers)
        # Beside `prepare`, not after it; but nothing of a group runs on a batch that was refused.
        for before in prepared.operator.upstream_list:  # type: ignore[attr-defined]
            before >> [every_sampler, every_cell]
        for required in after:
            required >> [every_sampler, every_cell]
        resampled = _mapped(run, "resample", {"prepared": prepared}).expand_kwargs(every_sampler)
        inputs = {"prepared": prepared, "resampled": resampled.output}
        tuned = _mapped(run, "tune", inputs).expand_kwargs(every_cell)
        evaluated = _stage(run, "evaluate", {"prepared": prepared, "tuned": tuned.output}, once=["tuned"])
        _stage(run, "baseline", {"prepared": prepared})
        if run.flow.spec.monitors is not None:
            _stage(run, "reference", {"prepared": prepared, "evaluated": _output(evaluated)})
    return _output(evaluated)


def check_predictions(run: Run, model: XComArg) -> XComArg:
    """Judge the winner's predictions on held-out rows by the rules of `quality.predictions`; a FAIL stops the run.

    The task stands in the group that trained the model; hand its result to `register`, which waits for it.
    """
    prepared = model.operator.inputs["prepared"]  # type: ignore[attr-defined]
    with _group_of(model):
        return _output(_stage(run, "check_predictions", {"prepared": prepared, "evaluated": model}))


def register(run: Run, model: XComArg, *, bias: Sequence[XComArg] = (), after: Sequence[XComArg] = ()) -> XComArg:
    """Register the winner as a version and compare it with the champion; the champion may stay.

    Args:
        run: A run that has a plan.
        model: What `train` returned.
        bias: What `bias` returned, before and after training: part of what an approver sees. A use case that declares
            limits of predictions cannot do without the latter.
        after: What must have ended well before, such as `check_predictions`.
    """
    prepared = model.operator.inputs["prepared"]  # type: ignore[attr-defined]
    inputs: dict[str, Any] = {"prepared": prepared, "evaluated": model}
    trained = model.operator.inputs.get("evaluated", model)  # type: ignore[attr-defined]
    # The version's dossier tells what the gate said, where the flow has one; of several tables, what all gates said.
    gates = gates_before(prepared)
    if gates:
        inputs["checked"] = gates if run.flow.spec.tables else gates[0]
    if bias:
        inputs["bias"] = list(bias)
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
    for required in after:
        required >> operator
    return _output(operator)


def _group_of(result: XComArg) -> AbstractContextManager[Any]:
    group = result.operator.task_group  # type: ignore[attr-defined]
    return group if group is not None and not group.is_root else nullcontext()


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
            params=reason_form(required=flow.spec.promote.reason == "required"),
            assigned_users=[{"id": user, "name": user} for user in flow.environment.approvers.users] or None,
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
