"""When labels of a window say enough: before, its quality is not judged, and never called good."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from stepzero.spec.monitors import Labels


@dataclass(frozen=True, kw_only=True)
class Ripeness:
    """Whether a window may be judged, and what is missing."""

    ripe: bool
    why: str
    rows: int
    labelled: int
    positives: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON."""
        return asdict(self)


def ripeness(labels: pd.Series[Any], end: datetime, as_of: datetime, asked: Labels, kind: str) -> Ripeness:
    """Tell whether labels of a window's answered rows are ripe.

    Args:
        labels: One for each answered row, missing where nobody has labelled it yet.
        end: When the window ended.
        as_of: What time it is.
        asked: How long labels take, and how many it needs.
        kind: ``classification`` needs rows of each class.
    """
    known = labels.dropna()
    positives = int((known == 1).sum()) if kind == "classification" else 0
    found = {"rows": len(labels), "labelled": len(known), "positives": positives}
    due = end + timedelta(days=asked.delay_days)
    if as_of < due:
        return Ripeness(ripe=False, why=f"labels are due on {due:%Y-%m-%d %H:%M}", **found)
    if len(known) < asked.at_least:
        return Ripeness(ripe=False, why=f"{len(known)} of {asked.at_least} labels have come", **found)
    fewest = min(positives, len(known) - positives)
    if kind == "classification" and fewest < asked.of_a_class:
        return Ripeness(ripe=False, why=f"{fewest} of {asked.of_a_class} rows of a class are labelled", **found)
    return Ripeness(ripe=True, why=f"{len(known)} of {len(labels)} rows are labelled", **found)
