"""What is replayed through the endpoint, day by day: simulated payments of half a year, and real card payments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stepzero.generators.transactions import generate

SECONDS = 86_400
SHARED = Path(__file__).resolve().parents[2] / "shared/data"
TYPES = ("fuel", "grocery", "online", "travel")
Change = Callable[[pd.DataFrame, int], "tuple[pd.DataFrame, Any]"]
"""From a day's rows, and the number of the faulty day, to the rows that are sent and their labels (None: as known)."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is otherwise from a day on."""

    change: Change
    wanted: str
    """What the rules of the triage are for: broken rows page, a shift without loss is watched, a loss retrains."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows by day, and how a champion of them is made and watched."""

    name: str
    data: Path
    read: Callable[[Path, int, int], dict[int, pd.DataFrame]]
    """From the file, the rows of a day and the number of the stretch to days; stretch 0 is the file."""
    rows: int
    """Of a day, if nothing else is asked for."""
    features: dict[str, str]
    target: str
    amount: str
    """The column that faults are about."""
    warm: int
    """First day that is learned from ..."""
    learned: int
    """... and the day on which the model is trained: traffic begins."""
    held_out: int
    """Days before it that the model does not learn from: the reference of its scores."""
    first_faulty: int
    fault_days: int
    threshold: float
    labels: dict[str, float]
    faults: dict[str, Fault]
    one_hot: dict[str, list[str]] | None = None


def faults_of(amount: str, features: list[str], target: str, gone: dict[str, Callable[[pd.DataFrame], Any]]) -> Any:
    """Return the eight faults; `gone` names the rows that stay away."""
    ((name, is_gone),) = gone.items()

    def multiplied(rows: pd.DataFrame, factor: float) -> pd.DataFrame:
        return rows.assign(**{amount: rows[amount] * factor})

    def holes(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**{amount: rows[amount].where(np.arange(len(rows)) % 3 > 0)})

    def swapped(rows: pd.DataFrame) -> pd.DataFrame:
        """Give frauds the features of other payments, and those the features of frauds."""
        fraud = np.flatnonzero(rows[target] == 1)
        others = np.flatnonzero(rows[target] == 0)[: len(fraud)]
        order = np.arange(len(rows))
        order[np.r_[fraud, others]] = np.r_[others, fraud]
        return pd.concat([rows[features].iloc[order].reset_index(drop=True), rows[[target]]], axis=1)

    def flipped(rows: pd.DataFrame) -> Any:
        """Return labels of which half of the frauds, and as many others, are the other way round."""
        label = rows[target].to_numpy().copy()
        fraud, others = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
        label[fraud[::2]], label[others[: len(fraud[::2])]] = 0, 1
        return label

    changes: dict[str, tuple[Change, str]] = {
        "unit x100": (lambda rows, _: (multiplied(rows, 100), None), "page"),
        "nulls in a third": (lambda rows, _: (holes(rows), None), "page"),
        name: (lambda rows, _: (rows[~is_gone(rows)].reset_index(drop=True), None), "watch"),
        "fraud pattern swapped": (lambda rows, _: (swapped(rows), None), "retrain"),
        "amounts grow 3% a day": (lambda rows, day: (multiplied(rows, 1.03**day), None), "watch"),
        "labels flipped": (lambda rows, _: (rows, flipped(rows)), "retrain"),
        "traffic x10": (lambda rows, _: (pd.concat([rows] * 10, ignore_index=True), None), "page"),
        "capture stopped": (lambda rows, _: (rows.head(0), None), "page"),
    }
    return {name: Fault(change=change, wanted=wanted) for name, (change, wanted) in changes.items()}


NUMBERS = {
    "TX_AMOUNT": "double", "night": "int", "customer_payments_1d": "int", "customer_payments_7d": "int",
    "customer_mean_amount_7d": "double", "amount_to_usual": "double", "terminal_payments_7d": "int",
    "known_frauds_7d": "int", "known_fraud_share_7d": "double",
}  # fmt: skip
PAID = {**NUMBERS, "MERCHANT_TYPE": "string"}
WARM, LAST = 10, 183
"""Days that only serve as history, and days that the data have."""


def read_transactions(path: Path, rows: int, stretch: int) -> dict[int, pd.DataFrame]:
    """Return a sample of each day's payments with features of what was known before each of them.

    Further stretches are half-years of as many payments that the project's own generator makes, each by its own seed.
    """
    frame = pd.read_parquet(path)
    if stretch:
        frame = generate(rows=len(frame), seed=stretch, days=int(frame["TX_TIME_DAYS"].max()) + 1)
    frame = frame[frame["TX_TIME_DAYS"] <= LAST].sort_values("TX_TIME_SECONDS", kind="stable", ignore_index=True)
    made = featured(frame)
    made["day"] = frame["TX_TIME_DAYS"].to_numpy()
    shuffled = made.sample(frac=1, random_state=7)
    return {int(day): part.head(rows).reset_index(drop=True) for day, part in shuffled.groupby("day") if day >= WARM}


