"""The split in text that other tools read: libsvm and CSV of the same rows, written by Spark.

Both have the target first and no name of ours. A column of words stands as the place of its word in the vocabulary
that ``pipeline.one_hot`` declares, from 1, since libsvm holds numbers only; CSV says the same, so that whoever trains
on either sees the same rows and the same values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.adapters.datasets import commit_dataset
from stepzero.adapters.libsvm import line_text, number_text
from stepzero.adapters.spark import literal, quoted, read_dataset
from stepzero.core.errors import StageError, bare
from stepzero.core.stages import Engine, StageInput, StageResult, stage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from stepzero.adapters.workspace import Workspace
    from stepzero.core.references import Reference

FORMATS = ("libsvm", "csv")
_ROW_ID = "_row_id"
_WORDS = "string"


@stage(sections=("problem", "pipeline.one_hot", "split"), engine=Engine.SPARK)
def render(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Write every part of the split as libsvm and as CSV, rows in the order of their ids.

    Raises:
        StageError: A column holds words without a vocabulary, or a value is missing: libsvm knows neither.
    """
    prepared, outputs, counts = inputs["prepared"], {}, {}
    for part in use_case.split.parts:
        reference = prepared.output(part)
        frame = read_dataset(workspace.spark, workspace.store, reference)
        features = [name for name in frame.columns if not name.startswith("_") and name != use_case.problem.target]
        numbers = _as_numbers(frame, features, use_case)
        _must_be_whole(numbers, [use_case.problem.target, *features], part)
        ordered = numbers.repartition(1).sortWithinPartitions(_ROW_ID)
        for form in FORMATS:
            outputs[f"{part}_{form}"] = _write(ordered, use_case.problem.target, features, form, part, workspace)
        counts[part] = int(reference.rows or 0)
    told = ", ".join(f"{part} {rows}" for part, rows in counts.items())
    return StageResult(outputs=outputs, values={"rows": counts}, summary=f"{told} rows as {' and '.join(FORMATS)}")


def _as_numbers(frame: DataFrame, features: list[str], use_case: Any) -> DataFrame:
    """Replace words by their places."""
    from pyspark.sql import functions

    kinds, vocabularies = dict(frame.dtypes), use_case.pipeline.one_hot
    for name in features:
        if kinds[name] == _WORDS and name not in vocabularies:
            raise StageError(
                f"column {name} as libsvm",
                value=bare("words without a vocabulary"),
                allowed="numbers, or words of a vocabulary in pipeline.one_hot",
                action="declare the vocabulary, or drop the column in prepare.drop",
            )
        if kinds[name] == _WORDS:
            words = ", ".join(literal(word) for word in vocabularies[name])
            place = functions.expr(f"array_position(array({words}), {quoted(name)})")
            frame = frame.withColumn(name, functions.when(place > 0, place))
    return frame


def _must_be_whole(frame: DataFrame, columns: list[str], part: str) -> None:
    from pyspark.sql import functions

    missing = [functions.sum(functions.col(quoted(name)).isNull().cast("int")).alias(name) for name in columns]
    found = {name: count for name, count in frame.select(*missing).first().asDict().items() if count}  # type: ignore[union-attr]
    if found:
        raise StageError(
            f"{part} rows as libsvm",
            value=bare(f"missing values, or words outside their vocabulary: {found}"),
            allowed="a number in every cell",
            action="set such rows aside in the gate, or fill them in prepare.derive",
        )


def _write(frame: DataFrame, target: str, features: list[str], form: str, part: str, workspace: Workspace) -> Reference:
    from pyspark.sql import functions

    texts = [number_text(name) for name in (target, *features)]
    line = line_text(target, features) if form == "libsvm" else functions.concat_ws(",", *texts)
    folder = f"{workspace.folder}/{form}/{part}"
    frame.select(line.alias("line")).write.mode("overwrite").text(workspace.store.url(folder))
    return commit_dataset(workspace.store, folder, rows=None, schema=[["line", "string"]], producer=workspace.stage)
