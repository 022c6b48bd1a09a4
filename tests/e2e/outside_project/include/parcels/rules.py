"""Quality rules of ours."""

from __future__ import annotations

from typing import Any


def within_reach(*, column: str, furthest_km: float, **_: Any) -> str:
    """Return the predicate that is true for parcels that can be carried by road."""
    return f"`{column}` > 0 AND `{column}` <= {float(furthest_km)}"
