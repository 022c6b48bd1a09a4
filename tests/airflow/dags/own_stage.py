"""A stage of one's own between two of ours, by dotted name."""

from stepzero_airflow import use_case
from stepzero_airflow.stages import await_batch, plan, quality_gate, report, run_stage

fraud = use_case("credit_card_fraud")


@fraud.dag(tags=["example"])
def own_stage() -> None:
    """Count bytes before and after the gate."""
    run = plan(fraud, await_batch(fraud))
    before = run_stage(run, "support.own_stage:count_bytes")
    checked = quality_gate(run)
    after = run_stage(run, "support.own_stage:count_bytes", {"checked": checked}, task_id="count_again", go_on=True)
    report(run, before, after)


own_stage()
