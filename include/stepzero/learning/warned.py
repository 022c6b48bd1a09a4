"""What other people's code warns of, as lines of the log: told once, with what it was about."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("stepzero")


@contextmanager
def log_warnings(subject: str) -> Iterator[None]:
    """Log the first line of each different warning, after the work."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield
    for text in sorted({str(warning.message).splitlines()[0] for warning in told}):
        log.info("%s: %s", subject, text)
