"""One way to log: the `stepzero` logger, one line a message, on standard output."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

FORMAT = "%(levelname)s %(message)s"
"""Orchestrators add the time; the level comes first, so that they can keep it."""


def configure(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send what the library says to standard output (Airflow shows standard error as errors), or elsewhere."""
    log = logging.getLogger("stepzero")
    for handler in list(log.handlers):
        log.removeHandler(handler)
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(logging.Formatter(FORMAT))
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False
