"""The gate again after training: the winner's predictions on held-out rows, by the rules of `quality.predictions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.adapters.spark import read_dataset
from stepzero.core.errors import SpecError, bare
from stepzero.core.stages import Record, StageInput, StageResult, stage
from stepzero.learning.columns import LINE
from stepzero.stages.quality_hand_over import judge_hand_over, judge_hand_over_plainly
from stepzero.stages.quality_plain import could_be_plain

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from stepzero.adapters.workspace import Workspace
    from stepzero.core.verdict import Verdict
    from stepzero.spec.quality import HandOver

SCORE, PREDICTION = "score", "prediction"
"""Columns that rules may name, beside those of the held-out rows."""
_ROW_ID = "_row_id"


@stage(sections=("quality.predictions",))
def check_predictions(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Judge held-out rows with their score and their decision: 1 from the threshold on, else 0; a regression's number.

    Rules that need no more than arithmetic are judged without Spark; others start it within the process.

    Raises:
        SpecError: No rule is declared.
        RuleError: A rule cannot be evaluated.
    """
    section, subject = use_case.quality.predictions, f"predictions of {_winner(inputs)}"
    verdict = _plainly(section, subject, inputs, workspace)
    if verdict is None:
        verdict = judge_hand_over(_predicted(inputs, workspace), section, workspace, subject)
    if verdict is None:
        raise SpecError(
            f"{use_case.name}.quality.predictions",
            value=bare("no rule"),
            allowed="at least one rule",
            action="declare one, or take `check_predictions` out of the DAG file",
        )
    record = Record(
        tags={"predictions.outcome": str(verdict.outcome), "predictions.sentence": verdict.sentence()[:4000]}
    )
    return StageResult(verdict=verdict, summary=verdict.sentence(), records=(record,))


def _plainly(section: HandOver, subject: str, inputs: dict[str, StageInput], workspace: Workspace) -> Verdict | None:
    """Judge in memory; None where Spark must, as where a row has no score."""
    if not could_be_plain(section.rules):
        return None
    rows = workspace.read_frame(inputs["prepared"].output("test"))
    scores = workspace.read_frame(inputs["evaluated"].output("test_scores")).drop_duplicates([_ROW_ID])
    told = scores.set_index(_ROW_ID).reindex(rows[_ROW_ID]).reset_index(drop=True)
    if {SCORE, PREDICTION} & set(rows) or told[SCORE].isna().any():
        return None
    decided = _decisions(told, inputs["evaluated"].values["winner"]["threshold"])
    frame = rows.reset_index(drop=True).assign(**{SCORE: told[SCORE], PREDICTION: decided})
    return judge_hand_over_plainly(frame, section, workspace, subject)


def _decisions(told: pd.DataFrame, threshold: float | None) -> pd.Series[Any]:
    """Return what is decided by the scores, with each row's own line where groups have some."""
    if threshold is None:
        return told[SCORE]
    return (told[SCORE] >= told.get(LINE, threshold)).astype(int)


def _predicted(inputs: dict[str, StageInput], workspace: Workspace) -> DataFrame:
    """Return held-out rows with score and decision; equal rows have equal ids, and equal scores."""
    from pyspark.sql import functions

    session, store = workspace.spark, workspace.store
    rows = read_dataset(session, store, inputs["prepared"].output("test"))
    scores = read_dataset(session, store, inputs["evaluated"].output("test_scores"))
    threshold = inputs["evaluated"].values["winner"]["threshold"]
    line = functions.lit(threshold).cast("double")
    if LINE in scores.columns:
        line = functions.col(LINE)  # groups have thresholds of their own
    made = functions.col(SCORE) if threshold is None else (functions.col(SCORE) >= line).cast("int")
    once = scores.select(_ROW_ID, SCORE, made.alias(PREDICTION)).dropDuplicates([_ROW_ID])
    return rows.join(once, _ROW_ID, "left")


def _winner(inputs: dict[str, StageInput]) -> str:
    winner = inputs["evaluated"].values["winner"]
    return f"{winner['sampler']} × {winner['model']}"
