"""The vocabulary for a use case with several tables: each is judged and prepared by itself, then they are joined.

checked = quality_gates(run)                                    # group: one gate for each table
claims = ingest_features(run, prepare_table(run, checked, "claims"), "claims")
customers = ingest_features(run, prepare_table(run, checked, "customers"), "customers")
prepared = prepare(run, join_features(run, claims=claims, customers=customers))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import TaskGroup, XComArg

from stepzero_airflow.steps import Run, output, step

if TYPE_CHECKING:
    from collections.abc import Mapping


def quality_gates(run: Run) -> dict[str, XComArg]:
    """Judge every table of the batch, each by its own rules; return what each gate said, by table.

    Give them all to `prepare_table`: a table that was refused keeps the others from going on.
    """
    with TaskGroup("quality_gate", tooltip="Step zero for every table: one that is refused stops all"):
        return {name: _table_gate(run, name) for name in run.flow.spec.tables}


def _table_gate(run: Run, table: str) -> XComArg:
    settings: dict[str, Any] = {"task_id": table, "parameters": {"table": table}, "cell": table}
    gate = step(run, "quality_gate", {}, doc_md=f"Step zero for the table {table}.", **settings)
    run.planned >> gate
    return output(gate)


def prepare_table(run: Run, checked: XComArg | Mapping[str, XComArg], table: str) -> XComArg:
    """Do the declared transforms of one of several tables, on Spark.

    Args:
        run: A run that has a plan.
        checked: What the gate said of its rows; or what `quality_gates` returned: then all gates are waited for.
        table: Its name.
    """
    gates = {table: checked} if isinstance(checked, XComArg) else dict(checked)
    settings: dict[str, Any] = {"task_id": f"prepare_{table}", "parameters": {"table": table}, "cell": table}
    prepared = step(run, "prepare_table", {"checked": gates[table]}, **settings)
    for gate in gates.values():
        gate >> prepared
    return output(prepared)


def join_tables(run: Run, **tables: XComArg) -> XComArg:
    """Join prepared tables, given by their names, as `join` declares; takes the place of `checked` in `prepare`."""
    return output(step(run, "join_tables", tables))


def ingest_features(run: Run, prepared: XComArg, group: str) -> XComArg:
    """Add what is new in a prepared table to the history of its feature group."""
    settings: dict[str, Any] = {"task_id": f"ingest_{group}", "parameters": {"group": group}, "cell": group}
    return output(step(run, "ingest_features", {"prepared": prepared}, **settings))


def join_features(run: Run, **groups: XComArg) -> XComArg:
    """Put training rows together as known at their moments; takes the place of `checked` in `prepare`."""
    return output(step(run, "join_features", groups))


def join_features_spark(run: Run, **groups: XComArg) -> XComArg:
    """Do what `join_features` does, on Spark: for histories that no memory holds."""
    return output(step(run, "join_features_spark", groups))


def publish_features(run: Run, **groups: XComArg) -> XComArg:
    """Publish what is known of every record for endpoints that look features up; each ingested group by its name."""
    return output(step(run, "publish_features", groups))


def gates_before(result: XComArg) -> list[XComArg]:
    """Return the quality gates that a result goes back to, by the inputs of the stages between."""
    found: dict[str, XComArg] = {}
    inputs = getattr(result.operator, "inputs", None) or {}  # type: ignore[attr-defined]
    for one in inputs.values():
        if isinstance(one, XComArg):
            gate = getattr(one.operator, "stage", "") == "quality_gate"  # type: ignore[attr-defined]
            for found_gate in [one] if gate else gates_before(one):
                found.setdefault(found_gate.operator.task_id, found_gate)  # type: ignore[attr-defined]
    return list(found.values())
