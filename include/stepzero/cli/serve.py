"""`stepzero serve`: the endpoint of one use case, in the foreground."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import typer


def serve(
    use_case: Annotated[str, typer.Option("--use-case", help="Whose champion is served.")],
    port: Annotated[int | None, typer.Option(help="Default: the environment's.")] = None,
    host: Annotated[str, typer.Option(help="Any address but loopback needs a token_file.")] = "127.0.0.1",
) -> None:
    """Serve the champion of a use case: /ping, /invocations, /version."""
    from stepzero.adapters.store import Store
    from stepzero.serving.server import serve as serve_until_stopped
    from stepzero.spec.environment import Endpoint
    from stepzero.spec.load import load_environment, load_use_case

    load_use_case(use_case)
    environment = load_environment()
    endpoint = environment.endpoints.get(use_case, Endpoint())
    chosen = port if port is not None else urlsplit(endpoint.uri).port or 80
    store, signing, features = Store(environment.store), environment.signing, environment.feature_store
    serve_until_stopped(store, use_case, endpoint, host=host, port=chosen, signing=signing, feature_store=features)
