"""The endpoint as a web application: /ping, /invocations, /version."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from stepzero.core.errors import InputError, StepzeroError, bare
from stepzero.serving.capture import ANSWER_HEADER, Recorder
from stepzero.serving.invocation import answer, is_small, predict, read_request
from stepzero.serving.rate import RateLimit
from stepzero.serving.rows import RequestError
from stepzero.serving.versions import Served, Watch

log = logging.getLogger("stepzero")

UNAVAILABLE, UNAUTHORISED, TOO_LARGE, UNPROCESSABLE, TOO_MANY, BROKEN = 503, 401, 413, 422, 429, 500

_HEADERS = {UNAUTHORISED: {"WWW-Authenticate": "Bearer"}, TOO_MANY: {"Retry-After": "1"}}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may ask for."""

    max_body_bytes: int = 1_000_000
    max_rows: int = 1_000
    max_requests_per_second: float | None = None
    """Of all callers together; None is without a limit."""


def make_app(
    watch: Watch, *, token: str | None = None, limits: Limits = Limits(), recorder: Recorder | None = None
) -> FastAPI:
    """Return the application of one use case's endpoint.

    Args:
        watch: Holds the version that serves.
        token: What callers of /invocations and /version must show; None asks for nothing.
        limits: What one request may ask for.
        recorder: Keeps requests and answers; None keeps nothing.
    """
    recorded = recorder or Recorder()

    life = _life(watch, recorded)
    app = FastAPI(title=f"Stepzero {watch.use_case}", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/ping")
    async def ping() -> Response:
        """Say whether a model is loaded, which, and what is wrong with the desired one, if anything."""
        return _json(200 if watch.current else UNAVAILABLE, _state(watch))

    @app.get("/version")
    async def version(request: Request) -> Response:
        """Say which version serves and which fields it wants."""
        _must_know(request, token)
        served = _served(watch)
        told = {"features": served.model.asked, "threshold": served.threshold, "metadata": served.model.metadata}
        if served.model.groups is not None:
            told["group_thresholds"] = served.model.groups.to_json()
        if served.online is not None:
            told["lookup"] = served.online.told()
        return _json(200, _state(watch) | told | {"captured": recorded.counts()})

    # Without FastAPI's own ways around a function, which take as long as a small model.
    app.add_route("/invocations", _invocations(watch, token, limits, recorded), methods=["POST"])
    app.add_exception_handler(StepzeroError, _explain)
    app.add_exception_handler(HTTPException, _explain_http)
    app.add_exception_handler(Exception, _explain_unexpected)
    return app


def _invocations(
    watch: Watch, token: str | None, limits: Limits, recorded: Recorder
) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers requests for predictions."""
    rate = RateLimit(limits.max_requests_per_second) if limits.max_requests_per_second else None

    async def invocations(request: Request) -> Response:
        """Score rows."""
        _must_know(request, token)
        _must_have_room(rate)
        served = _served(watch)
        accept, explain = request.headers.get("accept", ""), request.query_params.get("explain")
        with recorded.exchange(request.headers) as exchange:
            body = await _body(request, limits.max_body_bytes)
            asked = read_request(body, request.headers.get("content-type", ""), explain, accept)
            if is_small(served, asked, body):
                made = predict(served, asked, limits.max_rows)
            else:
                made = await asyncio.to_thread(predict, served, asked, limits.max_rows)
            exchange.answered(made, body)
        answered = answer(made, accept)
        answered.headers[ANSWER_HEADER] = exchange.request
        return answered

    return invocations


def _life(watch: Watch, recorded: Recorder) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return what runs beside the application: the watch over the desired state, and the capture."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        watch.start()
        recorded.start()
        yield
        await asyncio.to_thread(watch.stop)
        await asyncio.to_thread(recorded.stop)

    return life


def _state(watch: Watch) -> dict[str, Any]:
    served = watch.current
    return {
        "use_case": watch.use_case,
        "version": served.version if served else None,
        "model_digest": served.model_digest if served else None,
        "problem": watch.problem,
    }


def _served(watch: Watch) -> Served:
    if watch.current is None:
        raise RequestError(
            UNAVAILABLE,
            f"endpoint of {watch.use_case}",
            value=bare(watch.problem["message"] if watch.problem else "no version is deployed yet"),
            allowed="a deployed version",
            action="run the DAG; its last task deploys the champion",
        )
    return watch.current


def _must_know(request: Request, token: str | None) -> None:
    """Compare the caller's token in constant time.

    Raises:
        RequestError: It is missing or wrong.
    """
    shown = request.headers.get("authorization", "")
    if token is not None and not hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
        raise RequestError(
            UNAUTHORISED,
            "header Authorization",
            value=bare("missing" if not shown else "a wrong token"),
            allowed="Bearer and the endpoint's token",
            action="send the token of the file that the environment names under endpoints",
        )


def _must_have_room(rate: RateLimit | None) -> None:
    """Turn a request away while too many are sent.

    Raises:
        RequestError: More were sent than are answered in a second.
    """
    wait = rate.take() if rate else 0.0
    if rate and wait:
        raise RequestError(
            TOO_MANY,
            "requests",
            value=bare(f"more than {rate.per_second:g} a second"),
            allowed=f"{rate.per_second:g} a second, of all callers together",
            action=f"come again in {wait:.3f} s, or send several rows in one request",
        )


async def _body(request: Request, most: int) -> bytes:
    """Read the body, never more than is allowed."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(int(announced), most)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _too_large(size, most)
        parts.append(part)
    return b"".join(parts)


def _too_large(size: int, most: int) -> RequestError:
    return RequestError(
        TOO_LARGE,
        "request body",
        value=bare(f"{size} bytes or more"),
        allowed=f"at most {most} bytes",
        action="send fewer rows at once",
    )


async def _explain(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RequestError) else BROKEN
    if isinstance(error, InputError) and status == BROKEN:
        status = UNPROCESSABLE
    if not isinstance(error, StepzeroError):
        return await _explain_unexpected(_, error)
    return _json(status, {"error": error.to_json()}, _HEADERS.get(status))


async def _explain_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else BROKEN
    known = "GET /ping, GET /version, POST /invocations"
    told = InputError("request", value=bare(f"{request.method} {request.url.path}"), allowed=known, action="use these")
    return _json(status, {"error": told.to_json()})


async def _explain_unexpected(_: Request, error: Exception) -> Response:
    """Answer without a word of the inside; the log has it all."""
    log.error("a request failed unexpectedly", exc_info=error)
    told = StepzeroError(
        "request",
        value=bare(type(error).__name__),
        allowed="rows that the model can score",
        action="read the endpoint's log",
    )
    return _json(BROKEN, {"error": told.to_json()})


def _json(status: int, content: Any, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(content, allow_nan=False, default=str)
    return Response(text, status_code=status, media_type="application/json", headers=headers)
