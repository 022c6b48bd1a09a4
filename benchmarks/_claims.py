"""The claims' rows as their use case prepares them, split by policy, and its learning stages without a DAG."""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from _kept import Kept

from stepzero.adapters.datasets import read_frame, write_frame
from stepzero.adapters.spark import start_session
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageInput, StageResult, find_stage, load_stage
from stepzero.generators import tables_of, write_csv
from stepzero.learning.columns import LINE
from stepzero.measures.decisions import f1
from stepzero.measures.ranking import average_precision, roc_auc
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_environment, load_use_case
from stepzero.spec.serve import Serve
from stepzero.spec.use_case import UseCase
from stepzero.spec.view import View
from stepzero.stages.prepare_split import split_rows
from stepzero.stages.prepare_transforms import transform

NAME = "auto_claims_fraud"
DATA = Path(__file__).parents[2] / "shared" / "data" / "auto_claims"
MODULES = tuple(
    f"stepzero.stages.{name}" for name in ("tune", "evaluate", "mitigate", "mitigate_decisions", "resample")
)


def compared_splits(
    description: str | None,
    benchmark: Path,
    settings: Callable[[UseCase, int], dict[str, Any]],
    compare: Callable[[UseCase, pd.DataFrame, Path], dict[str, Any]],
) -> tuple[str, list[dict[str, Any]]]:
    """Read the command line; return where the rows come from, and what is said of each split, kept or new.

    Args:
        description: What the benchmark says of itself.
        benchmark: Its file.
        settings: Of the use case and the number of splits: what kept parts depend on.
        compare: Of the use case, a split's rows and an empty folder: what is to be said.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with claims.csv and customers.csv")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--anew", action="store_true", help="measure again what was measured before")
    asked = parser.parse_args()
    logging.getLogger("stepzero").setLevel(logging.WARNING)
    # How it is served and watched has no part in what is learned.
    use_case = load_use_case(NAME).model_copy(update={"serve": Serve(), "monitors": None})
    with tempfile.TemporaryDirectory(prefix="stepzero-") as folder:
        source, data = find_tables(asked.data, Path(folder))
        files = [data / "claims.csv", data / "customers.csv"]
        kept = Kept(benchmark, settings(use_case, asked.splits), files=files, modules=MODULES, anew=asked.anew)
        parts = [f"split {number}" for number in range(asked.splits)]
        missing = [part for part in parts if not kept.has(part)]
        frames = make_splits(use_case, data, asked.splits) if missing else []

        def compared(number: int) -> dict[str, Any]:
            return compare(use_case, frames[number], Path(folder) / str(number))

        return source, [kept.get(part, partial(compared, number)) for number, part in enumerate(parts)]


def paired_interval(gain: np.ndarray[Any, Any], share: float) -> dict[str, float]:
    """Return the mean of paired differences with a 95 % interval, corrected for splits that share training rows."""
    from scipy.stats import t

    mean = float(gain.mean())
    error = float(np.sqrt((1 / len(gain) + share) * gain.var(ddof=1)))
    reach = float(t.ppf(0.975, len(gain) - 1)) * error
    return {"mean": mean, "low": mean - reach, "high": mean + reach}


def find_tables(data: Path, folder: Path) -> tuple[str, Path]:
    """Return where the rows come from, and the folder of the tables."""
    if (data / "claims.csv").is_file():
        return "the reference's raw tables", data
    for name, frame in tables_of(NAME).items():
        write_csv(folder / f"{name}.csv", frame)
    return "generated tables", folder


def make_splits(use_case: UseCase, data: Path, count: int) -> list[pd.DataFrame]:
    """Return the rows with side and folds, once for each salt of the split."""
    session = start_session(load_environment(), "claims")
    session.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")
    joined = _joined(session, use_case, data).cache()
    salted = [use_case.split.model_copy(update={"salt": f"s{number}"}) for number in range(count)]
    sides = [split_rows(joined, use_case.model_copy(update={"split": split})).toPandas() for split in salted]
    frames = [frame.sort_values("_row_id").reset_index(drop=True) for frame in sides]
    session.stop()
    return frames


def _joined(session: Any, use_case: UseCase, data: Path) -> Any:
    from pyspark.sql import functions

    frames = []
    for name, table in use_case.tables.items():
        columns = ", ".join(f"`{column}` {kind}" for column, kind in table.source.columns.items())
        raw = session.read.csv(str(data / f"{name}.csv"), header=True, schema=columns, nullValue="")
        frames.append(transform(raw, table.transforms, name)[0])
    joined = frames[0].join(frames[1], "policy_id")
    return joined.withColumn("_row_id", functions.sha2(functions.col("policy_id").cast("string"), 256))


class Stages:
    """Runs learning stages one after the other in a store of its own.

    Args:
        use_case: What they do; nothing is explained here.
        folder: Where the store is.
        sides: Rows of the sides ``train`` and ``test``; what the use case sets aside is set aside here.
    """

    def __init__(self, use_case: UseCase, folder: Path, sides: dict[str, pd.DataFrame]) -> None:
        data = use_case.model_dump(mode="json", by_alias=True)
        data["evaluate"] |= {"explain": [], "bootstrap": 50}
        self.use_case, self.store, self.runs = UseCase.model_validate(data), Store(f"file://{folder}"), 0
        aside = {name: f"_{name}" for name in use_case.prepare.set_aside}
        outputs = {
            side: write_frame(self.store, f"prepared/{side}", rows.rename(columns=aside), producer="prepare")
            for side, rows in sides.items()
        }
        counts = {str(value): int(count) for value, count in sides["test"]["fraud"].value_counts().items()}
        self.prepared = _as_input("prepare", StageResult(outputs=outputs, values={"test": counts}))

    def run(self, stage: str, inputs: dict[str, Any], **parameters: str) -> StageInput:
        self.runs += 1
        info = find_stage(stage)
        workspace = Workspace(
            store=self.store,
            environment=Environment(name="bench", store="memory://bench"),
            plan=cast("Any", None),
            folder=f"results/{self.runs}",
            stage=stage,
            parameters=parameters,
        )
        view = View(self.use_case, info.sections, always=("name",), parameters=parameters)
        return _as_input(stage, load_stage(info)(view, {"prepared": self.prepared, **inputs}, workspace))


class Learned:
    """The winner of one recipe, and how it decides on held-out rows.

    Args:
        stages: What learns; its prepared rows become the mitigated ones, where that is declared.
    """

    def __init__(self, stages: Stages) -> None:
        self.stages, use_case = stages, stages.use_case
        method = use_case.bias.mitigate.method if use_case.bias and use_case.bias.mitigate else None
        if method in {"reweighing", "oversampling"}:
            stages.prepared = stages.run("mitigate", {})
        resampled = stages.run("resample", {}, sampler="none")
        models = list(use_case.train.models) if use_case.train else []
        self.tuned = [stages.run("tune", {"resampled": resampled}, sampler="none", model=model) for model in models]
        self.test = read_frame(stages.store, stages.prepared.output("test"))
        self.judged = stages.run("evaluate", {"tuned": self.tuned})
        winner = self.judged.values["winner"]
        self.model = str(winner["model"])
        self.score = read_frame(stages.store, self.judged.output("test_scores"))["score"].to_numpy(dtype=np.float64)
        self.lines: Any = float(winner["threshold"])
        if method == "thresholds":
            self.lines = self.group_lines()

    def group_lines(self) -> np.ndarray[Any, Any]:
        """Return each held-out row's threshold, where the use case has one for each group."""
        told = self.stages.run("mitigate_decisions", {"tuned": self.tuned, "evaluated": self.judged})
        return read_frame(self.stages.store, told.output("test_scores"))[LINE].to_numpy(dtype=np.float64)


def _as_input(stage: str, result: StageResult) -> StageInput:
    reference = ResultReference(stage=stage, uri="", digest="")
    return StageInput(reference=reference, outputs=result.outputs, values=result.values, verdict=result.verdict)


def measured(test: pd.DataFrame, score: np.ndarray[Any, Any], threshold: Any) -> dict[str, Any]:
    """Return figures on held-out policies; cost is in dollars a claim, at the prices of the use case."""
    target, alarm = test["fraud"].to_numpy(), score >= threshold
    declared = load_use_case(NAME).evaluate.threshold
    missed = test[str(declared.false_negative)].to_numpy() * ((target == 1) & ~alarm)
    needless = float(declared.false_positive or 0) * ((target == 0) & alarm)
    return {
        "average_precision": float(average_precision(target, score)),
        "roc_auc": float(roc_auc(target, score)),
        "f1": float(f1(target, alarm)),
        "cost": float((missed + needless).mean()),
        "alarms": int(alarm.sum()),
    }
