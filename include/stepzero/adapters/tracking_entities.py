"""What is shown in the tracking server, in its own words: tags, descriptions, batches."""

from __future__ import annotations

import math
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from stepzero.core.stages import Record
from stepzero.spec.load import include_folder
from stepzero.spec.plan import Plan

RUN = "stepzero.run"
"""Tag of the one MLflow run of a DAG run."""
KEY = "stepzero.key"
"""Tag by which a child run, a logged model or a version is found again."""
RESULT = "stepzero.result"
STAGE = "stepzero.stage"
NOTE = "mlflow.note.content"

_LONGEST_TAG = 5_000
_LONGEST_PARAMETER = 6_000


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What must be known of a DAG run to show it."""

    use_case: str
    run: str
    folder: str
    airflow: str | None = None
    """Address of the run's page in Airflow."""
    started: int = 0
    """Milliseconds since 1970."""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Arguments of one `log_batch`."""

    metrics: list[Any]
    parameters: list[Any]
    tags: list[Any]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.metrics or self.parameters or self.tags)


def identify(plan: Plan) -> RunIdentity:
    """Return the identity of a plan's run."""
    tags = {
        "stepzero.partition": plan.batch.partition,
        "stepzero.batch_digest": plan.batch.digest,
        "stepzero.window_digests": " ".join(member.digest for member in plan.window),
        "stepzero.environment": plan.environment,
        "stepzero.champion": f"version {plan.champion.version}" if plan.champion else "none",
    }
    return RunIdentity(
        use_case=plan.use_case.name,
        run=plan.run,
        folder=plan.folder,
        airflow=plan.links.get("airflow"),
        started=int(datetime.fromisoformat(plan.as_of).timestamp() * 1000),
        tags=tags,
    )


def describe(identity: RunIdentity, sentence: str = "The run has not ended yet.") -> dict[str, str]:
    """Return the tags of a run; its description begins with the link and the outcome."""
    link = f"[Airflow run]({identity.airflow}) · " if identity.airflow else ""
    tags = {
        RUN: identity.run,
        NOTE: f"{link}{sentence}",
        "stepzero.use_case": identity.use_case,
        "stepzero.architecture": platform.machine(),
        "stepzero.git_sha": git_sha(),
        **identity.tags,
    }
    return {name: value[:_LONGEST_TAG] for name, value in tags.items() if value}


def merge_records(records: Sequence[Record]) -> Record:
    """Return one record with the content of all; later ones win."""
    merged = Record()
    for record in records:
        merged.parameters.update(record.parameters)
        merged.metrics.update(record.metrics)
        merged.tags.update(record.tags)
        merged.files.update(record.files)
    return merged


def batch_of(
    *,
    parameters: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    seen: Any = None,
) -> Batch:
    """Return what must be sent so that a run shows all this.

    What the run shows already is left out, so that publishing again adds no second point to a
    curve. MLflow never changes a parameter: one that differs is shown as a tag beside the old.
    """
    from mlflow.entities import Metric, Param, RunTag

    known = seen.params if seen else {}
    points = seen.metrics if seen else {}
    wanted = {name: str(value)[:_LONGEST_PARAMETER] for name, value in (parameters or {}).items()}
    changed = {f"stepzero.now.{name}": value for name, value in wanted.items() if known.get(name, value) != value}
    now = int(time.time() * 1000)
    return Batch(
        metrics=[
            Metric(name, value, now, 0) for name, value in (metrics or {}).items() if _is_news(points, name, value)
        ],
        parameters=[Param(name, value) for name, value in wanted.items() if name not in known],
        tags=[RunTag(name, str(value)[:_LONGEST_TAG]) for name, value in {**(tags or {}), **changed}.items()],
    )


def quoted(text: str) -> str:
    """Return a text as MLflow's filters take it.

    >>> print(quoted("it's"), quoted("plain"))
    "it's" 'plain'
    """
    return f'"{text}"' if "'" in text else f"'{text}'"


@lru_cache(maxsize=1)
def git_sha() -> str:
    """Return the commit of the project, or nothing where there is none."""
    try:
        done = subprocess.run(
            ["git", "-C", str(include_folder()), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _is_news(points: Mapping[str, float], name: str, value: float) -> bool:
    return math.isfinite(value) and points.get(name) != value
