"""Challenger against champion, on rows that neither of them learned from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from stepzero.adapters.registry_records import Registration, read_registration
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import Reference
from stepzero.core.stages import StageInput
from stepzero.spec.kinds import FALLBACK_METRIC, METRICS

if TYPE_CHECKING:
    import pandas as pd

DECISIONS = ("f1", "precision", "recall")
FEWEST_OF_A_CLASS = 5
"""With fewer rows of a class, a comparison says nothing."""
FEWEST_ROWS = 30
"""The same of a regression: the interval of a smaller bootstrap is too narrow."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the comparison says, in a sentence and in figures."""

    accepted: bool
    sentence: str
    observed: str = ""
    bound: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON for the result and for the tracking server."""
        return {"accepted": self.accepted, "sentence": self.sentence, **self.figures}

    def metrics(self) -> dict[str, float]:
        """Return the figures that a chart can show."""
        names = ("challenger", "champion", "difference", "low", "high")
        return {f"comparison.{name}": float(self.figures[name]) for name in names if name in self.figures}


def compare_with_champion(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> Finding:
    """Compare the evaluated model with the champion of the run's plan; there may be none."""
    champion = workspace.plan.champion
    if champion is None:
        return Finding(accepted=True, sentence="there is no champion yet, so it has nobody to beat")
    registration = read_registration(workspace.store, use_case.name, champion.version)
    recent, why = _recent(use_case, inputs, registration, workspace)
    if recent is not None:
        frame, target = recent
        return _compared(use_case, inputs, registration, frame, target, workspace, what="recent labelled requests")
    found = _on_held_out_rows(use_case, inputs, registration, workspace)
    if not why:
        return found
    told = f"{found.sentence}; not on the recent labelled requests that the watch named: {why}"
    return replace(found, sentence=told, figures={**found.figures, "why_not_recent": why})


def _on_held_out_rows(
    use_case: Any, inputs: dict[str, StageInput], registration: Registration, workspace: Workspace
) -> Finding:
    frame = _untouched(inputs, registration, workspace)
    if use_case.problem.kind == "regression":
        if len(frame) < FEWEST_ROWS:
            return _too_few_rows(registration.version, len(frame))
        numbers = frame[use_case.problem.target].to_numpy(dtype=float)
        return _compared(use_case, inputs, registration, frame, numbers, workspace)
    target = (frame[use_case.problem.target] == use_case.problem.positive).to_numpy().astype(int)
    positives = int(target.sum())
    if min(positives, len(target) - positives) < FEWEST_OF_A_CLASS:
        return _too_few(registration.version, len(target), positives)
    return _compared(use_case, inputs, registration, frame, target, workspace)


def _untouched(inputs: dict[str, StageInput], registration: Registration, workspace: Workspace) -> pd.DataFrame:
    """Return test rows of this run without those that either model learned from."""
    frame = workspace.read_frame(inputs["prepared"].output("test"))
    for reference in (Reference.from_json(registration.training_rows), inputs["evaluated"].output("training_rows")):
        learned = workspace.read_frame(reference, columns=["_row_id"])["_row_id"]
        frame = frame[~frame["_row_id"].isin(set(learned))]
    return frame.reset_index(drop=True)


