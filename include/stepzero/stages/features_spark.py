"""Feature groups on Spark: training rows as known at their moments, where histories are too long for one memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.adapters.spark import quoted, sorted_in_one_file, write_dataset
from stepzero.core.references import Reference
from stepzero.core.stages import Engine, StageResult, stage
from stepzero.learning.as_known_spark import read_history_frame, snapshot_frame, training_frame
from stepzero.stages.features_joined import read_histories, say_joined

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

    def read(members: list[Reference]) -> DataFrame:
        return read_history_frame(workspace.spark, workspace.store, members)

    taken = read_histories(features, inputs, workspace, read)
    rows = snapshot_frame(taken.history, taken.group, as_of=taken.as_of, times=True)
    column = features.moment_column
    moment = functions.lit(taken.as_of) if column is None else functions.col(quoted(column))
    joined, missing, count = training_frame(
        rows.withColumn("_moment", moment.cast("timestamp")), taken.others, as_of="_moment"
    )
    ordered = sorted_in_one_file(joined.drop("_moment"), quoted(taken.group.record_id))
    written = write_dataset(
        workspace.store, f"{workspace.folder}/joined", ordered, rows=count, producer=workspace.stage
    )
    return say_joined(features, taken.as_of, written, count, missing)
