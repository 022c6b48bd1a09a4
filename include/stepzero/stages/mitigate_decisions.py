"""What mitigation does to decisions: groups get thresholds, or mitigated rows are compared with plain ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stepzero.core.errors import StageError, bare
from stepzero.core.stages import StageInput, StageResult, stage
from stepzero.learning.bias import report_after
from stepzero.learning.bias_comparison import compare_reports
from stepzero.learning.columns import LINE
from stepzero.learning.evaluation import Cell, judge_promotion, measure, table_metrics
from stepzero.learning.mitigation import choose_group_thresholds
from stepzero.learning.model import load_model, save_model
from stepzero.learning.prior import Prior
from stepzero.learning.sentinels import Finding
from stepzero.learning.table import Table, make_table
from stepzero.learning.without_mitigation import fit_without
from stepzero.stages.mitigate_told import Told, declared_method, write_told

if TYPE_CHECKING:
    from stepzero.adapters.workspace import Workspace
    from stepzero.core.verdict import Verdict
    from stepzero.learning.group_thresholds import GroupThresholds
    from stepzero.measures.checks import Booleans, Floats
    from stepzero.measures.uncertainty import Interval

_WHAT = "decisions on held-out rows"


@stage(
    sections=("problem", "bias", "pipeline", "weight", "train.models", "train.seed", "evaluate", "promote"),
    architecture_matters=True,
)
def mitigate_decisions(use_case: Any, inputs: dict[str, Any], workspace: Workspace) -> StageResult:
    """Return the evaluated winner, with all metrics of its decisions without mitigation and with it.

    It stands after `evaluate` and takes its place for what follows.

    Of ``thresholds`` it needs the input ``tuned`` too: each group gets its own, chosen on out-of-fold scores. They
    become part of the model, which then asks for the facet beside its features; held-out figures and the promotion
    gates' verdict are those of the new decisions.

    Of the methods that change rows the winner stays as it is. The same model with the same parameters is fitted on
    the rows without weights and copies, its threshold chosen likewise: that is what it is compared with.

    Raises:
        SpecError: There is no bias.mitigate section.
        StageError: What is handed in does not belong together.
    """
    declared = declared_method(use_case)
    seen = _Seen(use_case, inputs, workspace)
    return seen.with_thresholds() if declared.method == "thresholds" else seen.beside_plain_rows()


class _Seen:
    """Prepared rows and the evaluated winner, read."""

    def __init__(self, use_case: Any, inputs: dict[str, Any], workspace: Workspace) -> None:
        self.use_case, self.inputs, self.workspace = use_case, inputs, workspace
        self.evaluated: StageInput = inputs["evaluated"]
        self.winner: dict[str, Any] = self.evaluated.values["winner"]
        prepared: StageInput = inputs["prepared"]
        self.train, self.test = (workspace.read_frame(prepared.output(side)) for side in ("train", "test"))
        self.scores = workspace.read_frame(self.evaluated.output("test_scores"))
        _must_match("held-out scores", self.test, self.scores)
        self.table: Table = make_table(self.test, use_case.problem, use_case.weight)
        self.score: Floats = self.scores["score"].to_numpy(dtype=np.float64)
        self.threshold = float(self.winner["threshold"])

    def beside_plain_rows(self) -> StageResult:
        """Compare with the same model fitted on rows as they were."""
        plain = fit_without(self.use_case, self.winner, self.train, self.test)
        told = self._told(
            (plain.score >= plain.threshold, self.score >= self.threshold),
            (self.measured(plain.score, plain.threshold), self.measured(self.score, self.threshold)),
            {"all": (plain.threshold, self.threshold)},
        )
        outputs, values = self.evaluated.outputs, self.evaluated.values
        return write_told(
            self.use_case, told, self.workspace, outputs=outputs, values=values, verdict=self.evaluated.verdict
        )

    def with_thresholds(self) -> StageResult:
        """Give each group its own threshold."""
        groups = self._chosen()
        lines = groups.lines(self.test)
        after = self.measured(self.score, lines)
        told = self._told(
            (self.score >= self.threshold, self.score >= lines),
            (self.measured(self.score, self.threshold), after),
            {
                f"{groups.column} disfavoured": (self.threshold, groups.disfavoured),
                f"{groups.column} favoured": (self.threshold, groups.favoured),
            },
        )
        shown = table_metrics(self.table)
        parts = {"metrics": [name for name in after if name in shown], "also": [n for n in after if n not in shown]}
        winner = self.winner | {"groups": groups.to_json()}
        winner |= {part: {name: after[name].to_json() for name in names} for part, names in parts.items()}
        outputs = {
            **self.evaluated.outputs,
            "model": self._written(groups, winner),
            "test_scores": self.workspace.write_frame("test_scores", self.scores.assign(**{LINE: lines})),
            "thresholds": self.workspace.write_json("thresholds.json", groups.to_json()),
        }
        return write_told(
            self.use_case,
            told,
            self.workspace,
            outputs=outputs,
            values={**self.evaluated.values, "winner": winner},
            verdict=self._verdict(after, lines),
            metrics={name: interval.value for name, interval in after.items()},
        )

    def measured(self, score: Floats, threshold: float | Floats) -> dict[str, Interval]:
        """Return every figure of decisions on the held-out rows."""
        return measure(score, threshold, self.table, self.use_case.evaluate, self.use_case.train.seed)

    def _told(
        self,
        positive: tuple[Booleans, Booleans],
        figures: tuple[dict[str, Interval], dict[str, Interval]],
        thresholds: dict[str, tuple[float, float]],
    ) -> Told:
        problem, bias = self.use_case.problem, self.use_case.bias
        before, after = (report_after(self.test, one, problem, bias) for one in positive)
        paired = {name: (figures[0][name], other) for name, other in figures[1].items()}
        changes = compare_reports(before, after)
        return Told(time="after", what=_WHAT, changes=changes, figures=paired, thresholds=thresholds)

    def _chosen(self) -> GroupThresholds:
        out_of_fold = self.workspace.read_frame(_winner_of(self.inputs["tuned"], self.winner).output("out_of_fold"))
        _must_match("out-of-fold scores", self.train, out_of_fold)
        # Where folds go forward in time, no fold judged the oldest rows.
        judged = out_of_fold["score"].notna().to_numpy()
        learned = out_of_fold["score"].to_numpy(dtype=np.float64)[judged]
        prior = Prior.from_json(self.winner.get("prior"))
        # The threshold and the test scores are of corrected probabilities, where there is a correction.
        score = prior.correct(learned) if prior else learned
        train = self.train[judged].reset_index(drop=True)
        return choose_group_thresholds(train, score, self.threshold, self.use_case.problem, self.use_case.bias)

    def _written(self, groups: GroupThresholds, winner: dict[str, Any]) -> Any:
        model = load_model(self.workspace.store, self.evaluated.output("model"))
        metadata = {**model.metadata, "metrics": winner["metrics"]}
        changed = model.replaced(groups=groups, metadata=metadata)
        return save_model(
            self.workspace.store, f"{self.workspace.folder}/model", changed, producer=self.workspace.stage
        )

    def _verdict(self, after: dict[str, Interval], lines: Floats) -> Verdict:
        """Judge the promotion gates again: they are about decisions, and decisions have changed."""
        winner, shown = self.winner, table_metrics(self.table)
        cell = Cell(
            sampler=winner["sampler"],
            model=winner["model"],
            parameters=winner["parameters"],
            score=winner["out_of_fold_score"],
            threshold=self.threshold,
            metrics={name: after[name] for name in shown},
            test_score=self.score,
            out_of_fold=pd.DataFrame(),
            reference=self.evaluated.output("model"),
            lines=lines,
        )
        findings = [Finding(**one) for one in self.evaluated.values["sentinels"]]
        return judge_promotion(cell, self.table, self.use_case.promote, findings)


def _winner_of(tuned: Sequence[StageInput], winner: dict[str, Any]) -> StageInput:
    for one in tuned:
        if (one.values["sampler"], one.values["model"]) == (winner["sampler"], winner["model"]):
            return one
    raise StageError(
        "tuned cells to choose thresholds from",
        value=bare(", ".join(f"{one.values['sampler']} × {one.values['model']}" for one in tuned) or "none"),
        allowed=f"the winner's, {winner['sampler']} × {winner['model']}",
        action="hand in the cells that were evaluated",
    )


def _must_match(what: str, rows: pd.DataFrame, scores: pd.DataFrame) -> None:
    if rows["_row_id"].tolist() != scores["_row_id"].tolist():
        raise StageError(
            f"{what} to mitigate by",
            value=bare(f"{len(scores)} scores of other rows than the {len(rows)} prepared ones"),
            allowed="a score for each prepared row, in their order",
            action="hand in the prepared rows that the cells were tuned and evaluated on",
        )
