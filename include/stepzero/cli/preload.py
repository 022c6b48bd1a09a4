"""`stepzero preload`: the server that pays the imports of Python stages once."""

from __future__ import annotations


def preload() -> None:
    """Serve stages from a preloaded process (started by `up`; stages run without it, only slower)."""
    from stepzero.adapters.tracking_client import load_header_providers
    from stepzero.cli.stage import main
    from stepzero.launchers.fork_server import serve_forever

    serve_forever(main, load_header_providers)
