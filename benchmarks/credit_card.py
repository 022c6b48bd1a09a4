"""The real card payments at their true base rate: what the engine's champion reaches, beside plain models.

    python benchmarks/credit_card.py [--data creditcard.csv.gz --provenance provenance.csv.gz] [--repeats 4]
                                     [--sampler-repeats 1] [--anew] [--take FOLDER]

Judged are the rows of the random sample of the whole range of time, with all frauds (a file whose rows a provenance
file marks); normal rows are weighted so that frauds have their share of 0.1727 %; duplicates are dropped. Outer: 5
stratified folds, repeated. Whoever is compared learns from the other folds, and from the file's other rows: all
payments of the first three hours, none of which is judged; each row weighs what it stands for. Inside each outer
training part the engine does what a run with the use case's recipe `thorough` does: tune every cell on 5 inner folds,
choose the winner and its threshold by the smoothed F1 of out-of-fold scores. Outer folds are pooled: each repeat
scores every row once by a model that never saw it. Intervals: 95 %, from drawing rows (the same in all repeats); gains
are paired, each draw measures both. Beside it: XGBoost and random forest as they come, threshold 0.5, without and with
the weights that the champion learns with, every cell by itself, and what could be had with hindsight: the best cell
and the best line by the outer rows themselves. In a table of their own, on the outer folds of the first repeats:
samplers, each with models of few parameters, so that rows of one model differ by the sampler alone; nothing is
weighted there while learning.

What is done is kept, each part for itself: the same command goes on where it was ended. `--take` takes parts over that
an earlier state of the code kept, where the first part of each kind comes out again to the last bit. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import _cards
import numpy as np
import numpy.typing as npt
import pandas as pd
from _cards import DATA, WHY, Stages, prepare_rows
from _kept import Kept
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import RepeatedStratifiedKFold
from threadpoolctl import threadpool_limits
from xgboost import XGBClassifier

from stepzero.adapters.datasets import read_frame
from stepzero.core.digests import digest_json
from stepzero.core.errors import InputError
from stepzero.learning.evaluation import choose_threshold
from stepzero.learning.model import load_model
from stepzero.learning.table import make_table
from stepzero.measures.decisions import best_f1_threshold, f1
from stepzero.measures.ranking import average_precision, roc_auc
from stepzero.measures.uncertainty import intervals
from stepzero.spec.data import Weight
from stepzero.spec.load import load_use_case
from stepzero.spec.training import Threshold

NORMAL_WEIGHT, NORMAL_ROWS = 18.81, 284_315
"""What a normal row of the random sample stands for, and how many there are in the whole."""
COLUMNS = [*(f"V{number}" for number in range(1, 29)), "Time", "Amount", "Class"]
OUTER, INNER = 5, 5
RECIPE = "thorough"
"""What the champion is made by: `bin/run --recipe thorough` makes one so."""
PLAIN: dict[str, tuple[Callable[[], Any], bool]] = {
    "plain xgboost": (lambda: XGBClassifier(random_state=7, n_jobs=1), False),
    "plain forest": (lambda: RandomForestClassifier(random_state=7), False),
    "plain xgboost, weighted": (lambda: XGBClassifier(random_state=7, n_jobs=1), True),
    "plain forest, weighted": (lambda: RandomForestClassifier(random_state=7), True),
}
"""What comes without the engine: how it is made, and whether its rows weigh what they stand for, as the champion's."""
SAMPLED: dict[str, Any] = {
    "xgboost": {"grid": {"n_estimators": [100, 200], "max_depth": [4], "learning_rate": [0.1]}},
    "random_forest": {"grid": {"n_estimators": [100], "max_depth": [12]}},
    "decision_tree": {"grid": {"max_depth": [8], "min_samples_leaf": [5]}},
    "nearest_neighbours": {"grid": {"n_neighbors": [5]}},
}
"""Models beside samplers, with few parameters: lines of one model differ by the sampler alone."""
SAMPLED_CELLS = [
    ("none", "xgboost"),
    ("none", "random_forest"),
    ("none", "decision_tree"),
    ("none", "nearest_neighbours"),
    ("near_miss_1", "xgboost"),
    ("smote", "xgboost"),
    ("smote", "random_forest"),
    ("smote", "decision_tree"),
]
SHARP = "champion, line not smoothed"
METRICS = {"f1": f1, "average_precision": average_precision, "roc_auc": roc_auc}
Floats = npt.NDArray[np.float64]
Pooled = dict[str, Floats]
"""By name: scores and decisions × repeats × rows."""
Splits = list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / "creditcard_28k.csv.gz")
    parser.add_argument("--provenance", type=Path, default=DATA / "creditcard_28k_provenance.csv.gz")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--sampler-repeats", type=int, default=1, help="repeats with samplers beside; 0: none")
    parser.add_argument("--anew", action="store_true", help="begin again")
    parser.add_argument("--take", type=Path, help="take parts over that were kept in this folder")
    given = parser.parse_args()
    rows, beside = weighted_rows(given.data, given.provenance)
    modules = ["stepzero.stages.resample", "stepzero.stages.tune", "stepzero.learning.evaluation"]
    kept = Kept(
        Path(__file__), {}, files=[Path(_cards.__file__)], modules=modules, anew=given.anew, by_part=True,
        taken=given.take,
    )  # fmt: skip
    splits = list(RepeatedStratifiedKFold(n_splits=OUTER, n_repeats=given.repeats, random_state=7).split(
        rows, rows["Class"]
    ))  # fmt: skip
    with threadpool_limits(limits=1):
        found, winners = compared(kept, splits, rows, beside)
        sampled = with_samplers(kept, splits[: OUTER * given.sampler_repeats], rows, beside)
    show(rows, found, winners, sampled, f"{OUTER} x {given.repeats}")


