"""What travels between stages: references, never data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A dataset, file or model in the store.

    ``uri`` is relative to the store's root, so that a store can be moved or copied. ``digest``
    speaks of content only: the same content at another place has the same digest.
    """

    uri: str
    digest: str
    kind: str
    """``dataset`` (a folder with a manifest), ``file`` or ``model``."""
    rows: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object of a few hundred bytes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Reference:
        """Read what `to_json` wrote."""
        return cls(**data)


@dataclass(frozen=True, kw_only=True)
class ResultReference:
    """A finished stage: what one Airflow task hands to the next through XCom.

    ``digest`` covers what the stage produced, not when or how often it ran, so that recomputing
    to the same content changes nothing downstream.
    """

    stage: str
    uri: str
    digest: str
    outcome: str | None = None
    summary: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object of a few hundred bytes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ResultReference:
        """Read what `to_json` wrote."""
        return cls(**data)
