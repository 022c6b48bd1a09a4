"""The `compare` section: models against each other, each behind an endpoint of its own that lives only so long."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from stepzero.spec.base import Section

_SIZE = re.compile(r"([1-9]\d*)([mg])")
_MEGABYTES = {"m": 1, "g": 1024}


class EphemeralEndpoint(Section):
    """What an endpoint that is there for a comparison may use, and how long it may live."""

    memory: str = "1g"
    """Resident memory, ``512m`` or ``1g``; beyond it the endpoint is ended."""
    seconds: float = Field(default=900, gt=0)
    """Its lease: after so long it is removed, whatever became of who asked for it."""
    healthy_seconds: float = Field(default=90, gt=0)
    """How long it may take until it answers; then it has failed."""

    @field_validator("memory")
    @classmethod
    def _size(cls, value: str) -> str:
        if not _SIZE.fullmatch(value):
            msg = f"a size such as 512m or 1g, not {value!r}"
            raise ValueError(msg)
        return value

    @property
    def megabytes(self) -> int:
        """Return the memory limit in MiB.

        >>> EphemeralEndpoint(memory="2g").megabytes
        2048
        """
        size, unit = self.memory[:-1], self.memory[-1]
        return int(size) * _MEGABYTES[unit]


class Compare(Section):
    """How models are compared through their endpoints."""

    metric: Literal["rmse", "mae"] = "rmse"
    """By which one wins; all are shown."""
    tie: tuple[str, ...] = ()
    """Who wins where the best cannot be told from others: the first of these among them. Empty: the one with the best
    figure."""
    shown: int = Field(default=3, ge=0, le=100)
    """Live predictions that are shown to a reader; they decide nothing."""
    endpoint: EphemeralEndpoint = EphemeralEndpoint()
