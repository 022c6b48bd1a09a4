"""How often a rule that was suggested on one half of real data fails on the other half.

    python benchmarks/suggestions.py [--data FOLDER] [--seeds 2]

Each file is cut into two random halves. The rules suggested on one half judge that half, the other half, and a
damaged copy of the other half, all by the real gate. A rule fails where it would refuse the batch; it is stirred
where it sets at least one row aside. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from stepzero.adapters.ledger import make_batch
from stepzero.adapters.store import Store
from stepzero.core.verdict import Verdict
from stepzero.execution.suggest import judge, suggest_for
from stepzero.spec.load import load_environment

DATA = Path(__file__).parents[2] / "shared" / "data"


def card_payments(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "credit_card/creditcard_28k.csv.gz")


def claims(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "auto_claims/claims.csv", keep_default_na=False)


def reviews(folder: Path) -> pd.DataFrame:
    with zipfile.ZipFile(folder / "reviews/womens_clothing_ecommerce_reviews.zip") as archive:
        return pd.read_csv(archive.open(archive.namelist()[0]))


def transactions(folder: Path) -> pd.DataFrame:
    whole = pd.read_parquet(folder / "simulated_transactions/transactions_2018-04_to_2018-09.parquet")
    return whole[whole["TX_TIME_DAYS"].between(60, 66)].astype({"TX_FRAUD": int, "TX_FRAUD_SCENARIO": int})


FILES: dict[str, tuple[Callable[[Path], pd.DataFrame], str | None]] = {
    "card payments": (card_payments, "Class"),
    "claims": (claims, "fraud"),
    "reviews": (reviews, "Recommended IND"),
    "transactions, a week": (transactions, "TX_FRAUD"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    figures = {
        name: compare(read(given.data), target, given.seeds)
        for name, (read, target) in FILES.items()
    }  # fmt: skip
    print(
        pd.DataFrame(
            {name: {key: str(value) for key, value in row.items()} for name, row in figures.items()}
        ).T.to_string()
    )
    rules = sum(row["rules_judged"] for row in figures.values())
    failing = sum(row["rules_failing_on_other_half"] for row in figures.values())
    print(json.dumps({"files": figures, "share_of_rules_failing_on_other_half": round(failing / rules, 4)}))


def compare(frame: pd.DataFrame, target: str | None, seeds: int) -> dict[str, Any]:
    """Return counts over all seeds and both directions."""
    totals: dict[str, Any] = {
        "rows": len(frame), "rules_judged": 0, "rules_failing_on_other_half": 0, "rules_setting_rows_aside": 0,
        "pairs": 0, "own_half_passes": 0, "other_half_accepted": 0, "damaged_half_refused": 0, "failing": [],
    }  # fmt: skip
    for seed in range(seeds):
        half = frame.sample(frac=0.5, random_state=seed)
        other = frame.drop(half.index)
        for one, two in ((half, other), (other, half)):
            _add(totals, one, two, target)
    return totals


def _add(totals: dict[str, Any], one: pd.DataFrame, two: pd.DataFrame, target: str | None) -> None:
    environment = load_environment()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        suggested = suggest_for(_written(one, folder / "one.parquet"), "halves", target, environment)

        def judged(frame: pd.DataFrame, name: str) -> Verdict:
            batch = make_batch(Store(f"file://{folder}/store"), [f"file://{_written(frame, folder / name)}"])
            return judge(batch, suggested.use_case(), Store(f"file://{folder}/store"), environment)

        verdict, damaged = judged(two, "two.parquet"), judged(damage(two, target), "damaged.parquet")
    limit = suggested.use_case().quality.quarantine_limit * len(two)
    stirred = [reason for reason in verdict.reasons if reason.severity == "error" and reason.rule != "quarantine_limit"]
    failing = [reason for reason in stirred if reason.rows is None or reason.rows > limit]
    totals["pairs"] += 1
    totals["rules_judged"] += len(suggested.rules)
    totals["rules_setting_rows_aside"] += len(stirred)
    totals["rules_failing_on_other_half"] += len(failing)
    totals["failing"] += [f"{reason.rule} of {reason.column}" for reason in failing]
    totals["own_half_passes"] += suggested.verdict.outcome == "PASS"
    totals["other_half_accepted"] += verdict.accepted
    totals["damaged_half_refused"] += not damaged.accepted


def damage(frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """Return a copy whose widest number that is no key is in another unit, in a tenth of the rows."""
    numbers = [name for name in frame.select_dtypes("number").columns if name != target and not frame[name].is_unique]
    widest = max(numbers, key=lambda name: float(frame[name].std()))
    hit = pd.Series(range(len(frame)), index=frame.index) % 10 == 0
    return frame.assign(
        **{widest: frame[widest].astype(float).mask(hit, frame[widest] * 100).astype(frame[widest].dtype)}
    )


def _written(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path, index=False, coerce_timestamps="us")
    return path


if __name__ == "__main__":
    main()
