"""Bias, tables and feature groups in a DAG file: what waits for what."""

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


def test_tables_are_prepared_side_by_side_and_joined_as_known(airflow_database: Path) -> None:
    from stepzero_airflow import stages, use_case

    fraud = use_case("credit_card_fraud")

    @fraud.dag()
    def joined() -> None:
        run = stages.plan(fraud, stages.await_batch(fraud))
        checked = stages.quality_gate(run)
        tables = {name: stages.prepare_table(run, checked, name) for name in ("claims", "customers")}
        groups = {name: stages.ingest_features(run, table, name) for name, table in tables.items()}
        stages.prepare(run, stages.join_features(run, **groups))
        stages.join_features_spark(run, **groups)
        stages.join_tables(run, **tables)

    tasks = joined().task_dict
    for name in ("claims", "customers"):
        assert tasks[f"prepare_{name}"].upstream_task_ids == {"quality_gate"}
        assert tasks[f"prepare_{name}"].parameters == {"table": name}
        assert tasks[f"ingest_{name}"].upstream_task_ids == {f"prepare_{name}"}
    assert tasks["join_features"].upstream_task_ids == {"ingest_claims", "ingest_customers"}
    assert tasks["join_features_spark"].upstream_task_ids == {"ingest_claims", "ingest_customers"}
    assert tasks["join_tables"].upstream_task_ids == {"prepare_claims", "prepare_customers"}
    assert tasks["prepare"].upstream_task_ids == {"join_features"}
