"""Stages with faults that the lane must find. They are somebody else's stages: named by ``module:function``."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepzero.core.stages import StageResult, stage

COLUMNS = [f"V{number}" for number in range(1, 29)]


@stage(sections=())
def unstable_order(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Walk through a set of texts: Python starts every process with another order."""
    return StageResult(values={"columns": list(set(COLUMNS))}, summary="in the order of a set")


@stage(sections=())
def long_double(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Sum in the machine's widest float, 80 bits on x86-64, 128 on arm64, and keep what a double would round away."""
    total = np.cumsum(np.random.default_rng(7).normal(size=10_000).astype(np.longdouble) / 3)[-1]
    return StageResult(values={"beyond_double": float(total - np.longdouble(float(total)))}, summary="in long doubles")


@stage(sections=())
def stable(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Do the same in an order and a width that every machine has."""
    values = np.random.default_rng(7).normal(size=10_000)
    total = 0.0
    for value in values.tolist():
        total += value / 3
    return StageResult(values={"columns": sorted(set(COLUMNS)), "total": total}, summary="sorted, in doubles")
