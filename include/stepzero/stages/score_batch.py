"""Score a batch with the champion, on Spark, and put the scores where others find them by partition."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stepzero.adapters.derived import derive
from stepzero.adapters.registry_records import Registration, read_registration, verify_evidence
from stepzero.adapters.spark import quoted, read_dataset, write_dataset
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import InputError, PromotionError, bare, did_you_mean
from stepzero.core.stages import Engine, Record, StageInput, StageResult, stage
from stepzero.learning.model import ScoringModel, load_model
from stepzero.stages.prepare_transforms import transform

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

SCORE, DECISION, VERSION = "score", "decision", "version"


@stage(
    sections=("transforms", "prepare", "scoring"),
    plan=("champion", "batch"),
    engine=Engine.SPARK,
    architecture_matters=True,
)
def score_batch(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Score the accepted rows of this run's batch, prepared row by row as the training rows were.

    A row that the preparation leaves out (``keep_where``) has no score; the summary tells how many.

    Raises:
        PromotionError: There is no champion, or no evidence that it was approved.
        InputError: A feature, or a column to keep, is not there.
    """
    name, champion = use_case.name, workspace.plan.champion
    if champion is None:
        raise PromotionError(
            f"champion of {name}", value=bare("none"), allowed="an approved version", action="run the training DAG"
        )
    registration = read_registration(workspace.store, name, champion.version)
    signing, digest = workspace.environment.signing, registration.model_digest
    verify_evidence(workspace.store, name, champion.version, digest, registration.threshold, signing)
    accepted = read_dataset(workspace.spark, workspace.store, inputs["checked"].output("accepted"))
    changed, _ = transform(accepted, use_case.transforms, "transforms")
    rows = derive(changed, use_case.prepare)
    model = load_model(workspace.store, registration.reference)
    scored = _scored(rows, model, registration, use_case.scoring.keep)
    total, number = accepted.count(), rows.count()
    kept = write_dataset(workspace.store, f"{workspace.folder}/scores", scored, rows=number, producer=workspace.stage)
    written = read_dataset(workspace.spark, workspace.store, kept)
    decided = written.where(f"{DECISION} = 1").count()
    partition = workspace.plan.batch.partition
    summary = f"{number} of {total} rows of batch {partition} scored by {name} version {champion.version}"
    values = {"rows": number, "left_out": total - number, "positive": decided, "version": champion.version}
    newest = newest_uri(use_case.scoring.prefix, name, partition)
    metrics = {"scored.rows": float(number), "scored.positive": float(decided)}
    return StageResult(
        outputs={"scores": kept},
        values=values,
        summary=summary,
        records=(Record(metrics=metrics),),
        # After a rollback the scores of the earlier version are reused, and must be the newest again.
        pointers={newest: {"scores": kept.to_json(), "version": champion.version}},
    )


def newest_uri(prefix: str, use_case: str, partition: str) -> str:
    """Return the file that names a partition's newest scores."""
    return f"{prefix}{use_case}/{partition}/newest.json"


def _scored(rows: DataFrame, model: ScoringModel, registration: Registration, keep: tuple[str, ...]) -> DataFrame:
    # Who belongs to which group may have been set aside from the features.
    beside = [] if model.groups is None else [model.groups.find(rows.columns)]
    for name in [*model.features, *keep]:
        if name not in rows.columns:
            raise InputError(
                "columns of the batch to score",
                value=bare(f"no {name}"),
                allowed=did_you_mean(name, rows.columns),
                action="score a batch of the model's use case, or correct scoring.keep",
            )
    names = list(dict.fromkeys([*keep, *model.features, *beside]))
    kinds = {field.name: field.dataType.simpleString() for field in rows.schema.fields}
    schema = ", ".join(
        [*(f"{quoted(name)} {kinds[name]}" for name in keep), f"{SCORE} double, {DECISION} int, {VERSION} string"]
    )
    score = _scorer(pickle.dumps(model), registration.threshold, registration.version, keep)
    return rows.select(*(quoted(name) for name in names)).mapInPandas(score, schema)


def _scorer(model: bytes, threshold: float | None, version: str, keep: tuple[str, ...]) -> Any:
    """Return what Spark's workers run; the model travels as bytes that we have just made."""

    def score(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        loaded: ScoringModel = pickle.loads(model)  # noqa: S301 - our own bytes, verified when they were read
        for frame in frames:
            made = frame[list(keep)].copy()
            made[SCORE] = loaded.score(frame) if len(frame) else []
            line = threshold if loaded.groups is None else loaded.groups.lines(frame)
            made[DECISION] = None if line is None else (made[SCORE] >= line).astype("int32")
            made[VERSION] = version
            yield made

    return score
