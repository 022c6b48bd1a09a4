"""Bias, tables and feature groups in a DAG file: what waits for what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from stepzero_airflow.flow import Flow


def test_bias_is_measured_before_and_after_training_and_what_promotes_waits(airflow_database: Path) -> None:
    from stepzero_airflow import stages, use_case

    fraud = use_case("credit_card_fraud")

    @fraud.dag()
    def measured() -> None:
        run = stages.plan(fraud, stages.await_batch(fraud))
        prepared = stages.prepare(run, stages.quality_gate(run))
        assert stages.mitigate(run, prepared) is prepared, "nothing is declared"
        before = stages.bias(run, prepared)
        model = stages.train(run, prepared, after=[before])
        stages.register(run, model, bias=[before, stages.bias(run, prepared, model)])

    tasks = measured().task_dict
    assert "mitigate" not in tasks
    assert tasks["bias_before"].upstream_task_ids == {"prepare"}
    after = tasks["train.bias_after"]
    assert after.upstream_task_ids == {"prepare", "train.evaluate"}
    assert after.cell != tasks["bias_before"].cell
    assert {"train.bias_after", "bias_before"} <= tasks["register"].upstream_task_ids
    assert "bias_before" in tasks["train.cells"].upstream_task_ids, "nothing is learned beyond a limit of the labels"
    assert not after.go_on, "a limit that is broken stops the run"


def test_the_use_case_chooses_where_bias_is_mitigated(airflow_database: Path) -> None:
    """Of rows before training, with what it did to decisions told after it; or of decisions alone."""
    from stepzero.spec.bias import Mitigate
    from stepzero_airflow import use_case

    claims = use_case("auto_claims_fraud")
    declared = claims.spec.bias
    assert declared is not None
    for method, rows_of in (("reweighing", "mitigate"), ("oversampling", "mitigate"), ("thresholds", "prepare")):
        how = Mitigate.model_validate({"method": method, "facet": "customer_gender_female"})
        spec = claims.spec.model_copy(update={"bias": declared.model_copy(update={"mitigate": how})})
        upstream = {task.task_id: task.upstream_task_ids for task in _mitigated(replace(claims, spec=spec)).tasks}
        assert upstream.get("mitigate") == ({"prepare"} if rows_of == "mitigate" else None)
        assert upstream["train.evaluate"] == {rows_of, "train.tune"}
        assert upstream["train.mitigate_decisions"] == {rows_of, "train.evaluate", "train.tune"}
        assert upstream["train.bias_after"] == {rows_of, "train.mitigate_decisions"}
        described = {"train.baseline", "train.reference"}
        assert upstream["register"] == {
            rows_of,
            "train.mitigate_decisions",
            "train.bias_after",
            *described,
            "quality_gate",
        }


def _mitigated(claims: Flow) -> DAG:
    from stepzero_airflow import stages

    @claims.dag()
    def mitigated() -> None:
        run = stages.plan(claims, stages.await_batch(claims))
        rows = stages.mitigate(run, stages.prepare(run, stages.quality_gate(run)))
        model = stages.mitigate(run, rows, stages.train(run, rows))
        stages.register(run, model, bias=[stages.bias(run, rows, model)])

    return mitigated()


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
