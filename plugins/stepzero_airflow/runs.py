"""What a run noted in the store, as an Airflow task reads it: results, errors, and nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.spec.plan import run_folder

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.spec.environment import Environment

LONGEST_TEXT = 800
"""What of an error travels through XCom; the whole is in the log and in the store."""

WATCH_PREFIX = "watch__"
"""Runs of training and watching DAG may have the same id; in the store they have not."""


def watch_run(run_id: str) -> str:
    """Return the name of a run of the watch in the store."""
    return f"{WATCH_PREFIX}{run_id}"


def open_store(environment: Environment) -> Store:
    """Return the environment's store; imported late, because parsing a DAG file needs none."""
    from stepzero.adapters.store import Store

    return Store(environment.store)


def pointer_uri(use_case: str, run: str, stage: str, label: str = "") -> str:
    """Return where a run notes its result of a stage."""
    return f"{run_folder(use_case, run)}/stages/{stage.replace(':', '.')}/{label or 'result'}.json"


def error_uri(pointer: str, attempt: str) -> str:
    """Return where one attempt notes its error."""
    return f"{pointer.removesuffix('.json')}.error-{attempt}.json"


def read_if_there(store: Store, uri: str) -> dict[str, Any]:
    """Return a noted JSON object, or an empty one."""
    return dict(store.read_json(uri)) if store.exists(uri) else {}


def verdict_sentence(store: Store, reference: dict[str, Any]) -> str:
    """Return the verdict of a finished stage in one sentence; its summary where it has none."""
    from stepzero.core.verdict import Verdict

    told = read_if_there(store, reference["uri"]).get("verdict")
    return Verdict.from_json(told).sentence() if told else str(reference["summary"])


def values_of(store: Store, reference: dict[str, Any]) -> dict[str, Any]:
    """Return what a finished stage found."""
    return dict(read_if_there(store, reference["uri"]).get("values") or {})
