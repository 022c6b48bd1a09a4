"""What a split of rows claims, and what comes true: `bin/stepzero bench entity_leak`.

Two tables of the real world's kind, where the files are there (see `--data`); generated transactions elsewhere.

* **Insurance claims**, 20,000 rows, four of each policy: held out by row, and by policy.
* **Card transactions**: 35 days to develop on, split by row, by customer, by time with a gap, and by both. Each
  split's model then meets the week that follows, three days later, when labels are known: its claim minus that is
  what the split leaked.

The splits are those of the prepare stage, the model is XGBoost with fixed parameters, untuned. Average precision with
its interval: whole policies and customers are drawn, however the rows were split, for rows of one are not independent.
`--chart FILE` draws both tables. What is done is kept: the same command goes on where it was ended. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _kept import Kept
from pyspark.sql import functions

from stepzero.adapters.derived import derive
from stepzero.adapters.spark import start_session, text_of
from stepzero.generators.transactions import generate
from stepzero.learning.columns import ENTITY
from stepzero.learning.drawing import BLUE, ORANGE, figure, png
from stepzero.learning.folds import ALL, make_fold
from stepzero.learning.models import make_algorithm, score_rows
from stepzero.learning.table import Table, make_table
from stepzero.measures.ranking import average_precision
from stepzero.measures.uncertainty import intervals
from stepzero.spec.data import Pipeline
from stepzero.spec.load import load_environment, load_use_case
from stepzero.spec.training import Model
from stepzero.spec.use_case import UseCase
from stepzero.stages.prepare_split import split_rows

DATA = Path(__file__).parents[2] / "shared" / "data"
DAY = 86_400
DEVELOPED, DELAY, FOLLOWING = 35, 3, 7
"""Days to develop on, until labels are known, and to come true in."""
MODEL = Model(parameters={"n_estimators": 200, "max_depth": 6, "learning_rate": 0.1})
SPLITS: dict[str, dict[str, Any]] = {
    "row": {"by": "row"},
    "customer": {"by": "CUSTOMER_ID"},
    "time": {"by": "time", "time": "TX_DATETIME", "test_days": FOLLOWING, "gap_days": DELAY},
    "time and customer": {
        "by": "time",
        "time": "TX_DATETIME",
        "test_days": FOLLOWING,
        "gap_days": DELAY,
        "entity": "CUSTOMER_ID",
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with auto_claims and simulated_transactions")
    parser.add_argument("--from", dest="first", default="2018-07-01", help="first day to develop on")
    parser.add_argument("--anew", action="store_true", help="begin again")
    parser.add_argument("--chart", type=Path, help="file to draw the leaks to, PNG")
    asked = parser.parse_args()
    session = start_session(load_environment(), "entity_leak")
    session.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")
    claims, payments = asked.data / "auto_claims" / "dataset.csv", _file_of_payments(asked.data)
    modules = ["stepzero.stages.prepare_split", "stepzero.adapters.derived", "stepzero.learning.folds"]
    modules += ["stepzero.measures.uncertainty"]
    files = [claims, *([payments] if payments else [])]
    kept = Kept(Path(__file__), asked.first, files=files, modules=modules, anew=asked.anew)
    found: dict[str, Any] = {}
    if claims.is_file():
        found["claims"] = dict(_claims(session, claims, kept))
    else:
        print(f"no claims: {claims} is not there")
    found["transactions"] = dict(_transactions(session, payments, pd.Timestamp(asked.first), kept))
    session.stop()
    if asked.chart:
        asked.chart.write_bytes(chart(found))
    print(json.dumps(found))


def chart(found: dict[str, Any]) -> bytes:
    """Draw what each split claims, and what came true: by the weeks that followed, or by policies never seen."""
    claims = found.get("claims", {})
    with figure(11.5, 4.6, columns=2) as (made, axes):
        splits = {name: found["transactions"][name] for name in SPLITS}
        ends = {name: (one["claim"], one["came_true"]) for name, one in splits.items()}
        _ends(axes[0], ends, ("claimed by the split", "came true in the week that followed"))
        axes[0].set_title(f"Card payments ({found['transactions']['data']}), split by …")
        if claims:
            _ends(axes[1], {"row": (claims["row"], claims["policy"])}, ("held out by row", "held out by policy"))
            shared = claims["row"]["shared_policies"]
            axes[1].set_title("Insurance claims, four rows a policy")
            axes[1].set_ylabel(f"{shared:,} policies are on both sides of a split by row")
        axes[1].set_visible(bool(claims))
        return png(made)


def _ends(axis: Any, ends: dict[str, tuple[dict[str, Any], dict[str, Any]]], names: tuple[str, str]) -> None:
    """Draw a claim above what came true, both with their intervals, and how far they lie apart."""
    for side, (name, colour) in enumerate(zip(names, (ORANGE, BLUE), strict=True)):
        shown = [pair[side] for pair in ends.values()]
        middle = np.array([one["value"] for one in shown])
        room = np.array([[one["value"] - one["low"], one["high"] - one["value"]] for one in shown]).T
        places = np.arange(len(shown)) + 0.16 * (2 * side - 1)
        axis.errorbar(middle, places, xerr=room, fmt="o", color=colour, capsize=3, label=name)
    for place, (claim, true) in enumerate(ends.values()):
        leak = claim["value"] - true["value"]
        high = max(claim["high"], true["high"])
        axis.annotate(f"{leak:+.3f}", (high, place), xytext=(8, 0), textcoords="offset points", va="center")
    axis.set_yticks(range(len(ends)), list(ends))
    axis.set(xlabel="Average precision, with 95 % interval", ylim=(len(ends) - 0.4, -0.6), xlim=(0, 1.1))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=9, frameon=False)


def _claims(session: Any, path: Path, kept: Kept) -> Iterator[tuple[str, Any]]:
    rows = pd.read_csv(path).drop(columns="Unnamed: 0", errors="ignore")
    rows.columns = [name or "line" for name in rows.columns]
    frame = _of_entities(_identified(session.createDataFrame(rows)), "policy_id")

    def measured(by: str) -> dict[str, Any]:
        use_case = _use_case("fraud", {"by": by, "test": 0.2})
        train, test = _sides(frame, use_case, ["policy_id"])
        ids = [set(part) for part in _policies(frame, use_case)]
        told = {"shared_policies": len(ids[0] & ids[1]), "held_out_policies": len(ids[1])}
        return told | _measured(test, _Fitted(train).score(test))

    for name, by in (("row", "row"), ("policy", "policy_id")):
        told = kept.get(f"claims by {name}", lambda by=by: measured(by))
        print(f"claims held out by {name}: {_told(told)}; {told['shared_policies']} policies on both sides")
        yield name, told


def _policies(frame: Any, use_case: UseCase) -> list[Any]:
    sides = split_rows(frame, use_case).select("policy_id", "_side").toPandas()
    return [sides.loc[sides["_side"] == side, "policy_id"] for side in ("train", "test")]


def _transactions(session: Any, payments: Path | None, first: pd.Timestamp, kept: Kept) -> Iterator[tuple[str, Any]]:
    shipped = load_use_case("simulated_transactions")
    frame, source = _payments(session, payments, first)
    begin = first.tz_localize("UTC").timestamp()
    derived = _of_entities(derive(_identified(frame), shipped.prepare), "CUSTOMER_ID")
    derived = derived.withColumn("second", functions.unix_timestamp("TX_DATETIME")).cache()
    end = begin + DEVELOPED * DAY
    later = derived.filter((derived.second >= end + DELAY * DAY) & (derived.second < end + (DELAY + FOLLOWING) * DAY))
    developed = derived.filter(derived.second < end).drop("second")
    hidden = list(shipped.prepare.drop)
    following = _table(later.drop("second", *hidden).toPandas(), shipped)

    def measured(split: dict[str, Any]) -> dict[str, Any]:
        train, test = _sides(developed, _use_case("TX_FRAUD", split), hidden)
        model = _Fitted(train)
        claim, true = _measured(test, model.score(test)), _measured(following, model.score(following))
        return {"claim": claim, "came_true": true, "leak": claim["value"] - true["value"], "rows": len(train.target)}

    print(f"{source}: {DEVELOPED} days to develop on, {len(following.target)} rows of the week that comes true")
    for name, split in SPLITS.items():
        told = kept.get(f"transactions by {name}", lambda split=split: measured(split))
        claim, true = told["claim"], told["came_true"]
        print(f"split by {name}: claims {_told(claim)}, came true {_told(true)}, leak {told['leak']:+.3f}")
        yield name, told
    yield "data", source


def _file_of_payments(data: Path) -> Path | None:
    return next(iter(sorted((data / "simulated_transactions").glob("*.parquet"))), None)


def _payments(session: Any, path: Path | None, first: pd.Timestamp) -> tuple[Any, str]:
    days = DEVELOPED + DELAY + FOLLOWING
    if path:
        rows = pd.read_parquet(path)
        rows = rows[(rows["TX_DATETIME"] >= first) & (rows["TX_DATETIME"] < first + pd.Timedelta(days=days))]
        source = "simulated transactions"
    else:
        rows = generate(rows=60_000, days=days, first_day=str(first.date()))
        source = "generated transactions"
    # Seconds as text: a timestamp without a zone means the session's.
    rows = rows.assign(TX_DATETIME=rows["TX_DATETIME"].astype(str))
    frame = session.createDataFrame(rows.reset_index(drop=True))
    return frame.withColumn("TX_DATETIME", functions.col("TX_DATETIME").cast("timestamp")), source


def _identified(frame: Any) -> Any:
    return frame.withColumn("_row_id", functions.sha2(text_of(frame.columns), 256))


def _of_entities(frame: Any, name: str) -> Any:
    """Say whose row each one is, whether or not a split asks: intervals do."""
    return frame.withColumn(ENTITY, functions.col(name).cast("string"))


def _use_case(target: str, split: dict[str, Any]) -> UseCase:
    data = load_use_case("simulated_transactions").model_dump(mode="json", by_alias=True)
    data |= {"source": None, "prepare": {}, "split": split}
    data["problem"] = {"kind": "classification", "target": target, "positive": 1}
    return UseCase.model_validate(data)


def _sides(frame: Any, use_case: UseCase, hidden: list[str]) -> tuple[Table, Table]:
    rows = split_rows(frame, use_case).drop(*hidden).toPandas().sort_values("_row_id")
    train, test = (rows[rows["_side"] == side].reset_index(drop=True) for side in ("train", "test"))
    return _table(train, use_case), _table(test, use_case)


def _table(rows: pd.DataFrame, use_case: UseCase) -> Table:
    assert use_case.problem is not None
    return make_table(rows, use_case.problem, None)


class _Fitted:
    def __init__(self, train: Table) -> None:
        self.fold = make_fold(ALL, train, Pipeline(), "none", 7)
        self.estimator = make_algorithm("xgboost", MODEL).fit({}, self.fold.training_rows(train), 7)

    def score(self, table: Table) -> np.ndarray:
        return score_rows(self.estimator, self.fold.transformer.transform(table.features))


def _measured(table: Table, score: np.ndarray) -> dict[str, float]:
    statistics = {"average_precision": lambda weight: average_precision(table.target, score, weight)}
    options: dict[str, Any] = {"confidence": 0.95, "draws": 200, "seed": 7, "entity": table.entity}
    found = intervals(statistics, table.target, table.weight, **options)["average_precision"]
    return {**found.to_json(), "share": float(table.target.mean())}


def _told(found: dict[str, float]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


if __name__ == "__main__":
    main()
