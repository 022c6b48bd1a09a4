"""Asking an endpoint for many rows, a few hundred at a time: over HTTP, or through SageMaker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np

from stepzero.core.errors import ServiceError, bare
from stepzero.measures.regression import row_accuracy
from stepzero.stages.endpoint_token import authorisation

if TYPE_CHECKING:
    import pandas as pd

ROWS_A_REQUEST = 200
TIMEOUT_SECONDS = 30.0
Post = Callable[[str], tuple[int, str]]
"""Sends a body; returns status and text of the answer, or raises an `OSError` where nobody answers."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What an endpoint said of rows, in their order."""

    scores: list[float]
    requests: int
    median_ms: float


def ask_rows(post: Post, where: str, rows: pd.DataFrame) -> Answers:
    """Ask for every row's score.

    Raises:
        ServiceError: A request fails: all rows are answered, or the comparison would not be of the same rows.
    """
    scores: list[float] = []
    times = []
    for first in range(0, len(rows), ROWS_A_REQUEST):
        part = rows.iloc[first : first + ROWS_A_REQUEST]
        body = part.to_json(orient="split", index=False, double_precision=15)
        begun = time.perf_counter()
        scores += _answer(post, where, body, len(part))
        times.append((time.perf_counter() - begun) * 1000)
    return Answers(scores=scores, requests=len(times), median_ms=float(np.median(times)))


@contextmanager
def over_http(uri: str, token_file: str | None) -> Iterator[Post]:
    """Ask an endpoint at an address, over one connection.

    Raises:
        StageError: The token cannot be read.
    """
    import httpx

    headers = {"Content-Type": "application/json", **authorisation(token_file)}
    with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False, headers=headers) as client:

        def post(body: str) -> tuple[int, str]:
            try:
                answer = client.post(uri, content=body)
            except httpx.HTTPError as error:
                raise ConnectionError(str(error) or type(error).__name__) from error
            return answer.status_code, answer.text

        yield post


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


def _answer(post: Post, where: str, body: str, rows: int) -> list[float]:
    found = None
    try:
        status, text = post(body)
        told = f"{status}: {text[:200]}"
        if status == HTTPStatus.OK:
            found = [float(one) for one in json.loads(text)["scores"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        told = str(error) or type(error).__name__
    if found is None or len(found) != rows:
        raise ServiceError(
            f"predictions at {where}",
            value=bare(told),
            allowed=f"{rows} scores",
            action="read the log of the endpoint, then clear the task",
        )
    return found
