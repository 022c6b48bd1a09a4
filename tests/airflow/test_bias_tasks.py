"""Bias in a DAG file: measured before and after training, and what promotes waits for it."""

from __future__ import annotations

from pathlib import Path


def test_bias_is_measured_before_and_after_training_and_what_promotes_waits(airflow_database: Path) -> None:
    from stepzero_airflow import stages, use_case

    fraud = use_case("credit_card_fraud")

    @fraud.dag()
    def measured() -> None:
        run = stages.plan(fraud, stages.await_batch(fraud))
        prepared = stages.mitigate(run, stages.prepare(run, stages.quality_gate(run)))
        before, model = stages.bias(run, prepared), stages.train(run, prepared)
        version = stages.register(run, model)
        before >> model
        stages.bias(run, prepared, model) >> version

    tasks = measured().task_dict
    assert tasks["mitigate"].upstream_task_ids == {"prepare"}
    assert tasks["bias_before"].upstream_task_ids == {"mitigate"}
    assert tasks["bias_after"].upstream_task_ids == {"mitigate", "train.evaluate"}
    assert tasks["bias_after"].cell != tasks["bias_before"].cell
    assert "bias_after" in tasks["register"].upstream_task_ids
    assert not tasks["bias_after"].go_on, "a limit that is broken stops the run"
