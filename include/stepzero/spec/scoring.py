"""The `scoring` section: a batch scored by the champion, and where its scores go."""

from __future__ import annotations

from pydantic import field_validator

from stepzero.spec.base import Section


class Scoring(Section):
    """Batch scoring: which columns go with the scores, and under which prefix they are found by partition."""

    keep: tuple[str, ...] = ()
    """Columns of the batch, such as ids; they need not be features."""
    prefix: str = "scored/"
    """Relative to the store: scores of a partition lie below ``PREFIX/USE_CASE/PARTITION/``."""

    @field_validator("prefix")
    @classmethod
    def _relative(cls, value: str) -> str:
        if value.startswith("/") or ".." in value.split("/") or "://" in value:
            msg = "a prefix is relative to the store, without '..'"
            raise ValueError(msg)
        return value.rstrip("/") + "/"
