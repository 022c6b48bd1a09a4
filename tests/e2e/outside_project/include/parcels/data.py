"""Parcels, made up."""

from __future__ import annotations

import numpy as np
import pandas as pd


def parcels(rows: int = 3000, seed: int = 1) -> pd.DataFrame:
    """Return parcels, one in ten of them late: far ones, at full hubs, by one carrier most of all."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "parcel": [f"P{number:06d}" for number in range(rows)],
            "carrier": random.choice(["north", "south", "coast"], rows),
            "weight_kg": random.lognormal(1.5, 0.8, rows).round(2),
            "distance_km": random.gamma(2.0, 150.0, rows).round(1) + 1,
            "hour": random.integers(0, 24, rows),
            "hub_load": random.beta(2, 3, rows).round(4),
        }
    )
    risk = frame["distance_km"] / 300 + 3 * frame["hub_load"] + (frame["carrier"] == "coast") - 5.2
    frame["late"] = (random.random(rows) < 1 / (1 + np.exp(-risk))).astype(int)
    return frame
