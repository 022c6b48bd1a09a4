"""Auto insurance claims and their customers: two tables like the reference example's, from shares and a few formulas.

No real row is in it, and the reference's own rows were made up, too. What goes with fraud, and how much, follows the
shares in its raw files: more insurers in five years, more claims last year, fewer witnesses and injuries, minor damage,
men more often than women. How like them the result is, ``benchmarks/generator_claims.py`` shows side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["BAD", "bad_table", "generate_tables"]

FRAUD_SHARE = 0.033
CLAIMS = (
    "policy_id", "driver_relationship", "incident_type", "collision_type", "incident_severity", "authorities_contacted",
    "num_vehicles_involved", "num_injuries", "num_witnesses", "police_report_available", "injury_claim",
    "vehicle_claim", "total_claim_amount", "incident_month", "incident_day", "incident_dow", "incident_hour", "fraud",
)  # fmt: skip
CUSTOMERS = (
    "policy_id", "customer_age", "months_as_customer", "num_claims_past_year", "num_insurers_past_5_years",
    "policy_state", "policy_deductable", "policy_annual_premium", "policy_liability", "customer_zip",
    "customer_gender", "customer_education", "auto_year",
)  # fmt: skip
BAD = ("lost_column", "negative_amounts", "no_fraud", "orphans", "twice", "unknown_words")
"""Kinds of bad batches; `orphans` are claims whose policy no customer has."""

_INCIDENTS = {"Collision": 0.854, "Break-in": 0.097, "Theft": 0.049}
_COLLISIONS = {"Front": 0.494, "Rear": 0.258, "Side": 0.248}
_DRIVERS = {"Self": 0.80, "Spouse": 0.10, "Child": 0.053, "Other": 0.047}
_SEVERITIES = {"Minor": 0.42, "Major": 0.34, "Totaled": 0.24}
_AUTHORITIES = {"Police": 0.702, "None": 0.242, "Ambulance": 0.029, "Fire": 0.027}
_STATES = {"CA": 0.627, "WA": 0.121, "AZ": 0.108, "OR": 0.073, "NV": 0.044, "ID": 0.027}
_ZIPS = {"CA": 90_000, "WA": 98_000, "AZ": 85_000, "OR": 97_000, "NV": 89_000, "ID": 83_200}
_LIABILITIES = {"25/50": 0.34, "15/30": 0.326, "30/60": 0.227, "100/200": 0.107}
_GENDERS = {"Male": 0.456, "Female": 0.442, "Unknown": 0.084, "Other": 0.018}
_EDUCATIONS = {
    "Bachelor": 0.442, "High School": 0.253, "Advanced Degree": 0.19, "Associate": 0.095, "Below High School": 0.02,
}  # fmt: skip
_WEEKDAYS = {0: 0.169, 1: 0.174, 2: 0.151, 3: 0.152, 4: 0.160, 5: 0.094, 6: 0.1}

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def generate_tables(*, rows: int = 5_000, seed: int = 7) -> dict[str, pd.DataFrame]:
    """Return claims and customers, one of each for every policy.

    Args:
        rows: Number of policies.
        seed: The same seed makes the same rows.

    Example:
        >>> tables = generate_tables(rows=1000, seed=1)
        >>> {name: frame.shape for name, frame in tables.items()}
        {'claims': (1000, 18), 'customers': (1000, 13)}
    """
    random = np.random.default_rng(seed)
    customers, claims = _customers(random, rows), _claims(random, rows)
    claims |= _amounts(random, claims, customers["auto_year"])
    claims["fraud"] = _frauds(random, _fraud_logit(claims, customers))
    policies = {"policy_id": np.arange(1, rows + 1)}
    return {
        "claims": pd.DataFrame(policies | claims)[list(CLAIMS)],
        "customers": pd.DataFrame(policies | customers)[list(CUSTOMERS)],
    }


def bad_table(kind: str, tables: Mapping[str, pd.DataFrame], seed: int = 7) -> tuple[str, bytes]:
    """Return which table is spoilt, and the content of its file.

    Raises:
        InputError: There is no such kind.
    """
    from stepzero.core.errors import InputError, did_you_mean
    from stepzero.generators import to_csv

    if kind not in BAD:
        raise InputError("--bad", value=kind, allowed=did_you_mean(kind, BAD), action="`--bad list` lists them")
    claims = tables["claims"]
    some = np.random.default_rng(seed).random(len(claims)) < 0.2
    spoilt = {
        "lost_column": claims.drop(columns="incident_severity"),
        "negative_amounts": claims.assign(total_claim_amount=claims["total_claim_amount"].where(~some, -1.0)),
        "no_fraud": claims.assign(fraud=0),
        "orphans": claims.assign(policy_id=claims["policy_id"].where(~some, claims["policy_id"] + 10**6)),
        "twice": pd.concat([claims, claims[some]]),
        "unknown_words": claims.assign(incident_type=claims["incident_type"].where(~some, "Flood")),
    }
    return "claims", to_csv(spoilt[kind])


def _customers(random: np.random.Generator, rows: int) -> dict[str, Array]:
    age = random.normal(44, 14, rows).round().clip(18, 70)
    months = (random.gamma(1.9, 52, rows) * (0.3 + 0.7 * age / 44)).round().clip(1, 495)
    state = _draw(random, _STATES, rows)
    less = np.where(random.random(rows) < 0.716, 0, random.geometric(0.2, rows))
    return {
        "customer_age": age.astype(np.int64),
        "months_as_customer": months.astype(np.int64),
        "num_claims_past_year": np.minimum(random.negative_binomial(0.1, 0.53, rows), 7),
        "num_insurers_past_5_years": 1 + np.minimum(random.poisson(1.35 * np.exp(-months / 65)), 4),
        "policy_state": state,
        "policy_deductable": 750 + 50 * np.where(random.random(rows) < 0.01, random.geometric(0.5, rows), 0).clip(0, 7),
        "policy_annual_premium": (3000 - 50 * less).clip(2200, 3000),
        "policy_liability": _draw(random, _LIABILITIES, rows),
        "customer_zip": np.array([_ZIPS[one] for one in state]) + random.integers(1, 900, rows),
        "customer_gender": _draw(random, _GENDERS, rows),
        "customer_education": _draw(random, _EDUCATIONS, rows),
        "auto_year": (2020 - random.gamma(1.6, 2.7, rows).astype(np.int64)).clip(2001, 2020),
    }


def _claims(random: np.random.Generator, rows: int) -> dict[str, Array]:
    incident = _draw(random, _INCIDENTS, rows)
    crash = incident == "Collision"
    vehicles = np.where(crash, 1 + random.binomial(5, 0.26, rows), 1)
    authorities = _draw(random, _AUTHORITIES, rows)
    reported = random.random(rows) < np.where(authorities == "Police", 0.55, 0.12)
    return {
        "incident_type": incident,
        "driver_relationship": np.where(crash, _draw(random, _DRIVERS, rows), "N/A"),
        "collision_type": np.where(crash, _draw(random, _COLLISIONS, rows), "N/A"),
        "incident_severity": _draw(random, _SEVERITIES, rows),
        "authorities_contacted": authorities,
        "num_vehicles_involved": vehicles,
        "num_injuries": np.where(crash, np.minimum(random.poisson(0.3 * vehicles), 4), 0),
        "num_witnesses": np.minimum(random.poisson(0.55 * (vehicles - 1) + 0.25), 5),
        "police_report_available": np.where(reported, "Yes", "No"),
        "incident_month": random.integers(1, 13, rows),
        "incident_day": random.integers(1, 32, rows),
        "incident_dow": random.choice(list(_WEEKDAYS), rows, p=list(_WEEKDAYS.values())),
        "incident_hour": random.normal(11.8, 5.4, rows).round().clip(0, 23).astype(np.int64),
    }


def _amounts(random: np.random.Generator, claims: Mapping[str, Array], auto_year: Array) -> dict[str, Array]:
    """Return amounts in dollars: an injury is rounded to hundreds, a vehicle is worth less with its years."""
    injury = (random.lognormal(9.6, 0.95, len(auto_year)) / 100).round().clip(3, 5_800) * 100
    damage = pd.Series(claims["incident_severity"]).map({"Minor": 0.5, "Major": 0.75, "Totaled": 1.0}).to_numpy()
    worth = 26_000 * np.exp(-(2020 - auto_year) * 0.06) * random.lognormal(0, 0.25, len(auto_year))
    vehicle = (damage * worth * (0.8 + 0.1 * claims["num_vehicles_involved"])).clip(1_000, 52_000)
    return {"injury_claim": injury.astype(np.int64), "vehicle_claim": vehicle, "total_claim_amount": injury + vehicle}


def _fraud_logit(claims: Mapping[str, Array], customers: Mapping[str, Array]) -> Floats:
    """Return what makes a claim look like fraud, up to a constant; the weights are logarithms of odds."""
    found: Floats = (
        0.55 * (customers["num_insurers_past_5_years"] - 1.0)
        + 0.60 * customers["num_claims_past_year"]
        - 0.75 * (claims["num_injuries"] > 0)
        - 0.90 * (claims["num_witnesses"] > 1)
        - 0.35 * (claims["num_vehicles_involved"] - 1)
        - 0.45 * (claims["police_report_available"] == "Yes")
        - 0.90 * (claims["incident_severity"] == "Totaled")
        - 0.004 * customers["months_as_customer"]
        + 1.00 * (customers["customer_gender"] == "Male")
        - 0.60 * np.isin(customers["customer_gender"], ["Unknown", "Other"])
    )
    return found


def _frauds(random: np.random.Generator, logit: Floats) -> Array:
    """Draw frauds; the constant is chosen so that `FRAUD_SHARE` of them are expected, and one there is always."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _probability(logit + middle).mean() < FRAUD_SHARE else (low, middle)
    drawn = (random.random(len(logit)) < _probability(logit + low)).astype(np.int64)
    drawn[int(np.argmax(logit))] = 1
    return drawn


def _probability(logit: Floats) -> Floats:
    chance: Floats = 1 / (1 + np.exp(-logit))
    return chance


def _draw(random: np.random.Generator, shares: Mapping[str, float], rows: int) -> Array:
    weights = np.array(list(shares.values()))
    drawn: Array = random.choice(np.array(list(shares), dtype=object), rows, p=weights / weights.sum())
    return drawn
