"""Card transactions of simulated customers at simulated terminals, day after day, with three kinds of fraud.

After the transaction simulator of Le Borgne, Siblini, Lebichot and Bontempi, "Reproducible Machine Learning for
Credit Card Fraud Detection" (2022), chapter 3.2, written anew: customers and terminals lie in a square, a customer
pays at terminals nearby. Fraud is an amount above 220 (scenario 1), every payment at a terminal for 28 days after
it was compromised (2), and a third of a customer's payments, at five times the amount, for 14 days after the
card's details leaked (3). Shares are raised, so that few customers have enough frauds to test on.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd

from stepzero.generators import to_csv

__all__ = ["BAD", "COLUMNS", "bad", "generate"]

COLUMNS = (
    "TRANSACTION_ID",
    "TX_DATETIME",
    "CUSTOMER_ID",
    "TERMINAL_ID",
    "TX_AMOUNT",
    "TX_TIME_SECONDS",
    "TX_TIME_DAYS",
    "TX_FRAUD",
    "TX_FRAUD_SCENARIO",
)
BAD = ("negative_amount", "no_terminal", "unknown_class")
FIRST_DAY = "2018-04-01"
DAYS = 42
SECONDS_PER_DAY = 86_400
PAYMENTS_A_DAY = 2.0
"""Mean of a customer."""
LARGEST_HONEST_AMOUNT = 220.0
NEARBY = 0.12
"""Side of the square is 1."""
COMPROMISED_TERMINALS = 0.0004
"""Share of terminals that are compromised on any day."""
LEAKED_CARDS = 0.0006
TERMINAL_DAYS, CARD_DAYS = 28, 14


def generate(*, rows: int = 16_000, seed: int = 7, days: int = DAYS, first_day: str = FIRST_DAY) -> pd.DataFrame:
    """Return transactions in order of time.

    Args:
        rows: About so many; the number of customers follows from it, and exactly so many are returned.
        seed: The same seed makes the same rows.
        days: Number of days.
        first_day: The first of them.

    Example:
        >>> generate(rows=1000, seed=1, days=5)["TX_TIME_DAYS"].nunique()
        5
    """
    random = np.random.default_rng(seed)
    customers = max(10, round(1.15 * rows / (days * PAYMENTS_A_DAY)))
    frame = _payments(customers, days, random)
    frame = _with_fraud(frame, customers, days, random)
    if len(frame) > rows:
        frame = frame.iloc[np.sort(random.choice(len(frame), rows, replace=False))]
    frame = frame.sort_values(["TX_TIME_SECONDS", "CUSTOMER_ID", "TERMINAL_ID"], kind="stable", ignore_index=True)
    frame["TRANSACTION_ID"] = np.arange(len(frame))
    frame["TX_DATETIME"] = pd.Timestamp(first_day) + pd.to_timedelta(frame["TX_TIME_SECONDS"], unit="s")
    return frame[list(COLUMNS)]


def bad(kind: str, frame: pd.DataFrame, seed: int = 7) -> bytes:
    """Return a file that the gate must not pass whole.

    Args:
        kind: One of `BAD`.
        frame: A good batch.
        seed: Chooses the rows at fault.
    """
    random = np.random.default_rng(seed)
    at = random.choice(len(frame), max(1, len(frame) // 500), replace=False)
    column, value = {
        "negative_amount": ("TX_AMOUNT", "-1.0"),
        "no_terminal": ("TERMINAL_ID", ""),
        "unknown_class": ("TX_FRAUD", "7"),
    }[kind]
    cells = frame[column].astype(str).to_numpy(dtype=object)
    cells[at] = value
    broken = frame.assign(**{column: cells})
    return to_csv(broken)


def _payments(customers: int, days: int, random: np.random.Generator) -> pd.DataFrame:
    """Draw who pays how much, when and where; amounts and habits are each customer's own."""
    terminals = 2 * customers
    homes, places = random.random((customers, 2)), random.random((terminals, 2))
    mean, pace = random.uniform(5, 100, customers), random.uniform(0, 2 * PAYMENTS_A_DAY, customers)
    counts = random.poisson(np.repeat(pace, days))
    customer = np.repeat(np.repeat(np.arange(customers), days), counts)
    day = np.repeat(np.tile(np.arange(days), customers), counts)
    drawn = random.normal(SECONDS_PER_DAY / 2, 20_000, len(day))
    outside = (drawn < 0) | (drawn >= SECONDS_PER_DAY)
    second = np.where(outside, random.uniform(0, SECONDS_PER_DAY, len(day)), drawn).astype(np.int64)
    amount = random.normal(mean[customer], mean[customer] / 2)
    amount = np.where(amount < 0, random.uniform(0, 2 * mean[customer]), amount)
    return pd.DataFrame(
        {
            "CUSTOMER_ID": customer,
            "TERMINAL_ID": _terminals(customer, homes, places, random),
            "TX_AMOUNT": np.minimum(amount, LARGEST_HONEST_AMOUNT).round(2),
            "TX_TIME_SECONDS": day * SECONDS_PER_DAY + second,
            "TX_TIME_DAYS": day,
        }
    )


def _terminals(customer: np.ndarray, homes: np.ndarray, places: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Choose a terminal for every payment, among those near the customer; the nearest where none is."""
    chosen = np.empty(len(customer), dtype=np.int64)
    for number, home in enumerate(homes):
        far = np.hypot(*(places - home).T)
        near = np.flatnonzero(far <= max(NEARBY, far.min()))
        rows = customer == number
        chosen[rows] = random.choice(near, int(rows.sum()))
    return chosen


def _with_fraud(frame: pd.DataFrame, customers: int, days: int, random: np.random.Generator) -> pd.DataFrame:
    scenario = np.zeros(len(frame), dtype=np.int64)
    day, amount = frame["TX_TIME_DAYS"].to_numpy(), frame["TX_AMOUNT"].to_numpy(copy=True)
    at_terminal = _within(
        frame["TERMINAL_ID"], day, _starts(2 * customers, days, COMPROMISED_TERMINALS, random), TERMINAL_DAYS
    )
    scenario[at_terminal] = 2
    leaked = _within(frame["CUSTOMER_ID"], day, _starts(customers, days, LEAKED_CARDS, random), CARD_DAYS)
    stolen = leaked & (random.random(len(frame)) < 1 / 3)
    amount[stolen] = (amount[stolen] * 5).round(2)
    scenario[stolen] = 3
    # A few honest customers would pay more than anybody does: that alone gives them away.
    large = random.random(len(frame)) < 0.0006
    amount[large] = (LARGEST_HONEST_AMOUNT + random.exponential(15, int(large.sum())) + 0.01).round(2)
    scenario[large] = 1
    return frame.assign(TX_AMOUNT=amount, TX_FRAUD=(scenario > 0).astype(np.int64), TX_FRAUD_SCENARIO=scenario)


def _starts(entities: int, days: int, share: float, random: np.random.Generator) -> np.ndarray:
    """Draw on which days which entities are compromised: a table of days and entities."""
    drawn = random.random((days, entities)) < share
    return cast("np.ndarray", drawn)


def _within(entity: pd.Series, day: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Tell which payments fall into so many days from a start of their entity."""
    totals = np.vstack([np.zeros((1, starts.shape[1]), dtype=np.int64), np.cumsum(starts, axis=0)])
    at = entity.to_numpy()
    begun = totals[day + 1, at] - totals[np.maximum(day + 1 - length, 0), at]
    found: np.ndarray = begun > 0
    return found
