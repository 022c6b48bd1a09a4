"""File names that a sensor hands on."""

from __future__ import annotations

import json

MOST_BYTES = 1_500
"""Of file names in XCom; beyond that the plan looks for itself, in the landing folder or in the run's claims."""


def few_enough(uris: list[str]) -> list[str]:
    """Return the names where they are few enough for XCom, else none."""
    return uris if len(json.dumps(uris)) <= MOST_BYTES else []
