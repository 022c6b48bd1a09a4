"""The command `stepzero`. Sub-commands are imported when they are asked for.

`stepzero stage` is what every Airflow task runs, so it goes past Typer: its imports are paid thousands of times.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main() -> None:
    """Run the command line."""
    # Services, tasks and their stages inherit it.
    os.environ.update(without_proxy(os.environ))
    if sys.argv[1:2] == ["stage"]:
        from stepzero.cli.stage import main as run_stage

        sys.exit(run_stage(sys.argv[2:]))
    from stepzero.cli.app import app

    app()


def without_proxy(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let nobody ask a proxy for an address of this machine; what is excepted stays so.

    `bin/_bootstrap.py` does the same for what the tests ask themselves; it can import nothing of ours.
    """
    excepted = [each.strip() for each in (variables.get("no_proxy") or variables.get("NO_PROXY") or "").split(",")]
    if "*" in excepted:
        return {}
    told = ",".join(dict.fromkeys([*filter(None, excepted), *_LOOPBACK]))
    return {"no_proxy": told, "NO_PROXY": told}


def __getattr__(name: str) -> Any:
    if name == "app":
        from stepzero.cli.app import app

        return app
    raise AttributeError(name)


if __name__ == "__main__":
    main()
