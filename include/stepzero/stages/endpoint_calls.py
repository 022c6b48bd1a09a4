"""Asking an endpoint for many rows, a few hundred at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stepzero.core.errors import ServiceError, bare
from stepzero.measures.regression import row_accuracy
from stepzero.stages.endpoint_token import authorisation

if TYPE_CHECKING:
    import pandas as pd

ROWS_A_REQUEST = 200
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What an endpoint said of rows, in their order."""

    scores: list[float]
    requests: int
    median_ms: float


def ask_rows(uri: str, rows: pd.DataFrame, token_file: str | None) -> Answers:
    """Ask for every row's score.

    Raises:
        ServiceError: A request fails: all rows are answered, or the comparison would not be of the same rows.
        StageError: The token cannot be read.
    """
    import httpx

    headers = {"Content-Type": "application/json", **authorisation(token_file)}
    scores: list[float] = []
    times = []
    with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False, headers=headers) as client:
        for first in range(0, len(rows), ROWS_A_REQUEST):
            part = rows.iloc[first : first + ROWS_A_REQUEST]
            body = part.to_json(orient="split", index=False, double_precision=15)
            begun = time.perf_counter()
            scores += _answer(client, uri, body, len(part))
            times.append((time.perf_counter() - begun) * 1000)
    return Answers(scores=scores, requests=len(times), median_ms=float(np.median(times)))


def show_rows(rows: pd.DataFrame, target: str, number: int, seed: int) -> list[dict[str, Any]]:
    """Return some rows drawn with replacement, as the reference example draws them, but seeded; for a reader only."""
    drawn = np.random.default_rng(seed).integers(len(rows), size=number)
    shown = []
    for at in drawn:
        truth, predicted = float(rows[target].iloc[at]), float(rows["predicted"].iloc[at])
        close = float(row_accuracy([truth], [predicted])[0]) if truth > 0 else None
        row_id = str(rows["_row_id"].iloc[at])
        shown.append({"row_id": row_id, "truth": truth, "predicted": predicted, "accuracy": close})
    return shown


def _answer(client: Any, uri: str, body: str, rows: int) -> list[float]:
    import httpx

    try:
        answer = client.post(f"{uri}/invocations", content=body)
        told = f"{answer.status_code}: {answer.text[:200]}"
        found = [float(one) for one in answer.json()["scores"]] if answer.status_code == httpx.codes.OK else None
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        found, told = None, str(error) or type(error).__name__
    if found is None or len(found) != rows:
        raise ServiceError(
            f"predictions at {uri}/invocations",
            value=bare(told),
            allowed=f"{rows} scores",
            action="read the log of the endpoint host, then clear the task",
        )
    return found