def compared(kept: Kept, splits: Splits, rows: pd.DataFrame, beside: pd.DataFrame) -> tuple[Pooled, Counter[str]]:
    """Return scores and decisions of champion, cells and plain models on all outer folds, and who won how often."""
    cells, winners = recipe_models(), Counter[str]()
    names = ["champion", SHARP, *PLAIN, *(f"none × {model}" for model in cells)]
    found = {name: np.zeros((2, len(splits) // OUTER, len(rows))) for name in names}
    for number, (train, test) in enumerate(splits):
        learned = pd.concat([rows.iloc[train], beside], ignore_index=True)
        outer = outer_fold(kept, number, learned, rows.iloc[test], cells)
        for name, one in outer.items():
            found[name][:, number // OUTER, test] = [one["score"], one["decision"]]
        winners.update([outer["champion"]["name"]])
        target, weight = rows["Class"].iloc[test], rows["weight"].iloc[test]
        last = {name: round(f1(target, one["decision"], weight), 3) for name, one in outer.items()}
        print(f"outer fold {number + 1} of {len(splits)}: F1 {last}", flush=True)
    return found, winners


def with_samplers(kept: Kept, splits: Splits, rows: pd.DataFrame, beside: pd.DataFrame) -> Pooled:
    """Return scores and decisions of every sampled cell."""
    found = {f"{one} × {model}": np.zeros((2, len(splits) // OUTER, len(rows))) for one, model in SAMPLED_CELLS}
    for number, (train, test) in enumerate(splits):
        learned = pd.concat([rows.iloc[train], beside], ignore_index=True)
        for name, one in sampled_fold(kept, number, learned, rows.iloc[test]).items():
            found[name][:, number // OUTER, test] = [one["score"], one["decision"]]
    return found


def recipe_models() -> dict[str, Any]:
    """Return the models of the use case's recipe, which tries them on rows as they are and smooths its threshold.

    Raises:
        InputError: The recipe says otherwise, so that this benchmark would measure something else.
    """
    recipe = load_use_case("credit_card_fraud").recipes[RECIPE]
    threshold = recipe.threshold or Threshold()
    if recipe.resample != ("none",) or threshold.minimise or not threshold.smooth:
        raise InputError(
            f"recipe {RECIPE} of credit_card_fraud",
            value=f"resample {recipe.resample}, threshold {threshold}",
            allowed="resample: [none], threshold: {maximise: f1, smooth: true}",
            action="let benchmarks/credit_card.py measure what the recipe says",
        )
    return recipe.model_dump(mode="json", by_alias=True)["models"]


def digest_rows(*frames: pd.DataFrame) -> str:
    """Return a digest of the content of rows, in their order."""
    return digest_json([pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes().hex() for frame in frames])


def weighted_rows(data: Path, provenance: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the fair sample without duplicates, and the file's other rows.

    ``weight`` is what a row counts in metrics, ``learned`` what it stands for among all rows that are learned from:
    the first hours are complete, so that a normal row of theirs stands for itself alone; later ones stand for all that
    came later, however they were chosen.
    """
    frame = pd.read_csv(data)
    if not provenance.is_file() or len(told := pd.read_csv(provenance)) != len(frame):
        rows = frame[COLUMNS].drop_duplicates().reset_index(drop=True)
        return rows.assign(weight=1.0, learned=1.0), rows.iloc[:0].assign(weight=1.0, learned=1.0)
    normal, complete = (frame["Class"] == 0).to_numpy(), (told["in_prefix"] == 1).to_numpy()
    fair = ~normal | (told["in_whole_range_random"] == 1).to_numpy()
    later = (NORMAL_ROWS - (normal & complete).sum()) / (normal & ~complete).sum()
    frame = frame[COLUMNS].assign(
        weight=np.where(normal, NORMAL_WEIGHT, 1.0), learned=np.where(normal & ~complete, later, 1.0)
    )
    # The fair rows come first: another row that equals one of them is none of those beside.
    once = pd.concat([frame[fair].assign(fair=True), frame[~fair].assign(fair=False)]).drop_duplicates(COLUMNS)
    rows, beside = (once[once["fair"] == side].drop(columns="fair").reset_index(drop=True) for side in (True, False))
    return rows, beside


def outer_fold(
    kept: Kept, number: int, train: pd.DataFrame, test: pd.DataFrame, models: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return scores and decisions on the test part: of plain models, of every cell, and of the cell that was chosen."""
    digest = digest_rows(train, test)
    found = {
        name: kept.get(
            f"outer fold {number + 1}, {name}",
            lambda name=name: plain(name, train, test),
            made_by=[plain, PLAIN[name][0], PLAIN[name][1], digest],
            kind=name,
        )
        for name in PLAIN
    }
    cells = {
        f"none × {model}": kept.get(
            f"outer fold {number + 1}, none × {model}",
            lambda model=model: cell("none", model, models[model], train, test),
            made_by=[cell, "none", model, models[model], INNER, digest],
            kind=f"none × {model}",
        )
        for model in models
    }
    # By the inner folds alone, as the evaluate stage chooses.
    best = max(cells, key=lambda name: cells[name]["inner"])
    champion = {**cells[best], "name": best}
    return {"champion": champion, SHARP: {**champion, "decision": champion["sharp"]}, **found, **cells}


def sampled_fold(kept: Kept, number: int, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return scores and decisions on the test part of every sampled cell."""
    digest = digest_rows(train, test)
    return {
        f"{sampler} × {model}": kept.get(
            f"outer fold {number + 1}, sampled {sampler} × {model}",
            lambda sampler=sampler, model=model: cell(sampler, model, SAMPLED[model], train, test),
            made_by=[cell, sampler, model, SAMPLED[model], INNER, digest],
        )
        for sampler, model in SAMPLED_CELLS
    }


def plain(name: str, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    """Fit a model as it comes, and score the test part."""
    features = [name for name in COLUMNS if name != "Class"]
    make, weighted = PLAIN[name]
    weight = {"sample_weight": train["learned"]} if weighted else {}
    fitted = make().fit(train[features], train["Class"], **weight)
    score = fitted.predict_proba(test[features])[:, 1].astype(np.float64)
    return {"score": score.tolist(), "decision": (score >= 0.5).astype(int).tolist()}


def cell(sampler: str, model: str, declared: Any, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    """Let the engine tune a cell and draw its line within the training part, and score the test part."""
    inner, _ = prepare_rows(train.assign(weight=train["learned"]).drop(columns="learned"), test=0, folds=INNER)
    with tempfile.TemporaryDirectory() as folder:
        stages = Stages(Path(folder), inner, inner[:0], models={model: declared}, weight={"column": "weight"})
        tuned = stages.tune(sampler, model)
        print(f"  {tuned.summary}", flush=True)
        out_of_fold = read_frame(stages.store, tuned.outputs["out_of_fold"])
        assert stages.use_case.problem is not None
        rows = make_table(inner, stages.use_case.problem, Weight(column="weight"))
        threshold = choose_threshold(out_of_fold, rows, Threshold(maximise="f1", smooth=True))
        sharp = choose_threshold(out_of_fold, rows, Threshold(maximise="f1"))
        score = load_model(stages.store, tuned.outputs["model"]).score(test)
    told = {"inner": tuned.values["score"], "parameters": tuned.values["parameters"], "threshold": threshold}
    told["sharp"] = (score >= sharp).astype(int).tolist()
    return {**told, "score": score.tolist(), "decision": (score >= threshold).astype(int).tolist()}


def show(rows: pd.DataFrame, found: Pooled, winners: Counter[str], sampled: Pooled, outer: str) -> None:
    """Print tables for a reader, and the last line."""
    lines = {name: pooled(rows, both) | spread(rows, both) for name, both in found.items()}
    gains = {name: gain(rows, found["champion"], found[name]) for name in PLAIN}
    cells = {name: both for name, both in found.items() if name not in {"champion", SHARP, *PLAIN}}
    best = max(cells, key=lambda name: lines[name]["average_precision"]["value"])
    hindsight = {
        "champion, best line": best_line(rows, found["champion"]),
        "best cell": best,
        "best cell, best line": best_line(rows, cells[best]),
    }
    print(table(lines).to_string())
    for name, one in gains.items():
        print(f"gain of the champion over {name}: " + ", ".join(f"{key} {told(value)}" for key, value in one.items()))
    print(f"winners of the inner selection: {dict(winners.most_common())}")
    print(f"with hindsight, by the outer rows themselves: {hindsight}")
    summary = {"benchmark": "credit_card", "rows": len(rows), "frauds": int(rows["Class"].sum()), "outer": outer}
    beside = {"samplers": show_samplers(rows, sampled)} if next(iter(sampled.values())).size else {}
    print(json.dumps({**summary, "winners": dict(winners), **lines, "gains": gains, "hindsight": hindsight} | beside))


def show_samplers(rows: pd.DataFrame, sampled: Pooled) -> dict[str, Any]:
    """Print what samplers do to models, and return it: the forest over the tree on SMOTE's rows, with an interval."""
    several = next(iter(sampled.values())).shape[1] > 1
    lines = {name: pooled(rows, both) | (spread(rows, both) if several else {}) for name, both in sampled.items()}
    over = gain(rows, sampled["smote × random_forest"], sampled["smote × decision_tree"])
    print(table(lines).to_string())
    for sampler, why in WHY.items():
        own = [
            f"{name} {line['f1']['value']:.3f}, {line['average_precision']['value']:.3f}"
            for name, line in lines.items()
            if name.startswith(sampler)
        ]
        print(f"{sampler}: F1 and average precision of {'; '.join(own)}. {why}")
    print(f"gain of SMOTE with a forest over SMOTE with a tree: F1 {told(over['f1'])}")
    return {**lines, "smote_forest_over_smote_tree": over}


def pooled(rows: pd.DataFrame, both: Floats) -> dict[str, Any]:
    """Return the metrics of pooled outer folds, the mean over repeats, with intervals."""
    measured = {name: mean_of(rows, name, both) for name in METRICS}
    return _intervals(rows, measured)


def gain(rows: pd.DataFrame, one: Floats, other: Floats) -> dict[str, Any]:
    """Return by how much one is better, each draw measuring both on the same rows."""

    def difference(name: str) -> Any:
        first, second = mean_of(rows, name, one), mean_of(rows, name, other)
        return lambda weight: first(weight) - second(weight)

    return _intervals(rows, {name: difference(name) for name in ("f1", "average_precision")})


def mean_of(rows: pd.DataFrame, name: str, both: Floats) -> Any:
    """Return a metric's mean over repeats as a function of weights."""
    target, (scores, decisions) = rows["Class"].to_numpy(), both
    values = decisions if name == "f1" else scores
    return lambda weight: np.mean([METRICS[name](target, one, weight) for one in values], axis=0)


def best_line(rows: pd.DataFrame, both: Floats) -> float:
    """Return the F1 of the best line through the pooled scores themselves: no line drawn before is above it."""
    lines = [best_f1_threshold(rows["Class"], score, rows["weight"]).f1 for score in both[0]]
    return round(float(np.mean(lines)), 4)


def spread(rows: pd.DataFrame, both: Floats) -> dict[str, Any]:
    """Return mean and standard deviation over repeats of the pooled figures: how much the cut into folds matters."""
    target, weight = rows["Class"], rows["weight"]
    found = {name: [METRICS[name](target, one, weight) for one in both[1 if name == "f1" else 0]] for name in METRICS}
    return {f"{name}_repeats": [round(float(np.mean(one)), 4), round(float(np.std(one)), 4)]
            for name, one in found.items()}  # fmt: skip


def _intervals(rows: pd.DataFrame, statistics: dict[str, Any]) -> dict[str, Any]:
    found = intervals(statistics, rows["Class"].to_numpy(), rows["weight"], draws=500, seed=7)
    return {name: {key: round(value, 4) for key, value in one.to_json().items()} for name, one in found.items()}


def table(lines: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return the figures as a table for a reader."""
    shown = {
        name: {key: told(line[key]) + _over_repeats(line.get(f"{key}_repeats")) for key in METRICS}
        for name, line in lines.items()
    }
    return pd.DataFrame(shown).T


def _over_repeats(both: list[float] | None) -> str:
    return f", ± {both[1]:.3f} over repeats" if both else ""


def told(one: Mapping[str, float]) -> str:
    """Return a value with its interval."""
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


if __name__ == "__main__":
    main()
