"""The command `stepzero`. Sub-commands are imported when they are asked for.

`stepzero stage` is what every Airflow task runs, so it goes past Typer: its imports are paid thousands of times.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from stepzero.core.loopback import without_proxy


def main() -> None:
    """Run the command line."""
    # Services, tasks and their stages inherit it.
    os.environ.update(without_proxy(os.environ))
    if sys.argv[1:2] == ["stage"]:
        from stepzero.cli.stage import main as run_stage

        sys.exit(run_stage(sys.argv[2:]))
    from stepzero.cli.app import app

    app()


def __getattr__(name: str) -> Any:
    if name == "app":
        from stepzero.cli.app import app

        return app
    raise AttributeError(name)


if __name__ == "__main__":
    main()
