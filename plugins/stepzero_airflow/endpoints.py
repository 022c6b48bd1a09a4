"""A comparison of models behind endpoints that are there for it alone.

prepared, rendered = divide(run, checked)
winner = compare_endpoints(run, train(run, prepared))
version = register(run, winner)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG, TaskGroup, TriggerRule, XComArg

from stepzero.core.errors import SpecError, bare
from stepzero.spec.load import load_environment
from stepzero_airflow.stages import prepare, run_stage
from stepzero_airflow.steps import output, stage_resources, step

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from stepzero.spec.environment import SageMaker
    from stepzero_airflow.steps import Run


def divide(run: Run, checked: XComArg) -> tuple[XComArg, XComArg]:
    """Prepare as `prepare` does, and write the split as libsvm and as CSV, too; return what both stages return.

    The renderings are of the same rows, for whoever trains outside; nothing in a run waits for them.
    """
    with TaskGroup("divide", tooltip="One seeded split for all models; the same rows as Parquet, libsvm and CSV"):
        prepared = prepare(run, checked)
        rendered = run_stage(run, "render", {"prepared": prepared})
    return prepared, rendered


def compare_endpoints(run: Run, model: XComArg) -> XComArg:
    """Let each model answer behind an endpoint of its own, and say who won; takes the place of `model` in what follows.

    For every declared model there is a branch: lease, create, ask, remove. The removal is a teardown: it runs whatever
    became of the others, and where it cannot, the lease runs out. Where the environment has SageMaker, it makes the
    endpoints; else they are processes of this machine.

    Args:
        run: A run that has a plan.
        model: What `train` returned.
    """
    train = run.flow.spec.train
    if train is None:
        raise SpecError(
            f"{run.flow.name}.train", value=bare("none"), allowed="models to compare", action="declare train.models"
        )
    given = model.operator.inputs  # type: ignore[attr-defined]
    with TaskGroup("compare", tooltip="One throw-away endpoint for each model; all test rows decide"):
        asked = [_branch(run, name, model, given) for name in train.models]
        inputs = {"prepared": given["prepared"], "evaluated": model, "asked": asked}
        rule = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
        return run_stage(
            run,
            "compare_endpoints",
            inputs,
            task_id="verdict",
            once=["asked"],
            trigger_rule=rule,
        )


def _branch(run: Run, name: str, model: XComArg, given: Mapping[str, Any]) -> XComArg:
    """Return what one model said behind its endpoint."""
    with TaskGroup(name.replace(".", "_"), tooltip=f"The endpoint of {name}: reserved, created, asked, removed"):
        settings: dict[str, Any] = {"parameters": {"model": name}, "cell": name}
        tuned = {"tuned": given["tuned"]}
        lease = run_stage(run, "lease_endpoint", tuned, task_id="lease", once=["tuned"], go_on=True, **settings)
        # Not before the models were judged: a leak ends the run without an endpoint.
        model.operator >> lease.operator  # type: ignore[attr-defined]
        granted = run.flow.environment.sagemaker
        create, remove = _on_sagemaker(run, lease, granted) if granted else _on_this_machine(run, lease, settings)
        # What SageMaker made is found by the name of the lease.
        told = {} if granted else {"created": output(create)}
        inputs = {"lease": lease, **told, "prepared": given["prepared"]}
        ask = run_stage(run, "ask_endpoint", inputs, task_id="ask", **settings)
        lease.operator.as_setup()  # type: ignore[attr-defined]
        remove.as_teardown(setups=lease.operator, on_failure_fail_dagrun=True)  # type: ignore[attr-defined]
        create >> ask.operator >> remove  # type: ignore[attr-defined]
    return ask


def _on_this_machine(run: Run, lease: XComArg, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the tasks by which the endpoint host creates and removes a process."""
    create = step(run, "create_endpoint", {"lease": lease}, task_id="create", **settings)
    return create, step(run, "remove_endpoint", {"lease": lease}, task_id="remove", **settings)


def _on_sagemaker(run: Run, lease: XComArg, granted: SageMaker) -> tuple[Any, Any]:
    """Return the tasks by which SageMaker creates and removes an endpoint, its configuration and its model."""
    from stepzero_airflow.operators.sagemaker import SageMakerCreateOperator, SageMakerRemoveOperator

    resources = {name: stage_resources(run.flow, f"{name}_endpoint") for name in ("create", "remove")}
    create = SageMakerCreateOperator(task_id="create", lease=lease, granted=granted, **resources["create"])
    remove = SageMakerRemoveOperator(task_id="remove", lease=lease, granted=granted, **resources["remove"])
    return create, remove


def janitor(doc_md: str | None = None) -> DAG | None:
    """Return the DAG that removes endpoints of SageMaker that outlived their lease; None where there is no SageMaker.

    On this machine the endpoint host does so.

    Args:
        doc_md: Its documentation in the UI.
    """
    granted = load_environment().sagemaker
    if granted is None:
        return None
    from stepzero_airflow.operators.sagemaker import SageMakerSweepOperator

    settings: dict[str, Any] = {"catchup": False, "max_active_runs": 1, "tags": ["stepzero"], "doc_md": doc_md}
    with DAG("endpoint_janitor", schedule="@hourly", **settings) as made:
        SageMakerSweepOperator(task_id="sweep", granted=granted)
    return made
