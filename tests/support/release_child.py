"""`stepzero release` in a process of its own, which is killed with -9, or meets another one, at a known place.

    python -m support.release_child PLACE before|after|meet FOLDER BATCH [WORDS]

The place is a part of the name of a file that the release writes. ``before`` and ``after`` kill the process there; with
``meet`` it waits, before that file is written, until two processes have left a file in the folder.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepzero.adapters.store import Store
from stepzero.cli.app import app

PATIENCE_SECONDS = 60.0


def meet(folder: Path) -> None:
    """Wait until another process has come here, too."""
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > deadline:
            raise TimeoutError("the other process did not come")
        time.sleep(0.005)


def stopped_at(place: str, how: str, folder: Path, write: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of the store that kills or waits where it writes the file that is meant; it waits once."""
    met = []

    def written(store: Store, uri: str, value: Any) -> Any:
        if place not in uri:
            return write(store, uri, value)
        if how == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "meet" and not met:
            met.append(uri)
            meet(folder)
        done = write(store, uri, value)
        if how == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return written


def main() -> None:
    """Release as the command does."""
    place, how, folder, *words = sys.argv[1:]
    for name in ("create", "write_json"):
        setattr(Store, name, stopped_at(place, how, Path(folder), getattr(Store, name)))
    app(["release", *words])


if __name__ == "__main__":
    main()
