"""Feature groups on Spark: training rows as known at their moments, where histories are too long for one memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.adapters.spark import quoted, sorted_in_one_file, write_dataset
from stepzero.core.references import Reference
from stepzero.core.stages import Engine, Record, StageInput, StageResult, stage
from stepzero.learning.as_known_spark import read_history_frame, snapshot_frame, training_frame

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from stepzero.adapters.workspace import Workspace


@stage(sections=("features",), engine=Engine.SPARK)
def join_features_spark(use_case: Any, inputs: dict[str, Any], workspace: Workspace) -> StageResult:
    """Do what `join_features` does, on Spark; the rows are the same, their files are not.

    Raises:
        InputError: A column is missing, or there twice.
    """
    from pyspark.sql import functions

    features = use_case.features
    ingested: dict[str, StageInput] = {name: inputs[name] for name in features.groups}
    histories = {name: (group, _history(ingested[name], workspace)) for name, group in features.groups.items()}
    group, history = histories.pop(features.rows)
    as_of = ingested[features.rows].values["as_of"]
    rows = snapshot_frame(history, group, as_of=as_of, times=True)
    column = features.moment_column
    moment = functions.lit(as_of) if column is None else functions.col(quoted(column))
    joined, missing, count = training_frame(
        rows.withColumn("_moment", moment.cast("timestamp")), histories, as_of="_moment"
    )
    ordered = sorted_in_one_file(joined.drop("_moment"), quoted(group.record_id))
    written = write_dataset(
        workspace.store, f"{workspace.folder}/joined", ordered, rows=count, producer=workspace.stage
    )
    told = ", ".join(f"{one} without {name}" for name, one in missing.items()) or "one group"
    metrics = {f"features.missing.{name}": float(one) for name, one in missing.items()}
    return StageResult(
        outputs={"accepted": written},
        values={"rows": count, "missing": missing},
        summary=f"{count} rows as known at {features.as_of or as_of}; {told}",
        records=(Record(metrics={"features.rows": float(count), **metrics}),),
    )


def _history(ingested: StageInput, workspace: Workspace) -> DataFrame:
    listed = workspace.store.read_json(ingested.output("members").uri)
    members = [Reference.from_json(one) for one in listed]
    return read_history_frame(workspace.spark, workspace.store, members)
