"""Bias metrics against AWS's own implementation, on random tables: `bin/stepzero bench bias [TABLES]`.

`smclarify` 0.5 is installed by uv into a temporary environment (its licence and its old dependencies keep it out of
ours; that needs a package index). Equal means: to 1e-9, or both infinite, or both without a value. Tables on which
`smclarify` is known to be wrong are counted by themselves: a label that only one group has (it leaves that label out
of the sums), and predictions that are all unfavourable (it has no report).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stepzero.measures.bias import FacetRows, measure_after, measure_before
from stepzero.spec.load import home_folder

ORACLE = """
import json, logging, sys, warnings
import pandas as pd
from smclarify.bias.report import FacetColumn, LabelColumn, StageType, bias_report
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
found = []
for path in sys.argv[1:]:
    frame = pd.read_csv(path)
    group = frame.pop("group"); told = {}
    for stage in (StageType.PRE_TRAINING, StageType.POST_TRAINING):
        rows = frame.drop(columns="predicted")
        after = stage is StageType.POST_TRAINING
        predicted = LabelColumn("predicted", frame["predicted"], [1]) if after else None
        try:
            (one,) = bias_report(rows, FacetColumn("facet", [1]), LabelColumn("label", frame["label"], [1]), stage,
                                 predicted, ["all"], group_variable=group)
        except Exception as error:
            told["failed"] = str(error); continue
        told.update({metric["name"]: metric["value"] for metric in one["metrics"]})
    found.append(told)
print(json.dumps(found))
"""
TOLERANCE = 1e-9


def main(tables: int = 200) -> None:
    """Make random tables, measure them twice, and say where the two differ."""
    with tempfile.TemporaryDirectory() as folder:
        frames = [random_table(seed) for seed in range(tables)]
        theirs = ask_oracle(Path(folder), frames)
    compared, differing, known_wrong, without_report = 0, [], 0, 0
    for seed, (frame, oracle) in enumerate(zip(frames, theirs, strict=True)):
        wrong = known_wrong_names(frame)
        without_report += "failed" in oracle
        for name, value in ours(frame).items():
            if name in wrong:
                known_wrong += 1
            elif name in oracle:
                compared += 1
                if not equal(value, oracle[name]):
                    differing.append({"table": seed, "metric": name, "ours": value, "theirs": oracle[name]})
    for one in differing[:10]:
        print(one)
    print(f"{compared} metrics of {tables} tables compared, {len(differing)} differ by more than {TOLERANCE}")
    print(f"{known_wrong} metrics left out (a label that one group lacks), {without_report} tables without a report")
    print(json.dumps({"tables": tables, "compared": compared, "differing": len(differing), "left_out": known_wrong}))
    sys.exit(bool(differing))


def random_table(seed: int) -> pd.DataFrame:
    """Return a table of a size, a bias and a model of its own."""
    random = np.random.default_rng(seed)
    rows = int(random.integers(60, 400))  # with fewer, it takes 0 and 1 for a continuous facet
    facet = (random.random(rows) < random.uniform(0.1, 0.9)).astype(int)
    label = (random.random(rows) < np.where(facet == 1, *random.uniform(0.05, 0.95, 2))).astype(int)
    flips = random.random(rows) < random.uniform(0, 0.6)
    facet[:2], label[:2] = (0, 1), (0, 1)
    return pd.DataFrame(
        {
            "facet": facet,
            "label": label,
            "predicted": np.where(flips, 1 - label, label),
            "group": random.choice(list("xyz"), rows),
            "one": random.normal(size=rows).round(6),
            "other": (random.normal(size=rows) + facet).round(6),
        }
    )


def ask_oracle(folder: Path, frames: list[pd.DataFrame]) -> list[dict[str, Any]]:
    """Install the other implementation, and let it measure the tables in a process of its own."""
    uv, python = str(home_folder() / "bootstrap" / "bin" / "uv"), str(folder / "oracle" / "bin" / "python")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder / "oracle")], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "smclarify==0.5", "pandas<3"], check=True)
    paths = []
    for number, frame in enumerate(frames):
        paths.append(str(folder / f"{number}.csv"))
        frame.to_csv(paths[-1], index=False)
    asked = subprocess.run([python, "-c", ORACLE, *paths], check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(asked.stdout)
    return found


def ours(frame: pd.DataFrame) -> dict[str, float | None]:
    """Return every metric of ours."""
    rows = FacetRows(
        disfavoured=(frame["facet"] == 1).to_numpy(),
        favourable=(frame["label"] == 1).to_numpy(),
        predicted=(frame["predicted"] == 1).to_numpy(),
        weight=np.ones(len(frame)),
        group=frame["group"].to_numpy(dtype=object),
        features=frame[["one", "other"]],
    )
    return {metric.name: metric.value for metric in [*measure_before(rows), *measure_after(rows)]}


def known_wrong_names(frame: pd.DataFrame) -> set[str]:
    """Return the metrics for which the other implementation is wrong on this table."""
    both = frame.groupby("facet")["label"].nunique()
    return {"KL", "JS", "LP", "TVD", "KS"} if (both < 2).any() else set()


def equal(value: float | None, other: Any) -> bool:
    """Tell whether two metrics are the same."""
    if value is None or other is None:
        return value is None and other is None
    number = float(other)
    return value == number or abs(value - number) <= TOLERANCE


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
