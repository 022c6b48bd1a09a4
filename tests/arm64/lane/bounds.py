"""Where results of arm64 and x86-64 may differ, by how much at most, and why."""

from __future__ import annotations

from arm64.lane.compare import Bound

ORDER_OF_SUMS = "each processor's BLAS adds in an order of its own, and lbfgs stops a hair elsewhere"
SCORES = 1e-6
"""Largest difference of a logistic regression's probabilities."""

BOUNDS: tuple[Bound, ...] = ()
