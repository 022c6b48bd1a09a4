"""How often a rule that was suggested on one half of real data fails on the other half.

    python benchmarks/suggestions.py [--data FOLDER] [--seeds 2]

Each file is cut into two random halves. The rules suggested on one half judge that half, the other half, and copies of
the other half, each damaged in one way, all by the real gate. A rule of severity error fails where it would refuse the
batch, and is stirred where it sets at least one row aside; a warning fails where it says anything, and refuses nothing.
Both are counted, apart. The last line is JSON.
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
from stepzero.execution.suggest import Suggested, judge, suggest_for
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
    shares = {
        f"share_of_{kind}_failing_on_other_half": round(
            sum(row[f"{kind}_failing"] for row in figures.values())
            / sum(row[f"{kind}_judged"] for row in figures.values()),
            4,
        )
        for kind in ("errors", "warnings")
    }
    print(json.dumps({"files": figures, **shares}))


def compare(frame: pd.DataFrame, target: str | None, seeds: int) -> dict[str, Any]:
    """Return counts over all seeds and both directions."""
    totals: dict[str, Any] = {
        "rows": len(frame), "pairs": 0, "errors_judged": 0, "errors_failing": 0, "errors_setting_rows_aside": 0,
        "warnings_judged": 0, "warnings_failing": 0, "own_half_passes": 0, "other_half_accepted": 0,
        "refused": dict.fromkeys(DAMAGES, "0 of 0"), "failing": [], "warning": [],
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

        verdict = judged(two, "two.parquet")
        for name, damage in DAMAGES.items():
            damaged = damage(two, target)
            if damaged is not None:
                _count(totals["refused"], name, hit=not judged(damaged, f"{name}.parquet").accepted)
    limit = suggested.use_case().quality.quarantine_limit * len(two)
    _add_rules(totals, suggested, verdict, limit)
    totals["pairs"] += 1
    totals["own_half_passes"] += suggested.verdict.outcome == "PASS"
    totals["other_half_accepted"] += verdict.accepted


def _add_rules(totals: dict[str, Any], suggested: Suggested, verdict: Verdict, limit: float) -> None:
    """Count the rules of each severity that were judged, and those that the other half breaks."""
    warnings = sum(one.rule.get("severity") == "warning" for one in suggested.rules)
    told = [reason for reason in verdict.reasons if reason.rule != "quarantine_limit"]
    stirred = [reason for reason in told if reason.severity == "error"]
    warned = [reason for reason in told if reason.severity == "warning"]
    failing = [reason for reason in stirred if reason.rows is None or reason.rows > limit]
    totals["errors_judged"] += len(suggested.rules) - warnings
    totals["warnings_judged"] += warnings
    totals["errors_setting_rows_aside"] += len(stirred)
    totals["errors_failing"] += len(failing)
    totals["warnings_failing"] += len(warned)
    totals["failing"] += [f"{reason.rule} of {reason.column}" for reason in failing]
    totals["warning"] += [f"{reason.rule} of {reason.column}" for reason in warned]


def _count(counts: dict[str, str], name: str, *, hit: bool) -> None:
    hits, _, of = counts[name].partition(" of ")
    counts[name] = f"{int(hits) + hit} of {int(of) + 1}"


def tenth(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(range(len(frame)), index=frame.index) % 10 == 0


def unit_change(frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """The widest number that is no key is in another unit, in a tenth of the rows."""
    numbers = [name for name in frame.select_dtypes("number").columns if name != target and not frame[name].is_unique]
    widest = max(numbers, key=lambda name: float(frame[name].std()))
    changed = frame[widest].astype(float).mask(tenth(frame), frame[widest] * 100)
    return frame.assign(**{widest: changed.astype(frame[widest].dtype)})


def null_burst(frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """A column that was complete has no value in a tenth of the rows."""
    name = next(name for name in frame.columns if name != target and frame[name].notna().all())
    return frame.assign(**{name: frame[name].convert_dtypes().mask(tenth(frame))})


def new_category(frame: pd.DataFrame, target: str | None) -> pd.DataFrame | None:
    """The text with the fewest values has a new one in a tenth of the rows; None where all columns are numbers."""
    texts = [name for name in frame.select_dtypes(["object", "string"]).columns if name != target]
    if not texts:
        return None
    fewest = min(texts, key=lambda name: int(frame[name].nunique()))
    return frame.assign(**{fewest: frame[fewest].mask(tenth(frame), "never seen before")})


def lost_rows(frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """Less than a third of the rows came."""
    del target
    return frame.sample(frac=0.3, random_state=1)


def duplicated_rows(frame: pd.DataFrame, target: str | None) -> pd.DataFrame | None:
    """A tenth of the rows came twice; None where no column tells rows apart."""
    del target
    if not any(frame[name].is_unique for name in frame.columns):
        return None
    return pd.concat([frame, frame[tenth(frame)]])


def renamed_column(frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """A column has another name."""
    name = next(name for name in frame.columns if name != target)
    return frame.rename(columns={name: f"{name} (new)"})


def one_class(frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """All labels are the same."""
    return frame.assign(**{str(target): frame[target].mode()[0]})


DAMAGES: dict[str, Callable[[pd.DataFrame, str | None], pd.DataFrame | None]] = {
    "unit_change": unit_change,
    "null_burst": null_burst,
    "new_category": new_category,
    "lost_rows": lost_rows,
    "duplicated_rows": duplicated_rows,
    "renamed_column": renamed_column,
    "one_class": one_class,
}
"""From a good half to one with a fault; None where the file has nothing that could be damaged so."""


def _written(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path, index=False, coerce_timestamps="us")
    return path


if __name__ == "__main__":
    main()
