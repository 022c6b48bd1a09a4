"""The services of one machine: `up`, `down`, `status`, `setup` and the supervisor behind them."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Import a command when it is asked for: the supervisor needs none of them."""
    if name in {"up", "down", "status"}:
        from stepzero.cli.services import commands

        return getattr(commands, name)
    if name == "setup":
        from stepzero.cli.setup import setup

        return setup
    raise AttributeError(name)
