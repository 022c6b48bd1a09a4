"""One request for predictions: rows completed, checked, scored, explained if asked, and the answer in JSON or CSV."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from stepzero.serving.lookup import Ages, Beside, Looked
from stepzero.serving.rows import CSV, JSON, Asked, RequestError, parse_request, typed_rows

if TYPE_CHECKING:
    from stepzero.measures.checks import Floats
    from stepzero.serving.scoring import Rows
    from stepzero.serving.versions import Served

SMALL_BYTES, SMALL_ROWS = 16_384, 20
"""What is no larger is answered at once, if the model is quick; everything else by a thread."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was predicted, by which version, from which rows."""

    served: Served
    rows: Rows
    """As they were scored: what the model asks for, in its order."""
    scores: Floats
    lines: Floats | None = None
    """The threshold of each row, where groups have their own."""
    ages: list[Ages | None] | None = None
    """Of each row, the feature groups that were looked up, with their age; None where nothing was."""
    explanations: list[dict[str, Any]] | None = None
    beside: Beside = field(default_factory=dict)
    """What is captured beside the rows, and answered to nobody."""

    @property
    def decisions(self) -> list[int] | None:
        """Which rows count as positive; None where the version has no threshold."""
        if self.lines is not None:
            return [int(one) for one in self.scores >= self.lines]
        threshold = self.served.threshold
        return None if threshold is None else [int(score >= threshold) for score in self.scores]


def read_request(body: bytes, content_type: str, explain: str | None, accept: str) -> Asked:
    """Return what a request asks for.

    Args:
        body: Its rows.
        content_type: JSON or CSV.
        explain: The parameter of the address by which CSV asks for explanations.
        accept: What kind of answer is wanted.

    Raises:
        RequestError: It cannot be read.
    """
    asked = parse_request(body, content_type)
    if explain is not None:
        known = {"true": True, "1": True, "false": False, "0": False}
        if explain.lower() not in known:
            raise RequestError(422, "parameter explain", value=explain, allowed="true or false", action="correct it")
        asked = asked.explained(known[explain.lower()])
    if asked.explain and _wants_csv(accept):
        raise RequestError(
            422, "header Accept", value=accept, allowed=f"{JSON} for explanations", action="ask for JSON"
        )
    return asked


def is_small(served: Served, asked: Asked, body: bytes) -> bool:
    """Tell whether a request takes so little that handing it to a thread would take longer."""
    is_short = len(body) <= SMALL_BYTES and len(asked.rows) <= SMALL_ROWS
    is_local = served.online is None or served.online.is_local
    return is_short and is_local and served.scorer.is_quick and not asked.explain


def predict(served: Served, asked: Asked, max_rows: int) -> Prediction:
    """Complete, check, score and explain the rows of a request.

    Raises:
        RequestError: The rows cannot be scored; it says why.
    """
    form = served.form(max_rows)
    looked = served.online.complete(asked, form) if served.online else Looked(asked=asked, ages=[])
    rows = typed_rows(looked.asked, form)
    return Prediction(
        served=served,
        rows=rows,
        scores=served.scorer.score(rows),
        lines=served.scorer.group_lines(rows),
        ages=looked.ages if looked.any else None,
        beside=looked.beside,
        explanations=_explained(served, rows) if asked.explain else None,
    )


def answer(prediction: Prediction, accept: str) -> Response:
    """Return scores and decisions, in JSON or, if wanted, CSV."""
    version = prediction.served.version
    scores, decisions = prediction.scores.tolist(), prediction.decisions
    headers = {"X-Stepzero-Version": version}
    if _wants_csv(accept):
        lines = io.StringIO()
        lines.write("score,decision,version\n")
        for number, score in enumerate(scores):
            lines.write(f"{score!r},{decisions[number] if decisions else ''},{version}\n")
        return Response(lines.getvalue(), media_type=CSV, headers=headers)
    line = {"threshold": prediction.served.threshold}
    if prediction.lines is not None:
        line = {"thresholds": prediction.lines.tolist()}
    told = {"version": version, **line, "scores": scores, "decisions": decisions}
    if prediction.ages is not None:
        told["looked_up"] = prediction.ages
    if prediction.explanations is not None:
        told["explanations"] = prediction.explanations
    return Response(json.dumps(told, allow_nan=False), media_type=JSON, headers=headers)


def _explained(served: Served, rows: Rows) -> list[dict[str, Any]]:
    if served.explanations is None:
        raise RequestError(
            422, "field explain", value=True, allowed="a version that was deployed", action="leave explain out"
        )
    return served.explanations.explain(served.scorer.matrix(rows))


def _wants_csv(accept: str) -> bool:
    return accept.partition(";")[0].strip().lower() == CSV
