"""Prepare the tables of a use case that has several, and join them, on Spark."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from stepzero.adapters.spark import quoted, read_dataset, sorted_in_one_file, write_dataset
from stepzero.core.errors import InputError, SpecError, bare, did_you_mean
from stepzero.core.references import Reference
from stepzero.core.stages import Engine, Record, StageInput, StageResult, stage
from stepzero.stages.prepare_transforms import Met, transform

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from stepzero.adapters.workspace import Workspace
    from stepzero.spec.tables import Join


@stage(sections=("tables.{table}.transforms",), plan=("released",), engine=Engine.SPARK)
def prepare_table(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Do the declared transforms of the table that the parameter ``table`` names; say which values were unseen.

    Rows that left the batch's quarantine since go along, where the gate accepts the same rows as it did then.

    Raises:
        SpecError: The use case has no such table.
        InputError: Values were unseen where that is declared an error.
    """
    name = workspace.parameters["table"]
    tables = use_case.tables
    if name not in tables:
        raise SpecError(
            f"{use_case.name}: table", value=name, allowed=did_you_mean(name, tables), action="correct the parameter"
        )
    frame = _accepted(inputs["checked"].output("accepted"), workspace)
    made, met = transform(frame, tables[name].transforms, f"tables.{name}.transforms")
    rows = made.count()
    # By all columns: the order in which rows arrived has no effect, whatever key they have.
    ordered = sorted_in_one_file(made, *(quoted(column) for column in made.columns))
    written = write_dataset(workspace.store, f"{workspace.folder}/{name}", ordered, rows=rows, producer=workspace.stage)
    seen = [one for one in met if one.rows]
    for one in seen:
        workspace.log.warning("table %s, %s (%s)", name, one.sentence(), one.rule)
    told = "; ".join(one.sentence() for one in seen) or "no unseen value"
    return StageResult(
        outputs={"accepted": written},
        values={"table": name, "rows": rows, "unseen": [one.to_json() for one in met]},
        summary=f"{name}: {rows} rows, {len(made.columns)} columns; {told}",
        records=(_record(name, rows, met),),
    )


def _accepted(accepted: Reference, workspace: Workspace) -> DataFrame:
    """Return what the gate accepted, with the rows that were released from the quarantine beside it."""
    released = [one for one in workspace.plan.released if one.accepted == accepted.digest]
    references = [accepted, *(Reference.from_json(rows) for one in released for rows in one.rows)]
    frames = [read_dataset(workspace.spark, workspace.store, one) for one in references]
    return reduce(lambda one, other: one.unionByName(other), frames)


@stage(sections=("tables", "join"), engine=Engine.SPARK)
def join_tables(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Join prepared tables, each an input under its name; the result takes the place of what the gate accepted.

    Raises:
        InputError: A joined table has a key twice, or a row finds no partner where that is an error.
    """
    names = list(use_case.tables)
    frames = {name: read_dataset(workspace.spark, workspace.store, inputs[name].output("accepted")) for name in names}
    joined, unmatched = frames[names[0]], {}
    for join in use_case.join:
        joined, unmatched[join.table] = join_frames(joined, frames[join.table], join)
    rows = joined.count()
    ordered = sorted_in_one_file(joined, *(quoted(column) for column in joined.columns))
    written = write_dataset(workspace.store, f"{workspace.folder}/joined", ordered, rows=rows, producer=workspace.stage)
    told = ", ".join(f"{count} without a partner in {name}" for name, count in unmatched.items())
    metrics = {f"join.unmatched.{name}": float(count) for name, count in unmatched.items()} | {"join.rows": float(rows)}
    return StageResult(
        outputs={"accepted": written},
        values={"rows": rows, "unmatched": unmatched},
        summary=f"{rows} rows of {' and '.join(names)}; {told}",
        records=(Record(metrics=metrics),),
    )


def join_frames(left: DataFrame, right: DataFrame, join: Join) -> tuple[DataFrame, int]:
    """Join two frames as declared; return the rows and how many on the left have no partner.

    Raises:
        InputError: The right one has a key twice, or a row has no partner where that is an error.
    """
    keys = [quoted(key) for key in join.by]
    _must_be_single(right, join, keys)
    unmatched = left.join(right.select(*keys), on=list(join.by), how="left_anti").count()
    if unmatched and join.unmatched == "error":
        raise InputError(
            f"join with {join.table}",
            value=bare(f"{unmatched} rows whose {', '.join(join.by)} is not there"),
            allowed="a partner for every row",
            action=f"land the missing rows of {join.table}, or say unmatched: count",
        )
    return left.join(right, on=list(join.by), how=join.how), unmatched


def _must_be_single(right: DataFrame, join: Join, keys: Sequence[str]) -> None:
    from pyspark.sql import functions

    repeated = right.groupBy(*keys).count().filter(functions.col("count") > 1)
    first = repeated.orderBy(*keys).first()
    if first is None:
        return
    key = ", ".join(f"{name}={first[name]}" for name in join.by)
    raise InputError(
        f"join with {join.table}",
        value=bare(f"{repeated.count()} keys with several rows, for example {key} with {first['count']}"),
        allowed=f"one row for each {', '.join(join.by)}: others would multiply the rows that they join",
        action="keep the row that was known at the time, or aggregate them, before the join",
    )


def _record(name: str, rows: int, met: Sequence[Met]) -> Record:
    metrics = {f"table.{name}.unseen.{one.column}": float(one.rows) for one in met}
    return Record(metrics={f"table.{name}.rows": float(rows), **metrics})
