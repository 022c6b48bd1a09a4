"""The vocabulary of a watching DAG.

run = plan_watch(fraud, await_window(fraud))   # freezes the window and the champion
seen = watch(run)                              # group: collect, then all declared monitors side by side
decided = triage(run, seen)                    # page | watch | retrain | nothing
report_watch(run, *follow(run, decided))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Param, TaskGroup, XComArg

from stepzero.core.errors import SpecError, bare
from stepzero_airflow.operators.watch import (
    NOTHING,
    PAGE,
    RETRAIN,
    WATCH,
    FollowOperator,
    RetrainOperator,
    TriageBranch,
    WatchPlanOperator,
    WatchReportOperator,
    WatchStageOperator,
)
from stepzero_airflow.sensors.window import WindowSensor
from stepzero_airflow.steps import Run, resources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow.sdk import DAG

    from stepzero_airflow.flow import Flow

MONITORS = ("data_quality", "data_drift", "prediction_drift", "model_quality", "bias", "attribution_drift")


def watching_dag(flow: Flow, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., DAG]]:
    """Mark a function as the watching DAG of a use case: as `Flow.dag`, with a form of its own.

    Raises:
        SpecError: The use case watches nothing.
    """
    if flow.spec.monitors is None:
        raise SpecError(
            f"{flow.source}: monitors",
            value=bare("none"),
            allowed="a monitors section, which says what is watched",
            action="add one, or take the watching DAG away",
        )
    own = {
        "params": watch_form(),
        "description": f"{flow.spec.title or flow.name}: watch",
        "tags": ["stepzero", "watch"],
        # Windows are judged one after the other: an incident is opened once, a retrain asked for once.
        "max_active_runs": 1,
    }
    return flow.dag(**{**own, **settings})


def watch_form() -> dict[str, Param]:
    """Return the one field that a person may fill in."""
    told = "ISO 8601, such as 2026-11-21T00:00+00:00: the last window that ended by then. Empty: the newest."
    return {"window_end": Param(None, type=["null", "string"], title="Window", description=told)}


def await_window(flow: Flow) -> XComArg:
    """Wait, without a worker, until the window is over and its last rows are written."""
    with TaskGroup("arrival", tooltip="Waits until the window is written, and freezes the run's plan"):
        sensor = WindowSensor(task_id="await_window", use_case=flow.name)
    return _output(sensor)


def plan_watch(flow: Flow, window: XComArg) -> Run:
    """Freeze which window is looked at, and which champion: all monitors read that."""
    with window.operator.task_group:  # type: ignore[attr-defined]
        operator = WatchPlanOperator(
            task_id="plan", use_case=flow.name, source=flow.source, **resources(flow.resources("plan"))
        )
    window >> operator
    return Run(flow=flow, planned=_output(operator))


def watch(run: Run) -> dict[str, XComArg]:
    """Collect the windows, then run every declared monitor; each hands its verdict on."""
    with TaskGroup("monitors", tooltip="Collects the windows of served traffic; each monitor has a verdict and a page"):
        collected = _stage(run, "collect_windows", {})
        seen = {
            name: _output(_stage(run, f"watch_{name}", {"collected": _output(collected)}, task_id=name))
            for name in MONITORS
            if getattr(run.flow.spec.monitors, name) is not None
        }
        if "skew" in run.flow.spec.model_fields_set:
            seen["captured_skew"] = captured_skew(run, _output(collected))
    run.planned >> collected
    return {"collected": _output(collected), **seen}


def captured_skew(run: Run, collected: XComArg) -> XComArg:
    """Compare what was asked with the rows that the champion learned from, by the bounds of the section `skew`.

    The triage shows what it says, and decides without it: its bounds are declared, not drawn from the budget of false
    alarms, and data drift looks at the same columns.

    Args:
        run: A run of the watch.
        collected: What `collect_windows` returned.
    """
    return _output(_stage(run, "captured_skew", {"captured": collected}))


def triage(run: Run, seen: Mapping[str, XComArg]) -> XComArg:
    """Decide what is done about what all monitors saw."""
    return _output(_stage(run, "triage", dict(seen), doc_md="Incident: page. Shift: watch. Loss: retrain."))


def follow(run: Run, decided: XComArg, *, training: str | None = None) -> list[XComArg]:
    """Branch to `page`, `watch`, `retrain` or `nothing`.

    Args:
        run: A run of the watch.
        decided: What `triage` returned.
        training: Id of the DAG that retrains; the use case's name if absent.
    """
    branch = TriageBranch(task_id="decision", decided=decided)
    shared: dict[str, Any] = {"decided": decided, "use_case": run.flow.name, "plan_task": run.plan_task}
    ends = [
        FollowOperator(task_id=PAGE, **shared),
        FollowOperator(task_id=WATCH, **shared),
        RetrainOperator(task_id=RETRAIN, training=training or run.flow.name, **shared),
        FollowOperator(task_id=NOTHING, **shared),
    ]
    branch >> ends
    return [_output(one) for one in ends]


def report_watch(run: Run, *last: XComArg) -> XComArg:
    """Say what was decided, in the run's note and in MLflow; runs whatever became of the others."""
    operator = WatchReportOperator(
        task_id="report", use_case=run.flow.name, plan_task=run.plan_task, **resources(run.flow.resources("report"))
    )
    operator.as_teardown(on_failure_fail_dagrun=False)
    for one in last:
        one >> operator
    return _output(operator)


def _stage(run: Run, stage: str, inputs: Mapping[str, Any], **settings: Any) -> WatchStageOperator:
    named = {"task_id": stage} | resources(run.flow.resources(stage)) | settings
    return WatchStageOperator(stage=stage, use_case=run.flow.name, plan_task=run.plan_task, inputs=inputs, **named)


def _output(operator: Any) -> XComArg:
    output: XComArg = operator.output
    return output
