"""What a mistake costs us."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

PER_CALL, PER_COMPLAINT = 1.5, 12.0


def cost_of_late_parcels(target: np.ndarray, score: np.ndarray, frame: pd.DataFrame) -> float:
    """Return euros per parcel: a call for each that we expect to be late, a complaint for each that we missed.

    A heavy parcel's complaint costs double.
    """
    called = score >= PER_CALL / PER_COMPLAINT
    missed = (target == 1) & ~called
    complaint = PER_COMPLAINT * np.where(frame["weight_kg"].to_numpy() > 20, 2.0, 1.0)
    return float((called * PER_CALL + missed * complaint).mean())


cost_of_late_parcels.greater_is_better = False
