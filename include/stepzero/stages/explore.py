"""Look at the training rows before anything is learned from them; held-out rows stay unseen."""

from __future__ import annotations

from typing import Any

from stepzero.adapters.datasets import commit_dataset
from stepzero.adapters.workspace import Workspace
from stepzero.core.stages import Record, StageInput, StageResult, stage
from stepzero.learning.exploration import Exploration, explore_table
from stepzero.learning.exploration_pictures import exploration_pictures
from stepzero.learning.number_exploration import explore_numbers, number_pictures
from stepzero.learning.table import Table, make_table


@stage(sections=("problem", "weight", "pipeline.outliers"), architecture_matters=True)
def explore(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Draw class balance, distributions, correlations, scores and outliers of the features, and say them in figures."""
    frame = workspace.read_frame(inputs["prepared"].output("train"))
    table = make_table(frame, use_case.problem, use_case.weight)
    if table.is_regression:
        return _explore_numbers(table, use_case.problem.target, workspace)
    found = explore_table(table, use_case.pipeline.outliers)
    workspace.log.info("%s", found.text())
    pictures = exploration_pictures(found, table)
    for name, data in pictures.items():
        workspace.write_file(f"pictures/{name}", data)
    workspace.write_file("features.txt", found.text() + "\n")
    folder = f"{workspace.folder}/pictures"
    return StageResult(
        outputs={
            "pictures": commit_dataset(workspace.store, folder, rows=None, schema=[], producer=workspace.stage),
            "figures": workspace.write_json("features.json", found.to_json()),
        },
        values=_values(found),
        summary=_summary(found),
        records=(_record(found, pictures),),
    )


def _explore_numbers(table: Table, target: str, workspace: Workspace) -> StageResult:
    """Do the same for a target that is a number."""
    found = explore_numbers(table, target)
    workspace.log.info("%s", found.text())
    pictures = number_pictures(found, table)
    for name, data in pictures.items():
        workspace.write_file(f"pictures/{name}", data)
    workspace.write_file("features.txt", found.text() + "\n")
    folder = f"{workspace.folder}/pictures"
    told = found.to_json()
    return StageResult(
        outputs={
            "pictures": commit_dataset(workspace.store, folder, rows=None, schema=[], producer=workspace.stage),
            "figures": workspace.write_json("features.json", told),
        },
        values={"rows": len(table.target), "target": told["target"], "rank_correlation": told["rank_correlation"]},
        summary=found.sentence(),
        records=(
            Record(metrics={f"train.{target}.{name}": value for name, value in told["target"].items()},
                   files=_shown(pictures)),
        ),
    )  # fmt: skip


def _values(found: Exploration) -> dict[str, Any]:
    told = found.to_json()
    best = found.features["separation"].sort_values(ascending=False, kind="stable").head(5)
    return {name: told[name] for name in ("positives", "negatives", "positive_share")} | {
        "best_separation": {str(name): float(value) for name, value in best.items()},
        "outliers": {str(name): int(count) for name, count in _outlier_counts(found).items() if count},
        **({"removed": found.removed} if found.removed else {}),
    }


def _outlier_counts(found: Exploration) -> Any:
    return found.outliers["below"] + found.outliers["above"]


def _summary(found: Exploration) -> str:
    rows = found.positives + found.negatives
    told = f"{found.positives} positives among {rows} training rows ({found.positives / rows:.2%})"
    best = list(_values(found)["best_separation"])[:3]
    return f"{told}; told apart best by {', '.join(best)}" if best else told


def _record(found: Exploration, pictures: dict[str, bytes]) -> Record:
    removed = {"train.outliers_removed": float(found.removed["rows"])} if found.removed else {}
    return Record(
        metrics={"train.positives": float(found.positives), "train.negatives": float(found.negatives), **removed},
        files=_shown(pictures),
    )


def _shown(pictures: dict[str, bytes]) -> dict[str, str]:
    """Return where the tracking server shows each file, and where it lies."""
    return {
        **{f"exploration/{name}": f"pictures/{name}" for name in pictures},
        "exploration/features.txt": "features.txt",
        "exploration/features.json": "features.json",
    }
