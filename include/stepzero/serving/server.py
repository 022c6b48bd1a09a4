"""One process that serves one use case until it is asked to stop."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stepzero.core.errors import SetupError, bare

if TYPE_CHECKING:
    from fastapi import FastAPI

    from stepzero.adapters.store import Store
    from stepzero.spec.environment import Endpoint, FeatureStore, Signing

log = logging.getLogger("stepzero")

GRACE_SECONDS = 10
"""How long requests under way may take after the signal to stop."""


def serve(
    store: Store,
    use_case: str,
    endpoint: Endpoint,
    *,
    host: str,
    port: int,
    feature_store: FeatureStore | None = None,
    signing: Signing | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first, and what was captured is written.

    Raises:
        SetupError: The token cannot be read, the address is public and no token is asked for, or its port is taken.
    """
    token = _token(endpoint.token_file)
    _must_be_guarded(host, token)
    with _bound(host, port) as listening:
        # What a model needs takes seconds to import: whoever may not start, or has no port, is told before.
        app = _application(store, use_case, endpoint, token, feature_store, signing)
        import uvicorn

        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS
        )
        # Uvicorn hands the signal on when all is answered: an asked-for end is a good end.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        log.info("endpoint of %s at http://%s:%d", use_case, host, port)
        uvicorn.Server(config).run(sockets=[listening])


def _application(
    store: Store,
    use_case: str,
    endpoint: Endpoint,
    token: str | None,
    feature_store: FeatureStore | None,
    signing: Signing | None,
) -> FastAPI:
    from stepzero.serving.app import Limits, make_app
    from stepzero.serving.capture import Capture, Recorder
    from stepzero.serving.versions import Watch

    limits = Limits(
        max_body_bytes=endpoint.max_body_bytes,
        max_rows=endpoint.max_rows,
        max_requests_per_second=endpoint.max_requests_per_second,
    )
    recorder = Recorder(Capture(store, use_case, endpoint.capture) if endpoint.capture else None)
    watch = Watch(store, use_case, signing=signing, feature_store=feature_store)
    return make_app(watch, token=token, limits=limits, recorder=recorder)


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket on the address, before anything slow is done.

    Raises:
        SetupError: The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SetupError(
            f"endpoint at {host}:{port}",
            value=bare(error.strerror),
            allowed="a free port of this machine",
            action="stop what uses it, or choose another: --port, or endpoints in the environment file",
        ) from error
    return listening


def _token(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SetupError(
            f"token file {path}",
            value=bare(error.strerror),
            allowed="a file with the token that callers must show",
            action="run `bin/stepzero up`, which makes it, or correct endpoints in the environment file",
        ) from error
    if not token:
        raise SetupError(
            f"token file {path}",
            value=bare("empty"),
            allowed="one line with a token",
            action="write a long random text",
        )
    return token


def _must_be_guarded(host: str, token: str | None) -> None:
    if token is None and not _is_loopback(host):
        raise SetupError(
            f"endpoint on {host}",
            value=bare("no token_file"),
            allowed="a token on any address but loopback",
            action="set endpoints.<use case>.token_file in the environment file",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
