"""The way to the MLflow server: bounded waiting, and its errors in our words."""

from __future__ import annotations

import importlib
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stepzero.core.errors import ServiceError, StageError, bare

if TYPE_CHECKING:
    from mlflow import MlflowClient

HEALTH_SECONDS = 5
_ATTEMPTS = 3
_TRANSIENT = {"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's own defaults let a call to a dead server take minutes; a value of the user's wins."""
_HEADERS = "mlflow.request_header_provider"


def connect(uri: str) -> MlflowClient:
    """Return a client of a server that answers.

    Raises:
        ServiceError: Nobody answers; known within 15 seconds.
    """
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    if uri.startswith(("http://", "https://")):
        _must_answer(uri)
    from mlflow import MlflowClient

    load_header_providers()
    # What MLflow tells of its own steps goes to standard error, which orchestrators show as errors.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def load_header_providers() -> None:
    """Let MLflow load the plug-ins that add headers to its requests, save Feast's.

    MLflow loads them at the first request of every process. Feast's adds a header for Feast's own servers, which nobody
    uses here, and takes some six seconds of processor time to import: more than most stages work.
    """
    from mlflow.utils import plugins

    entry_points = plugins.get_entry_points

    def without_feast(group: str) -> list[Any]:
        return [found for found in entry_points(group) if (group, found.name) != (_HEADERS, "feast")]

    plugins.get_entry_points = without_feast
    try:
        importlib.import_module("mlflow.tracking.request_header.registry")
    finally:
        plugins.get_entry_points = entry_points


@contextmanager
def explained(uri: str, doing: str) -> Iterator[None]:
    """Turn errors of MLflow and of the connection into ours.

    Raises:
        ServiceError: The server does not answer or is busy; a retry helps.
        StageError: The server understood and refused.
    """
    from mlflow.exceptions import MlflowException, RestException
    from requests.exceptions import RequestException

    try:
        yield
    except RestException as error:
        if error.error_code in _TRANSIENT:
            raise unreachable(uri, doing, error) from error
        raise StageError(
            f"tracking server {uri} while {doing}",
            value=bare(error),
            allowed="a request that the server accepts",
            action="read the server's log; check rights and names, then clear the task",
        ) from error
    except (MlflowException, RequestException) as error:
        raise unreachable(uri, doing, error) from error


def unreachable(uri: str, doing: str, error: object) -> ServiceError:
    """Return the error of a server that does not answer."""
    return ServiceError(
        f"tracking server {uri} while {doing}",
        value=bare(f"no answer ({_cause(error)})"),
        allowed="a running MLflow server at the environment's tracking.uri",
        action="start it (`bin/stepzero up`), then clear the task: nothing was lost",
    )


def code_of(error: Exception) -> str:
    """Return MLflow's error code of an exception, or nothing."""
    return str(getattr(error, "error_code", ""))


def _must_answer(uri: str) -> None:
    """Ask for the health page: any answer counts, even of a server that has no such page."""
    failure: Any = None
    for _ in range(_ATTEMPTS):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=HEALTH_SECONDS):  # noqa: S310
                return
        except urllib.error.HTTPError:
            return
        except OSError as error:
            failure = error
            if isinstance(getattr(error, "reason", None), ConnectionRefusedError):
                break
    raise unreachable(uri, "connecting", failure)


def _cause(error: object) -> str:
    text = str(error)
    for sign, words in (("refused", "connection refused"), ("timed out", "timed out"), ("resolve", "unknown host")):
        if sign in text:
            return words
    return text[:120]
