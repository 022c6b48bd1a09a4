"""The `scoring` section: a batch scored by the champion, and where its scores go."""

from __future__ import annotations

from stepzero.spec.base import Section, StorePrefix


class Scoring(Section):
    """Batch scoring: which columns go with the scores, and under which prefix they are found by partition."""

    keep: tuple[str, ...] = ()
    """Columns of the batch, such as ids; they need not be features."""
    prefix: StorePrefix = "scored/"
    """Relative to the store: scores of a partition lie below ``PREFIX/USE_CASE/PARTITION/``."""
