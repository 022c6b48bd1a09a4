"""A comparison of models behind endpoints that are there for it alone.

prepared, rendered = divide(run, checked)
winner = compare_endpoints(run, train(run, prepared))
version = register(run, winner)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import TaskGroup, TriggerRule, XComArg

from stepzero.core.errors import SpecError, bare
from stepzero_airflow.stages import prepare, run_stage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

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
    became of the others, and where it cannot, the lease runs out.

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
        created = run_stage(run, "create_endpoint", {"lease": lease}, task_id="create", **settings)
        inputs = {"lease": lease, "created": created, "prepared": given["prepared"]}
        ask = run_stage(run, "ask_endpoint", inputs, task_id="ask", **settings)
        remove = run_stage(run, "remove_endpoint", {"lease": lease}, task_id="remove", **settings)
        lease.operator.as_setup()  # type: ignore[attr-defined]
        remove.operator.as_teardown(setups=lease.operator, on_failure_fail_dagrun=True)  # type: ignore[attr-defined]
        ask.operator >> remove.operator  # type: ignore[attr-defined]
    return ask
