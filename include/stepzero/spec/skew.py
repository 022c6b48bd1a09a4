"""The `skew` section: how far served or landed rows may lie from the rows that the champion learned from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stepzero.spec.base import OpenShare, Section


class Skew(Section):
    """Training-serving skew: which distances are bounded, and how.

    Each bound is widened to what chance alone would reach at the size of the samples; a null bound is not judged.
    """

    columns: tuple[str, ...] | None = None
    """Those that are compared; all that the baseline and the rows share if absent."""
    ignore: tuple[str, ...] = ()
    """Columns that shift by nature, such as a time."""
    population_stability_index: float | None = Field(default=0.2, gt=0)
    kolmogorov_smirnov: float | None = Field(default=0.15, gt=0, le=1)
    """Numbers only."""
    jensen_shannon: float | None = Field(default=0.05, gt=0, le=1)
    chi_square: float | None = Field(default=None, gt=0, lt=1)
    """Categories only: the smallest p-value that passes. On many rows every difference is significant."""
    confidence: OpenShare = 0.999
    """Chance of all columns together to be within the widened bounds when nothing shifted."""
    severity: Literal["error", "warning"] = "error"
