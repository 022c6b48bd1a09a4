"""A trial: one candidate of a search and how it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepzero.learning.cost import Cost
from stepzero.learning.space import Parameters


@dataclass
class Trial:
    """One candidate and how it did."""

    parameters: Parameters
    fold_scores: list[float] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    """Of fits and scoring; nothing where the scores came from another trial's fit."""
    shares_fit_of: int | None = None
    """Number of the trial whose fits it used."""
    failed: str | None = None
    stopped_after: int | None = None
    """Folds after which it was given up; None where it was judged on all."""
    attempt: int = 1
    """Above 1 where workers were lost with it."""
    architecture: str = ""
    pieces: list[str] = field(default_factory=list)
    """Where its scores of validation rows are kept, if they are."""
    earlier: bool = False
    """Whether it was done by the search that this one began from."""

    @property
    def mean(self) -> float | None:
        """Return the mean score over the folds that it was judged on; None where it failed."""
        return None if self.failed or not self.fold_scores else float(np.average(self.fold_scores))

    @property
    def running_means(self) -> list[float]:
        """Return the mean score after each fold."""
        return [float(np.average(self.fold_scores[:count])) for count in range(1, len(self.fold_scores) + 1)]

    @property
    def complete(self) -> bool:
        """Whether it may be the best: judged on all folds."""
        return not self.failed and self.stopped_after is None

    def to_json(self) -> dict[str, Any]:
        """Return what depends on content only: no seconds."""
        told: dict[str, Any] = {"parameters": self.parameters, "fold_scores": self.fold_scores, "mean": self.mean}
        told |= {"shares_fit_of": self.shares_fit_of, "failed": self.failed}
        return told | {"stopped_after": self.stopped_after, "earlier": self.earlier}

    @classmethod
    def from_json(cls, told: dict[str, Any], *, earlier: bool) -> Trial:
        """Return a trial of another search."""
        named = {name: told[name] for name in ("parameters", "fold_scores", "failed", "stopped_after")}
        return cls(**named, earlier=earlier)
