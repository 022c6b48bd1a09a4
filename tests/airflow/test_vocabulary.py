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
        before = stages.bias(run, prepared)
        model = stages.train(run, prepared, after=[before])
        stages.register(run, model, bias=[before, stages.bias(run, prepared, model)])

    tasks = measured().task_dict
    assert tasks["mitigate"].upstream_task_ids == {"prepare"}
    assert tasks["bias_before"].upstream_task_ids == {"mitigate"}
    after = tasks["train.bias_after"]
    assert after.upstream_task_ids == {"mitigate", "train.evaluate"}
    assert after.cell != tasks["bias_before"].cell
    assert {"train.bias_after", "bias_before"} <= tasks["register"].upstream_task_ids
    assert "bias_before" in tasks["train.cells"].upstream_task_ids, "nothing is learned beyond a limit of the labels"
    assert not after.go_on, "a limit that is broken stops the run"


def test_tables_are_prepared_side_by_side_and_joined_as_known(airflow_database: Path) -> None:
    from stepzero_airflow import stages, tables, use_case

    fraud = use_case("credit_card_fraud")

    @fraud.dag()
    def joined() -> None:
        run = stages.plan(fraud, stages.await_batch(fraud))
        checked = stages.quality_gate(run)
        prepared = {name: tables.prepare_table(run, checked, name) for name in ("claims", "customers")}
        groups = {name: tables.ingest_features(run, table, name) for name, table in prepared.items()}
        stages.prepare(run, tables.join_features(run, **groups))
        tables.join_features_spark(run, **groups) >> tables.publish_features(run, **groups)
        tables.join_tables(run, **prepared)

    tasks = joined().task_dict
    for name in ("claims", "customers"):
        assert tasks[f"prepare_{name}"].upstream_task_ids == {"quality_gate"}
        assert tasks[f"prepare_{name}"].parameters == {"table": name}
        assert tasks[f"ingest_{name}"].upstream_task_ids == {f"prepare_{name}"}
    assert tasks["join_features"].upstream_task_ids == {"ingest_claims", "ingest_customers"}
    assert tasks["join_features_spark"].upstream_task_ids == {"ingest_claims", "ingest_customers"}
    assert tasks["publish_features"].upstream_task_ids == {"ingest_claims", "ingest_customers", "join_features_spark"}
    assert tasks["join_tables"].upstream_task_ids == {"prepare_claims", "prepare_customers"}
    assert tasks["prepare"].upstream_task_ids == {"join_features"}