def _recent(
    use_case: Any, inputs: dict[str, StageInput], registration: Registration, workspace: Workspace
) -> tuple[tuple[pd.DataFrame, Any] | None, str]:
    """Return recent labelled requests to compare on; or None and why, where the run names some that will not do.

    The champion answered them after it was trained. Requests with the features of a row that the challenger learned
    from are left out: traffic may land as training rows, too.
    """
    import pandas as pd

    if workspace.plan.compared_on is None:
        return None, ""
    rows = workspace.read_frame(Reference.from_json(workspace.plan.compared_on))
    train = workspace.read_frame(inputs["prepared"].output("train"))
    names = [name for name in train.columns if not name.startswith("_") and name != use_case.problem.target]
    gone = [name for name in names if name not in rows.columns]
    if gone:
        return None, f"they lack {', '.join(gone)}, so that nobody can tell which of them were learned from"
    rows = rows[rows["_version"].astype(str) == registration.version]
    learned = set(pd.util.hash_pandas_object(_plain(train[names]), index=False))
    seen = pd.util.hash_pandas_object(_plain(rows[names]), index=False).isin(learned)
    rows = rows[~seen].drop_duplicates("_id").reset_index(drop=True)
    left = f"of those that version {registration.version} answered and the challenger did not learn from"
    if use_case.problem.kind == "regression":
        few = f"{len(rows)} are left {left}, {FEWEST_ROWS} are needed" if len(rows) < FEWEST_ROWS else ""
        return (None, few) if few else ((rows, rows["label"].to_numpy(dtype=float)), "")
    target = (rows["label"] == 1).to_numpy().astype(int)
    positives = int(target.sum())
    if min(positives, len(target) - positives) < FEWEST_OF_A_CLASS:
        told = f"{len(target)} are left {left}, {positives} of them positive"
        return None, f"{told}; {FEWEST_OF_A_CLASS} of each class are needed"
    return (rows, target), ""


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return numbers as doubles: requests and landed rows may hold the same number in other types."""
    import pandas as pd

    numbers = [name for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name])]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def _compared(
    use_case: Any,
    inputs: dict[str, StageInput],
    registration: Registration,
    frame: pd.DataFrame,
    target: Any,
    workspace: Workspace,
    *,
    what: str = "rows",
) -> Finding:
    from stepzero.learning.comparison import compare_scores
    from stepzero.learning.table import entities_of

    # A metric of the user's own decides the search; versions are compared by another one instead.
    kind, metric = use_case.problem.kind, use_case.train.metric
    metric = metric if metric in METRICS[kind] else FALLBACK_METRIC[kind]
    comparison = compare_scores(
        target,
        # Requests come as they come; held-out rows are weighted to the true share of classes.
        _weights(use_case, frame, target) if what == "rows" else [1.0] * len(target),
        _scores(inputs["evaluated"].output("model"), frame, metric, workspace),
        _scores(registration.reference, frame, metric, workspace),
        metric=metric,
        confidence=use_case.evaluate.confidence,
        bootstrap=use_case.evaluate.bootstrap,
        seed=use_case.train.seed,
        entity=entities_of(frame),
    )
    figures = {
        "metric": metric,
        "against": registration.version,
        "rows": len(target),
        **({"positives": int(target.sum())} if kind == "classification" else {}),
        **{name: float(getattr(comparison, name)) for name in ("challenger", "champion", "difference", "low", "high")},
    }
    return _judged(figures, what)


def _judged(figures: dict[str, Any], what: str) -> Finding:
    interval = f"{figures['difference']:+.4f} [{figures['low']:+.4f}, {figures['high']:+.4f}]"
    told = (
        f"{figures['metric']} {figures['challenger']:.4f} against {figures['champion']:.4f} of champion version "
        f"{figures['against']} on {figures['rows']} {what} that neither trained on, difference {interval}"
    )
    if figures["high"] < 0:
        sentence = f"worse than the champion, which stays: {told}"
        bound = "a difference whose interval reaches 0"
        return Finding(accepted=False, sentence=sentence, observed=interval, bound=bound, figures=figures)
    word = "better than the champion" if figures["low"] > 0 else "cannot be told apart from the champion, and is newer"
    return Finding(accepted=True, sentence=f"{word}: {told}", figures=figures)


def _too_few(version: str, rows: int, positives: int) -> Finding:
    observed = f"{rows} rows, {positives} of them positive"
    return Finding(
        accepted=False,
        sentence=f"it cannot be compared with champion version {version}, which stays: {observed} are left untouched",
        observed=observed,
        bound=f"at least {FEWEST_OF_A_CLASS} rows of each class that neither model trained on",
        figures={"against": version, "rows": rows, "positives": positives},
    )


def _too_few_rows(version: str, rows: int) -> Finding:
    return Finding(
        accepted=False,
        sentence=f"it cannot be compared with champion version {version}, which stays: {rows} rows are left untouched",
        observed=f"{rows} rows",
        bound=f"at least {FEWEST_ROWS} rows that neither model trained on",
        figures={"against": version, "rows": rows},
    )


def _scores(reference: Reference, frame: pd.DataFrame, metric: str, workspace: Workspace) -> Any:
    """Return what the metric looks at: scores, or decisions at the model's own threshold."""
    from stepzero.learning.model import load_model

    model = load_model(workspace.store, reference)
    return model.decide(frame).astype(float) if metric in DECISIONS else model.score(frame)


def _weights(use_case: Any, frame: pd.DataFrame, target: Any) -> Any:
    import numpy as np

    from stepzero.measures.weights import base_rate_weights

    weight = use_case.weight
    if weight and weight.column:
        return frame[weight.column].to_numpy(dtype=np.float64)
    if weight and weight.base_rate:
        return base_rate_weights(target, weight.base_rate)
    return np.ones(len(target))
