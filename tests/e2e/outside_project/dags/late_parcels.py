"""Late parcels.

A team's own flow: the gate, preparation, an audit of the team's own, training.
"""

from stepzero_airflow import daily, use_case
from stepzero_airflow.stages import await_batch, plan, prepare, quality_gate, run_stage, train

parcels = use_case("late_parcels")


@parcels.dag(schedule=daily("04:00"))
def late_parcels() -> None:
    """Wire the stages."""
    run = plan(parcels, await_batch(parcels))
    prepared = prepare(run, quality_gate(run))
    run_stage(run, "parcels.stages:audit", {"prepared": prepared})
    train(run, prepared)


late_parcels()