def featured(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the features: every window ends before its payment, frauds are known three days later."""
    second = frame["TX_TIME_SECONDS"].to_numpy(dtype=np.int64)
    customer = frame["CUSTOMER_ID"].astype("int64").to_numpy()
    terminal = frame["TERMINAL_ID"].astype("int64").to_numpy()
    amount, fraud = frame["TX_AMOUNT"].to_numpy(dtype=np.float64), frame["TX_FRAUD"].to_numpy(dtype=np.float64)
    ones = np.ones(len(frame))
    payments_7d, sum_7d = (within(customer, second, values, 7, 0) for values in (ones, amount))
    known, known_frauds = (within(terminal, second, values, 10, 3) for values in (ones, fraud))
    usual = np.divide(sum_7d, payments_7d, out=np.zeros(len(frame)), where=payments_7d > 0)
    return pd.DataFrame(
        {
            "TX_AMOUNT": amount,
            "night": (second // 3600 % 24 < 6).astype("int64"),
            "customer_payments_1d": within(customer, second, ones, 1, 0).astype("int64"),
            "customer_payments_7d": payments_7d.astype("int64"),
            "customer_mean_amount_7d": usual,
            "amount_to_usual": np.divide(amount, usual, out=np.ones(len(frame)), where=usual > 0),
            "terminal_payments_7d": within(terminal, second, ones, 7, 0).astype("int64"),
            "known_frauds_7d": known_frauds.round().astype("int64"),
            "known_fraud_share_7d": np.divide(known_frauds, known, out=np.zeros(len(frame)), where=known > 0),
            "MERCHANT_TYPE": np.asarray(TYPES)[terminal % len(TYPES)],
            "TX_FRAUD": fraud.astype("int64"),
            "_split_time": second.astype(np.float64),
        }
    )


def within(entity: Any, second: Any, values: Any, since_days: int, until_days: int) -> Any:
    """Return the sum of an entity's values from so many days before a payment until so many days before it."""
    order = np.lexsort((second, entity))
    key = entity[order] * 10**9 + second[order]
    total = np.r_[0.0, np.cumsum(values[order])]
    low = np.searchsorted(key, np.maximum(key - since_days * SECONDS, entity[order] * 10**9), side="left")
    high = np.searchsorted(key, np.maximum(key - until_days * SECONDS, entity[order] * 10**9), side="left")
    found = np.empty(len(key))
    found[order] = total[np.maximum(high, low)] - total[low]
    return found


CARDS = {**{f"V{at}": "double" for at in range(1, 29)}, "Amount": "double"}


def read_cards(path: Path, rows: int, stretch: int) -> dict[int, pd.DataFrame]:
    """Return days of real card payments, drawn without replacement: the file covers two days, so its order is none.

    Frauds are enriched in the file, and so in every day. Further stretches deal the same payments out anew.
    """
    frame = pd.read_csv(path).sample(frac=1, random_state=7 + stretch, ignore_index=True)[[*CARDS, "Class"]]
    days = {day: frame.iloc[day * rows : (day + 1) * rows].reset_index(drop=True) for day in range(len(frame) // rows)}
    second = {day: np.linspace(0, SECONDS - 1, rows) + day * SECONDS for day in days}
    return {day: part.assign(_split_time=second[day], day=day) for day, part in days.items()}


SOURCES = {
    "transactions": Source(
        name="payments",
        data=SHARED / "simulated_transactions/transactions_2018-04_to_2018-09.parquet",
        read=read_transactions,
        rows=1_000,
        features=PAID,
        target="TX_FRAUD",
        amount="TX_AMOUNT",
        warm=WARM,
        learned=60,
        held_out=14,
        first_faulty=90,
        fault_days=14,
        threshold=0.3,
        labels={"delay_days": 7, "at_least": 200, "of_a_class": 5},
        faults=faults_of(
            "TX_AMOUNT",
            list(PAID),
            "TX_FRAUD",
            {"a merchant type gone": lambda rows: rows["MERCHANT_TYPE"] == "online"},
        ),
        one_hot={"MERCHANT_TYPE": list(TYPES)},
    ),
    "cards": Source(
        name="cards",
        data=SHARED / "credit_card/creditcard_28k.csv.gz",
        read=read_cards,
        rows=450,
        features=CARDS,
        target="Class",
        amount="Amount",
        warm=0,
        learned=32,
        held_out=10,
        first_faulty=44,
        fault_days=12,
        threshold=0.3,
        labels={"delay_days": 7, "at_least": 200, "of_a_class": 3},
        faults=faults_of("Amount", list(CARDS), "Class", {"large payments gone": lambda rows: rows["Amount"] > 50}),
    ),
}
